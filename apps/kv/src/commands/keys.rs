//! Commands on keys whatever they hold.
use super::{Context, Done, integer, unknown_subcommand};
use crate::db::entry_bytes;
use crate::failure::Failure;
use crate::glob;
use crate::number::parse_i64;
use crate::store::{DATABASES, Store};

pub(crate) fn del(context: &mut Context<'_, '_>) -> Done {
    let removed = context.args.from(1).iter().filter(|key| context.store.remove(key)).count();
    context.store.dirty += removed as u64;
    context.out.len(removed);
    Ok(())
}

pub(crate) fn exists(context: &mut Context<'_, '_>) -> Done {
    let found = context.args.from(1).iter().filter(|key| context.store.find(key).is_some()).count();
    context.out.len(found);
    Ok(())
}

pub(crate) fn type_of(context: &mut Context<'_, '_>) -> Done {
    let index = context.store.find(context.args.at(1));
    let name = index.map_or("none", |index| context.store.db().table.entry(index).value.value.type_name());
    context.out.simple(name);
    Ok(())
}

/// Gives a value and its expiry to another key, in place of what that had.
fn install(store: &mut Store, number: usize, key: &[u8], slot: (crate::value::Value, Option<u64>)) -> Done {
    let before = core::mem::replace(&mut store.current, number);
    let installed = store.put(key, slot.0);
    if let (Ok(index), Some(when)) = (&installed, slot.1) {
        store.db().set_expire(*index, when);
    }
    store.current = before;
    store.settle(number);
    installed.map(|_| ())
}

fn rename_to(context: &mut Context<'_, '_>, only_new: bool) -> Result<bool, Failure> {
    let (from, to) = (context.args.at(1), context.args.at(2));
    let index = context.store.find(from).ok_or(Failure::NoSuchKey)?;
    if from == to {
        return Ok(!only_new);
    }
    if context.store.find(to).is_some() {
        if only_new {
            return Ok(false);
        }
        context.store.remove(to);
    }
    let index = context.store.db().table.find(from).unwrap_or(index);
    let entry = context.store.db().remove_at(index);
    let expire = entry.value.expire();
    let number = context.store.current;
    install(context.store, number, to, (entry.value.value, expire))?;
    context.store.dirty += 1;
    Ok(true)
}

pub(crate) fn rename(context: &mut Context<'_, '_>) -> Done {
    rename_to(context, false)?;
    context.out.ok();
    Ok(())
}

pub(crate) fn renamenx(context: &mut Context<'_, '_>) -> Done {
    let renamed = rename_to(context, true)?;
    context.out.truth(renamed);
    Ok(())
}

fn database(bytes: &[u8], failure: Failure) -> Result<usize, Failure> {
    parse_i64(bytes).and_then(|n| usize::try_from(n).ok()).filter(|n| *n < DATABASES).ok_or(failure)
}

pub(crate) fn copy(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    let (mut target, mut replace, mut at) = (context.store.current, false, 3);
    while at < args.len() {
        if args.is(at, "replace") {
            replace = true;
        } else if args.is(at, "db") && at + 1 < args.len() {
            integer(args.at(at + 1))?;
            target = database(args.at(at + 1), Failure::Text("ERR DB index is out of range"))?;
            at += 1;
        } else {
            return Err(Failure::Syntax);
        }
        at += 1;
    }
    if args.at(1) == args.at(2) && target == context.store.current {
        return Err(Failure::Text("ERR source and destination objects are the same"));
    }
    let Some(index) = context.store.find(args.at(1)) else {
        context.out.truth(false);
        return Ok(());
    };
    let seed = context.store.seed;
    let slot = &context.store.db().table.entry(index).value;
    let (value, expire) = (slot.value.duplicate(seed)?, slot.expire());
    let current = core::mem::replace(&mut context.store.current, target);
    let taken = context.store.find(args.at(2)).is_some();
    context.store.current = current;
    if taken && !replace {
        context.out.truth(false);
        return Ok(());
    }
    install(context.store, target, args.at(2), (value, expire))?;
    context.store.dirty += 1;
    context.store.changed(target, args.at(2));
    context.out.truth(true);
    Ok(())
}

pub(crate) fn move_key(context: &mut Context<'_, '_>) -> Done {
    let (key, current) = (context.args.at(1), context.store.current);
    integer(context.args.at(2))?;
    let target = database(context.args.at(2), Failure::Text("ERR DB index is out of range"))?;
    if target == current {
        return Err(Failure::Text("ERR source and destination objects are the same"));
    }
    context.store.current = target;
    let taken = context.store.find(key).is_some();
    context.store.current = current;
    let moved = match context.store.find(key) {
        Some(index) if !taken => {
            let entry = context.store.db().remove_at(index);
            let expire = entry.value.expire();
            install(context.store, target, key, (entry.value.value, expire))?;
            context.store.dirty += 1;
            context.store.changed(target, key);
            true
        }
        _ => false,
    };
    context.out.truth(moved);
    Ok(())
}

pub(crate) fn swapdb(context: &mut Context<'_, '_>) -> Done {
    let invalid = |what| Failure::Message(alloc::format!("ERR invalid {what} DB index"));
    parse_i64(context.args.at(1)).ok_or_else(|| invalid("first"))?;
    parse_i64(context.args.at(2)).ok_or_else(|| invalid("second"))?;
    let out_of_range = Failure::Text("ERR DB index is out of range");
    let (a, b) =
        (database(context.args.at(1), out_of_range.clone())?, database(context.args.at(2), out_of_range)?);
    context.store.dbs.swap(a, b);
    context.store.dirty += 1;
    let places: alloc::vec::Vec<_> = {
        let keys = context.store.watchers.keys().chain(context.store.waiters.keys());
        keys.filter(|(number, _)| *number == a || *number == b).cloned().collect()
    };
    places.iter().for_each(|(number, key)| context.store.changed(*number, key));
    context.out.ok();
    Ok(())
}

