//! Clients that are Rust crates.

use std::collections::HashMap;
use std::time::Duration;

use async_memcached::{AsciiProtocol, MetaProtocol};
use memcache::exp::{Memcache, Ttl};

use crate::server::{Address, Server, Transport};
use crate::{PASSWORD, USER, users};

#[test]
fn crate_memcache_works_in_text() {
    let server = Server::ringcached(&["-t", "2"]);
    use_crate_memcache(&format!("127.0.0.1:{}", server.port()), "ascii");
}

#[test]
fn crate_memcache_works_in_binary() {
    let server = Server::ringcached(&["-t", "2"]);
    use_crate_memcache(&format!("127.0.0.1:{}", server.port()), "binary");
}

#[test]
fn crate_memcache_logs_in() {
    let (_directory, users) = users();
    let path = users.to_str().expect("a temporary path is text");
    let text = Server::ringcached(&["-Y", path, "-t", "2"]);
    use_crate_memcache(&format!("{USER}:{PASSWORD}@127.0.0.1:{}", text.port()), "ascii");
    let binary = Server::ringcached_with_file("MEMCACHED_SASL_PWDB", &users, &["-S", "-t", "2"]);
    use_crate_memcache(&format!("{USER}:{PASSWORD}@127.0.0.1:{}", binary.port()), "binary");
}

#[test]
fn crate_memcache_works_over_a_unix_socket() {
    let server = Server::ringcached_on(Transport::Unix, &["-t", "2"]);
    let Address::Unix(path) = server.address() else { unreachable!("it was asked for") };
    use_crate_memcache(&path.display().to_string(), "ascii");
}

#[test]
fn crate_memcache_works_over_udp() {
    let server = Server::ringcached(&["-U", "-1", "-t", "2"]);
    let url = format!("memcache+udp://127.0.0.1:{}?timeout=10", server.udp_port());
    let client = memcache::connect(url).expect("a datagram socket connects at once");
    client.set("text", "hello", 0).expect("it is stored");
    assert_eq!(client.get::<String>("text").expect("a reply"), Some("hello".to_owned()));
    assert_eq!(client.get::<String>("none").expect("a reply"), None);
    // An answer of several datagrams.
    let large = "x".repeat(30_000);
    client.set("large", large.as_str(), 0).expect("it is stored");
    assert_eq!(client.get::<String>("large").expect("a reply"), Some(large));
    client.set("number", 40_u64, 0).expect("it is stored");
    assert_eq!(client.increment("number", 2).expect("a number"), 42);
    assert!(client.touch("text", 1000).expect("a reply"));
    assert!(client.delete("text").expect("a reply"));
    assert!(client.version().expect("a reply")[0].1.starts_with("1.6."));
    client.flush().expect("flush_all is answered");
    assert_eq!(client.get::<String>("number").expect("a reply"), None);
}

/// `server` is user, password, host and port as in a URL, or the path of a socket.
fn use_crate_memcache(server: &str, protocol: &str) {
    let url = format!("memcache://{server}?timeout=10&tcp_nodelay=true&protocol={protocol}");
    let client = memcache::connect(url).expect("it connects");
    client.flush().expect("flush_all is answered");
    client.set("text", "hello", 0).expect("it is stored");
    assert_eq!(client.get::<String>("text").expect("a reply"), Some("hello".to_owned()));
    assert_eq!(client.get::<String>("none").expect("a reply"), None);
    // In text a refusal is no error to this client, in binary it is one.
    assert_eq!(client.add("text", "other", 0).is_err(), protocol == "binary");
    assert_eq!(client.replace("none", "other", 0).is_err(), protocol == "binary");
    assert_eq!(client.get::<String>("text").expect("a reply"), Some("hello".to_owned()));
    assert_eq!(client.get::<String>("none").expect("a reply"), None);
    client.append("text", ", world").expect("it is appended");
    client.prepend("text", "> ").expect("it is prepended");
    assert_eq!(client.get::<String>("text").expect("a reply"), Some("> hello, world".to_owned()));
    client.set("number", 40_u64, 0).expect("it is stored");
    assert_eq!(client.increment("number", 2).expect("a number"), 42);
    assert_eq!(client.decrement("number", 50).expect("a number"), 0);
    assert!(client.touch("text", 1000).expect("a reply"));
    assert!(!client.touch("none", 1000).expect("a reply"));
    let all: HashMap<String, (Vec<u8>, u32, Option<u64>)> =
        client.gets(&["text", "number", "none"]).expect("a reply");
    assert_eq!(all.len(), 2);
    let unique = all["text"].2.expect("gets brings it");
    assert!(client.cas("text", "swapped", 0, unique).expect("a reply"));
    assert!(!client.cas("text", "again", 0, unique).expect("a reply"));
    let large = "x".repeat(500_000);
    client.set("large", large.as_str(), 0).expect("it is stored");
    assert_eq!(client.get::<String>("large").expect("a reply"), Some(large));
    assert!(client.delete("text").expect("a reply"));
    assert!(!client.delete("text").expect("a reply"));
    assert!(client.version().expect("a reply")[0].1.starts_with("1.6."));
    assert_eq!(client.stats().expect("a reply").len(), 1);
}

