//! The server on the machine's sockets: one thread, a task for each connection.
use crate::connection::Connection;
use crate::date::Date;
use crate::response::Output;
use crate::server::{Facts, Server};
use crate::site::Site;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec::Vec;
use app::task::{Executor, sleep, yield_now};
use app::time::{Duration, Instant, wall_clock};
use app::{App, AppError, Env, ListenOptions, TcpError, TcpListener, TcpStream, log};
use core::cell::{Cell, RefCell};

/// The web server. Settings: `web.port` (80) and `web.maxclients` (as many as a quarter of the memory has buffers for).
pub struct Web;

/// The TCP port without a setting.
const PORT: u16 = 80;

/// Requests are short; what is longer than this waits in the client.
const RECEIVE_BUFFER: usize = 4 << 10;

/// Bytes of a connection besides its buffers, about.
const CONNECTION_MEMORY: usize = 2 << 10;

/// How often idle connections are looked for.
const SWEEP: Duration = Duration::from_secs(5);

/// After so many sweeps without a complete request or a piece of an answer on its way, a connection is idle.
const IDLE_SWEEPS: u64 = 12;

/// Big files are sent in pieces of this size, in bytes, so that a slow client is told from a silent one.
const PIECE: usize = 64 << 10;

/// Turns after which a connection that never waits lets others have theirs.
const TURNS: usize = 16;

/// An output buffer longer than this is not kept for the next answer.
const MAX_SPARE: usize = 64 << 10;

/// The most bytes that are read and thrown away behind the last request.
const MAX_LINGER: usize = 4 << 20;

impl App for Web {
    fn name(&self) -> &'static str {
        "web"
    }

    fn run(&self, env: &'static Env) -> Result<(), AppError> {
        let port = number(env, "web.port", "a port number")?.unwrap_or(PORT);
        let memory = usize::try_from(env.memory_bytes()).unwrap_or(usize::MAX);
        let send_buffer = (memory / 8192).clamp(8 << 10, 64 << 10);
        let affordable = (memory / 4 / (RECEIVE_BUFFER + send_buffer + CONNECTION_MEMORY)).max(16);
        let most = number(env, "web.maxclients", "a number of connections")?.unwrap_or(affordable);

        let facts = move || Facts {
            uptime: Duration::from_nanos(Instant::now().as_nanos()),
            memory_bytes: env.memory_bytes(),
            free_memory_bytes: env.free_memory_bytes(),
            cpus: env.cpus(),
        };
        let shared = Rc::new(Shared::new(Server::new(Site::new(env.files())?, Box::new(facts))));
        let options =
            ListenOptions { receive_buffer: RECEIVE_BUFFER, send_buffer, ..ListenOptions::default() };
        let listener = TcpListener::bind(port, options)?;
        let executor = Executor::new();
        let spawner = executor.spawner();
        spawner.spawn(sweep(shared.clone()))?;
        env.ready("http", port);
        executor.run(async {
            loop {
                let client = Rc::new(Client { stream: listener.accept().await, seen: Cell::default() });
                let registered = Registered::new(shared.clone(), client.clone(), most);
                let spawned = registered.is_some_and(|client| spawner.spawn(client.serve()).is_ok());
                if !spawned {
                    client.stream.abort();
                }
            }
        })
    }
}

fn number<T: core::str::FromStr>(
    env: &Env,
    key: &'static str,
    expected: &'static str,
) -> Result<Option<T>, AppError> {
    let parse = |value: &str| value.parse().map_err(|_| AppError::Setting { key, expected });
    env.setting(key).map(parse).transpose()
}

/// What all connections share.
struct Shared {
    server: Server,
    date: RefCell<Date>,
    /// An output buffer for whoever writes next: idle connections hold none.
    spare: Cell<Vec<u8>>,
    sweeps: Cell<u64>,
    clients: RefCell<BTreeMap<u64, Rc<Client>>>,
    next_number: Cell<u64>,
}

