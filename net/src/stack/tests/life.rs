//! How connections begin and end.

use super::fake::{MILLI, Net, no_waker, ready};
use crate::error::{BindError, ConnectError, TcpError};
use crate::stack::Id;
use crate::tcp::ListenOptions;
use core::net::SocketAddr;
use core::task::Poll;
use drivers_api::Offloads;
use std::vec::Vec;

pub(super) const SECOND: u64 = 1000 * MILLI;

pub(super) fn b_at(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 2], port))
}

/// Connects a to port 80 of b, which listens. Returns both ends.
pub(super) fn connect(net: &mut Net, options: &ListenOptions) -> (Id, Id) {
    let ours = net.a.stack.connect(net.now, b_at(80), options).unwrap();
    net.settle();
    ready(net.a.stack.connected(ours, no_waker())).unwrap();
    let theirs = ready(net.b.stack.accept(80, no_waker()));
    (ours, theirs)
}

pub(super) fn listening() -> Net {
    let mut net = Net::new(Offloads::default());
    net.b.stack.listen(80, ListenOptions::default()).unwrap();
    net
}

pub(super) fn write(net: &mut Net, to_b: bool, id: Id, data: &[u8]) -> Poll<Result<usize, TcpError>> {
    let host = if to_b { &mut net.a } else { &mut net.b };
    host.stack.write(id, Some(no_waker()), data)
}

pub(super) fn read(net: &mut Net, at_b: bool, id: Id) -> Poll<Result<Vec<u8>, TcpError>> {
    let host = if at_b { &mut net.b } else { &mut net.a };
    let mut buffer = std::vec![0; 65536];
    host.stack.read(id, no_waker(), &mut buffer).map_ok(|count| {
        buffer.truncate(count);
        buffer
    })
}

#[test]
fn request_and_reply_take_two_frames() {
    let mut net = listening();
    let (client, server) = connect(&mut net, &ListenOptions::default());
    net.run(SECOND);
    for round in 0..100u32 {
        let before = net.carried;
        ready(write(&mut net, true, client, &round.to_be_bytes())).unwrap();
        net.settle();
        assert_eq!(ready(read(&mut net, true, server)).unwrap(), round.to_be_bytes());
        ready(write(&mut net, false, server, b"reply")).unwrap();
        net.settle();
        assert_eq!(ready(read(&mut net, false, client)).unwrap(), b"reply");
        // The reply acknowledges the request, and the next request the reply.
        assert_eq!(net.carried - before, 2, "round {round}");
    }
    let statistics = net.b.stack.statistics();
    assert_eq!((statistics.accepted, statistics.retransmits, statistics.connections), (1, 0, 1));
}

#[test]
fn both_halves_end_and_nothing_stays() {
    let mut net = listening();
    let (client, server) = connect(&mut net, &ListenOptions::default());
    ready(write(&mut net, true, client, b"bye")).unwrap();
    net.a.stack.shutdown(client);
    net.settle();
    assert_eq!(ready(read(&mut net, true, server)).unwrap(), b"bye");
    assert_eq!(ready(read(&mut net, true, server)).unwrap(), b"");
    assert_eq!(ready(write(&mut net, true, client, b"x")), Err(TcpError::Closed));
    ready(write(&mut net, false, server, b"late")).unwrap();
    net.b.stack.release(server, net.now);
    net.settle();
    assert_eq!(ready(read(&mut net, false, client)).unwrap(), b"late");
    assert_eq!(ready(read(&mut net, false, client)).unwrap(), b"");
    net.run(20 * SECOND);
    assert_eq!(net.b.stack.statistics().connections, 0);
    // TIME-WAIT is over; the stream still knows that the end was an end.
    assert_eq!(ready(read(&mut net, false, client)).unwrap(), b"");
    net.a.stack.release(client, net.now);
    net.settle();
    let statistics = net.a.stack.statistics();
    assert_eq!((statistics.connections, statistics.buffer_bytes), (0, 0));
    assert!(net.a.stack.flows.is_empty());
}

#[test]
fn data_queued_before_the_stream_is_dropped_arrives() {
    let mut net = listening();
    let (client, server) = connect(&mut net, &ListenOptions::default());
    ready(write(&mut net, false, server, &[7; 5000])).unwrap();
    net.b.stack.release(server, net.now);
    net.settle();
    let mut all = Vec::new();
    loop {
        let piece = ready(read(&mut net, false, client)).unwrap();
        net.settle();
        if piece.is_empty() {
            break;
        }
        all.extend(piece);
    }
    assert_eq!(all, [7; 5000]);
}

#[test]
fn abort_resets_the_peer() {
    let mut net = listening();
    let (client, server) = connect(&mut net, &ListenOptions::default());
    net.a.stack.abort(client);
    net.settle();
    assert_eq!(ready(read(&mut net, true, server)), Err(TcpError::Reset));
    assert_eq!(ready(write(&mut net, false, server, b"x")), Err(TcpError::Reset));
    net.a.stack.release(client, net.now);
    net.b.stack.release(server, net.now);
    net.settle();
    assert_eq!(net.a.stack.statistics().connections + net.b.stack.statistics().connections, 0);
}