#[test]
fn crate_memcache_works_in_meta() {
    let server = Server::ringcached(&["-t", "2"]);
    let cache = Memcache::connect([format!("127.0.0.1:{}", server.port())]).expect("it connects");
    let ttl = Ttl::secs(600);
    cache.set("text", "hello", ttl).expect("it is stored");
    assert_eq!(cache.get::<String>("text").expect("a reply"), Some("hello".to_owned()));
    assert_eq!(cache.get::<String>("none").expect("a reply"), None);
    assert!(!cache.add("text", "other", ttl).expect("a reply"));
    assert!(!cache.replace("none", "other", ttl).expect("a reply"));
    cache.append("text", b", world", ttl).expect("it is appended");
    assert_eq!(cache.take::<String>("text").expect("a reply"), Some("hello, world".to_owned()));
    assert_eq!(cache.get::<String>("text").expect("a reply"), None);
    assert_eq!(cache.incr("count", 5, ttl).expect("a number"), 5);
    assert_eq!(cache.incr("count", 5, ttl).expect("a number"), 10);
    let added = cache.update("sum", ttl, |current: Option<u64>| current.unwrap_or(0) + 7);
    assert_eq!(added.expect("nobody else writes it"), 7);
    let pairs: Vec<(String, String)> =
        (0..100).map(|number| (format!("key{number}"), "x".to_owned())).collect();
    cache.set_many(pairs.clone(), ttl).expect("they are stored");
    let keys = pairs.iter().map(|(key, _)| key.as_str());
    assert_eq!(cache.get_many::<String, _>(keys).expect("a reply").len(), pairs.len());
    // A miss gives the lease, what is fresh is not made again, what is stale is made once.
    let made = |text: &str| cache.fetch("made", ttl, || Ok::<_, std::io::Error>(text.to_owned()));
    assert_eq!(made("first").expect("it is made"), "first");
    assert_eq!(made("second").expect("it is found"), "first");
    cache.invalidate("made", Duration::from_secs(60)).expect("it is marked");
    assert_eq!(made("third").expect("the lease is ours"), "third");
    // A key that has to travel in base64.
    cache.set("a key", "value", ttl).expect("it is stored");
    assert_eq!(cache.get::<String>("a key").expect("a reply"), Some("value".to_owned()));
    assert!(cache.inspect("made").expect("a reply").is_some());
}

#[test]
fn crate_async_memcached_works() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let server = Server::ringcached(&["-t", "2"]);
    runtime.block_on(async {
        let mut client = async_memcached::Client::new(format!("tcp://127.0.0.1:{}", server.port()))
            .await
            .expect("connects");
        async_classic(&mut client).await;
        async_meta(&mut client).await;
    });
}

