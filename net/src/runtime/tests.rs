//! The running networks, over cables to stacks that the test drives. One test, because there is one of each.

use super::*;
use crate::stack::Id;
use crate::stack::tests::fake::{Fake, Host, no_waker, random};
use crate::{
    BindError, ConnectError, DnsError, Ipv4Config, ListenOptions, TcpListener, TcpStream, UdpSocket,
    blocking, dns,
};
use core::net::{Ipv4Addr, SocketAddr};
use drivers_api::*;
use machine::thread::block_on;
use std::collections::VecDeque;
use std::string::ToString;
use std::sync::{Barrier, Mutex as HostMutex};
use std::thread::JoinHandle;

type Queue = Arc<HostMutex<VecDeque<Vec<u8>>>>;

/// A fake device whose frames go through queues that another thread can reach.
struct Cable {
    fake: Fake,
    to_us: Queue,
    from_us: Queue,
}

impl Device for Cable {
    fn name(&self) -> &'static str {
        "cable"
    }
    fn state(&self) -> DeviceState {
        DeviceState::Running
    }
    fn quiesce(&mut self) -> Result<(), LifecycleError> {
        Ok(())
    }
    fn export(&self) -> Result<ExportedState, LifecycleError> {
        Ok(NetState::of(&self.fake.link).encode())
    }
    fn import(&mut self, state: &ExportedState) -> Result<(), LifecycleError> {
        self.fake.import(state)
    }
    fn resume(&mut self) -> Result<(), LifecycleError> {
        Ok(())
    }
    fn halt(&mut self) {}
    fn abandon(&mut self) {}
}

impl NetDevice for Cable {
    fn link(&self) -> LinkInfo {
        self.fake.link
    }
    fn link_up(&self) -> bool {
        true
    }
    fn receive(&mut self) -> Option<RxFrame> {
        self.fake.received.extend(self.to_us.lock().unwrap().pop_front());
        self.fake.receive()
    }
    fn recycle(&mut self, frame: RxFrame) {
        self.fake.recycle(frame);
    }
    fn can_transmit(&mut self) -> bool {
        self.fake.can_transmit()
    }
    fn transmit(
        &mut self,
        len: usize,
        fill: &mut dyn FnMut(&mut [u8]) -> TxMeta,
    ) -> Result<(), TransmitError> {
        self.fake.transmit(len, fill)
    }
    fn flush(&mut self) {
        self.fake.flush();
        self.from_us.lock().unwrap().extend(self.fake.sent.drain(..));
    }
    fn set_interrupts(&mut self, enabled: bool) -> bool {
        enabled && !self.to_us.lock().unwrap().is_empty()
    }
}

/// The other end of the cable.
struct Peer {
    host: Host,
    to_them: Queue,
    from_them: Queue,
    network: Network,
}

/// A device at a cable, and the cable's ends.
fn cable(last: u8) -> (Box<Cable>, Queue, Queue) {
    let (to_us, from_us) = (Queue::default(), Queue::default());
    let fake = Fake::new(last, Offloads { tx_checksum: true, tso4: true, tso6: false, max_tso: 60000 });
    (Box::new(Cable { fake, to_us: to_us.clone(), from_us: from_us.clone() }), to_us, from_us)
}

impl Peer {
    /// Starts a network. Whatever network it is, we are 10.0.0.2 and the other end is 10.0.0.1.
    fn of(network: Network, last: u8) -> Self {
        let (device, to_them, from_them) = cable(last);
        network.start(device, &config(), random).unwrap();
        assert!(network.is_running() && network.addresses().contains(&(us(0).ip(), 24)));
        Self { host: Host::new(1, Offloads::default()), to_them, from_them, network }
    }

    /// What a thread of ours returns.
    fn ended<T>(&mut self, thread: JoinHandle<T>) -> T {
        let mut thread = Some(thread);
        self.until(|_, _| match thread.take_if(|thread| thread.is_finished()) {
            Some(thread) => Poll::Ready(thread.join().unwrap()),
            None => Poll::Pending,
        })
    }

    /// What comes of opening a connection.
    fn connect(&mut self, port: u16) -> Result<Id, ConnectError> {
        let options = ListenOptions::default();
        let id = self.host.stack.connect(Instant::now().as_nanos(), us(port), &options)?;
        self.until(|stack, _| stack.connected(id, no_waker())).map(|()| id)
    }

    /// Goes on until no connection is left and nothing is under way.
    fn settle(&mut self) {
        let (network, cable) = (self.network, [self.to_them.clone(), self.from_them.clone()]);
        self.until(|_, _| {
            let is_over = network.statistics().connections == 0;
            let is_quiet = cable.iter().all(|queue| queue.lock().unwrap().is_empty());
            if is_over && is_quiet { Poll::Ready(()) } else { Poll::Pending }
        });
    }

    /// The next bytes of a connection.
    fn read(&mut self, id: Id) -> Vec<u8> {
        let mut buffer = [0; 100];
        let count = self.until(|stack, _| stack.read(id, no_waker(), &mut buffer)).unwrap();
        buffer[..count].to_vec()
    }

