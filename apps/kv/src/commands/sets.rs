//! Sets.
use super::{Context, Done, count, integer, wrong_arity};
use crate::bytes::Bytes;
use crate::failure::Failure;
use crate::hash::Rng;
use crate::resp::Args;
use crate::store::Store;
use crate::value::{Kind, Set};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

pub(crate) fn sadd(context: &mut Context<'_, '_>) -> Done {
    let mut set = context.store.edit_or_create::<Set>(context.args.at(1))?;
    let mut added = 0;
    for member in context.args.from(2).iter() {
        added += usize::from(set.add(member)?);
    }
    drop(set);
    context.store.dirty += added as u64;
    context.out.len(added);
    Ok(())
}

pub(crate) fn srem(context: &mut Context<'_, '_>) -> Done {
    let mut removed = 0;
    if let Some(mut set) = context.store.edit::<Set>(context.args.at(1))? {
        removed = context.args.from(2).iter().filter(|member| set.table.remove(member).is_some()).count();
    }
    if removed > 0 {
        context.store.reap(context.args.at(1));
        context.store.dirty += 1;
    }
    context.out.len(removed);
    Ok(())
}

pub(crate) fn sismember(context: &mut Context<'_, '_>) -> Done {
    let set = context.store.read::<Set>(context.args.at(1))?;
    context.out.truth(set.is_some_and(|set| set.table.contains(context.args.at(2))));
    Ok(())
}

pub(crate) fn smismember(context: &mut Context<'_, '_>) -> Done {
    let set = context.store.read::<Set>(context.args.at(1))?;
    context.out.array(context.args.len() - 2);
    for member in context.args.from(2).iter() {
        context.out.truth(set.is_some_and(|set| set.table.contains(member)));
    }
    Ok(())
}

pub(crate) fn scard(context: &mut Context<'_, '_>) -> Done {
    let len = context.store.read::<Set>(context.args.at(1))?.map_or(0, |set| set.table.len());
    context.out.len(len);
    Ok(())
}

pub(crate) fn smembers(context: &mut Context<'_, '_>) -> Done {
    let set = context.store.read::<Set>(context.args.at(1))?;
    context.out.set(set.map_or(0, |set| set.table.len()));
    for entry in set.iter().flat_map(|set| set.table.iter()) {
        context.out.bulk(&entry.key);
    }
    Ok(())
}

pub(crate) fn smove(context: &mut Context<'_, '_>) -> Done {
    let (source, target, member) = (context.args.at(1), context.args.at(2), context.args.at(3));
    context.store.read::<Set>(target)?;
    let there = context.store.read::<Set>(source)?.is_some_and(|set| set.table.contains(member));
    if there && source != target {
        context.store.edit_or_create::<Set>(target)?.add(member)?;
        if let Some(mut set) = context.store.edit::<Set>(source)? {
            set.table.remove(member);
        }
        context.store.reap(source);
        context.store.dirty += 1;
    }
    context.out.truth(there);
    Ok(())
}

pub(crate) fn spop(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    if args.len() > 3 {
        return Err(Failure::Syntax);
    }
    let many = if args.len() == 3 { Some(count(args.at(2))?) } else { None };
    let len = context.store.read::<Set>(args.at(1))?.map_or(0, |set| set.table.len());
    let number = many.unwrap_or(1).min(len);
    match many {
        Some(_) => context.out.set(number),
        None if len == 0 => context.out.null(),
        None => {}
    }
    for left in (len - number + 1..=len).rev() {
        let at = context.store.random.below(left);
        if let Some(mut set) = context.store.edit::<Set>(args.at(1))? {
            let (entry, _) = set.table.remove_at(at);
            context.out.bulk(&entry.key);
        }
    }
    if number > 0 {
        context.store.reap(args.at(1));
        context.store.dirty += 1;
    }
    Ok(())
}

/// Which of `len` elements to return for a count: different ones, or (if it is negative) any, as many as asked.
pub(crate) fn picks(random: &mut Rng, len: usize, many: i64) -> Result<Vec<usize>, Failure> {
    let mut picks = Vec::new();
    if len == 0 || many == 0 {
        return Ok(picks);
    }
    let number = usize::try_from(many.unsigned_abs()).map_err(|_| Failure::OutOfMemory)?;
    if many < 0 {
        picks.try_reserve_exact(number)?;
        picks.extend((0..number).map(|_| random.below(len)));
        return Ok(picks);
    }
    let number = number.min(len);
    picks.try_reserve_exact(number)?;
    if number * 3 > len {
        // The first part of a shuffle.
        let mut all = Vec::new();
        all.try_reserve_exact(len)?;
        all.extend(0..len);
        for at in 0..number {
            all.swap(at, at + random.below(len - at));
        }
        picks.extend_from_slice(&all[..number]);
    } else {
        let mut taken = BTreeSet::new();
        while picks.len() < number {
            let at = random.below(len);
            if taken.insert(at) {
                picks.push(at);
            }
        }
    }
    Ok(picks)
}

