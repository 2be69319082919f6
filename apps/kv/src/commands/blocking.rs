//! Commands that wait for elements: BLPOP, BRPOP, BLMOVE, BLMPOP, BZPOPMIN, BZPOPMAX, BZMPOP; and LMPOP, ZMPOP.
use super::lists::{move_element, side};
use super::sorted_sets::pop_and_reply;
use super::{Context, Done, count};
use crate::client::{Blocked, Client, Wait};
use crate::failure::Failure;
use crate::number::parse_f64;
use crate::reply::Reply;
use crate::resp::Args;
use crate::store::Store;
use crate::value::{List, Sorted};
use alloc::rc::Rc;
use alloc::vec::Vec;

/// When a wait of so many seconds is over.
fn deadline(now: u64, seconds: &[u8]) -> Result<Option<u64>, Failure> {
    let invalid = Failure::Text("ERR timeout is not a float or out of range");
    let seconds = parse_f64(seconds).filter(|seconds| seconds.is_finite()).ok_or(invalid.clone())?;
    if seconds < 0.0 {
        return Err(Failure::Text("ERR timeout is negative"));
    }
    let milliseconds = seconds * 1000.0;
    if milliseconds > (i64::MAX as u64 - now) as f64 {
        return Err(invalid);
    }
    let whole = milliseconds as u64;
    let rounded = whole + u64::from(whole as f64 != milliseconds);
    Ok((rounded > 0).then_some(now + rounded))
}

/// Does what `wait` waits for, if `key` has elements. False if not.
fn attempt(store: &mut Store, out: &mut Reply<'_>, key: &[u8], wait: &Wait) -> Result<bool, Failure> {
    match wait {
        Wait::Pop { front } => {
            let Some(item) = store.edit::<List>(key)?.and_then(|mut list| list.pop(*front)) else {
                return Ok(false);
            };
            out.array(2);
            out.bulk(key);
            out.bulk(&item);
        }
        Wait::PopMany { front, count } => {
            let Some(mut list) = store.edit::<List>(key)? else { return Ok(false) };
            let number = list.items.len().min(*count);
            out.array(2);
            out.bulk(key);
            out.array(number);
            for item in (0..number).map_while(|_| list.pop(*front)) {
                out.bulk(&item);
            }
        }
        Wait::Move { target, from_front, to_front } => {
            return move_element(store, out, (key, target), (*from_front, *to_front));
        }
        Wait::PopScored { highest } => {
            if store.edit::<Sorted>(key)?.is_none() {
                return Ok(false);
            }
            out.array(3);
            out.bulk(key);
            pop_and_reply(store, out, key, (*highest, 1, false))?;
        }
        Wait::PopScoredMany { highest, count } => {
            let Some(sorted) = store.edit::<Sorted>(key)? else { return Ok(false) };
            let number = sorted.order.len().min(*count);
            drop(sorted);
            out.array(2);
            out.bulk(key);
            out.array(number);
            pop_and_reply(store, out, key, (*highest, number, true))?;
        }
    }
    store.reap(key);
    store.dirty += 1;
    Ok(true)
}

/// Serves from the first of the keys that has elements, or waits (if there is a timeout and no transaction).
fn serve_or_wait(context: &mut Context<'_, '_>, keys: Args<'_>, wait: Wait, timeout: Option<&[u8]>) -> Done {
    let deadline = match timeout {
        Some(seconds) => Some(deadline(context.store.now, seconds)?),
        None => None,
    };
    for key in keys.iter() {
        if attempt(context.store, context.out, key, &wait)? {
            let number = context.store.current;
            context.store.changed(number, key);
            if let Wait::Move { target, .. } = &wait {
                context.store.changed(number, target);
            }
            return Ok(());
        }
    }
    let Some(deadline) = deadline.filter(|_| !context.in_transaction) else {
        if wait.plain_null() {
            context.out.null()
        } else {
            context.out.null_array()
        }
        return Ok(());
    };
    let db = context.store.current;
    let keys: Vec<Vec<u8>> = keys.iter().map(<[u8]>::to_vec).collect();
    for key in &keys {
        let queue = context.store.waiters.entry((db, key.clone())).or_default();
        if !queue.contains(&context.client.id) {
            queue.push_back(context.client.id);
        }
    }
    *context.client.blocked.borrow_mut() = Some(Blocked { db, keys, wait, deadline });
    Ok(())
}

impl Store {
    /// The client waits no more.
    pub(crate) fn unblock(&mut self, client: &Client) {
        let Some(blocked) = client.blocked.borrow_mut().take() else { return };
        for key in blocked.keys {
            let place = (blocked.db, key);
            if let Some(queue) = self.waiters.get_mut(&place) {
                queue.retain(|id| *id != client.id);
                if queue.is_empty() {
                    self.waiters.remove(&place);
                }
            }
        }
    }
}

/// The timeout is over: replies null.
pub(crate) fn give_up(store: &mut Store, client: &Rc<Client>, out: &mut Vec<u8>) {
    let plain = client.blocked.borrow().as_ref().is_some_and(|blocked| blocked.wait.plain_null());
    store.unblock(client);
    let mut reply = Reply::new(out, client.resp3.get(), usize::MAX);
    if plain { reply.null() } else { reply.null_array() }
}

