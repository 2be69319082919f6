//! What QEMU's user network cannot show: ping, a static address, fifty clients at once, a thousand idle connections.
//! The test runs itself again in a network namespace of its own.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use image_builder::{Machine, Nic};
use tests::apart::{self, Apart};
use tests::guest::{self, Guest, PATIENCE};
use tests::{load, namespace, program};

const HOST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);

#[test]
fn on_a_tap_device() {
    // Outside, where there may be a network for what a build has to fetch.
    let image = guest::image(guest::ALL);
    if apart::enter("on_a_tap_device", "tap devices") != Apart::Inside {
        return;
    }
    namespace::tap("tap0", HOST).unwrap();
    for nic in [Nic::Virtio, Nic::E1000, Nic::E1000e] {
        let builder =
            Machine::builder().elf(&image).nic(nic).tap("tap0").append(&format!("ip={GUEST}/24,gw={HOST}"));
        let guest = Guest::serving(builder);
        ping(&[&GUEST.to_string()]);
        // As large as it gets without fragments, and one that needs them.
        ping(&["-s", "1472", &GUEST.to_string()]);
        if nic == Nic::Virtio {
            under_load(&guest);
        }
        guest.assert_well();
    }
}

fn ping(words: &[&str]) {
    let said =
        program::run("ping", PATIENCE, ["-c", "3", "-i", "0.2", "-W", "5"].iter().chain(words)).unwrap();
    assert!(said.contains("3 received"), "{said}");
}

fn under_load(guest: &Guest) {
    let rows = load::redis_benchmark(guest.at("kv"), Duration::from_secs(240), &["-n", "3000"]).unwrap();
    assert!(rows.len() >= 19, "{rows:?}");
    let result = load::wrk(guest.at("http"), "/", 50, 2).unwrap();
    assert!(result.refused == 0 && result.socket_errors == 0 && result.requests_a_second > 0.0, "{result:?}");
    let mut idle: Vec<TcpStream> = (0..1000).map(|_| guest.connect("kv")).collect();
    for stream in &mut idle {
        stream.write_all(b"PING\r\n").unwrap();
        let mut answer = [0; 7];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"+PONG\r\n");
    }
    guest.assert_well();
}