    fn turn(&mut self) {
        self.host.device.received.extend(self.from_them.lock().unwrap().drain(..));
        self.host.poll(Instant::now().as_nanos());
        if !self.host.device.sent.is_empty() {
            self.to_them.lock().unwrap().extend(self.host.device.sent.drain(..));
            self.network.interrupt();
        }
        std::thread::yield_now();
    }

    fn until<T>(&mut self, mut poll: impl FnMut(&mut Stack, u64) -> Poll<T>) -> T {
        let start = Instant::now();
        loop {
            self.turn();
            if let Poll::Ready(value) = poll(&mut self.host.stack, Instant::now().as_nanos()) {
                return value;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "nothing happens");
        }
    }
}

fn config() -> Config {
    let address = Ipv4Addr::new(10, 0, 0, 2);
    let ipv4 = Ipv4Config::Static { address, prefix: 24, gateway: None, dns: None };
    Config { ipv4, ..Config::default() }
}

fn us(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 2], port))
}

#[test]
fn sockets_work_from_threads_and_tasks() {
    let port = TcpListener::bind(7, ListenOptions::default()).map(|listener| listener.port());
    assert_eq!((port, Network::Main.is_running()), (Err(BindError::NotStarted), false));
    let peer_address = SocketAddr::from(([10, 0, 0, 1], 99));
    assert_eq!(block_on(TcpStream::connect(peer_address)).err(), Some(ConnectError::NotStarted));
    assert_eq!(block_on(dns::resolve("name")), Err(DnsError::NotStarted));

    let mut peer = Peer::of(Network::Main, 2);
    let again = Network::Main.start(cable(2).0, &config(), random);
    assert_eq!(again.err(), Some(StartError::AlreadyStarted));

    // An echo server of blocking calls.
    let listener = TcpListener::bind(7, ListenOptions::default()).unwrap();
    let server = std::thread::spawn(move || {
        let stream = listener.accept_blocking();
        let mut buffer = [0; 4096];
        loop {
            match blocking::read(&stream, &mut buffer).unwrap() {
                0 => return stream.peer(),
                count => blocking::write_all(&stream, &buffer[..count]).unwrap(),
            }
        }
    });
    let id = peer.connect(7).unwrap();
    let text: Vec<u8> = (0..200_000u32).map(|index| index as u8).collect();
    let (mut sent, mut echo) = (0, Vec::new());
    let mut buffer = [0; 8192];
    while echo.len() < text.len() {
        let count = peer.until(|stack, _| {
            if let Poll::Ready(count) = stack.write(id, None, &text[sent..]) {
                sent += count.unwrap();
            }
            stack.read(id, no_waker(), &mut buffer)
        });
        echo.extend_from_slice(&buffer[..count.unwrap()]);
    }
    assert!(echo == text);
    peer.host.stack.shutdown(id);
    assert_eq!(peer.ended(server), peer.host.stack.ends(id).unwrap().0);

    // A client of asynchronous calls.
    peer.host.stack.listen(99, ListenOptions::default()).unwrap();
    let client = std::thread::spawn(move || {
        block_on(async {
            let stream = TcpStream::connect(peer_address).await.unwrap();
            stream.write_all(b"hello").await.unwrap();
            flush();
            let answer = stream.read_with(|data| (data.len(), data.to_vec())).await.unwrap();
            stream.abort();
            flush();
            answer
        })
    });
    let accepted = peer.until(|stack, _| stack.accept(99, no_waker()));
    let mut buffer = [0; 10];
    assert_eq!(peer.until(|stack, _| stack.read(accepted, no_waker(), &mut buffer)), Ok(5));
    peer.until(|stack, _| stack.write(accepted, None, b"world")).unwrap();
    let error = peer.until(|stack, _| stack.read(accepted, no_waker(), &mut buffer));
    assert_eq!(error, Err(crate::TcpError::Reset));
    assert_eq!(client.join().unwrap(), b"world");

    // Datagrams.
    let socket = UdpSocket::bind(53).unwrap();
    let server = std::thread::spawn(move || {
        let mut buffer = [0; 100];
        let (length, from) = blocking::recv_from(&socket, &mut buffer);
        blocking::send_to(&socket, &buffer[..length], from).unwrap();
    });
    let udp = peer.host.stack.udp_bind(0).unwrap();
    peer.until(|stack, _| stack.udp_send(udp, no_waker(), b"datagram", us(53))).unwrap();
    assert_eq!(peer.until(|stack, _| stack.udp_receive(udp, no_waker(), &mut buffer)), (8, us(53)));
    server.join().unwrap();

    assert_eq!(Network::Main.hold().unwrap().device().name(), "cable");
    assert_eq!(block_on(dns::resolve("name")), Err(DnsError::NoServer));
    assert_eq!(block_on(dns::resolve("10.1.2.3")), Ok(Vec::from(["10.1.2.3".parse().unwrap()])));
    let statistics = Network::Main.statistics();
    assert_eq!((statistics.accepted, statistics.connected, statistics.dropped_checksum), (1, 1, 0));
    a_card_is_changed(&mut peer);
    networks_are_apart(peer);
}

