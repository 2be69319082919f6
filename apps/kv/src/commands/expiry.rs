//! EXPIRE and its relatives.
use super::{Context, Done, integer};
use crate::db::NEVER;
use crate::failure::Failure;

/// How a moment is given.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds,
    Milliseconds,
    UnixSeconds,
    UnixMilliseconds,
}

/// The unit that an option of SET and GETEX means.
pub(crate) fn unit(word: &[u8]) -> Option<Unit> {
    let words = [
        ("ex", Unit::Seconds),
        ("px", Unit::Milliseconds),
        ("exat", Unit::UnixSeconds),
        ("pxat", Unit::UnixMilliseconds),
    ];
    words.iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes())).map(|(_, unit)| *unit)
}

fn invalid(name: &str) -> Failure {
    Failure::Message(alloc::format!("ERR invalid expire time in '{name}' command"))
}

/// The moment in milliseconds since 1970; it may be past, or before 1970.
fn signed_moment(now: u64, value: &[u8], unit: Unit, name: &str) -> Result<i64, Failure> {
    let mut value = integer(value)?;
    if matches!(unit, Unit::Seconds | Unit::UnixSeconds) {
        value = value.checked_mul(1000).ok_or_else(|| invalid(name))?;
    }
    if matches!(unit, Unit::Seconds | Unit::Milliseconds) {
        value = value.checked_add(now as i64).ok_or_else(|| invalid(name))?;
    }
    Ok(value)
}

/// The moment that a positive time to live, or a positive point in time, means: milliseconds since 1970.
pub(crate) fn moment(now: u64, value: &[u8], unit: Unit, name: &str) -> Result<u64, Failure> {
    if integer(value)? <= 0 {
        return Err(invalid(name));
    }
    let when = signed_moment(now, value, unit, name)?;
    Ok(when as u64)
}

fn expire_with(context: &mut Context<'_, '_>, unit: Unit, name: &str) -> Done {
    let args = context.args;
    let (mut nx, mut xx, mut gt, mut lt) = (false, false, false, false);
    integer(args.at(2))?;
    for option in args.from(3).iter() {
        match option.to_ascii_lowercase().as_slice() {
            b"nx" => nx = true,
            b"xx" => xx = true,
            b"gt" => gt = true,
            b"lt" => lt = true,
            _ => {
                let text = alloc::string::String::from_utf8_lossy(option);
                return Err(Failure::Message(alloc::format!("ERR Unsupported option {text}")));
            }
        }
    }
    if nx && (xx || gt || lt) {
        return Err(Failure::Text("ERR NX and XX, GT or LT options at the same time are not compatible"));
    }
    if gt && lt {
        return Err(Failure::Text("ERR GT and LT options at the same time are not compatible"));
    }
    let when = signed_moment(context.store.now, args.at(2), unit, name)?;
    let Some(index) = context.store.find(args.at(1)) else {
        context.out.truth(false);
        return Ok(());
    };
    let old = context.store.db().table.entry(index).value.expire();
    let later = old.is_none_or(|old| when <= old as i64);
    let earlier = old.is_some_and(|old| when >= old as i64);
    if (nx && old.is_some()) || (xx && old.is_none()) || (gt && later) || (lt && earlier) {
        context.out.truth(false);
        return Ok(());
    }
    if when <= context.store.now as i64 {
        context.store.db().remove_at(index);
    } else {
        context.store.db().set_expire(index, when as u64);
    }
    context.store.dirty += 1;
    context.out.truth(true);
    Ok(())
}

pub(crate) fn expire(context: &mut Context<'_, '_>) -> Done {
    expire_with(context, Unit::Seconds, "expire")
}

pub(crate) fn pexpire(context: &mut Context<'_, '_>) -> Done {
    expire_with(context, Unit::Milliseconds, "pexpire")
}

pub(crate) fn expireat(context: &mut Context<'_, '_>) -> Done {
    expire_with(context, Unit::UnixSeconds, "expireat")
}

pub(crate) fn pexpireat(context: &mut Context<'_, '_>) -> Done {
    expire_with(context, Unit::UnixMilliseconds, "pexpireat")
}

/// Replies -2 for a key that isn't there, -1 for one that never expires, or what `show` makes of the moment.
fn report(context: &mut Context<'_, '_>, show: impl Fn(u64, u64) -> u64) -> Done {
    let now = context.store.now;
    let answer = match context.store.find(context.args.at(1)) {
        None => -2,
        Some(index) => {
            let expire = context.store.db().table.entry(index).value.expire();
            expire.map_or(-1, |when| show(when, now) as i64)
        }
    };
    context.out.int(answer);
    Ok(())
}

pub(crate) fn ttl(context: &mut Context<'_, '_>) -> Done {
    report(context, |when, now| (when - now + 500) / 1000)
}

pub(crate) fn pttl(context: &mut Context<'_, '_>) -> Done {
    report(context, |when, now| when - now)
}

pub(crate) fn expiretime(context: &mut Context<'_, '_>) -> Done {
    report(context, |when, _| (when + 500) / 1000)
}

pub(crate) fn pexpiretime(context: &mut Context<'_, '_>) -> Done {
    report(context, |when, _| when)
}

pub(crate) fn persist(context: &mut Context<'_, '_>) -> Done {
    let index = context.store.find(context.args.at(1));
    let index = index.filter(|index| context.store.db().table.entry(*index).value.expire().is_some());
    if let Some(index) = index {
        context.store.db().set_expire(index, NEVER);
        context.store.dirty += 1;
    }
    context.out.truth(index.is_some());
    Ok(())
}
