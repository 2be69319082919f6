//! Serves the store on a port of this computer, for tests with real clients: `cargo run -p kv --example host -- 7001`.
//! One thread per connection, the store behind a lock. (In an image `kv::Server` does this.)
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::task::{Wake, Waker};
use std::time::{Duration, SystemTime};

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}

/// A connection's input, or its end, or that it has news.
enum Event {
    Input(u64, Vec<u8>),
    End(u64),
    News(u64),
    Joined(u64, TcpStream),
}

struct NewsWaker(u64, mpsc::Sender<Event>);

impl Wake for NewsWaker {
    fn wake(self: std::sync::Arc<Self>) {
        let _ = self.1.send(Event::News(self.0));
    }
}

struct Connection {
    session: kv::Session,
    stream: TcpStream,
    kept: Vec<u8>,
}

impl Connection {
    /// Feeds what there is; false when the connection is over.
    fn go_on(&mut self, store: &mut kv::Store, mut input: &[u8]) -> bool {
        let mut out = Vec::new();
        loop {
            let status = if self.session.client().has_news()
                || self.session.deadline().is_some_and(|at| at <= now())
            {
                self.session.poll(store, now(), &mut out)
            } else {
                let fed = self.session.feed(store, now(), input, &mut out);
                input = &input[fed.consumed..];
                fed.status
            };
            if self.stream.write_all(&out).is_err() || status == kv::Status::Close {
                return false;
            }
            out.clear();
            let more = status == kv::Status::Full || (!input.is_empty() && self.session.wants_input());
            if !more && !self.session.client().has_news() {
                self.kept.extend_from_slice(input);
                return true;
            }
        }
    }
}

fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(7001);
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let mut store = kv::Store::new([now(), 0x5eed], now());
    if let Some(limit) = std::env::args().nth(2).and_then(|text| kv::parse_memory(text.as_bytes())) {
        store.set_maxmemory(limit);
    }
    println!("kv listens on 127.0.0.1:{}", listener.local_addr()?.port());
    let (sender, events) = mpsc::channel();
    let accept = sender.clone();
    std::thread::spawn(move || {
        for (number, stream) in (0..).zip(listener.incoming().flatten()) {
            let _ = stream.set_nodelay(true);
            let Ok(mut reader) = stream.try_clone() else { continue };
            let sender = accept.clone();
            let _ = sender.send(Event::Joined(number, stream));
            std::thread::spawn(move || {
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(length @ 1..) = reader.read(&mut buffer) {
                    let _ = sender.send(Event::Input(number, buffer[..length].to_vec()));
                }
                let _ = sender.send(Event::End(number));
            });
        }
    });
    serve(&mut store, &sender, &events);
    Ok(())
}

fn serve(store: &mut kv::Store, sender: &mpsc::Sender<Event>, events: &mpsc::Receiver<Event>) {
    let mut connections = std::collections::HashMap::<u64, Connection>::new();
    loop {
        let event = events.recv_timeout(Duration::from_millis(20));
        store.expire_cycle(now(), 10_000);
        store.tick(now());
        let (number, input, ended) = match event {
            Ok(Event::Joined(number, stream)) => {
                let address = stream.peer_addr().map(|address| address.to_string()).unwrap_or_default();
                let session = kv::Session::new(store, address, now());
                let waker = Waker::from(std::sync::Arc::new(NewsWaker(number, sender.clone())));
                session.client().set_waker(&waker);
                connections.insert(number, Connection { session, stream, kept: Vec::new() });
                continue;
            }
            Ok(Event::Input(number, input)) => (number, input, false),
            Ok(Event::End(number)) => (number, Vec::new(), true),
            Ok(Event::News(number)) => (number, Vec::new(), false),
            Err(_) => {
                let due =
                    |connection: &Connection| connection.session.deadline().is_some_and(|at| at <= now());
                let late: Vec<u64> =
                    connections.iter().filter(|(_, c)| due(c)).map(|(number, _)| *number).collect();
                for number in late {
                    if let Some(connection) = connections.get_mut(&number) {
                        connection.go_on(store, &[]);
                    }
                }
                continue;
            }
        };
        let Some(connection) = connections.get_mut(&number) else { continue };
        let mut all = std::mem::take(&mut connection.kept);
        all.extend_from_slice(&input);
        if (ended || !connection.go_on(store, &all))
            && let Some(mut connection) = connections.remove(&number)
        {
            connection.session.close(store);
            let _ = connection.stream.shutdown(std::net::Shutdown::Both);
        }
    }
}
