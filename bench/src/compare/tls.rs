//! Rows of encrypted connections: what TLS costs a request, and what strangers' handshakes cost those who are connected.
//! Every server uses TLS 1.3, AES-256-GCM and a P-256 key.

use std::process::Command;

use super::contest::{Contender, Figure, Standing, contest, ratios, table};
use super::requests::gets;
use super::row::{Finding, Goal, Outcome, Ratio, Row};
use super::setup::{Launch, Program, Setup};
use crate::error::BenchError;
use crate::load::{Plan, measure};
use crate::tls::{Certificate, client_config};

/// The rows of this family.
pub const ROWS: &[Row] = &[
    Row { name: "tls16", title: "GET 100 B over TLS, 50 connections, depth 16", measure: tls16 },
    Row {
        name: "handshakes",
        title: "GET 100 B over TLS, 50 connections, depth 1, 20,000 requests/s: alone, then beside 500 handshakes/s",
        measure: handshakes,
    },
];

fn tls16(setup: &Setup) -> Result<Outcome, BenchError> {
    if let Some(skipped) = skipped(setup) {
        return Ok(skipped);
    }
    let certificate = Certificate::create()?;
    let plan = Plan { depth: 16, tls: Some(client_config()), ..gets(setup) };
    let contenders = contenders(setup, &certificate, &plan)?;
    let standings = contest(&contenders, setup.rounds)?;
    let mut ratios_found = ratios(&standings, Figure::Cpu, &[(Program::Memcached, Goal::AtMost(0.8))]);
    ratios_found.extend(ratios(&standings, Figure::Throughput, &[]));
    Ok(Outcome::Found(Finding {
        table: table(&standings, COLUMNS),
        ratios: ratios_found,
        curves: standings.iter().map(Standing::latency_curve).collect(),
        notes: Vec::new(),
    }))
}

/// Each round measures a server alone and at once again beside the handshakes, so that the machine is the same.
fn handshakes(setup: &Setup) -> Result<Outcome, BenchError> {
    if let Some(skipped) = skipped(setup) {
        return Ok(skipped);
    }
    let certificate = Certificate::create()?;
    let alone = Plan { rate: Some(REQUESTS), tls: Some(client_config()), ..gets(setup) };
    let beside = Plan { handshakes: HANDSHAKES, ..alone.clone() };
    let contenders = contenders(setup, &certificate, &alone)?;
    let mut standings = Vec::new();
    for contender in &contenders {
        for state in ["alone", "flooded"] {
            standings.push(Standing { name: format!("{} {state}", contender.name), runs: Vec::new() });
        }
    }
    for _ in 0..setup.rounds {
        for (contender, pair) in contenders.iter().zip(standings.chunks_mut(2)) {
            for (plan, standing) in [&alone, &beside].into_iter().zip(pair) {
                standing.runs.push(measure(contender.server.target(), plan, Some(contender.server.pid()))?);
            }
        }
    }
    let notes = standings.iter().skip(1).step_by(2).map(|flooded| {
        let rates: Vec<String> = flooded.runs.iter().map(|run| format!("{:.0}", run.handshakes)).collect();
        format!("{}: {} handshakes/s", flooded.name, rates.join(", "))
    });
    Ok(Outcome::Found(Finding {
        table: table(&standings, &[Figure::Throughput, Figure::P50, Figure::P99, Figure::P999, Figure::Cpu]),
        ratios: vec![
            flooded_to_alone(&standings[..2], Some(Goal::AtMost(2.0))),
            flooded_to_alone(&standings[2..], None),
        ],
        curves: standings.iter().map(Standing::latency_curve).collect(),
        notes: notes.collect(),
    }))
}

fn flooded_to_alone(pair: &[Standing], goal: Option<Goal>) -> Ratio {
    let flooded_first = [pair[1].clone(), pair[0].clone()];
    let ratio = ratios(&flooded_first, Figure::P99, &[]).remove(0);
    Ratio { goal, ..ratio }
}

fn contenders(setup: &Setup, certificate: &Certificate, plan: &Plan) -> Result<Vec<Contender>, BenchError> {
    let launch = Launch { server_arguments: certificate.arguments().to_vec(), ..setup.launch() };
    let start = |program| Contender::start(setup, program, &launch, plan);
    Ok(vec![start(Program::Ringcached)?, start(Program::Memcached)?])
}

/// Not every memcached is built with TLS.
fn skipped(setup: &Setup) -> Option<Outcome> {
    let help = Command::new(&setup.memcached).arg("-h").output().ok()?;
    let has_tls = String::from_utf8_lossy(&help.stdout).contains("--enable-ssl");
    let reason = format!("{} is built without TLS", setup.memcached.display());
    (!has_tls).then_some(Outcome::Skipped(reason))
}

/// So many that neither side's CPU falls asleep, whose waking would be most of the latency.
const REQUESTS: f64 = 20_000.0;
const HANDSHAKES: u32 = 500;
const COLUMNS: &[Figure] =
    &[Figure::Throughput, Figure::Cpu, Figure::UserCpu, Figure::SystemCpu, Figure::P50, Figure::P99];
