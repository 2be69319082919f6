//! Commands: how they are found and run.
mod bits;
pub(crate) mod blocking;
mod client;
mod expiry;
mod hashes;
mod info;
mod introspection;
mod keys;
mod lists;
pub(crate) mod pubsub;
mod scan;
mod server;
mod sets;
mod sort;
mod sorted_ranges;
mod sorted_sets;
mod sorted_store;
mod string_numbers;
mod strings;
mod table;
mod transactions;

pub(crate) use blocking::serve_ready;
pub(crate) use transactions::Transaction;

use crate::client::Client;
use crate::failure::Failure;
use crate::number::{parse_f64, parse_i64};
use crate::reply::Reply;
use crate::resp::Args;
use crate::store::Store;
use alloc::rc::Rc;
use alloc::string::String;

/// A command's outcome: its reply is written, or it failed and there is none.
pub(crate) type Done = Result<(), Failure>;

/// What a command works with.
pub(crate) struct Context<'a, 'o> {
    pub store: &'a mut Store,
    pub client: &'a Rc<Client>,
    pub transaction: &'a mut Transaction,
    pub out: &'a mut Reply<'o>,
    /// The command's name and its arguments.
    pub args: Args<'a>,
    /// EXEC runs it.
    pub in_transaction: bool,
    /// The connection shall end.
    pub close: bool,
}

/// Changes data.
pub(crate) const WRITE: u16 = 1;
/// Reads data.
pub(crate) const READ: u16 = 2;
/// Needs memory: refused when the limit is reached.
pub(crate) const GROWS: u16 = 4;
/// Allowed before the password was said.
pub(crate) const NO_AUTH: u16 = 8;
/// Allowed while subscribed (in version 2 of the protocol).
pub(crate) const PUBSUB: u16 = 16;
/// Runs at once between MULTI and EXEC.
pub(crate) const NOT_QUEUED: u16 = 32;
/// Takes little time.
pub(crate) const FAST: u16 = 64;
/// May wait.
pub(crate) const BLOCKING: u16 = 128;
/// Not allowed between MULTI and EXEC.
pub(crate) const NO_MULTI: u16 = 256;
/// Its keys are found by looking at the arguments.
pub(crate) const MOVABLE: u16 = 512;
/// For administration.
pub(crate) const ADMIN: u16 = 1024;

/// One command.
pub(crate) struct Command {
    /// In small letters.
    pub name: &'static str,
    /// Number of arguments with the name; negative: at least so many.
    pub arity: i16,
    pub flags: u16,
    /// First key, last key (negative: counted from the end), step.
    pub keys: (i8, i8, i8),
    pub group: &'static str,
    pub run: fn(&mut Context<'_, '_>) -> Done,
}

impl Command {
    pub fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    pub fn takes(&self, args: usize) -> bool {
        let arity = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 { args >= arity } else { args == arity }
    }

    /// The keys among these arguments.
    pub fn key_places(&self, args: Args<'_>) -> impl Iterator<Item = usize> + use<> {
        let (first, last, step) = self.keys;
        let first = usize::from(first.unsigned_abs());
        let last = if last < 0 {
            (args.len() + 1).saturating_sub(usize::from(last.unsigned_abs()))
        } else {
            usize::from(last.unsigned_abs()) + 1
        };
        let range = if first == 0 { 0..0 } else { first..last.min(args.len()) };
        range.step_by(usize::from(step.unsigned_abs()).max(1))
    }
}

/// Executes one request, or queues it in a transaction.
pub(crate) fn execute(context: &mut Context<'_, '_>) {
    let args = context.args;
    context.store.stats.commands += 1;
    let outcome = match table::find(args.at(0)) {
        None => Err(unknown(args)),
        Some(command) => match admit(context, command) {
            Ok(()) if context.transaction.is_open() && !command.has(NOT_QUEUED) => context
                .transaction
                .enqueue(command, args, context.store.config.transaction_bound())
                .map(|()| {
                    context.client.queued.set(context.transaction.len() as i64);
                    context.out.raw(b"+QUEUED\r\n");
                }),
            Ok(()) => {
                run(context, command);
                if !context.store.ready.is_empty() {
                    serve_ready(context.store);
                }
                return;
            }
            Err(failure) => Err(failure),
        },
    };
    if let Err(failure) = outcome {
        context.transaction.spoil();
        context.store.stats.errors += 1;
        context.out.failure(&failure);
    }
}

