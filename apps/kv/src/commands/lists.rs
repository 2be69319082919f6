//! Lists.
use super::{Context, Done, count, integer, slice, wrong_arity};
use crate::failure::Failure;
use crate::value::List;

fn push_all(context: &mut Context<'_, '_>, front: bool, create: bool) -> Done {
    let (key, args) = (context.args.at(1), context.args);
    let mut list = if create {
        context.store.edit_or_create::<List>(key)?
    } else {
        match context.store.edit::<List>(key)? {
            Some(list) => list,
            None => {
                context.out.int(0);
                return Ok(());
            }
        }
    };
    for item in args.from(2).iter() {
        list.push(item, front)?;
    }
    let len = list.items.len();
    drop(list);
    context.store.dirty += 1;
    context.out.len(len);
    Ok(())
}

pub(crate) fn lpush(context: &mut Context<'_, '_>) -> Done {
    push_all(context, true, true)
}

pub(crate) fn rpush(context: &mut Context<'_, '_>) -> Done {
    push_all(context, false, true)
}

pub(crate) fn lpushx(context: &mut Context<'_, '_>) -> Done {
    push_all(context, true, false)
}

pub(crate) fn rpushx(context: &mut Context<'_, '_>) -> Done {
    push_all(context, false, false)
}

fn pop(context: &mut Context<'_, '_>, front: bool, name: &str) -> Done {
    let args = context.args;
    if args.len() > 3 {
        return Err(wrong_arity(name));
    }
    let many = if args.len() == 3 { Some(count(args.at(2))?) } else { None };
    let Some(mut list) = context.store.edit::<List>(args.at(1))? else {
        if many.is_some() {
            context.out.null_array()
        } else {
            context.out.null()
        }
        return Ok(());
    };
    let number = many.unwrap_or(1).min(list.items.len());
    if many.is_some() {
        context.out.array(number);
    }
    for _ in 0..number {
        if let Some(item) = list.pop(front) {
            context.out.bulk(&item);
        }
    }
    let empty = list.items.is_empty();
    drop(list);
    if empty {
        context.store.reap(args.at(1));
    }
    context.store.dirty += u64::from(number > 0);
    Ok(())
}

pub(crate) fn lpop(context: &mut Context<'_, '_>) -> Done {
    pop(context, true, "lpop")
}

pub(crate) fn rpop(context: &mut Context<'_, '_>) -> Done {
    pop(context, false, "rpop")
}

pub(crate) fn llen(context: &mut Context<'_, '_>) -> Done {
    let len = context.store.read::<List>(context.args.at(1))?.map_or(0, |list| list.items.len());
    context.out.len(len);
    Ok(())
}

pub(crate) fn lrange(context: &mut Context<'_, '_>) -> Done {
    let (start, stop) = (integer(context.args.at(2))?, integer(context.args.at(3))?);
    let Some(list) = context.store.read::<List>(context.args.at(1))? else {
        context.out.array(0);
        return Ok(());
    };
    let range = slice(start, stop, list.items.len());
    context.out.array(range.len());
    for item in list.items.range(range) {
        context.out.bulk(item);
    }
    Ok(())
}

/// The place an index means, negative ones counted from the end.
fn place(index: i64, len: usize) -> Option<usize> {
    let index = if index < 0 { index.checked_add(len as i64)? } else { index };
    usize::try_from(index).ok().filter(|index| *index < len)
}

pub(crate) fn lindex(context: &mut Context<'_, '_>) -> Done {
    let list = context.store.read::<List>(context.args.at(1))?;
    let Some(list) = list else {
        context.out.null();
        return Ok(());
    };
    let at = place(integer(context.args.at(2))?, list.items.len());
    context.out.optional(at.map(|at| &*list.items[at]));
    Ok(())
}

pub(crate) fn lset(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    let mut list = context.store.edit::<List>(args.at(1))?.ok_or(Failure::NoSuchKey)?;
    let at = place(integer(args.at(2))?, list.items.len()).ok_or(Failure::IndexOutOfRange)?;
    list.replace(at, args.at(3))?;
    drop(list);
    context.store.dirty += 1;
    context.out.ok();
    Ok(())
}

pub(crate) fn linsert(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    let after = if args.is(2, "after") {
        1
    } else if args.is(2, "before") {
        0
    } else {
        return Err(Failure::Syntax);
    };
    let Some(mut list) = context.store.edit::<List>(args.at(1))? else {
        context.out.int(0);
        return Ok(());
    };
    let Some(at) = list.items.iter().position(|item| **item == *args.at(3)) else {
        context.out.int(-1);
        return Ok(());
    };
    list.insert(at + after, args.at(4))?;
    let len = list.items.len();
    drop(list);
    context.store.dirty += 1;
    context.out.len(len);
    Ok(())
}

