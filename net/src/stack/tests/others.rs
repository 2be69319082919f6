//! Many connections, IPv6, UDP, ARP, ICMP.

use super::fake::{Host, MILLI, Net, no_waker, ready};
use super::life::{SECOND, b_at, connect, listening};
use crate::error::{DnsError, UdpError};
use crate::tcp::ListenOptions;
use core::net::{IpAddr, SocketAddr};
use drivers_api::Offloads;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    Icmpv4Message, Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, Ipv6Packet, NdiscNeighborFlags,
    NdiscRepr,
};
use std::vec::Vec;

#[test]
fn a_thousand_idle_connections_are_never_looked_at() {
    let mut net = listening();
    let mut ends = Vec::new();
    for _ in 0..1000 {
        ends.push(connect(&mut net, &ListenOptions::default()));
    }
    net.run(30 * SECOND);
    assert!(net.b.stack.dirty.is_empty());
    assert_eq!(net.b.stack.next_deadline(), None, "no timer without reason");
    let (client, server) = ends[500];
    ready(net.a.stack.write(client, None, b"x")).unwrap();
    net.settle();
    assert_eq!(ready(net.b.stack.read(server, no_waker(), &mut [0; 10])).unwrap(), 1);
    assert_eq!(net.b.stack.statistics().connections, 1000);
}

#[test]
fn ipv6_link_local_connections_work() {
    for tx_checksum in [false, true] {
        let mut net = Net::new(Offloads { tx_checksum, ..Offloads::default() });
        net.b.stack.listen(80, ListenOptions::default()).unwrap();
        let address =
            net.b.stack.addresses().iter().map(|pair| pair.0).find(|address| address.is_ipv6()).unwrap();
        let id =
            net.a.stack.connect(net.now, SocketAddr::new(address, 80), &ListenOptions::default()).unwrap();
        net.settle();
        ready(net.a.stack.connected(id, no_waker())).unwrap();
        let server = ready(net.b.stack.accept(80, no_waker()));
        assert_eq!(net.b.stack.ends(server).unwrap().0, SocketAddr::new(address, 80));
        ready(net.a.stack.write(id, None, b"six")).unwrap();
        net.settle();
        assert_eq!(ready(net.b.stack.read(server, no_waker(), &mut [0; 10])).unwrap(), 3);
    }
}

#[test]
fn datagrams_go_and_come_back() {
    for tx_checksum in [false, true] {
        let mut net = Net::new(Offloads { tx_checksum, ..Offloads::default() });
        let a = net.a.stack.udp_bind(0).unwrap();
        let b = net.b.stack.udp_bind(9).unwrap();
        assert!(net.b.stack.udp_bind(9).is_err());
        let waker = no_waker();
        ready(net.a.stack.udp_send(a, waker, b"question", b_at(9))).unwrap();
        net.settle();
        let mut buffer = [0; 100];
        let (length, from) = ready(net.b.stack.udp_receive(b, waker, &mut buffer));
        assert_eq!(&buffer[..length], b"question");
        ready(net.b.stack.udp_send(b, waker, &[1; 1472], from)).unwrap();
        net.settle();
        assert_eq!(ready(net.a.stack.udp_receive(a, waker, &mut buffer)), (1472, b_at(9)));
        let long = [0; 1473];
        assert_eq!(ready(net.a.stack.udp_send(a, waker, &long, b_at(9))), Err(UdpError::MessageTooLong));
        net.b.stack.udp_close(b);
        net.b.stack.udp_bind(9).unwrap();
        assert_eq!(net.b.stack.statistics().dropped_checksum, 0);
    }
}

