//! Sorted sets, but for ranges and combinations.
use super::{Context, Done, float, integer};
use crate::failure::Failure;
use crate::value::Sorted;

/// Options of ZADD.
#[derive(Clone, Copy, Default)]
struct Options {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
    changed: bool,
    increment: bool,
}

enum Added {
    New,
    Changed,
    Same,
    Refused,
}

/// Adds one member or changes its score as the options say. Returns what became of it and its score.
fn add(sorted: &mut Sorted, member: &[u8], score: f64, options: Options) -> Result<(Added, f64), Failure> {
    let Some(old) = sorted.score(member) else {
        if options.xx {
            return Ok((Added::Refused, 0.0));
        }
        sorted.set(member, score)?;
        return Ok((Added::New, score));
    };
    if options.nx {
        return Ok((Added::Refused, old));
    }
    let new = if options.increment { old + score } else { score };
    if new.is_nan() {
        return Err(Failure::Text("ERR resulting score is not a number (NaN)"));
    }
    if (options.lt && new >= old) || (options.gt && new <= old) {
        return Ok((Added::Refused, old));
    }
    if new == old {
        return Ok((Added::Same, old));
    }
    sorted.set(member, new)?;
    Ok((Added::Changed, new))
}

pub(crate) fn zadd(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    let mut options = Options::default();
    let mut at = 2;
    while at < args.len() {
        match args.at(at).to_ascii_lowercase().as_slice() {
            b"nx" => options.nx = true,
            b"xx" => options.xx = true,
            b"gt" => options.gt = true,
            b"lt" => options.lt = true,
            b"ch" => options.changed = true,
            b"incr" => options.increment = true,
            _ => break,
        }
        at += 1;
    }
    let pairs = args.from(at);
    if pairs.len() == 0 || pairs.len() % 2 == 1 {
        return Err(Failure::Syntax);
    }
    if options.nx && options.xx {
        return Err(Failure::Text("ERR XX and NX options at the same time are not compatible"));
    }
    if [options.nx, options.gt, options.lt].iter().filter(|set| **set).count() > 1 {
        return Err(Failure::Text("ERR GT, LT, and/or NX options at the same time are not compatible"));
    }
    if options.increment && pairs.len() > 2 {
        return Err(Failure::Text("ERR INCR option supports a single increment-element pair"));
    }
    // All scores are checked before any is used.
    for at in (0..pairs.len()).step_by(2) {
        float(pairs.at(at))?;
    }
    let mut sorted = context.store.edit_or_create::<Sorted>(args.at(1))?;
    let (mut added, mut changed, mut last) = (0, 0, None);
    for at in (0..pairs.len()).step_by(2) {
        let (outcome, score) = add(&mut sorted, pairs.at(at + 1), float(pairs.at(at))?, options)?;
        last = Some(score);
        match outcome {
            Added::New => added += 1,
            Added::Changed => changed += 1,
            Added::Same => {}
            Added::Refused => last = None,
        }
    }
    let empty = sorted.table.is_empty();
    drop(sorted);
    if empty {
        context.store.reap(args.at(1));
    }
    context.store.dirty += added + changed;
    match last {
        Some(score) if options.increment => context.out.double(score),
        None if options.increment => context.out.null(),
        _ if options.changed => context.out.int((added + changed) as i64),
        _ => context.out.int(added as i64),
    }
    Ok(())
}

pub(crate) fn zincrby(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    let amount = float(args.at(2))?;
    let options = Options { increment: true, ..Options::default() };
    let mut sorted = context.store.edit_or_create::<Sorted>(args.at(1))?;
    let (_, score) = add(&mut sorted, args.at(3), amount, options)?;
    drop(sorted);
    context.store.dirty += 1;
    context.out.double(score);
    Ok(())
}

pub(crate) fn zrem(context: &mut Context<'_, '_>) -> Done {
    let mut removed = 0;
    if let Some(mut sorted) = context.store.edit::<Sorted>(context.args.at(1))? {
        removed = context.args.from(2).iter().filter(|member| sorted.remove(member).is_some()).count();
    }
    if removed > 0 {
        context.store.reap(context.args.at(1));
        context.store.dirty += 1;
    }
    context.out.len(removed);
    Ok(())
}

pub(crate) fn zcard(context: &mut Context<'_, '_>) -> Done {
    let len = context.store.read::<Sorted>(context.args.at(1))?.map_or(0, |sorted| sorted.table.len());
    context.out.len(len);
    Ok(())
}

