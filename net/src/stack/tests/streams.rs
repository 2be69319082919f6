//! Bytes through connections, under all sorts of devices and weather.

use super::fake::{Net, no_waker};
use super::life::{SECOND, connect, read, write};
use crate::stack::Id;
use crate::tcp::ListenOptions;
use core::task::Poll;
use drivers_api::Offloads;
use proptest::prelude::*;
use std::boxed::Box;
use std::vec::Vec;

const TSO: Offloads = Offloads { tx_checksum: true, tso4: true, tso6: false, max_tso: 65535 };

fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// Sends `data` from a to b and returns what arrived.
fn transfer(net: &mut Net, from: Id, to: Id, data: &[u8]) -> Vec<u8> {
    let (mut sent, mut arrived) = (0, Vec::new());
    let deadline = net.now + 600 * SECOND;
    while arrived.len() < data.len() {
        while sent < data.len()
            && let Poll::Ready(count) = write(net, true, from, &data[sent..])
        {
            sent += count.unwrap();
        }
        net.settle();
        let mut some = false;
        while let Poll::Ready(piece) = read(net, true, to) {
            arrived.extend(piece.unwrap());
            some = true;
        }
        if !some {
            assert!(net.step(deadline), "stuck after {} bytes", arrived.len());
        }
    }
    arrived
}

fn options(buffer: usize) -> ListenOptions {
    ListenOptions { receive_buffer: buffer, send_buffer: buffer, ..Default::default() }
}

fn connected(offloads: Offloads, buffer: usize) -> (Net, Id, Id) {
    let mut net = Net::new(offloads);
    net.b.stack.listen(80, options(buffer)).unwrap();
    let (from, to) = connect(&mut net, &options(buffer));
    (net, from, to)
}

#[test]
fn a_megabyte_each_way_of_offloading() {
    let checksum = Offloads { tx_checksum: true, ..Offloads::default() };
    for offloads in [Offloads::default(), checksum, TSO] {
        let (mut net, from, to) = connected(offloads, 256 << 10);
        let data = pattern(1 << 20);
        let start = net.now;
        assert!(transfer(&mut net, from, to, &data) == data);
        assert_eq!(net.a.stack.statistics().retransmits, 0);
        assert_eq!(net.b.stack.statistics().dropped_checksum, 0);
        assert!(net.now - start < SECOND / 2, "{} ns on a wire without delay", net.now - start);
        if offloads == TSO {
            let handed = net.a.device.handed;
            assert!(handed < 150, "{handed} frames for a megabyte");
        }
    }
}

#[test]
fn lost_frames_are_sent_again() {
    for offloads in [Offloads::default(), TSO] {
        let (mut net, from, to) = connected(offloads, 64 << 10);
        net.lose = Box::new(|index| index % 23 == 0);
        let data = pattern(300_000);
        assert!(transfer(&mut net, from, to, &data) == data);
        assert!(net.a.stack.statistics().retransmits > 0);
    }
}

#[test]
fn merged_segments_are_acknowledged_at_once() {
    let (mut net, from, to) = connected(TSO, 256 << 10);
    net.b.device.merging = true;
    let data = pattern(4 << 20);
    let start = net.now;
    assert!(transfer(&mut net, from, to, &data) == data);
    let statistics = net.b.stack.statistics();
    assert!(statistics.received_frames < 1000, "{} frames, not merged", statistics.received_frames);
    // Each delayed acknowledgement would cost 10 ms.
    assert!(net.now - start < SECOND / 10, "{} ns on a wire without delay", net.now - start);
}

#[test]
fn a_full_device_only_delays() {
    let (mut net, from, to) = connected(Offloads::default(), 64 << 10);
    net.a.device.room = 2;
    net.b.device.room = 1;
    let data = pattern(200_000);
    assert!(transfer(&mut net, from, to, &data) == data);
    assert_eq!(net.a.stack.statistics().retransmits, 0);
}

#[test]
fn a_reader_that_stops_stops_the_writer_and_starts_it_again() {
    let (mut net, from, to) = connected(Offloads::default(), 16 << 10);
    let data = pattern(100_000);
    let mut sent = 0;
    for _ in 0..50 {
        if let Poll::Ready(count) = write(&mut net, true, from, &data[sent..]) {
            sent += count.unwrap();
        }
        net.run(SECOND);
    }
    assert!(sent <= 32 << 10, "{sent} bytes into buffers of 32 KiB");
    let rest = &data[sent..];
    let mut arrived = Vec::new();
    while let Poll::Ready(piece) = read(&mut net, true, to) {
        arrived.extend(piece.unwrap());
        net.settle();
    }
    arrived.extend(transfer(&mut net, from, to, rest));
    while let Poll::Ready(piece) = read(&mut net, true, to) {
        arrived.extend(piece.unwrap());
        net.settle();
    }
    let _ = net.step(net.now + SECOND);
    assert!(arrived[..] == data[..arrived.len()] && arrived.len() >= data.len() - (32 << 10));
}

#[test]
fn read_with_sees_everything_and_the_end() {
    let (mut net, from, to) = connected(Offloads::default(), 4 << 10);
    let data = pattern(20_000);
    let (mut sent, mut arrived) = (0, Vec::new());
    while arrived.len() < data.len() {
        if sent < data.len()
            && let Poll::Ready(count) = write(&mut net, true, from, &data[sent..])
        {
            sent += count.unwrap();
        }
        net.settle();
        let mut take = Some(|piece: &[u8]| {
            let taken = piece.len().min(777);
            (taken, piece[..taken].to_vec())
        });
        match net.b.stack.read_with(to, no_waker(), &mut take) {
            Poll::Ready(piece) => arrived.extend(piece.unwrap()),
            Poll::Pending => {
                net.step(net.now + SECOND);
            }
        }
    }
    assert!(arrived == data);
    net.a.stack.shutdown(from);
    net.settle();
    let mut take = Some(|piece: &[u8]| (piece.len(), piece.len()));
    assert_eq!(net.b.stack.read_with(to, no_waker(), &mut take), Poll::Ready(Ok(0)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn whatever_is_lost_arrives(
        mut state: u64,
        one_in in 8u64..40,
        length in 1usize..60_000,
        buffer in 1usize..100_000,
        tso: bool,
    ) {
        let (mut net, from, to) = connected(if tso { TSO } else { Offloads::default() }, buffer);
        // Not by a short pattern: one that fits the retransmissions would hit each of them, until the peer is given up.
        net.lose = Box::new(move |_| {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            (state >> 33).is_multiple_of(one_in)
        });
        let data = pattern(length);
        prop_assert!(transfer(&mut net, from, to, &data) == data);
    }
}
