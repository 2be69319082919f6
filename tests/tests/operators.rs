//! Who may operate a machine, and what becomes of those who try.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Read;
use std::net::TcpStream;

use control::MAX_REQUEST;
use image_builder::control::{ControlError, SERVICE, key};
use tests::guest::{self, Guest, exchange};
use tests::noise::Noise;
use tests::operator::Operator;

#[test]
fn nobody_without_the_key_changes_anything() {
    let guest = Guest::serving(guest::machine().cpus(2));
    let operator = Operator::of(&guest);

    let other = operator.try_ask("mode guest", &[0x5a; 32]);
    assert!(matches!(other, Err(ControlError::KeyRefused { .. })), "{other:?}");

    // A command that was recorded is worth nothing in another connection.
    let key = key().unwrap();
    let mut recorded = guest.connect(SERVICE);
    let greeting = line(&mut recorded);
    let (request, _) = control::ask(&key, &greeting, [1; 32], "mode guest").unwrap();
    drop(recorded);
    let said = String::from_utf8(exchange(guest.connect(SERVICE), request.as_bytes())).unwrap();
    assert_eq!(said.lines().count(), 1, "the greeting alone: {said}");

    let mut noise = Noise::new(41);
    let long = vec![b'a'; MAX_REQUEST + 1];
    let mut junk = vec![Vec::new(), b"\n".to_vec(), b"mode guest\n".to_vec(), long, vec![0xff; 3000]];
    junk.extend((0..50).map(|_| noise.bytes(400)));
    junk.extend((0..50).map(|_| noise.mutate(request.as_bytes())));
    for bytes in &junk {
        let said = exchange(guest.connect(SERVICE), bytes);
        assert!(said.iter().filter(|&&byte| byte == b'\n').count() <= 1, "{}", said.escape_ascii());
    }
    let state = operator.status();
    assert_eq!((&state["mode"], state["switches"].as_u64()), (&"native".into(), Some(0)));
    assert!(state["control"]["refused"].as_u64().unwrap() >= junk.len() as u64, "{state}");
    guest.assert_well();
}

#[test]
fn who_takes_a_seat_and_says_nothing_loses_it() {
    let guest = Guest::serving(guest::machine().cpus(1));
    let operator = Operator::of(&guest);
    let before = operator.heap();
    let mut seated: Vec<TcpStream> = (0..4).map(|_| guest.connect(SERVICE)).collect();
    for stream in &mut seated {
        assert!(line(stream).starts_with("QS1 "));
    }
    // All seats are taken: nobody else is let in, and nobody is kept waiting.
    for _ in 0..20 {
        assert!(exchange(guest.connect(SERVICE), b"").is_empty());
    }
    // The applications don't mind.
    guest.assert_well();
    for mut stream in seated {
        // Closed or reset by the machine.
        assert!(!matches!(stream.read(&mut [0]), Ok(count) if count > 0));
    }
    operator.toggle();
    operator.toggle();
    operator.wait_for_heap(before);
}

fn line(stream: &mut TcpStream) -> String {
    let (mut line, mut byte) = (String::new(), [0]);
    while !line.ends_with('\n') {
        stream.read_exact(&mut byte).unwrap();
        line.push(char::from(byte[0]));
    }
    line
}