async fn async_classic(client: &mut async_memcached::Client) {
    client.set("text", "hello", None, Some(5)).await.expect("it is stored");
    let value = client.get("text").await.expect("a reply").expect("a hit");
    assert_eq!((value.data.as_deref(), value.flags), (Some(&b"hello"[..]), Some(5)));
    assert!(client.get("none").await.expect("a reply").is_none());
    assert!(client.add("text", "other", None, None).await.is_err());
    client.set("number", 40_u64, None, None).await.expect("it is stored");
    assert_eq!(client.increment("number", 2).await.expect("a number"), 42);
    assert_eq!(client.decrement("number", 1).await.expect("a number"), 41);
    client.increment_no_reply("number", 9).await.expect("sent");
    assert_eq!(client.increment("number", 0).await.expect("a number"), 50);
    let keys: Vec<String> = (0..100).map(|number| format!("key{number}")).collect();
    for key in &keys {
        client.set(key, key, Some(1000), None).await.expect("it is stored");
    }
    assert_eq!(client.get_multi(&keys).await.expect("a reply").len(), keys.len());
    client.delete("key7").await.expect("it was there");
    client.delete_no_reply("key8").await.expect("sent");
    assert_eq!(client.get_multi(&keys).await.expect("a reply").len(), keys.len() - 2);
    assert!(client.version().await.expect("a reply").contains("1.6."));
    assert!(client.stats().await.expect("a reply").contains_key("curr_items"));
}

async fn async_meta(client: &mut async_memcached::Client) {
    client.meta_set("meta", "value", false, Some(b"77"), Some(&["T1000", "F9"])).await.expect("it is stored");
    let flags = ["v", "f", "t", "s", "c", "h", "k"];
    let found =
        client.meta_get("meta", false, Some(b"78"), Some(&flags)).await.expect("a reply").expect("a hit");
    assert_eq!(found.data.as_deref(), Some(&b"value"[..]));
    assert_eq!((found.flags, found.size, found.hit_before), (Some(9), Some(5), Some(false)));
    assert_eq!(found.opaque_token.as_deref(), Some(&b"78"[..]));
    assert!(client.meta_get("none", true, None, Some(&["v"])).await.expect("a reply").is_none());
    client.meta_set("count", 10_u64, true, None, None).await.expect("it is stored");
    let counted = client.meta_increment("count", false, None, Some(5), Some(&["v"])).await.expect("a reply");
    assert_eq!(counted.expect("a value").data.as_deref(), Some(&b"15"[..]));
    let counted = client.meta_decrement("count", false, None, Some(6), Some(&["v"])).await.expect("a reply");
    assert_eq!(counted.expect("a value").data.as_deref(), Some(&b"9"[..]));
    client.meta_delete("meta", false, None, None).await.expect("it was there");
    assert!(client.meta_get("meta", false, None, Some(&["v"])).await.expect("a reply").is_none());
}

#[test]
fn crate_memcache_async_works() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let server = Server::ringcached(&["-t", "2"]);
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", server.port())).await.expect("it accepts");
        use_memcache_async(memcache_async::ascii::Protocol::new(stream)).await;
    });
}

async fn use_memcache_async(mut client: memcache_async::ascii::Protocol<tokio::net::TcpStream>) {
    client.set("text", b"hello", 600).await.expect("it is stored");
    assert_eq!(client.get("text").await.expect("a hit"), b"hello");
    assert!(client.get("none").await.is_err());
    client.append("text", b", world").await.expect("it is appended");
    let (value, unique) = client.gets_cas("text").await.expect("a hit");
    assert_eq!(value, b"hello, world");
    assert!(client.cas("text", b"swapped", unique, 0).await.expect("a reply"));
    assert!(!client.cas("text", b"again", unique, 0).await.expect("a reply"));
    client.set("count", b"40", 0).await.expect("it is stored");
    assert_eq!(client.increment("count", 2).await.expect("a number"), 42);
    client.increment_noreply("count", 8).await.expect("sent");
    assert_eq!(client.decrement("count", 60).await.expect("a number"), 0);
    client.append_or_vivify("made", b"x", 600).await.expect("a meta set with N");
    client.append_or_vivify("made", b"y", 600).await.expect("a meta set with N");
    assert_eq!(client.get("made").await.expect("a hit"), b"xy");
    let keys: Vec<String> = (0..100).map(|number| format!("key{number}")).collect();
    for key in &keys {
        client.add(key, key.as_bytes(), 0).await.expect("it is stored");
    }
    assert_eq!(client.get_multi(&keys).await.expect("a reply").len(), keys.len());
    client.delete("key7").await.expect("it was there");
    assert!(client.get("key7").await.is_err());
    assert!(client.version().await.expect("a reply").starts_with("1.6."));
    client.flush().await.expect("flush_all is answered");
    assert!(client.get("text").await.is_err());
}