/// A connection as the sweeper sees it.
struct Client {
    stream: TcpStream,
    /// The number of sweeps when it last made progress.
    seen: Cell<u64>,
}

impl Shared {
    fn new(server: Server) -> Self {
        Self {
            server,
            date: RefCell::default(),
            spare: Cell::default(),
            sweeps: Cell::default(),
            clients: RefCell::default(),
            next_number: Cell::default(),
        }
    }

    fn take_output(&self) -> Output {
        Output { bytes: self.spare.take(), body: &[] }
    }

    fn keep_output(&self, output: Output) {
        let mut bytes = output.bytes;
        if bytes.capacity() <= MAX_SPARE {
            bytes.clear();
            self.spare.set(bytes);
        }
    }
}

/// Aborts idle connections, for ever.
async fn sweep(shared: Rc<Shared>) {
    loop {
        sleep(SWEEP).await;
        let sweeps = shared.sweeps.get() + 1;
        shared.sweeps.set(sweeps);
        for client in shared.clients.borrow().values() {
            if sweeps - client.seen.get() > IDLE_SWEEPS {
                client.stream.abort();
            }
        }
    }
}

/// A connection in the table; it leaves the table when this is dropped.
struct Registered {
    shared: Rc<Shared>,
    client: Rc<Client>,
    number: u64,
}

impl Registered {
    /// None if there are `most` connections already.
    fn new(shared: Rc<Shared>, client: Rc<Client>, most: usize) -> Option<Self> {
        if shared.clients.borrow().len() >= most {
            return None;
        }
        let number = shared.next_number.get();
        shared.next_number.set(number + 1);
        client.seen.set(shared.sweeps.get());
        shared.clients.borrow_mut().insert(number, client.clone());
        shared.server.count_accepted();
        Some(Self { shared, client, number })
    }

    async fn serve(self) {
        if let Err(error) = self.exchange().await {
            log::debug!("{error}");
        }
    }

    /// Answers requests until either side has had enough.
    async fn exchange(&self) -> Result<(), TcpError> {
        let stream = &self.client.stream;
        let mut connection = Connection::default();
        while !connection.is_closed() {
            for _ in 0..TURNS {
                let Some(output) = stream.read_with(|input| self.answer(&mut connection, input)).await?
                else {
                    stream.shutdown();
                    return Ok(());
                };
                self.send(&output).await?;
                self.shared.keep_output(output);
                if connection.is_closed() {
                    break;
                }
            }
            yield_now().await;
        }
        self.linger().await
    }

    /// Answers what has arrived. Returns the bytes taken and what is to be sent, `None` at the end of the input.
    fn answer(&self, connection: &mut Connection, input: &[u8]) -> (usize, Option<Output>) {
        if input.is_empty() {
            return (0, None);
        }
        let mut date = self.shared.date.borrow_mut();
        date.update(wall_clock().as_secs());
        let mut output = self.shared.take_output();
        let taken = connection.receive(input, &self.shared.server, &date, &mut output);
        (taken, Some(output))
    }

    async fn send(&self, output: &Output) -> Result<(), TcpError> {
        let Output { bytes, body } = output;
        for piece in [&bytes[..], body].into_iter().flat_map(|part| part.chunks(PIECE)) {
            self.client.stream.write_all(piece).await?;
            self.client.seen.set(self.shared.sweeps.get());
        }
        Ok(())
    }

    /// Ends the connection. What is still on its way must be read, or the connection is reset and the client may lose
    /// the last answer (RFC 9112, 9.6).
    async fn linger(&self) -> Result<(), TcpError> {
        let stream = &self.client.stream;
        stream.shutdown();
        let mut read = 0;
        while read < MAX_LINGER {
            let length = stream.read_with(|input| (input.len(), input.len())).await?;
            if length == 0 {
                return Ok(());
            }
            read += length;
        }
        stream.abort();
        Ok(())
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.shared.clients.borrow_mut().remove(&self.number);
        self.shared.server.count_closed();
    }
}
