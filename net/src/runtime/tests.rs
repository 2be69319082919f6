//! The one running network, over a cable to a stack that the test drives. One test, because there is one network.

use super::*;
use crate::stack::tests::fake::{Fake, Host, no_waker};
use crate::{
    BindError, ConnectError, DnsError, Ipv4Config, ListenOptions, TcpListener, TcpStream, UdpSocket,
    blocking, dns,
};
use core::net::{Ipv4Addr, SocketAddr};
use drivers_api::*;
use machine::thread::block_on;
use std::collections::VecDeque;
use std::sync::Mutex as HostMutex;

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
        self.fake.export()
    }
    fn import(&mut self, state: &ExportedState) -> Result<(), LifecycleError> {
        self.fake.import(state)
    }
    fn resume(&mut self) -> Result<(), LifecycleError> {
        Ok(())
    }
    fn halt(&mut self) {}
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
    handle: Handle,
}

impl Peer {
    fn turn(&mut self) {
        self.host.device.received.extend(self.from_them.lock().unwrap().drain(..));
        self.host.poll(Instant::now().as_nanos());
        if !self.host.device.sent.is_empty() {
            self.to_them.lock().unwrap().extend(self.host.device.sent.drain(..));
            self.handle.interrupt();
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

fn us(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 2], port))
}

#[test]
fn sockets_work_from_threads_and_tasks() {
    let port = TcpListener::bind(7, ListenOptions::default()).map(|listener| listener.port());
    assert_eq!(port, Err(BindError::NotStarted));
    let peer_address = SocketAddr::from(([10, 0, 0, 1], 99));
    assert_eq!(block_on(TcpStream::connect(peer_address)).err(), Some(ConnectError::NotStarted));
    assert_eq!(block_on(dns::resolve("name")), Err(DnsError::NotStarted));

    let (to_us, from_us) = (Queue::default(), Queue::default());
    let fake = Fake::new(2, Offloads { tx_checksum: true, tso4: true, tso6: false, max_tso: 60000 });
    let device = Box::new(Cable { fake, to_us: to_us.clone(), from_us: from_us.clone() });
    let address = Ipv4Addr::new(10, 0, 0, 2);
    let ipv4 = Ipv4Config::Static { address, prefix: 24, gateway: None, dns: None };
    let config = Config { ipv4, ..Config::default() };
    let handle = start(device, config.clone(), crate::stack::tests::fake::random).unwrap();
    let again = Box::new(Cable {
        fake: Fake::new(2, Offloads::default()),
        to_us: to_us.clone(),
        from_us: from_us.clone(),
    });
    assert_eq!(
        start(again, config, crate::stack::tests::fake::random).err(),
        Some(StartError::AlreadyStarted)
    );
    assert!(addresses().contains(&(address.into(), 24)));
    let host = Host::new(1, Offloads::default());
    let mut peer = Peer { host, to_them: to_us, from_them: from_us, handle };

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
    let options = ListenOptions::default();
    let id = peer.host.stack.connect(Instant::now().as_nanos(), us(7), &options).unwrap();
    peer.until(|stack, _| stack.connected(id, no_waker())).unwrap();
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
    let mut server = Some(server);
    let seen = peer.until(|_, _| match server.take_if(|server| server.is_finished()) {
        Some(server) => Poll::Ready(server.join().unwrap()),
        None => Poll::Pending,
    });
    assert_eq!(seen, peer.host.stack.ends(id).unwrap().0);

    // A client of asynchronous calls.
    peer.host.stack.listen(99, options).unwrap();
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

    handle.announce();
    handle.with_device(|device| assert_eq!(device.name(), "cable"));
    assert_eq!(block_on(dns::resolve("name")), Err(DnsError::NoServer));
    assert_eq!(block_on(dns::resolve("10.1.2.3")), Ok(Vec::from(["10.1.2.3".parse().unwrap()])));
    let statistics = statistics();
    assert_eq!((statistics.accepted, statistics.connected, statistics.dropped_checksum), (1, 1, 0));
}