pub(crate) fn zscore(context: &mut Context<'_, '_>) -> Done {
    let sorted = context.store.read::<Sorted>(context.args.at(1))?;
    match sorted.and_then(|sorted| sorted.score(context.args.at(2))) {
        Some(score) => context.out.double(score),
        None => context.out.null(),
    }
    Ok(())
}

pub(crate) fn zmscore(context: &mut Context<'_, '_>) -> Done {
    let sorted = context.store.read::<Sorted>(context.args.at(1))?;
    context.out.array(context.args.len() - 2);
    for member in context.args.from(2).iter() {
        match sorted.and_then(|sorted| sorted.score(member)) {
            Some(score) => context.out.double(score),
            None => context.out.null(),
        }
    }
    Ok(())
}

fn rank(context: &mut Context<'_, '_>, reverse: bool) -> Done {
    let args = context.args;
    let sorted = context.store.read::<Sorted>(args.at(1))?;
    let found = sorted.and_then(|sorted| sorted.score(args.at(2)).map(|score| (sorted, score)));
    match found {
        Some((sorted, score)) => {
            let rank = sorted.order.rank(score, args.at(2));
            context.out.len(if reverse { sorted.order.len() - 1 - rank } else { rank });
        }
        None => context.out.null(),
    }
    Ok(())
}

pub(crate) fn zrank(context: &mut Context<'_, '_>) -> Done {
    rank(context, false)
}

pub(crate) fn zrevrank(context: &mut Context<'_, '_>) -> Done {
    rank(context, true)
}

/// Takes the first or last `number` elements out and replies them, flat or in pairs.
pub(crate) fn pop_and_reply(
    store: &mut crate::store::Store,
    out: &mut crate::reply::Reply<'_>,
    key: &[u8],
    (highest, number, nested): (bool, usize, bool),
) -> Done {
    for _ in 0..number {
        let Some(mut sorted) = store.edit::<Sorted>(key)? else { break };
        let rank = if highest { sorted.order.len() - 1 } else { 0 };
        let Some((score, member)) = sorted.order.at(rank) else { break };
        let score = *score;
        if nested {
            out.array(2);
        }
        out.bulk(member);
        let member = crate::bytes::Bytes::new(member)?;
        out.double(score);
        sorted.remove(&member);
    }
    store.reap(key);
    store.dirty += u64::from(number > 0);
    Ok(())
}

fn pop(context: &mut Context<'_, '_>, highest: bool) -> Done {
    let args = context.args;
    if args.len() > 3 {
        return Err(Failure::Syntax);
    }
    let many = if args.len() == 3 { Some(super::count(args.at(2))?) } else { None };
    let len = context.store.read::<Sorted>(args.at(1))?.map_or(0, |sorted| sorted.table.len());
    let number = many.unwrap_or(1).min(len);
    let nested = many.is_some() && context.out.resp3;
    context.out.array(if nested { number } else { number * 2 });
    if number > 0 {
        pop_and_reply(context.store, context.out, args.at(1), (highest, number, nested))?;
    }
    Ok(())
}

pub(crate) fn zpopmin(context: &mut Context<'_, '_>) -> Done {
    pop(context, false)
}

pub(crate) fn zpopmax(context: &mut Context<'_, '_>) -> Done {
    pop(context, true)
}

pub(crate) fn zrandmember(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    let many = if args.len() > 2 { Some(integer(args.at(2))?) } else { None };
    let with_scores = match args.len() {
        2 | 3 => false,
        4 if args.is(3, "withscores") => true,
        _ => return Err(Failure::Syntax),
    };
    if many.is_some_and(|many| many < -(i64::MAX / 2)) {
        return Err(Failure::Text("ERR value is out of range"));
    }
    let len = context.store.read::<Sorted>(args.at(1))?.map_or(0, |sorted| sorted.table.len());
    let picks = super::sets::picks(&mut context.store.random, len, many.unwrap_or(1))?;
    let sorted = context.store.peek::<Sorted>(args.at(1))?;
    let nested = with_scores && context.out.resp3;
    match many {
        Some(_) => context.out.array(if with_scores && !nested { picks.len() * 2 } else { picks.len() }),
        None if len == 0 => context.out.null(),
        None => {}
    }
    for (sorted, at) in picks.iter().filter_map(|at| sorted.map(|sorted| (sorted, *at))) {
        let entry = sorted.table.entry(at);
        if nested {
            context.out.array(2);
        }
        context.out.bulk(&entry.key);
        if with_scores {
            context.out.double(entry.value);
        }
    }
    Ok(())
}