pub(crate) fn lrem(context: &mut Context<'_, '_>) -> Done {
    let (args, many) = (context.args, integer(context.args.at(2))?);
    let Some(mut list) = context.store.edit::<List>(args.at(1))? else {
        context.out.int(0);
        return Ok(());
    };
    let limit = if many == 0 { usize::MAX } else { many.unsigned_abs() as usize };
    let matches = |(at, item): (usize, &crate::bytes::Bytes)| (**item == *args.at(3)).then_some(at);
    let mut found: alloc::vec::Vec<usize> = if many >= 0 {
        list.items.iter().enumerate().filter_map(matches).take(limit).collect()
    } else {
        let mut last_first: alloc::vec::Vec<usize> =
            list.items.iter().enumerate().rev().filter_map(matches).take(limit).collect();
        last_first.reverse();
        last_first
    };
    let removed = found.len();
    while let Some(at) = found.pop() {
        list.remove(at);
    }
    drop(list);
    if removed > 0 {
        context.store.reap(args.at(1));
        context.store.dirty += 1;
    }
    context.out.len(removed);
    Ok(())
}

pub(crate) fn ltrim(context: &mut Context<'_, '_>) -> Done {
    let (start, stop) = (integer(context.args.at(2))?, integer(context.args.at(3))?);
    if let Some(mut list) = context.store.edit::<List>(context.args.at(1))? {
        let range = slice(start, stop, list.items.len());
        while list.items.len() > range.end {
            list.pop(false);
        }
        for _ in 0..range.start.min(list.items.len()) {
            list.pop(true);
        }
    }
    context.store.reap(context.args.at(1));
    context.store.dirty += 1;
    context.out.ok();
    Ok(())
}

/// What LEFT or RIGHT says: the front?
pub(crate) fn side(word: &[u8]) -> Result<bool, Failure> {
    match word.to_ascii_lowercase().as_slice() {
        b"left" => Ok(true),
        b"right" => Ok(false),
        _ => Err(Failure::Syntax),
    }
}

/// Moves an element from one list to another (or to the other end of the same) and replies it. False without a reply if
/// the source is empty.
pub(crate) fn move_element(
    context_store: &mut crate::store::Store,
    out: &mut crate::reply::Reply<'_>,
    (source, target): (&[u8], &[u8]),
    (from_front, to_front): (bool, bool),
) -> Result<bool, Failure> {
    let store = context_store;
    if store.edit::<List>(source)?.is_none() {
        return Ok(false);
    }
    store.edit::<List>(target)?;
    let item = store.edit::<List>(source)?.and_then(|mut list| list.pop(from_front));
    let Some(item) = item else { return Ok(false) };
    let pushed = store.edit_or_create::<List>(target).and_then(|mut list| list.push(&item, to_front));
    if let Err(failure) = pushed {
        // It goes back where it was: there is room, for it just came from there.
        store.edit_or_create::<List>(source)?.push(&item, from_front)?;
        return Err(failure);
    }
    store.reap(source);
    store.dirty += 1;
    out.bulk(&item);
    Ok(true)
}

pub(crate) fn lmove(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    let ends = (side(args.at(3))?, side(args.at(4))?);
    if !move_element(context.store, context.out, (args.at(1), args.at(2)), ends)? {
        context.out.null();
    }
    Ok(())
}

pub(crate) fn rpoplpush(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    if !move_element(context.store, context.out, (args.at(1), args.at(2)), (false, true))? {
        context.out.null();
    }
    Ok(())
}

pub(crate) fn lpos(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    let (mut rank, mut many, mut maxlen) = (1i64, None, 0);
    for at in (3..args.len()).step_by(2) {
        if at + 1 >= args.len() {
            return Err(Failure::Syntax);
        }
        if args.is(at, "rank") {
            rank = integer(args.at(at + 1))?;
            if rank == 0 {
                return Err(Failure::Text(
                    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list",
                ));
            }
        } else if args.is(at, "count") {
            many = Some(count(args.at(at + 1)).map_err(|_| Failure::Text("ERR COUNT can't be negative"))?);
        } else if args.is(at, "maxlen") {
            maxlen = count(args.at(at + 1)).map_err(|_| Failure::Text("ERR MAXLEN can't be negative"))?;
        } else {
            return Err(Failure::Syntax);
        }
    }
    let mut found = alloc::vec::Vec::new();
    if let Some(list) = context.store.read::<List>(args.at(1))? {
        let looked = if maxlen == 0 { list.items.len() } else { maxlen };
        let wanted = match many {
            None => 1,
            Some(0) => usize::MAX,
            Some(many) => many,
        };
        let skipped = rank.unsigned_abs() as usize - 1;
        let matches = |(at, item): (usize, &crate::bytes::Bytes)| (**item == *args.at(2)).then_some(at);
        let places = list.items.iter().enumerate();
        found = if rank > 0 {
            places.take(looked).filter_map(matches).skip(skipped).take(wanted).collect()
        } else {
            places.rev().take(looked).filter_map(matches).skip(skipped).take(wanted).collect()
        };
    }
    if many.is_some() {
        context.out.array(found.len());
        found.iter().for_each(|at| context.out.len(*at));
    } else if let Some(at) = found.first() {
        context.out.len(*at);
    } else {
        context.out.null();
    }
    Ok(())
}
