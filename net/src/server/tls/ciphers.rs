//! `ssl_ciphers`: OpenSSL's words for cipher suites, as far as they mean any of those that there are here.
//!
//! There are nine, all with forward secrecy and authenticated encryption: three of TLS 1.3, and three ciphers with two
//! kinds of keys of TLS 1.2. A list can only take some away.

use rustls::crypto::{CryptoProvider, ring};
use rustls::{CipherSuite, SupportedCipherSuite};

use super::TlsError;

/// What a suite of TLS 1.2 is called and made of; a word of a list has to be one of these.
struct Words(CipherSuite, &'static [&'static str]);

const WORDS: [Words; 6] = [
    Words(
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        &["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDSA", "aECDSA", "AES", "AES256", "AESGCM", "SHA384"],
    ),
    Words(
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        &["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDSA", "aECDSA", "AES", "AES128", "AESGCM", "SHA256"],
    ),
    Words(
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        &["ECDHE-ECDSA-CHACHA20-POLY1305", "ECDSA", "aECDSA", "CHACHA20"],
    ),
    Words(
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        &["ECDHE-RSA-AES256-GCM-SHA384", "aRSA", "AES", "AES256", "AESGCM", "SHA384"],
    ),
    Words(
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        &["ECDHE-RSA-AES128-GCM-SHA256", "aRSA", "AES", "AES128", "AESGCM", "SHA256"],
    ),
    Words(
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        &["ECDHE-RSA-CHACHA20-POLY1305", "aRSA", "CHACHA20"],
    ),
];

/// Words that mean all of them.
const EVERY: [&str; 8] =
    ["ALL", "DEFAULT", "COMPLEMENTOFDEFAULT", "HIGH", "ECDHE", "EECDH", "kECDHE", "kEECDH"];

/// What rustls works with, without the suites that `list` leaves out. A list selects among the suites of TLS 1.2; those
/// of TLS 1.3 all stay unless some of them are named (`TLS_AES_128_GCM_SHA256`).
///
/// Errors: nothing is left.
pub(super) fn provider(list: Option<&str>) -> Result<CryptoProvider, TlsError> {
    let mut provider = ring::default_provider();
    let Some(list) = list else { return Ok(provider) };
    let words: Vec<&str> = list.split([':', ',', ' ']).filter(|word| !word.is_empty()).collect();
    let is_named = |suite: &SupportedCipherSuite| words.contains(&newer_name(suite.suite()).as_str());
    let names_newer = provider.cipher_suites.iter().any(|suite| suite.tls13().is_some() && is_named(suite));
    provider.cipher_suites.retain(|suite| match suite {
        SupportedCipherSuite::Tls13(_) => !names_newer || is_named(suite),
        SupportedCipherSuite::Tls12(_) => is_selected(suite.suite(), &words),
    });
    // A list of older suites that are all unknown is a mistake, whatever TLS 1.3 has.
    let is_meant = names_newer || provider.cipher_suites.iter().any(|suite| suite.tls13().is_none());
    if is_meant { Ok(provider) } else { Err(TlsError::Ciphers(list.to_owned())) }
}

/// `TLS13_AES_128_GCM_SHA256` without the `13`.
fn newer_name(suite: CipherSuite) -> String {
    suite.as_str().unwrap_or_default().replacen("TLS13_", "TLS_", 1)
}

/// Follows the list from left to right: a word adds, `-` takes away, `!` takes away for good, `+` only orders.
fn is_selected(suite: CipherSuite, words: &[&str]) -> bool {
    let mut selected = false;
    for word in words {
        match word.split_at(usize::from(word.starts_with(['!', '-', '+']))) {
            ("!", rest) if means(rest, suite) => return false,
            ("-", rest) if means(rest, suite) => selected = false,
            ("", rest) if means(rest, suite) => selected = true,
            _ => {}
        }
    }
    selected
}

/// Whether each part of a word (`ECDHE+AESGCM`) means that suite.
fn means(word: &str, suite: CipherSuite) -> bool {
    let Some(Words(_, known)) = WORDS.iter().find(|words| words.0 == suite) else { return false };
    let name = suite.as_str().unwrap_or_default();
    word.split('+').all(|part| EVERY.contains(&part) || known.contains(&part) || part == name)
}

#[cfg(test)]
mod tests {
    use super::provider;

    fn suites(list: &str) -> Option<Vec<String>> {
        let provider = provider(Some(list)).ok()?;
        Some(provider.cipher_suites.iter().map(|suite| format!("{:?}", suite.suite())).collect())
    }

    #[test]
    fn a_list_takes_suites_away() {
        assert_eq!(suites("ALL").unwrap().len(), 9);
        assert_eq!(suites("HIGH:!aNULL:!MD5").unwrap().len(), 9);
        let exact = suites("ECDHE-RSA-AES128-GCM-SHA256").unwrap();
        assert_eq!(exact.len(), 4, "and the three of TLS 1.3: {exact:?}");
        assert!(exact.contains(&"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256".to_owned()));
        assert_eq!(suites("ECDHE+AESGCM:-AES128").unwrap().len(), 3 + 2);
        assert_eq!(suites("ECDHE:!CHACHA20:CHACHA20").unwrap().len(), 3 + 4);
        assert_eq!(suites("TLS_AES_128_GCM_SHA256").unwrap(), ["TLS13_AES_128_GCM_SHA256"]);
    }

    #[test]
    fn a_list_of_nothing_is_refused() {
        for list in ["", "AES128-SHA", "NULL", "!ALL", "nonsense"] {
            assert_eq!(suites(list), None, "{list}");
        }
    }
}
