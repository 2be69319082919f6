//! The store while its machine's network card is changed for another, and afterwards; and how long nothing is sent, in instructions.

use std::net::Ipv4Addr;
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde::Deserialize;

use crate::config::Nic;

use super::answers::{Answer, CLIENTS, Phase, VALUE, fill, under};
use super::modes::{KV, Operator};
use super::row::{Goal, Row};
use super::served::{PING, instructions_of_a_get, set_get};
use super::system::{Bridge, System};
use super::{Bench, BenchError, namespace};

/// Where both cards are; and those of the machine that is compared.
const OURS: Bridge = Bridge {
    name: "bridge0",
    host: Ipv4Addr::new(10, 9, 2, 1),
    guest: Ipv4Addr::new(10, 9, 2, 2),
    taps: ["tap2", "tap3"],
};
const PEER: Bridge = Bridge {
    name: "bridge1",
    host: Ipv4Addr::new(10, 9, 3, 1),
    guest: Ipv4Addr::new(10, 9, 3, 2),
    taps: ["tap4", "tap5"],
};
/// Values that clients ask for.
const KEYS: usize = 20_000_000 / VALUE;
/// What takes turns.
const PAIRS: [[Nic; 2]; 3] =
    [[Nic::Virtio, Nic::E1000e], [Nic::Virtio, Nic::E1000], [Nic::E1000, Nic::E1000e]];
/// Most instructions for which nothing is sent.
const MOST_INSTRUCTIONS: f64 = 200_000.0;
/// How soon Linux sends again what is not acknowledged, at the earliest (`TCP_RTO_MIN`).
const RETRANSMISSION: Duration = Duration::from_millis(200);
/// Round trips that a gap may take besides.
const ROUND_TRIPS: f64 = 3.0;
/// By what part throughput may be lower than that of a machine that was booted with the card.
const SAME: f64 = 0.97;

/// Who is compared.
const SIDES: [&str; 2] = ["swapped", "booted"];

/// What the machine says of a swap.
#[derive(Clone, Copy, Deserialize)]
struct Swapped {
    stopped_ns: u64,
}

/// Adds the rows.
pub(super) fn measure(bench: &Bench<'_>) -> Result<Vec<Row>, BenchError> {
    for Bridge { name, host, taps, .. } in [OURS, PEER] {
        namespace::bridge(name, host, &taps)?;
    }
    let mut rows = Vec::new();
    for pair in PAIRS {
        rows.extend(gaps(bench, pair)?);
    }
    for [first, second] in PAIRS {
        for (booted, swapped) in [(first, second), (second, first)] {
            rows.extend(instructions(bench, booted, swapped)?);
            rows.extend(throughput(bench, booted, swapped)?);
        }
    }
    Ok(rows)
}

/// A machine with these cards whose store answers, and its operator.
fn start(
    bench: &Bench<'_>,
    card: Nic,
    beside: Option<Nic>,
    bridge: Bridge,
    counter: Option<&Path>,
) -> Result<(System, Operator), BenchError> {
    let system = bench.with_cards("kv", card, beside, bridge, counter)?;
    system.wait(KV, PING.0, PING.1)?;
    let operator = Operator::of(&system)?;
    Ok((system, operator))
}

/// Puts the idle card in the place of the other. Cards are named in the order in which they were found.
fn swap(operator: &Operator, number: u32) -> Result<Swapped, BenchError> {
    let said = operator.tell(&format!("device swap net{} --to next --json", number % 2))?;
    let last = said.lines().last().unwrap_or_default();
    serde_json::from_str(last).map_err(|_| BenchError::Figures("the swap"))
}

/// After so many this card serves, of two of which the other is booted with: where one is a virtio-net, that serves first.
fn swaps_to(swapped: Nic) -> u32 {
    if swapped == Nic::Virtio { 2 } else { 1 }
}

/// What clients see of swaps: the longest wait of each.
fn gaps(bench: &Bench<'_>, cards: [Nic; 2]) -> Result<Vec<Row>, BenchError> {
    let [first, second] = cards;
    let (system, operator) = start(bench, first, Some(second), OURS, None)?;
    let address = system.address(KV)?;
    fill(address, KEYS)?;
    let swaps = if bench.plan.quick { 10 } else { 100 };
    let calm = Duration::from_secs(2);
    let (answers, (times, mut stops), _) = under(address, KEYS, |begin| {
        thread::sleep(calm);
        let (mut times, mut stops) = (Vec::new(), Vec::new());
        for number in 0..swaps {
            let asked = begin.elapsed();
            stops.push(swap(&operator, number)?.stopped_ns as f64 / 1e6);
            // Until each client has had an answer since, and the longest waits are over.
            thread::sleep(RETRANSMISSION * 2);
            times.push((asked, begin.elapsed()));
        }
        Ok(((times, stops), begin.elapsed()))
    })?;
    let before = Phase::of(&answers, calm / 2, calm).ok_or(BenchError::Figures("the clients"))?;
    let limit = ROUND_TRIPS * before.p50 + RETRANSMISSION.as_secs_f64() * 1e3;
    let mut gaps: Vec<f64> = times.iter().map(|(from, to)| longest(&answers, *from, *to)).collect();
    let what = |what: &str| format!("{what}, {swaps} swaps of {first} and {second}, {CLIENTS} clients");
    let row = |name: &str, goal| Row::new("swap", what(name), "ms", goal);
    let mut limited = |name, part| {
        let goal = Goal::TimesAtMost(1.0);
        let mut row = row(name, goal).between(["gap", "3 round trips + 200 ms"]);
        row.ours.push(quantile(&mut gaps, part));
        row.peer.push(limit);
        row
    };
    let mut rows = vec![limited("gap, median", 0.5), limited("gap, p90", 0.9), limited("longest gap", 1.0)];
    let mut alone = |name, figure| {
        let mut row = row(name, Goal::None).between(["swap", "-"]);
        row.ours.push(figure);
        rows.push(row);
    };
    alone("round trip before, median", before.p50);
    alone("longest wait before", before.max);
    alone("nothing sent, median", quantile(&mut stops, 0.5));
    alone("nothing sent, longest", quantile(&mut stops, 1.0));
    Ok(rows)
}

