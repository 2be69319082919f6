//! Hashes.
use super::{Context, Done, float, integer, wrong_arity};
use crate::bytes::Bytes;
use crate::failure::Failure;
use crate::number::{add_decimal, digits, parse_f64, parse_i64};
use crate::value::Hash;

fn set_fields(context: &mut Context<'_, '_>, name: &str) -> Result<usize, Failure> {
    let args = context.args;
    if args.len() % 2 == 1 {
        return Err(wrong_arity(name));
    }
    let mut hash = context.store.edit_or_create::<Hash>(args.at(1))?;
    let mut added = 0;
    for at in (2..args.len()).step_by(2) {
        added += usize::from(hash.set(args.at(at), Bytes::new(args.at(at + 1))?)?);
    }
    drop(hash);
    context.store.dirty += 1;
    Ok(added)
}

pub(crate) fn hset(context: &mut Context<'_, '_>) -> Done {
    let added = set_fields(context, "hset")?;
    context.out.len(added);
    Ok(())
}

pub(crate) fn hmset(context: &mut Context<'_, '_>) -> Done {
    set_fields(context, "hmset")?;
    context.out.ok();
    Ok(())
}

pub(crate) fn hsetnx(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    let there = context.store.read::<Hash>(args.at(1))?.is_some_and(|hash| hash.table.contains(args.at(2)));
    if !there {
        context.store.edit_or_create::<Hash>(args.at(1))?.set(args.at(2), Bytes::new(args.at(3))?)?;
        context.store.dirty += 1;
    }
    context.out.truth(!there);
    Ok(())
}

pub(crate) fn hget(context: &mut Context<'_, '_>) -> Done {
    let hash = context.store.read::<Hash>(context.args.at(1))?;
    let value = hash.and_then(|hash| hash.table.value(context.args.at(2)));
    context.out.optional(value.map(|value| &**value));
    Ok(())
}

pub(crate) fn hmget(context: &mut Context<'_, '_>) -> Done {
    let hash = context.store.read::<Hash>(context.args.at(1))?;
    context.out.array(context.args.len() - 2);
    for field in context.args.from(2).iter() {
        let value = hash.and_then(|hash| hash.table.value(field));
        context.out.optional(value.map(|value| &**value));
    }
    Ok(())
}

pub(crate) fn hgetall(context: &mut Context<'_, '_>) -> Done {
    let hash = context.store.read::<Hash>(context.args.at(1))?;
    context.out.map(hash.map_or(0, |hash| hash.table.len()));
    for entry in hash.iter().flat_map(|hash| hash.table.iter()) {
        context.out.bulk(&entry.key);
        context.out.bulk(&entry.value);
    }
    Ok(())
}

pub(crate) fn hkeys(context: &mut Context<'_, '_>) -> Done {
    let hash = context.store.read::<Hash>(context.args.at(1))?;
    context.out.array(hash.map_or(0, |hash| hash.table.len()));
    for entry in hash.iter().flat_map(|hash| hash.table.iter()) {
        context.out.bulk(&entry.key);
    }
    Ok(())
}

pub(crate) fn hvals(context: &mut Context<'_, '_>) -> Done {
    let hash = context.store.read::<Hash>(context.args.at(1))?;
    context.out.array(hash.map_or(0, |hash| hash.table.len()));
    for entry in hash.iter().flat_map(|hash| hash.table.iter()) {
        context.out.bulk(&entry.value);
    }
    Ok(())
}

pub(crate) fn hlen(context: &mut Context<'_, '_>) -> Done {
    let len = context.store.read::<Hash>(context.args.at(1))?.map_or(0, |hash| hash.table.len());
    context.out.len(len);
    Ok(())
}

pub(crate) fn hexists(context: &mut Context<'_, '_>) -> Done {
    let hash = context.store.read::<Hash>(context.args.at(1))?;
    context.out.truth(hash.is_some_and(|hash| hash.table.contains(context.args.at(2))));
    Ok(())
}

pub(crate) fn hstrlen(context: &mut Context<'_, '_>) -> Done {
    let hash = context.store.read::<Hash>(context.args.at(1))?;
    let value = hash.and_then(|hash| hash.table.value(context.args.at(2)));
    context.out.len(value.map_or(0, |value| value.len()));
    Ok(())
}

pub(crate) fn hdel(context: &mut Context<'_, '_>) -> Done {
    let mut removed = 0;
    if let Some(mut hash) = context.store.edit::<Hash>(context.args.at(1))? {
        removed = context.args.from(2).iter().filter(|field| hash.remove(field)).count();
    }
    if removed > 0 {
        context.store.reap(context.args.at(1));
        context.store.dirty += removed as u64;
    }
    context.out.len(removed);
    Ok(())
}

pub(crate) fn hincrby(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    let amount = integer(args.at(3))?;
    let mut hash = context.store.edit_or_create::<Hash>(args.at(1))?;
    let old = match hash.table.value(args.at(2)) {
        Some(value) => parse_i64(value).ok_or(Failure::Text("ERR hash value is not an integer"))?,
        None => 0,
    };
    let new = old.checked_add(amount).ok_or(Failure::Overflow)?;
    hash.set(args.at(2), Bytes::new(&digits(new))?)?;
    drop(hash);
    context.store.dirty += 1;
    context.out.int(new);
    Ok(())
}

pub(crate) fn hincrbyfloat(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    float(args.at(3))?;
    let mut hash = context.store.edit_or_create::<Hash>(args.at(1))?;
    let old = hash.table.value(args.at(2)).map_or(&b"0"[..], |value| value);
    if parse_f64(old).is_none() {
        return Err(Failure::Text("ERR hash value is not a float"));
    }
    let sum =
        add_decimal(old, args.at(3)).ok_or(Failure::Text("ERR increment would produce NaN or Infinity"))?;
    hash.set(args.at(2), Bytes::new(sum.as_bytes())?)?;
    drop(hash);
    context.store.dirty += 1;
    context.out.bulk(sum.as_bytes());
    Ok(())
}

pub(crate) fn hrandfield(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    let many = if args.len() > 2 { Some(integer(args.at(2))?) } else { None };
    let with_values = match args.len() {
        2 | 3 => false,
        4 if args.is(3, "withvalues") => true,
        _ => return Err(Failure::Syntax),
    };
    if many.is_some_and(|many| with_values && many < -(i64::MAX / 2)) {
        return Err(Failure::Text("ERR value is out of range"));
    }
    let len = context.store.read::<Hash>(args.at(1))?.map_or(0, |hash| hash.table.len());
    let Some(many) = many else {
        if len == 0 {
            context.out.null();
            return Ok(());
        }
        let at = context.store.random.below(len);
        if let Some(hash) = context.store.peek::<Hash>(args.at(1))? {
            context.out.bulk(&hash.table.entry(at).key);
        }
        return Ok(());
    };
    let picks = super::sets::picks(&mut context.store.random, len, many)?;
    let Some(hash) = context.store.peek::<Hash>(args.at(1))? else {
        context.out.array(0);
        return Ok(());
    };
    let nested = with_values && context.out.resp3;
    context.out.array(if with_values && !nested { picks.len() * 2 } else { picks.len() });
    for at in picks {
        if nested {
            context.out.array(2);
        }
        let entry = hash.table.entry(at);
        context.out.bulk(&entry.key);
        if with_values {
            context.out.bulk(&entry.value);
        }
    }
    Ok(())
}
