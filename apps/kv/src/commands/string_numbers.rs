//! Counters: INCR and its relatives.
use super::{Context, Done, float, integer};
use crate::bytes::Bytes;
use crate::failure::Failure;
use crate::number::{add_decimal, parse_f64, parse_i64, write_i64};

fn add(context: &mut Context<'_, '_>, amount: i64) -> Done {
    let key = context.args.at(1);
    let changed = match context.store.edit::<Bytes>(key)? {
        Some(mut value) => {
            let old = parse_i64(&value).ok_or(Failure::NotInteger)?;
            let new = old.checked_add(amount).ok_or(Failure::Overflow)?;
            value.assign(spell(new, &mut [0; 20]))?;
            Some(new)
        }
        None => None,
    };
    if changed.is_none() {
        context.store.edit_or_create::<Bytes>(key)?.assign(spell(amount, &mut [0; 20]))?;
    }
    context.store.dirty += 1;
    context.out.int(changed.unwrap_or(amount));
    Ok(())
}

/// The digits of a number, without an allocation.
fn spell(value: i64, text: &mut [u8; 20]) -> &[u8] {
    let mut at = text.len();
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        text[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        at -= 1;
        text[at] = b'-';
    }
    &text[at..]
}

pub(crate) fn incr(context: &mut Context<'_, '_>) -> Done {
    add(context, 1)
}

pub(crate) fn decr(context: &mut Context<'_, '_>) -> Done {
    add(context, -1)
}

pub(crate) fn incrby(context: &mut Context<'_, '_>) -> Done {
    let amount = integer(context.args.at(2))?;
    add(context, amount)
}

pub(crate) fn decrby(context: &mut Context<'_, '_>) -> Done {
    let amount = integer(context.args.at(2))?;
    let amount = amount.checked_neg().ok_or(Failure::Text("ERR decrement would overflow"))?;
    add(context, amount)
}

pub(crate) fn incrbyfloat(context: &mut Context<'_, '_>) -> Done {
    let (key, amount) = (context.args.at(1), context.args.at(2));
    let old = context.store.read::<Bytes>(key)?.map(|value| value.to_vec());
    if old.as_deref().is_some_and(|old| parse_f64(old).is_none()) {
        return Err(Failure::NotFloat);
    }
    float(amount)?;
    let sum = add_decimal(old.as_deref().unwrap_or(b"0"), amount)
        .ok_or(Failure::Text("ERR increment would produce NaN or Infinity"))?;
    context.store.edit_or_create::<Bytes>(key)?.assign(sum.as_bytes())?;
    context.store.dirty += 1;
    context.out.bulk(sum.as_bytes());
    Ok(())
}

pub(crate) fn echo(context: &mut Context<'_, '_>) -> Done {
    context.out.bulk(context.args.at(1));
    Ok(())
}

pub(crate) fn ping(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    if args.len() > 2 {
        return Err(super::wrong_arity("ping"));
    }
    if context.client.subscriptions() > 0 && !context.out.resp3 {
        context.out.array(2);
        context.out.bulk(b"pong");
        context.out.bulk(args.at(1));
    } else if args.len() == 2 {
        context.out.bulk(args.at(1));
    } else {
        context.out.raw(b"+PONG\r\n");
    }
    Ok(())
}

/// TIME: seconds and microseconds since 1970.
pub(crate) fn time(context: &mut Context<'_, '_>) -> Done {
    let now = context.store.now;
    context.out.array(2);
    for part in [now / 1000, now % 1000 * 1000] {
        let mut text = alloc::vec::Vec::new();
        write_i64(&mut text, part as i64);
        context.out.bulk(&text);
    }
    Ok(())
}