/// The longest wait of the answers in a time, in milliseconds.
fn longest(answers: &[Answer], from: Duration, to: Duration) -> f64 {
    Phase::of(answers, from, to).map_or(f64::INFINITY, |phase| phase.max)
}

/// What this part of the figures is not above.
fn quantile(figures: &mut [f64], part: f64) -> f64 {
    figures.sort_by(f64::total_cmp);
    let last = figures.len().saturating_sub(1);
    figures.get((last as f64 * part).ceil() as usize).copied().unwrap_or(f64::NAN)
}

/// The most instructions for which nothing is sent; and those of a request over a card that was swapped in, and over one that was there at boot.
fn instructions(bench: &Bench<'_>, booted: Nic, swapped: Nic) -> Result<[Row; 2], BenchError> {
    let what = format!("nothing sent, most of the swaps of {booted} and {swapped}");
    let goal = Goal::AtMost(MOST_INSTRUCTIONS);
    let mut stop = Row::new("swap", what, "instructions", goal).between(["swap", "-"]);
    let what = format!("instructions per GET, {swapped} in place of {booted}");
    let mut get = Row::new("swap", what, "instructions", Goal::SameWithin(1.0 - SAME)).between(SIDES);
    let counter = bench.directory().join("counted");
    let requests = bench.scaled(1_000);
    let (system, operator) = start(bench, booted, Some(swapped), OURS, Some(&counter))?;
    let mut most = 0;
    for number in 0..swaps_to(swapped) + if bench.plan.quick { 2 } else { 20 } {
        // One instruction is one nanosecond.
        most = most.max(swap(&operator, number)?.stopped_ns);
    }
    stop.ours.push(most as f64);
    get.ours.push(instructions_of_a_get(&counter, system.address(KV)?, requests)?);
    drop((operator, system));
    // Both have an operator connected: a connection more is a socket and a timer more to look at.
    let (system, _operator) = start(bench, swapped, None, OURS, Some(&counter))?;
    get.peer.push(instructions_of_a_get(&counter, system.address(KV)?, requests)?);
    Ok([stop, get])
}

/// Requests a second over a card that was swapped in, and over one that was there at boot.
fn throughput(bench: &Bench<'_>, booted: Nic, swapped: Nic) -> Result<Vec<Row>, BenchError> {
    let row = |test: &str| {
        let what = format!("{test}, 50 clients, -P 1, {swapped} in place of {booted}");
        Row::new("swap", what, "requests/s", Goal::TimesAtLeast(SAME)).between(SIDES)
    };
    let mut rows = [row("SET"), row("GET")];
    let (ours, operator) = start(bench, booted, Some(swapped), OURS, None)?;
    (0..swaps_to(swapped)).try_for_each(|number| swap(&operator, number).map(drop))?;
    drop(operator);
    ours.pause()?;
    let (peer, operator) = start(bench, swapped, None, PEER, None)?;
    drop(operator);
    peer.pause()?;
    for _ in 0..bench.rounds {
        for (system, is_ours) in [(&ours, true), (&peer, false)] {
            system.resume()?;
            let results = set_get(system.address(KV)?, 50, 1, bench.scaled(60_000))?;
            system.pause()?;
            for (row, result) in rows.iter_mut().zip(results) {
                if is_ours { &mut row.ours } else { &mut row.peer }.push(result.requests_a_second);
            }
        }
    }
    Ok(rows.into())
}

#[cfg(test)]
mod tests {
    use super::super::answers::tests::answers;
    use super::*;

    #[test]
    fn the_longest_wait_is_of_what_was_answered_meanwhile() {
        let millis = Duration::from_millis;
        assert_eq!(longest(&answers(), millis(10), millis(51)), 50.0);
        assert_eq!(longest(&answers(), millis(2000), millis(3000)), f64::INFINITY, "nobody was answered");
    }

    #[test]
    fn quantiles_are_among_the_figures() {
        let mut figures = [3.0, 1.0, 2.0, 5.0, 4.0];
        assert_eq!([0.0, 0.5, 0.9, 1.0].map(|part| quantile(&mut figures, part)), [1.0, 3.0, 5.0, 5.0]);
        assert!(quantile(&mut [], 0.5).is_nan());
    }

    #[test]
    fn what_the_machine_says_is_read() {
        let said =
            r#"{"network":"main","old":"net0","new":"net1","adapted":[],"stopped_ns":12,"negotiated_ns":5}"#;
        assert_eq!(serde_json::from_str::<Swapped>(said).unwrap().stopped_ns, 12);
    }
}