/// Checks that apply to every command.
#[inline]
fn admit(context: &mut Context<'_, '_>, command: &'static Command) -> Done {
    if !command.takes(context.args.len()) {
        return Err(wrong_arity(command.name));
    }
    if !context.client.trusted.get() && !command.has(NO_AUTH) {
        return Err(Failure::Text("NOAUTH Authentication required."));
    }
    if command.has(GROWS) && context.store.config.maxmemory != 0 && !context.store.has_memory() {
        return Err(Failure::MaxMemory);
    }
    if !command.has(PUBSUB) && !context.client.resp3.get() && context.client.subscriptions() > 0 {
        return Err(Failure::Message(alloc::format!(
            "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
            command.name
        )));
    }
    if command.has(NO_MULTI) && context.transaction.is_open() {
        return Err(Failure::Text("ERR Command not allowed inside a transaction"));
    }
    Ok(())
}

/// Runs a command, and lets the others know what it changed.
pub(crate) fn run(context: &mut Context<'_, '_>, command: &'static Command) {
    let database = context.client.db.get();
    context.store.current = database;
    context.client.command.set(command.name);
    context.client.active.set(context.store.now);
    let dirty = context.store.dirty;
    let mark = context.out.buffer.len();
    let outcome = (command.run)(context);
    if let Err(failure) = &outcome {
        context.store.stats.errors += 1;
        // The reply may have been begun when memory ran out.
        context.out.buffer.truncate(mark);
        context.out.failure(failure);
    }
    if !command.has(WRITE) {
        return;
    }
    let (store, args) = (&mut *context.store, context.args);
    if outcome.is_err() {
        // A collection may have been created and not filled.
        for place in command.key_places(args) {
            store.reap(args.at(place));
        }
    }
    if dirty != store.dirty && !(store.watchers.is_empty() && store.waiters.is_empty()) {
        for place in command.key_places(args) {
            store.changed(database, args.at(place));
        }
    }
    store.settle(database);
}

/// Redis's error for a command that doesn't exist.
fn unknown(args: Args<'_>) -> Failure {
    let lossy =
        |bytes: &[u8], limit: usize| String::from_utf8_lossy(&bytes[..bytes.len().min(limit)]).into_owned();
    let mut listed = String::new();
    for arg in args.from(1).iter() {
        if listed.len() >= 128 {
            break;
        }
        listed.push_str(&alloc::format!("'{}' ", lossy(arg, 128 - listed.len())));
    }
    let name = lossy(args.at(0), 128);
    Failure::Message(alloc::format!("ERR unknown command '{name}', with args beginning with: {listed}"))
}

pub(crate) fn wrong_arity(name: &str) -> Failure {
    Failure::Message(alloc::format!("ERR wrong number of arguments for '{name}' command"))
}

pub(crate) fn unknown_subcommand(args: Args<'_>) -> Failure {
    let name = String::from_utf8_lossy(args.at(0)).to_ascii_uppercase();
    let sub = args.at(1);
    let sub = String::from_utf8_lossy(&sub[..sub.len().min(128)]);
    Failure::Message(alloc::format!("ERR unknown subcommand '{sub}'. Try {name} HELP."))
}

/// An integer argument.
pub(crate) fn integer(bytes: &[u8]) -> Result<i64, Failure> {
    parse_i64(bytes).ok_or(Failure::NotInteger)
}

/// A floating point argument.
pub(crate) fn float(bytes: &[u8]) -> Result<f64, Failure> {
    parse_f64(bytes).ok_or(Failure::NotFloat)
}

/// A count that is at least 0.
pub(crate) fn count(bytes: &[u8]) -> Result<usize, Failure> {
    parse_i64(bytes).and_then(|n| usize::try_from(n).ok()).ok_or(Failure::NotPositive)
}

/// The elements that `start` and `stop` mean in a sequence of `len`: negative ones count from the end.
pub(crate) fn slice(start: i64, stop: i64, len: usize) -> core::ops::Range<usize> {
    let len = len as i64;
    let start = if start < 0 { (start.saturating_add(len)).max(0) } else { start };
    let stop = if stop < 0 { stop.saturating_add(len) } else { stop }.min(len - 1);
    if start > stop || start >= len { 0..0 } else { start as usize..stop as usize + 1 }
}
