//! Another device under a stack that goes on, and another host in its place.

use super::fake::{Net, no_waker, ready};
use super::life::{SECOND, b_at, connect, listening, read, write};
use crate::config::{Config, Ipv4Config, Ipv6Config};
use crate::error::TcpError;
use crate::tcp::ListenOptions;
use core::net::Ipv4Addr;
use drivers_api::{MacAddr, Offloads};
use std::vec;

const TSO: Offloads = Offloads { tx_checksum: true, tso4: true, tso6: false, max_tso: 65535 };

#[test]
fn a_connection_goes_on_over_a_device_of_another_kind() {
    let mut net = Net::new(TSO);
    net.b.stack.listen(80, ListenOptions::default()).unwrap();
    let (client, server) = connect(&mut net, &ListenOptions::default());
    for (round, offloads) in [Offloads::default(), TSO, Offloads::default()].into_iter().enumerate() {
        let data = vec![round as u8; 20_000];
        let mut sent = ready(write(&mut net, false, server, &data)).unwrap();
        // What is on its way is lost, as on a wire.
        net.b.device.link.offloads = offloads;
        net.b.device.link.mac = MacAddr([2, 0, 0, 0, 1, round as u8]);
        net.b.device.link.mtu = 1500 - 100 * round;
        let now = net.now;
        net.b.stack.adopt(&mut net.b.device, now).unwrap();
        let mut came = vec![];
        for _ in 0..200 {
            if sent < data.len()
                && let core::task::Poll::Ready(count) = write(&mut net, false, server, &data[sent..])
            {
                sent += count.unwrap();
            }
            net.run(SECOND / 10);
            while let core::task::Poll::Ready(piece) = read(&mut net, false, client) {
                came.extend(piece.unwrap());
            }
        }
        assert!(came == data, "round {round}: {} bytes", came.len());
    }
    net.b.device.link.mac = MacAddr([3, 0, 0, 0, 0, 1]);
    let now = net.now;
    assert!(net.b.stack.adopt(&mut net.b.device, now).is_err(), "an address of a group is a card's");
}

#[test]
fn another_host_says_nothing_for_the_one_before() {
    let mut net = listening();
    let (_, server) = connect(&mut net, &ListenOptions::default());
    ready(write(&mut net, false, server, b"lost")).unwrap();
    net.b.device.sent.clear();
    let address = Ipv4Addr::new(10, 0, 0, 9);
    let ipv4 = Ipv4Config::Static { address, prefix: 24, gateway: None, dns: Default::default() };
    let config = Config { ipv4, ipv6: Ipv6Config::Off, ..Config::default() };
    let now = net.now;
    net.b.stack.start_over(&mut net.b.device, &config, now);
    assert_eq!(net.b.stack.addresses(), [(address.into(), 24)]);
    assert_eq!(ready(read(&mut net, true, server)), Err(TcpError::Reset));
    assert_eq!(ready(write(&mut net, false, server, b"x")), Err(TcpError::Reset));
    net.b.stack.release(server, now);
    net.b.poll(now);
    let tells_of_it = |frame: &vec::Vec<u8>| frame.windows(4).any(|bytes| bytes == [10, 0, 0, 2]);
    assert!(!net.b.device.sent.iter().any(tells_of_it), "{:?}", net.b.device.sent);
    assert_eq!(net.b.stack.statistics().connections, 0);
    // Its listeners are there, under the new address.
    net.settle();
    let mut new = b_at(80);
    new.set_ip(address.into());
    let client = net.a.stack.connect(net.now, new, &ListenOptions::default()).unwrap();
    net.run(SECOND);
    ready(net.a.stack.connected(client, no_waker())).unwrap();
}
