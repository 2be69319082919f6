//! The server on the machine's sockets: one thread, a task for each connection.
use crate::connection::Connection;
use crate::date::Date;
use crate::response::Output;
use crate::server::Server;
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec::Vec;
use app::requests::Meter;
use app::task::{Executor, OutOfMemory, sleep, sleep_until, yield_now};
use app::time::{Duration, Instant, wall_clock};
use app::{TcpError, TcpListener, TcpStream, log};
use core::cell::{Cell, RefCell};

/// Requests are short; what is longer than this waits in the client.
pub const RECEIVE_BUFFER: usize = 4 << 10;

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

/// How much of the machine a server may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time; more are reset.
    pub connections: usize,
    /// The time from one answer to the next, of all connections together.
    pub gap: Duration,
}

/// Serves on this thread, for ever. Requests are counted by the meter, if there is one.
///
/// # Errors
/// When there is no memory to begin with.
pub fn serve(
    listener: &TcpListener,
    server: Server,
    limits: Limits,
    meter: Option<Meter>,
) -> Result<(), OutOfMemory> {
    let shared = Rc::new(Shared::new(server, limits, meter));
    let executor = Executor::new();
    let spawner = executor.spawner();
    spawner.spawn(sweep(shared.clone()))?;
    executor.run(async {
        loop {
            let client = Rc::new(Client { stream: listener.accept().await, seen: Cell::default() });
            let registered = Registered::new(shared.clone(), client.clone());
            let spawned = registered.is_some_and(|client| spawner.spawn(client.serve()).is_ok());
            if !spawned {
                client.stream.abort();
            }
        }
    })
}

/// What all connections share.
struct Shared {
    server: Server,
    limits: Limits,
    meter: Option<Meter>,
    /// When the next answer may be given.
    turn: Cell<Instant>,
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
    fn new(server: Server, limits: Limits, meter: Option<Meter>) -> Self {
        Self {
            server,
            limits,
            meter,
            turn: Cell::new(Instant::now()),
            date: RefCell::default(),
            spare: Cell::default(),
            sweeps: Cell::default(),
            clients: RefCell::default(),
            next_number: Cell::default(),
        }
    }

    /// Waits for a turn to answer.
    async fn turn(&self) {
        if self.limits.gap.is_zero() {
            return;
        }
        let turn = self.turn.get().max(Instant::now());
        self.turn.set(turn.saturating_add(self.limits.gap));
        sleep_until(turn).await;
    }

    fn take_output(&self) -> Output {
        Output::with(self.spare.take())
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
    /// None if there are as many connections as there may be.
    fn new(shared: Rc<Shared>, client: Rc<Client>) -> Option<Self> {
        if shared.clients.borrow().len() >= shared.limits.connections {
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
                self.shared.turn().await;
                let mut taken = None;
                let answer = |input: &[u8]| {
                    taken = Some(Instant::now());
                    self.answer(&mut connection, input)
                };
                let Some(mut output) = stream.read_with(answer).await? else {
                    stream.shutdown();
                    return Ok(());
                };
                if output.finish(&self.shared.server, &self.shared.date.borrow()).is_err() {
                    stream.abort();
                    return Ok(());
                }
                self.send(&output).await?;
                if let (Some(meter), Some(taken)) = (&self.shared.meter, taken) {
                    meter.answered(connection.take_answered(), taken);
                }
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
        let Output { bytes, body, .. } = output;
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