#[test]
fn closed_ports_refuse() {
    let mut net = listening();
    let id = net.a.stack.connect(net.now, b_at(81), &ListenOptions::default()).unwrap();
    net.settle();
    assert_eq!(ready(net.a.stack.connected(id, no_waker())), Err(ConnectError::Refused));
    assert_eq!(net.b.stack.listen(80, ListenOptions::default()), Err(BindError::InUse));
    assert_eq!(net.b.stack.listen(0, ListenOptions::default()), Err(BindError::InvalidPort));
    net.b.stack.unlisten(80);
    net.b.stack.listen(80, ListenOptions::default()).unwrap();
}

#[test]
fn a_silent_peer_times_out() {
    let mut net = listening();
    net.lose = std::boxed::Box::new(|_| true);
    let id = net.a.stack.connect(net.now, b_at(80), &ListenOptions::default()).unwrap();
    net.run(60 * SECOND);
    assert_eq!(ready(net.a.stack.connected(id, no_waker())), Err(ConnectError::TimedOut));
    net.a.stack.release(id, net.now);
    net.run(10 * SECOND);
    assert_eq!(net.a.stack.statistics().connections, 0);
}

#[test]
fn a_peer_that_vanishes_is_given_up() {
    let mut net = listening();
    let (client, _) = connect(&mut net, &ListenOptions::default());
    ready(write(&mut net, true, client, b"anybody there?")).unwrap();
    net.lose = std::boxed::Box::new(|_| true);
    net.run(400 * SECOND);
    assert_eq!(ready(read(&mut net, false, client)), Err(TcpError::TimedOut));
    assert!(net.a.stack.statistics().retransmits > 3);
}

#[test]
fn keep_alive_finds_a_dead_peer() {
    let mut net = listening();
    let options =
        ListenOptions { keep_alive: Some(core::time::Duration::from_secs(5)), ..Default::default() };
    let (client, _) = connect(&mut net, &options);
    net.run(60 * SECOND);
    assert!(read(&mut net, false, client).is_pending());
    net.lose = std::boxed::Box::new(|_| true);
    net.run(60 * SECOND);
    assert_eq!(ready(read(&mut net, false, client)), Err(TcpError::Reset));
}

#[test]
fn half_open_connections_are_bounded_and_expire() {
    let mut net = listening();
    let options = ListenOptions { backlog: 4, ..Default::default() };
    net.b.stack.listen(90, options).unwrap();
    // The answers never arrive, so that no handshake ends.
    let lost = std::rc::Rc::new(core::cell::Cell::new(false));
    let losing = lost.clone();
    net.lose = std::boxed::Box::new(move |_| losing.get());
    let (client, _) = connect(&mut net, &ListenOptions::default());
    let _ = client;
    for _ in 0..10 {
        net.a.stack.connect(net.now, b_at(90), &ListenOptions::default()).unwrap();
        net.a.poll(net.now);
        for frame in net.a.device.sent.drain(..) {
            net.b.device.received.push_back(frame);
        }
        net.b.poll(net.now);
        net.b.device.sent.clear();
    }
    assert_eq!(net.b.stack.statistics().half_open_dropped, 6);
    assert_eq!(net.b.stack.statistics().connections, 5);
    lost.set(true);
    net.run(40 * SECOND);
    assert_eq!(net.b.stack.statistics().connections, 1);
}

#[test]
fn a_full_accept_queue_refuses() {
    let mut net = listening();
    net.b.stack.listen(90, ListenOptions { backlog: 2, ..Default::default() }).unwrap();
    for _ in 0..5 {
        net.a.stack.connect(net.now, b_at(90), &ListenOptions::default()).unwrap();
        net.settle();
    }
    assert_eq!(net.b.stack.statistics().connections, 2);
    assert_eq!(net.b.stack.statistics().refused_backlog, 3);
    // Those refused try again, and find room.
    let _ = ready(net.b.stack.accept(90, no_waker()));
    net.run(2 * SECOND);
    assert_eq!(net.b.stack.statistics().connections, 3);
}

#[test]
fn memory_is_bounded() {
    let mut net = listening();
    net.b.stack.connection_memory = 100_000;
    for _ in 0..5 {
        net.a.stack.connect(net.now, b_at(80), &ListenOptions::default()).unwrap();
        net.settle();
    }
    let statistics = net.b.stack.statistics();
    assert_eq!((statistics.connections, statistics.refused_memory), (2, 3));
    assert!(statistics.buffer_bytes <= 100_000);
}

#[test]
fn time_wait_is_bounded_and_gives_way() {
    let mut net = listening();
    for _ in 0..600 {
        let (client, server) = connect(&mut net, &ListenOptions::default());
        net.b.stack.release(server, net.now);
        net.settle();
        net.a.stack.release(client, net.now);
        net.settle();
    }
    // A few of the random ports came twice and took their own place.
    let lingering = net.b.stack.statistics().connections;
    assert!((200..=256).contains(&lingering), "{lingering} in TIME-WAIT");
    net.run(30 * SECOND);
    assert_eq!(net.b.stack.statistics().connections, 0);
    assert_eq!(net.a.stack.statistics().connections, 0);
}

#[test]
fn initial_sequence_numbers_differ_from_the_generators() {
    let mut net = listening();
    let (client, _) = connect(&mut net, &ListenOptions::default());
    let offset = net.a.stack.connections.lookup(client).unwrap().sequence.offset;
    let (again, _) = connect(&mut net, &ListenOptions::default());
    assert_ne!(net.a.stack.connections.lookup(again).unwrap().sequence.offset, offset);
}
