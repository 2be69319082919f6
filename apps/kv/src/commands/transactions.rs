//! MULTI, EXEC, DISCARD, WATCH, UNWATCH.
use super::{Command, Context, Done, run};
use crate::failure::Failure;
use crate::resp::Args;
use alloc::vec::Vec;

/// A request kept for EXEC.
#[derive(Debug)]
struct Queued {
    command: &'static Command,
    buffer: Vec<u8>,
    ranges: Vec<(u32, u32)>,
}

impl core::fmt::Debug for Command {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name)
    }
}

/// A connection's transaction and the keys it watches.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    open: bool,
    /// A request was refused: EXEC will be as well.
    spoiled: bool,
    queue: Vec<Queued>,
    bytes: usize,
    /// Watched keys: database, key, whether it was there.
    watched: Vec<(usize, Vec<u8>, bool)>,
}

impl Transaction {
    pub fn is_open(&self) -> bool {
        self.open
    }

    pub fn len(&self) -> usize {
        self.queue.len()
    }

    pub fn spoil(&mut self) {
        self.spoiled |= self.open;
    }

    /// Keeps a request, if all of them take at most `limit` bytes.
    pub fn enqueue(
        &mut self,
        command: &'static Command,
        args: Args<'_>,
        limit: usize,
    ) -> Result<(), Failure> {
        let bytes = args.iter().map(<[u8]>::len).sum::<usize>();
        self.bytes += bytes + args.len() * size_of::<(u32, u32)>() + size_of::<Queued>();
        if self.bytes > limit {
            return Err(Failure::OutOfMemory);
        }
        let (mut buffer, mut ranges) = (Vec::new(), Vec::new());
        buffer.try_reserve_exact(bytes)?;
        ranges.try_reserve_exact(args.len())?;
        for arg in args.iter() {
            let from = buffer.len() as u32;
            buffer.extend_from_slice(arg);
            ranges.push((from, buffer.len() as u32));
        }
        self.queue.try_reserve(1)?;
        self.queue.push(Queued { command, buffer, ranges });
        Ok(())
    }
}

/// Ends the transaction, if there is one, and watches nothing any more.
pub(crate) fn reset(context: &mut Context<'_, '_>) {
    *context.transaction = Transaction::default();
    context.store.unwatch(context.client.id);
    context.client.stale.set(false);
    context.client.watching.set(0);
    context.client.queued.set(-1);
}

pub(crate) fn multi(context: &mut Context<'_, '_>) -> Done {
    if context.transaction.open {
        return Err(Failure::Text("ERR MULTI calls can not be nested"));
    }
    context.transaction.open = true;
    context.client.queued.set(0);
    context.out.ok();
    Ok(())
}

pub(crate) fn discard(context: &mut Context<'_, '_>) -> Done {
    if !context.transaction.open {
        return Err(Failure::Text("ERR DISCARD without MULTI"));
    }
    reset(context);
    context.out.ok();
    Ok(())
}

pub(crate) fn watch(context: &mut Context<'_, '_>) -> Done {
    if context.transaction.open {
        return Err(Failure::Text("ERR WATCH inside MULTI is not allowed"));
    }
    let (database, id) = (context.store.current, context.client.id);
    for key in context.args.from(1).iter() {
        let there = context.store.find(key).is_some();
        let ids = context.store.watchers.entry((database, key.to_vec())).or_default();
        if !ids.contains(&id) {
            ids.push(id);
            context.transaction.watched.push((database, key.to_vec(), there));
        }
    }
    context.client.watching.set(context.transaction.watched.len());
    context.out.ok();
    Ok(())
}

pub(crate) fn unwatch(context: &mut Context<'_, '_>) -> Done {
    context.store.unwatch(context.client.id);
    context.transaction.watched.clear();
    context.client.watching.set(0);
    context.client.stale.set(false);
    context.out.ok();
    Ok(())
}

pub(crate) fn exec(context: &mut Context<'_, '_>) -> Done {
    if !context.transaction.open {
        return Err(Failure::Text("ERR EXEC without MULTI"));
    }
    let transaction = core::mem::take(context.transaction);
    // A watched key may have run out of time without anybody's notice.
    let current = context.store.current;
    let mut expired = false;
    for (database, key, there) in &transaction.watched {
        context.store.current = *database;
        expired |= *there && context.store.find(key).is_none();
    }
    context.store.current = current;
    let stale = context.client.stale.get() || expired;
    reset(context);
    if transaction.spoiled {
        return Err(Failure::Text("EXECABORT Transaction discarded because of previous errors."));
    }
    if stale {
        context.out.null_array();
        return Ok(());
    }
    context.out.array(transaction.queue.len());
    for queued in &transaction.queue {
        let mut inner = Context {
            store: context.store,
            client: context.client,
            transaction: context.transaction,
            out: context.out,
            args: Args::new(&queued.buffer, &queued.ranges),
            in_transaction: true,
            close: false,
        };
        run(&mut inner, queued.command);
    }
    Ok(())
}