pub(crate) fn srandmember(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    if args.len() > 3 {
        return Err(Failure::Syntax);
    }
    let many = if args.len() == 3 { Some(integer(args.at(2))?) } else { None };
    if many.is_some_and(|many| many < -(i64::MAX / 2)) {
        return Err(Failure::Text("ERR value is out of range"));
    }
    let len = context.store.read::<Set>(args.at(1))?.map_or(0, |set| set.table.len());
    let picks = picks(&mut context.store.random, len, many.unwrap_or(1))?;
    let set = context.store.peek::<Set>(args.at(1))?;
    match many {
        Some(_) => context.out.array(picks.len()),
        None if len == 0 => context.out.null(),
        None => {}
    }
    for (set, at) in picks.iter().filter_map(|at| set.map(|set| (set, *at))) {
        context.out.bulk(&set.table.entry(at).key);
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Intersection,
    Union,
    Difference,
}

/// The members of the intersection, union or difference of these sets; at most `limit` of them (intersection only).
fn combine(store: &mut Store, keys: Args<'_>, operation: Operation, limit: usize) -> Result<Set, Failure> {
    for key in keys.iter() {
        store.read::<Set>(key)?;
    }
    let mut result = Set::fresh(store.seed);
    let sets: Vec<Option<&Set>> = keys.iter().map(|key| store.peek::<Set>(key)).collect::<Result<_, _>>()?;
    match operation {
        Operation::Union => {
            for entry in sets.iter().flatten().flat_map(|set| set.table.iter()) {
                result.add(&entry.key)?;
            }
        }
        Operation::Difference => {
            let others = &sets[1..];
            for entry in sets[0].iter().flat_map(|set| set.table.iter()) {
                if !others.iter().flatten().any(|set| set.table.contains(&entry.key)) {
                    result.add(&entry.key)?;
                }
            }
        }
        Operation::Intersection => {
            let smallest =
                sets.iter().min_by_key(|set| set.map_or(0, |set| set.table.len())).copied().flatten();
            for entry in smallest.iter().flat_map(|set| set.table.iter()) {
                if result.table.len() >= limit {
                    break;
                }
                if sets.iter().all(|set| set.is_some_and(|set| set.table.contains(&entry.key))) {
                    result.add(&entry.key)?;
                }
            }
        }
    }
    Ok(result)
}

fn reply_combined(context: &mut Context<'_, '_>, operation: Operation) -> Done {
    let result = combine(context.store, context.args.from(1), operation, usize::MAX)?;
    context.out.set(result.table.len());
    for entry in result.table.iter() {
        context.out.bulk(&entry.key);
    }
    Ok(())
}

fn store_combined(context: &mut Context<'_, '_>, operation: Operation) -> Done {
    let result = combine(context.store, context.args.from(2), operation, usize::MAX)?;
    let len = result.table.len();
    if len > 0 {
        context.store.find(context.args.at(1));
        context.store.put(context.args.at(1), result.wrap())?;
        context.store.dirty += 1;
    } else if context.store.remove(context.args.at(1)) {
        context.store.dirty += 1;
    }
    context.out.len(len);
    Ok(())
}

pub(crate) fn sinter(context: &mut Context<'_, '_>) -> Done {
    reply_combined(context, Operation::Intersection)
}

pub(crate) fn sunion(context: &mut Context<'_, '_>) -> Done {
    reply_combined(context, Operation::Union)
}

pub(crate) fn sdiff(context: &mut Context<'_, '_>) -> Done {
    reply_combined(context, Operation::Difference)
}

pub(crate) fn sinterstore(context: &mut Context<'_, '_>) -> Done {
    store_combined(context, Operation::Intersection)
}

pub(crate) fn sunionstore(context: &mut Context<'_, '_>) -> Done {
    store_combined(context, Operation::Union)
}

pub(crate) fn sdiffstore(context: &mut Context<'_, '_>) -> Done {
    store_combined(context, Operation::Difference)
}

/// The keys after a count of them at `at`, and where the arguments go on.
pub(crate) fn numbered_keys(args: Args<'_>, at: usize) -> Result<(Args<'_>, usize), Failure> {
    let number = count(args.at(at)).ok().filter(|number| *number > 0);
    let number = number.ok_or(Failure::Text("ERR numkeys should be greater than 0"))?;
    if number > args.len() - at - 1 {
        return Err(Failure::Text("ERR Number of keys can't be greater than number of args"));
    }
    Ok((args.from(at + 1).first(number), at + 1 + number))
}

pub(crate) fn sintercard(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    let (keys, mut at) = numbered_keys(args, 1)?;
    let mut limit = usize::MAX;
    while at < args.len() {
        if !args.is(at, "limit") || at + 1 >= args.len() {
            return Err(Failure::Syntax);
        }
        limit = count(args.at(at + 1)).map_err(|_| Failure::Text("ERR LIMIT can't be negative"))?;
        limit = if limit == 0 { usize::MAX } else { limit };
        at += 2;
    }
    let result = combine(context.store, keys, Operation::Intersection, limit)?;
    context.out.len(result.table.len());
    Ok(())
}

/// A copy of all members, for SORT.
pub(crate) fn members(set: &Set) -> Result<Vec<Bytes>, Failure> {
    set.table.iter().map(|entry| Bytes::new(&entry.key)).collect()
}

/// The wrong number of arguments of a subcommand.
pub(crate) fn sub_arity(command: &str, sub: &str) -> Failure {
    wrong_arity(&alloc::format!("{command}|{sub}"))
}
