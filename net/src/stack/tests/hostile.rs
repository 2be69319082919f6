//! Frames nobody should send.

use super::fake::{Host, MILLI, Net, no_waker, ready};
use super::life::{SECOND, b_at, connect, listening, read, write};
use crate::tcp::ListenOptions;
use drivers_api::Offloads;
use proptest::prelude::*;
use std::vec::Vec;

/// Frames of a real conversation, as they arrive at b.
fn conversation() -> Vec<Vec<u8>> {
    let mut net = listening();
    let udp = net.a.stack.udp_bind(5).unwrap();
    let _ = net.a.stack.udp_send(udp, no_waker(), b"datagram", b_at(6));
    let id = net.a.stack.connect(net.now, b_at(80), &ListenOptions::default()).unwrap();
    let mut frames = Vec::new();
    for round in 0..30 {
        net.a.poll(net.now);
        net.b.poll(net.now);
        if round == 10 {
            let _ = write(&mut net, true, id, b"some words of text");
        }
        if round == 15 {
            net.a.stack.shutdown(id);
        }
        frames.extend(net.a.device.sent.iter().cloned());
        for frame in net.a.device.sent.drain(..) {
            net.b.device.received.push_back(frame);
        }
        for frame in net.b.device.sent.drain(..) {
            net.a.device.received.push_back(frame);
        }
    }
    frames
}

#[test]
fn short_frames_and_wrong_checksums_are_counted() {
    let mut net = listening();
    let (client, _) = connect(&mut net, &ListenOptions::default());
    let _ = write(&mut net, true, client, b"data");
    net.a.poll(net.now);
    let good = net.a.device.sent.pop().unwrap();
    for length in 0..good.len() {
        net.b.device.received.push_back(good[..length].to_vec());
        net.b.poll(net.now);
    }
    assert_eq!(net.b.stack.statistics().dropped_malformed, good.len() as u64);
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    net.b.device.received.push_back(bad);
    net.b.poll(net.now);
    assert_eq!(net.b.stack.statistics().dropped_checksum, 1);
    let mut fragment = good.clone();
    fragment[20] = 0x20;
    net.b.device.received.push_back(fragment);
    net.b.poll(net.now);
    assert_eq!(net.b.stack.statistics().dropped_fragments, 1);
    let mut foreign = good;
    foreign[5] = 99;
    net.b.device.received.push_back(foreign);
    net.b.poll(net.now);
    assert_eq!(net.b.stack.statistics().dropped_foreign, 1);
}

#[test]
fn padding_is_not_data() {
    let mut net = listening();
    let (client, server) = connect(&mut net, &ListenOptions::default());
    let _ = write(&mut net, true, client, b"x");
    net.a.poll(net.now);
    let mut frame = net.a.device.sent.pop().unwrap();
    frame.resize(1000, 0xee);
    net.b.device.received.push_back(frame);
    net.b.poll(net.now);
    assert_eq!(ready(read(&mut net, true, server)).unwrap(), b"x");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn noise_is_survived(frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..20)) {
        let mut host = Host::new(2, Offloads::default());
        for frame in frames {
            host.device.received.push_back(frame);
        }
        host.poll(SECOND);
    }

    #[test]
    fn damaged_conversations_are_survived(
        damage in proptest::collection::vec((0usize..40, 0usize..120, any::<u8>()), 1..60),
        cut in proptest::collection::vec((0usize..40, 0usize..120), 0..10),
        trusted: bool,
    ) {
        let mut frames = conversation();
        let count = frames.len();
        for (index, offset, value) in damage {
            let frame = &mut frames[index % count];
            let length = frame.len();
            frame[offset % length] = value;
        }
        for (index, length) in cut {
            frames[index % count].truncate(length);
            if frames[index % count].is_empty() {
                frames[index % count].push(0);
            }
        }
        let mut net = Net::of(Host::new(1, Offloads::default()), Host::new(2, Offloads::default()));
        net.b.stack.listen(80, ListenOptions::default()).unwrap();
        net.b.device.trusted = trusted;
        for frame in frames {
            net.b.device.received.push_back(frame);
            net.b.poll(net.now);
            net.now += 1000;
        }
        net.b.device.sent.clear();
        net.run(100 * SECOND);
        prop_assert!(net.b.stack.statistics().connections <= 1);
    }

    /// Damage that the checksums don't show reaches the protocols in every state of a connection.
    #[test]
    fn damage_under_way_is_survived(
        damage in proptest::collection::vec((0usize..12, 12usize..70, any::<u8>()), 1..80),
        shut_at in 0usize..60,
    ) {
        let mut net = listening();
        net.a.device.trusted = true;
        net.b.device.trusted = true;
        let id = net.a.stack.connect(net.now, b_at(80), &ListenOptions::default()).unwrap();
        let mut server = None;
        let mut damage = damage.into_iter().peekable();
        let mut untouched = 0;
        for round in 0..120 {
            net.a.poll(net.now);
            net.b.poll(net.now);
            if let core::task::Poll::Ready(id) = net.b.stack.accept(80, no_waker()) {
                server = Some(id);
            }
            let _ = write(&mut net, true, id, &[round as u8; 3000]);
            let _ = read(&mut net, false, id);
            if let Some(server) = server {
                let _ = write(&mut net, false, server, &[round as u8; 700]);
                let _ = read(&mut net, true, server);
            }
            if round == shut_at {
                net.a.stack.shutdown(id);
            }
            let (a, b) = (&mut net.a.device, &mut net.b.device);
            for (from, to) in [(&mut a.sent, &mut b.received), (&mut b.sent, &mut a.received)] {
                for mut frame in from.drain(..) {
                    if let Some((after, offset, value)) = damage.peek().copied() {
                        untouched += 1;
                        if untouched > after && offset < frame.len() {
                            frame[offset] = value;
                            damage.next();
                            untouched = 0;
                        }
                    }
                    to.push_back(frame);
                }
            }
            net.now += 300 * MILLI;
        }
        net.a.stack.release(id, net.now);
        if let Some(server) = server {
            net.b.stack.release(server, net.now);
        }
        net.run(1200 * SECOND);
        prop_assert_eq!(net.a.stack.statistics().connections, 0);
        prop_assert!(net.b.stack.statistics().connections <= 5);
    }
}
