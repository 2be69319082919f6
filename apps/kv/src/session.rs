//! A connection's side of the protocol: bytes in, replies out.
use crate::client::{Client, ReplyMode};
use crate::commands::{self, Context, Transaction};
use crate::reply::Reply;
use crate::resp::{Args, MAX_BULK, Parsed, Parser, ProtocolError};
use crate::store::Store;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;

/// What the connection does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It waits for input.
    Open,
    /// The output is long enough: send it, then feed on, with what was not consumed (or nothing).
    Full,
    /// A command waits for a key. Input is kept until then; [`Session::poll`] goes on.
    Blocked,
    /// Send the output, then end the connection.
    Close,
}

/// What became of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fed {
    /// Bytes of input that were taken; the others must be fed again.
    pub consumed: usize,
    pub status: Status,
}

/// How much output is gathered before it is sent.
const OUTPUT_BATCH: usize = 64 * 1024;
/// How much input is kept while a command is blocked.
const BLOCKED_INPUT: usize = 1 << 20;
/// A buffer larger than this is given back when it is empty.
const KEPT_BUFFER: usize = 64 * 1024;

/// One connection.
#[derive(Debug)]
pub struct Session {
    client: Rc<Client>,
    parser: Parser,
    transaction: Transaction,
    /// Input that was taken and not executed: it starts at `start`.
    pending: Vec<u8>,
    start: usize,
    /// Requests executed since they were last asked for.
    executed: u64,
}

/// Why executing requests stopped.
enum Stop {
    Incomplete,
    Status(Status),
}

impl Session {
    /// A new connection from `address` (`host:port`).
    #[must_use]
    pub fn new(store: &mut Store, address: String, now: u64) -> Self {
        Self {
            client: store.join(address, now),
            parser: Parser::default(),
            transaction: Transaction::default(),
            pending: Vec::new(),
            start: 0,
            executed: 0,
        }
    }

    /// The connection as others see it: for its waker and its mail.
    pub fn client(&self) -> &Rc<Client> {
        &self.client
    }

    /// Must be called when the connection ends.
    pub fn close(&mut self, store: &mut Store) {
        store.leave(&self.client);
        commands::serve_ready(store);
    }

    /// How many requests were executed since this was last asked; one that waits for a key is among them when it begins to.
    pub fn take_executed(&mut self) -> u64 {
        core::mem::take(&mut self.executed)
    }

    /// A command waits for a key.
    pub fn is_blocked(&self) -> bool {
        self.client.blocked.borrow().is_some()
    }

    /// When a blocked command gives up, in milliseconds since 1970.
    pub fn deadline(&self) -> Option<u64> {
        self.client.blocked.borrow().as_ref().and_then(|blocked| blocked.deadline)
    }

    /// Whether `feed` would take input now. A blocked connection takes only so much.
    pub fn wants_input(&self) -> bool {
        !self.is_blocked() || self.pending.len() - self.start < BLOCKED_INPUT
    }

    /// Executes the requests in `input` and appends the replies to `out`. `now` is in milliseconds since 1970.
    pub fn feed(&mut self, store: &mut Store, now: u64, input: &[u8], out: &mut Vec<u8>) -> Fed {
        store.stats.input += input.len() as u64;
        if self.client.killed.get() {
            return Fed { consumed: input.len(), status: Status::Close };
        }
        if self.is_blocked() {
            let room = BLOCKED_INPUT.saturating_sub(self.pending.len() - self.start).min(input.len());
            let status = if self.keep(store, &input[..room]) { Status::Blocked } else { Status::Close };
            return Fed { consumed: room, status };
        }
        let written = out.len();
        let fed = if self.pending.is_empty() {
            self.feed_directly(store, now, input, out)
        } else if self.keep(store, input) {
            Fed { consumed: input.len(), status: self.feed_pending(store, now, out) }
        } else {
            Fed { consumed: input.len(), status: Status::Close }
        };
        store.stats.output += out.len().saturating_sub(written) as u64;
        fed
    }