#[test]
fn static_addresses_are_announced() {
    let mut host = Host::new(7, Offloads::default());
    host.poll(MILLI);
    let arp = host.device.sent.iter().find(|frame| frame[12..14] == [8, 6]).unwrap();
    assert_eq!(arp[..6], [0xff; 6]);
    assert_eq!((&arp[28..32], &arp[38..42]), (&[10, 0, 0, 7][..], &[10, 0, 0, 7][..]));
    // Twice, and no more.
    let count = |host: &mut Host, at| {
        host.device.sent.clear();
        host.poll(at);
        host.device.sent.iter().filter(|frame| frame[12..14] == [8, 6]).count()
    };
    assert_eq!(host.stack.next_deadline(), Some(2001 * MILLI));
    assert_eq!([2000, 2001, 9000].map(|at| count(&mut host, at * MILLI)), [0, 1, 0]);
    host.stack.announce();
    assert_eq!([9001, 9002, 11_001, 20_000].map(|at| count(&mut host, at * MILLI)), [1, 0, 1, 0]);
}

/// IPv6's neighbors are told, too: to all nodes, from the address itself, to replace what they know.
#[test]
fn addresses_are_advertised() {
    let mut host = Host::new(7, Offloads::default());
    host.poll(MILLI);
    let own: Vec<_> = { host.stack.addresses().into_iter() }
        .filter_map(|(address, _)| match address {
            IpAddr::V6(address) => Some(address),
            IpAddr::V4(_) => None,
        })
        .collect();
    assert!(!own.is_empty());
    let advertised: Vec<_> = { host.device.sent.iter() }
        .filter(|frame| frame[..6] == [0x33, 0x33, 0, 0, 0, 1])
        .map(|frame| {
            let packet = Ipv6Packet::new_checked(&frame[14..]).unwrap();
            let (from, to) = (packet.src_addr(), packet.dst_addr());
            let message = Icmpv6Packet::new_checked(packet.payload()).unwrap();
            let message = Icmpv6Repr::parse(&from, &to, &message, &ChecksumCapabilities::default());
            assert_eq!((packet.hop_limit(), to), (255, "ff02::1".parse().unwrap()));
            let Ok(Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert { flags, target_addr, lladdr })) = message
            else {
                panic!("{message:?}");
            };
            assert_eq!((flags, target_addr), (NdiscNeighborFlags::OVERRIDE, from));
            assert_eq!(lladdr.unwrap().as_bytes(), host.device.link.mac.0);
            from
        })
        .collect();
    assert_eq!(advertised, own);
}

#[test]
fn whoever_has_our_address_is_found() {
    let (mut here, mut twin) = (Host::new(7, Offloads::default()), Host::new(7, Offloads::default()));
    for host in [&mut here, &mut twin] {
        host.poll(MILLI);
        host.device.sent.clear();
    }
    twin.device.link.mac.0[0] = 6;
    twin.stack.adopt(&mut twin.device, MILLI).unwrap();
    assert!(here.stack.send_probe(&mut here.device));
    let probe = here.device.sent.pop().unwrap();
    assert_eq!((&probe[28..32], &probe[38..42]), (&[0; 4][..], &[10, 0, 0, 7][..]));
    // A probe at the same time is a rival's, too.
    assert_eq!(twin.stack.rival(&probe), Some(here.device.link.mac));
    twin.device.received.push_back(probe.clone());
    twin.poll(2 * MILLI);
    let answers: Vec<_> = twin.device.sent.iter().filter(|frame| frame[..6] == probe[6..12]).collect();
    assert_eq!(answers.len(), 1);
    assert_eq!(here.stack.rival(answers[0]), Some(twin.device.link.mac));
    // Of other addresses, and of other frames, nothing follows.
    let mut other = probe.clone();
    other[41] = 8;
    let mut short = probe.clone();
    short.truncate(30);
    for frame in [&other[..], &short, &[], &[0xff; 60]] {
        assert_eq!(twin.stack.rival(frame), None);
        twin.device.sent.clear();
        twin.device.received.push_back(frame.to_vec());
        twin.poll(3 * MILLI);
        assert!(twin.device.sent.is_empty());
    }
}