pub(crate) fn touch(context: &mut Context<'_, '_>) -> Done {
    let found = context.args.from(1).iter();
    let found =
        found.filter(|key| !matches!(context.store.read::<crate::bytes::Bytes>(key), Ok(None))).count();
    context.out.len(found);
    Ok(())
}

pub(crate) fn randomkey(context: &mut Context<'_, '_>) -> Done {
    loop {
        let len = context.store.db().table.len();
        if len == 0 {
            context.out.null();
            return Ok(());
        }
        let at = context.store.random.below(len);
        let key = context.store.db().table.entry(at).key.to_vec();
        if context.store.find(&key).is_some() {
            context.out.bulk(&key);
            return Ok(());
        }
    }
}

pub(crate) fn keys(context: &mut Context<'_, '_>) -> Done {
    let (pattern, now) = (context.args.at(1), context.store.now);
    let table = &context.store.dbs[context.store.current].table;
    let chosen = || {
        table.iter().filter(|entry| {
            entry.value.expire().is_none_or(|when| when > now)
                && (pattern == b"*" || glob::matches(pattern, &entry.key))
        })
    };
    context.out.array(chosen().count());
    chosen().for_each(|entry| context.out.bulk(&entry.key));
    Ok(())
}

pub(crate) fn dbsize(context: &mut Context<'_, '_>) -> Done {
    let len = context.store.db().table.len();
    context.out.len(len);
    Ok(())
}

fn flush_option(context: &Context<'_, '_>) -> Done {
    match context.args.len() {
        1 => Ok(()),
        2 if context.args.is(1, "async") || context.args.is(1, "sync") => Ok(()),
        _ => Err(Failure::Syntax),
    }
}

pub(crate) fn flushdb(context: &mut Context<'_, '_>) -> Done {
    flush_option(context)?;
    context.store.flush(context.store.current);
    context.out.ok();
    Ok(())
}

pub(crate) fn flushall(context: &mut Context<'_, '_>) -> Done {
    flush_option(context)?;
    (0..DATABASES).for_each(|number| context.store.flush(number));
    context.out.ok();
    Ok(())
}

pub(crate) fn object(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    let sub = args.at(1).to_ascii_lowercase();
    if sub == b"help" {
        return super::server::help(
            context,
            &["ENCODING <key>", "FREQ <key>", "IDLETIME <key>", "REFCOUNT <key>"],
        );
    }
    if !matches!(sub.as_slice(), b"encoding" | b"freq" | b"idletime" | b"refcount") {
        return Err(unknown_subcommand(args));
    }
    if args.len() != 3 {
        return Err(super::sets::sub_arity("object", &alloc::string::String::from_utf8_lossy(&sub)));
    }
    let Some(index) = context.store.find(args.at(2)) else {
        context.out.null();
        return Ok(());
    };
    let second = (context.store.now / 1000) as u32;
    let slot = &context.store.db().table.entry(index).value;
    match sub.as_slice() {
        b"encoding" => context.out.bulk(slot.value.encoding().as_bytes()),
        b"idletime" => context.out.int(i64::from(second.saturating_sub(slot.access()))),
        b"refcount" => context.out.int(1),
        _ => {
            return Err(Failure::Text(
                "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.",
            ));
        }
    }
    Ok(())
}

pub(crate) fn memory(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    match args.at(1).to_ascii_lowercase().as_slice() {
        b"usage" if args.len() == 3 || (args.len() == 5 && args.is(3, "samples")) => {
            let Some(index) = context.store.find(args.at(2)) else {
                context.out.null();
                return Ok(());
            };
            let bytes = entry_bytes(context.store.db().table.entry(index));
            context.out.len(bytes);
            Ok(())
        }
        b"usage" if args.len() == 2 => Err(super::sets::sub_arity("memory", "usage")),
        b"usage" => Err(Failure::Syntax),
        b"doctor" => {
            context.out.verbatim(b"Sam, I can't find any memory issue in your instance.");
            Ok(())
        }
        b"purge" => {
            context.out.ok();
            Ok(())
        }
        b"help" => super::server::help(context, &["DOCTOR", "PURGE", "USAGE <key> [SAMPLES <count>]"]),
        _ => Err(unknown_subcommand(args)),
    }
}

/// DEBUG: what tests of clients use of it.
pub(crate) fn debug(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    if args.is(1, "object") && args.len() == 3 {
        let index = context.store.find(args.at(2)).ok_or(Failure::NoSuchKey)?;
        let entry = context.store.db().table.entry(index);
        let (encoding, bytes) = (entry.value.value.encoding(), entry_bytes(entry));
        let text = alloc::format!(
            "Value at:0x0 refcount:1 encoding:{encoding} serializedlength:{bytes} lru:0 lru_seconds_idle:0"
        );
        context.out.simple(&text);
        return Ok(());
    }
    if args.is(1, "set-active-expire") || args.is(1, "change-repl-id") {
        context.out.ok();
        return Ok(());
    }
    Err(unknown_subcommand(args))
}