    /// Goes on after news ([`Client::has_news`]) or a deadline: fetches mail, ends a wait whose time is over, and executes
    /// what has been kept meanwhile.
    pub fn poll(&mut self, store: &mut Store, now: u64, out: &mut Vec<u8>) -> Status {
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            commands::blocking::give_up(store, &self.client, out);
        }
        self.client.collect(out);
        if self.client.killed.get() {
            return Status::Close;
        }
        if self.is_blocked() { Status::Blocked } else { self.feed(store, now, &[], out).status }
    }

    fn feed_directly(&mut self, store: &mut Store, now: u64, input: &[u8], out: &mut Vec<u8>) -> Fed {
        let (at, stop) = self.execute(store, now, input, 0, out);
        match stop {
            Stop::Status(Status::Full) => Fed { consumed: at, status: Status::Full },
            Stop::Status(Status::Blocked) => {
                let room = (input.len() - at).min(BLOCKED_INPUT);
                let status =
                    if self.keep(store, &input[at..at + room]) { Status::Blocked } else { Status::Close };
                Fed { consumed: at + room, status }
            }
            Stop::Status(status) => Fed { consumed: input.len(), status },
            Stop::Incomplete if at == input.len() => Fed { consumed: at, status: Status::Open },
            Stop::Incomplete => {
                let status = if self.keep(store, &input[at..]) { Status::Open } else { Status::Close };
                Fed { consumed: input.len(), status }
            }
        }
    }

    fn feed_pending(&mut self, store: &mut Store, now: u64, out: &mut Vec<u8>) -> Status {
        let pending = core::mem::take(&mut self.pending);
        let (at, stop) = self.execute(store, now, &pending, self.start, out);
        self.pending = pending;
        self.start = at;
        if self.start == self.pending.len() {
            self.start = 0;
            if self.pending.capacity() > KEPT_BUFFER {
                self.pending = Vec::new();
            } else {
                self.pending.clear();
            }
            store.lend(&self.client, self.pending.capacity());
        } else if self.start > self.pending.len() / 2 {
            self.pending.drain(..self.start);
            self.start = 0;
        }
        match stop {
            Stop::Status(status) => status,
            Stop::Incomplete => Status::Open,
        }
    }

    /// Keeps input for later. False if it is too much.
    fn keep(&mut self, store: &mut Store, input: &[u8]) -> bool {
        let length = self.pending.len() + input.len();
        if length > store.config.query_limit.max(BLOCKED_INPUT) {
            return false;
        }
        if length > self.pending.capacity() {
            // The announced length is believed only as far as it has come true before.
            let announced = self.parser.wanted().min(MAX_BULK + KEPT_BUFFER) + self.start;
            let target = length.max(announced.min(4 * length)).max(self.pending.capacity() * 2);
            let afford = store.lend(&self.client, target) || store.lend(&self.client, length);
            let target = target.min(self.client.buffered.get().max(length));
            if !afford || self.pending.try_reserve_exact(target - self.pending.len()).is_err() {
                log::warn!(target: "kv", "client {} ended: no memory for its request", self.client.id);
                return false;
            }
        }
        self.pending.extend_from_slice(input);
        true
    }

    /// Executes requests from `start` of `buffer` until something stops that. Returns where the next one starts.
    fn execute(
        &mut self,
        store: &mut Store,
        now: u64,
        buffer: &[u8],
        start: usize,
        out: &mut Vec<u8>,
    ) -> (usize, Stop) {
        let mut at = start;
        store.now = now.max(store.now);
        let resp3 = self.client.resp3.get();
        let mut reply = Reply::new(out, resp3, store.config.output_bound().saturating_add(OUTPUT_BATCH));
        loop {
            let trusted = self.client.trusted.get();
            let (args_buffer, end) = match self.parser.parse(buffer, at, trusted) {
                Ok(Parsed::Incomplete) => return (at, Stop::Incomplete),
                Ok(Parsed::Request(end)) => (&buffer[at..end], end),
                Ok(Parsed::Inline(end)) => (self.parser.scratch.as_slice(), end),
                Err(error) => {
                    refuse(&mut reply, error);
                    return (buffer.len(), Stop::Status(Status::Close));
                }
            };
            at = end;
            let args = Args::new(args_buffer, &self.parser.ranges);
            if args.len() == 0 {
                continue;
            }
            self.executed += 1;
            let mark = reply.buffer.len();
            let mut context = Context {
                store,
                client: &self.client,
                transaction: &mut self.transaction,
                out: &mut reply,
                args,
                in_transaction: false,
                close: false,
            };
            commands::execute(&mut context);
            let close = context.close;
            if self.client.reply.get() != ReplyMode::On {
                silence(&self.client, &mut reply, mark);
            }
            if reply.overflow {
                reply.buffer.truncate(mark);
                log::warn!(target: "kv", "client {} ended: its replies are too long", self.client.id);
            }
            if close || reply.overflow || self.client.killed.get() {
                return (buffer.len(), Stop::Status(Status::Close));
            }
            if self.client.blocked.borrow().is_some() {
                return (at, Stop::Status(Status::Blocked));
            }
            if reply.buffer.len() >= OUTPUT_BATCH {
                return (at, Stop::Status(Status::Full));
            }
            if at == buffer.len() {
                return (at, Stop::Incomplete);
            }
        }
    }
}

fn refuse(reply: &mut Reply<'_>, error: ProtocolError) {
    let text = alloc::format!("ERR Protocol error: {}", error.text());
    reply.error(text.as_bytes());
}

/// Takes back a reply that the client does not want.
fn silence(client: &Client, reply: &mut Reply<'_>, mark: usize) {
    match client.reply.get() {
        ReplyMode::On => {}
        ReplyMode::Off => reply.buffer.truncate(mark),
        ReplyMode::SkipNext => {
            reply.buffer.truncate(mark);
            client.reply.set(ReplyMode::Skip);
        }
        ReplyMode::Skip => {
            reply.buffer.truncate(mark);
            client.reply.set(ReplyMode::On);
        }
    }
}