/// Serves those who wait for keys that have got elements, in the order in which they came.
pub(crate) fn serve_ready(store: &mut Store) {
    let current = store.current;
    while !store.ready.is_empty() {
        let (number, key) = store.ready.remove(0);
        store.current = number;
        let ids: Vec<u64> =
            store.waiters.get(&(number, key.clone())).into_iter().flatten().copied().collect();
        for id in ids {
            let Some(client) = store.clients.get(&id).cloned() else { continue };
            let wait = client.blocked.borrow().as_ref().map(|blocked| blocked.wait.clone());
            let Some(wait) = wait else { continue };
            // A key of another type leaves it waiting.
            let fits = match store.find(&key) {
                Some(_) if wait.wants_list() => store.peek::<List>(&key).is_ok(),
                Some(_) => store.peek::<Sorted>(&key).is_ok(),
                None => break,
            };
            if fits {
                serve(store, &client, &key, &wait);
            }
        }
        store.settle(number);
    }
    store.current = current;
}

fn serve(store: &mut Store, client: &Rc<Client>, key: &[u8], wait: &Wait) {
    let mut buffer = Vec::new();
    let limit = store.config.output_bound();
    let mut reply = Reply::new(&mut buffer, client.resp3.get(), limit);
    match attempt(store, &mut reply, key, wait) {
        Ok(false) => return,
        Ok(true) => {}
        Err(failure) => {
            reply.buffer.clear();
            reply.failure(&failure);
        }
    }
    store.unblock(client);
    let number = store.current;
    store.changed(number, key);
    if let Wait::Move { target, .. } = wait {
        store.changed(number, target);
    }
    client.deliver(&buffer, limit);
}

fn pop_with_timeout(context: &mut Context<'_, '_>, wait: Wait) -> Done {
    let args = context.args;
    let keys = args.from(1).first(args.len() - 2);
    serve_or_wait(context, keys, wait, Some(args.at(args.len() - 1)))
}

pub(crate) fn blpop(context: &mut Context<'_, '_>) -> Done {
    pop_with_timeout(context, Wait::Pop { front: true })
}

pub(crate) fn brpop(context: &mut Context<'_, '_>) -> Done {
    pop_with_timeout(context, Wait::Pop { front: false })
}

pub(crate) fn bzpopmin(context: &mut Context<'_, '_>) -> Done {
    pop_with_timeout(context, Wait::PopScored { highest: false })
}

pub(crate) fn bzpopmax(context: &mut Context<'_, '_>) -> Done {
    pop_with_timeout(context, Wait::PopScored { highest: true })
}

pub(crate) fn blmove(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    let wait = Wait::Move {
        target: args.at(2).to_vec(),
        from_front: side(args.at(3))?,
        to_front: side(args.at(4))?,
    };
    serve_or_wait(context, args.from(1).first(1), wait, Some(args.at(5)))
}

pub(crate) fn brpoplpush(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    let wait = Wait::Move { target: args.at(2).to_vec(), from_front: false, to_front: true };
    serve_or_wait(context, args.from(1).first(1), wait, Some(args.at(3)))
}

/// `numkeys key … end [COUNT count]`, from argument `at` on.
fn many<'a>(args: Args<'a>, at: usize) -> Result<(Args<'a>, &'a [u8], usize), Failure> {
    let number = count(args.at(at)).ok().filter(|number| *number > 0);
    let number = number.ok_or(Failure::Text("ERR numkeys should be greater than 0"))?;
    let end = at.saturating_add(1).saturating_add(number);
    if end >= args.len() {
        return Err(Failure::Syntax);
    }
    let limit = match args.len() - end - 1 {
        0 => 1,
        2 if args.is(end + 1, "count") => count(args.at(end + 2))
            .ok()
            .filter(|number| *number > 0)
            .ok_or(Failure::Text("ERR count should be greater than 0"))?,
        _ => return Err(Failure::Syntax),
    };
    Ok((args.from(at + 1).first(number), args.at(end), limit))
}

fn list_pops(context: &mut Context<'_, '_>, at: usize, timeout: Option<&[u8]>) -> Done {
    let (keys, end, count) = many(context.args, at)?;
    let wait = Wait::PopMany { front: side(end)?, count };
    serve_or_wait(context, keys, wait, timeout)
}

fn scored_pops(context: &mut Context<'_, '_>, at: usize, timeout: Option<&[u8]>) -> Done {
    let (keys, end, count) = many(context.args, at)?;
    let highest = match end.to_ascii_lowercase().as_slice() {
        b"min" => false,
        b"max" => true,
        _ => return Err(Failure::Syntax),
    };
    serve_or_wait(context, keys, Wait::PopScoredMany { highest, count }, timeout)
}

pub(crate) fn lmpop(context: &mut Context<'_, '_>) -> Done {
    list_pops(context, 1, None)
}

pub(crate) fn blmpop(context: &mut Context<'_, '_>) -> Done {
    let timeout = context.args.at(1);
    list_pops(context, 2, Some(timeout))
}

pub(crate) fn zmpop(context: &mut Context<'_, '_>) -> Done {
    scored_pops(context, 1, None)
}

pub(crate) fn bzmpop(context: &mut Context<'_, '_>) -> Done {
    let timeout = context.args.at(1);
    scored_pops(context, 2, Some(timeout))
}