/// A connection goes on over another card, and what was on its way to the one before is not lost.
fn a_card_is_changed(peer: &mut Peer) {
    let listener = TcpListener::bind(8, ListenOptions::default()).unwrap();
    let server = std::thread::spawn(move || {
        let stream = listener.accept_blocking();
        let mut buffer = [0; 100];
        while let count @ 1.. = blocking::read(&stream, &mut buffer).unwrap() {
            blocking::write_all(&stream, &buffer[..count]).unwrap();
        }
    });
    let id = peer.connect(8).unwrap();
    assert!(peer.host.stack.write(id, None, b"late").is_ready());
    peer.host.poll(Instant::now().as_nanos());
    peer.to_them.lock().unwrap().extend(peer.host.device.sent.drain(..));
    let (card, to_us, from_us) = cable(2);
    let mut exchange = Exchange::of(Network::Main).unwrap();
    let released = drivers_api::swap::swap(&mut exchange, card, |_| true);
    assert!(released.is_ok_and(|released| released.failed.is_none()) && !exchange.stopped().is_zero());
    // The neighbors hear of it by the new one before anything else is sent.
    assert!(is_announcement(&from_us.lock().unwrap()[0], 2));
    (peer.to_them, peer.from_them) = (to_us, from_us);
    assert_eq!(peer.read(id), b"late");
    assert!(peer.host.stack.write(id, None, b"more").is_ready());
    assert_eq!(peer.read(id), b"more");
    peer.host.stack.shutdown(id);
    peer.ended(server);
}

/// With equal addresses, and listeners on equal ports.
fn networks_are_apart(main: Peer) {
    const PORT: u16 = 7000;
    let bind = |port, network| TcpListener::bind(port, ListenOptions { network, ..ListenOptions::default() });
    // Nowhere rather than on the other network.
    assert_eq!(bind(PORT, Network::Control).err(), Some(BindError::NotStarted));
    assert!(!Network::Control.is_running() && Network::Control.addresses().is_empty());
    let mut peers = [main, Peer::of(Network::Control, 3)];
    let networks = [Network::Main, Network::Control];
    let texts = networks.map(|network| network.to_string());

    // Served at once: each server waits until the other has a connection, too.
    let barrier = Arc::new(Barrier::new(2));
    let servers = networks.map(|network| {
        let (listener, barrier) = (bind(PORT, network).unwrap(), barrier.clone());
        assert_eq!(bind(PORT, network).err(), Some(BindError::InUse));
        std::thread::spawn(move || {
            let stream = listener.accept_blocking();
            barrier.wait();
            blocking::write_all(&stream, network.to_string().as_bytes()).unwrap();
            let count = blocking::read(&stream, &mut [0; 1]).unwrap();
            drop(stream);
            // On whichever network it was.
            flush();
            count
        })
    });
    let ids = peers.each_mut().map(|peer| peer.connect(PORT).unwrap());
    for ((peer, id), text) in peers.iter_mut().zip(ids).zip(&texts) {
        assert_eq!(peer.read(id), text.as_bytes());
        peer.host.stack.shutdown(id);
    }
    for (peer, server) in peers.iter_mut().zip(servers) {
        assert_eq!(peer.ended(server), 0);
    }

    // A listener of one is not there on the other, and what goes on in one does not show in the other.
    for (index, network) in networks.into_iter().enumerate() {
        peers.iter_mut().for_each(Peer::settle);
        let _listener = bind(PORT + 1, network).unwrap();
        let (other, before) = (1 - index, networks[1 - index].statistics());
        let id = peers[index].connect(PORT + 1).unwrap();
        assert_eq!(networks[other].statistics(), before);
        peers[index].host.stack.abort(id);
        assert_eq!(peers[other].connect(PORT + 1).err(), Some(ConnectError::Refused));
    }

    // Nor are the neighbors of one told of the other.
    for (index, mac) in [(0, 2), (1, 3)] {
        peers.iter().for_each(|peer| peer.from_them.lock().unwrap().clear());
        peers[index].network.announce();
        let told =
            |peer: &Peer| peer.from_them.lock().unwrap().iter().any(|frame| is_announcement(frame, mac));
        assert_eq!((told(&peers[index]), told(&peers[1 - index])), (true, false));
    }
}

/// ARP for our own address, from our Ethernet address (RFC 5227, 3), to all.
fn is_announcement(frame: &[u8], last: u8) -> bool {
    let IpAddr::V4(address) = us(0).ip() else { return false };
    let mac = [2, 0, 0, 0, 0, last];
    frame.len() == 42
        && frame[..12] == [&[0xff; 6], &mac[..]].concat()
        && frame[12..14] == [8, 6]
        && frame[22..28] == mac
        && [&frame[28..32], &frame[38..42]] == [address.octets(); 2]
}