#[test]
fn echo_requests_are_answered() {
    let mut net = listening();
    connect(&mut net, &ListenOptions::default());
    let mut frame = std::vec![0; 14 + 20 + 8 + 4];
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
    frame[14..34].copy_from_slice(&[0x45, 0, 0, 32, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    let sum = !crate::checksum::sum(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    let echo = Icmpv4Repr::EchoRequest { ident: 1, seq_no: 2, data: b"ping" };
    echo.emit(&mut Icmpv4Packet::new_unchecked(&mut frame[34..]), &Default::default());
    net.b.device.received.push_back(frame);
    net.b.poll(net.now);
    let reply = &net.b.device.sent[0];
    assert_eq!(Icmpv4Packet::new_checked(&reply[34..]).unwrap().msg_type(), Icmpv4Message::EchoReply);
}

#[test]
fn questions_without_an_answer_fail_in_the_end() {
    let mut net = listening();
    assert_eq!(net.a.stack.dns_start("..", false).err(), Some(DnsError::InvalidName));
    let question = net.a.stack.dns_start("example.org", false).unwrap();
    assert!(net.a.stack.dns_answer(question, no_waker()).is_pending());
    net.run(60 * SECOND);
    assert_eq!(ready(net.a.stack.dns_answer(question, no_waker())), Err(DnsError::Failed));
}

#[test]
fn dhcp_configures_the_interface() {
    use smoltcp::wire::{DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress, Ipv4Address};
    let mut host = Host::with(9, Offloads::default(), &crate::Config::default());
    let mut now = MILLI;
    for _ in 0..40 {
        host.poll(now);
        for frame in std::mem::take(&mut host.device.sent) {
            if frame.len() < 282 || frame[23] != 17 || frame[36..38] != [0, 67] {
                continue;
            }
            assert!(crate::frame::layout(&frame).unwrap().unwrap().checksum_is_good(&frame));
            let packet = DhcpPacket::new_checked(&frame[42..]).unwrap();
            let request = DhcpRepr::parse(&packet).unwrap();
            let reply = DhcpRepr {
                message_type: match request.message_type {
                    DhcpMessageType::Discover => DhcpMessageType::Offer,
                    _ => DhcpMessageType::Ack,
                },
                transaction_id: request.transaction_id,
                secs: 0,
                client_hardware_address: EthernetAddress([2, 0, 0, 0, 0, 9]),
                client_ip: Ipv4Address::UNSPECIFIED,
                your_ip: Ipv4Address::new(10, 0, 0, 77),
                server_ip: Ipv4Address::new(10, 0, 0, 1),
                router: Some(Ipv4Address::new(10, 0, 0, 1)),
                subnet_mask: Some(Ipv4Address::new(255, 255, 255, 0)),
                relay_agent_ip: Ipv4Address::UNSPECIFIED,
                broadcast: false,
                requested_ip: None,
                client_identifier: None,
                server_identifier: Some(Ipv4Address::new(10, 0, 0, 1)),
                parameter_request_list: None,
                dns_servers: None,
                max_size: None,
                lease_duration: Some(3600),
                renew_duration: None,
                rebind_duration: None,
                additional_options: &[],
            };
            let length = reply.buffer_len();
            let mut answer = std::vec![0; 42 + length];
            reply.emit(&mut DhcpPacket::new_unchecked(&mut answer[42..])).unwrap();
            answer[..14].copy_from_slice(&[2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 8, 0]);
            answer[14..34]
                .copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 77]);
            answer[16..18].copy_from_slice(&((28 + length) as u16).to_be_bytes());
            let sum = !crate::checksum::sum(&answer[14..34]);
            answer[24..26].copy_from_slice(&sum.to_be_bytes());
            answer[34..42].copy_from_slice(&[0, 67, 0, 68, 0, 0, 0, 0]);
            answer[38..40].copy_from_slice(&((8 + length) as u16).to_be_bytes());
            host.device.received.push_back(answer);
        }
        now += 500 * MILLI;
    }
    assert!(host.stack.addresses().iter().any(|pair| *pair == ("10.0.0.77".parse().unwrap(), 24)));
}
