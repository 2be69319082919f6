//! GET, SET and their relatives.
use super::{Context, Done, expiry, integer, slice, wrong_arity};
use crate::bytes::Bytes;
use crate::db::NEVER;
use crate::failure::Failure;
use crate::resp::MAX_BULK;
use crate::value::Value;

pub(crate) fn get(context: &mut Context<'_, '_>) -> Done {
    match context.store.read::<Bytes>(context.args.at(1))? {
        Some(value) => context.out.bulk(value),
        None => context.out.null(),
    }
    Ok(())
}

/// Gives a key a string value without expiry, in the same allocation if that fits.
fn assign(context: &mut Context<'_, '_>, key: &[u8], value: &[u8]) -> Result<usize, Failure> {
    context.store.dirty += 1;
    if let Some(index) = context.store.find(key) {
        let db = context.store.db();
        let reused = match db.edit::<Bytes>(index) {
            Ok(mut old) => {
                old.assign(value)?;
                true
            }
            Err(_) => false,
        };
        if reused {
            db.set_expire(index, NEVER);
            return Ok(index);
        }
    }
    context.store.put(key, Value::String(Bytes::new(value)?))
}

/// Options of SET.
#[derive(Default)]
struct Options {
    only_new: bool,
    only_old: bool,
    give_old: bool,
    keep_expiry: bool,
    expire: Option<u64>,
}

pub(crate) fn set(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    let (key, value) = (args.at(1), args.at(2));
    if args.len() == 3 {
        assign(context, key, value)?;
        context.out.ok();
        return Ok(());
    }
    let mut options = Options::default();
    let mut at = 3;
    while at < args.len() {
        let more = at + 1 < args.len();
        let timed = options.expire.is_some() || options.keep_expiry;
        if args.is(at, "nx") && !options.only_old {
            options.only_new = true;
        } else if args.is(at, "xx") && !options.only_new {
            options.only_old = true;
        } else if args.is(at, "get") {
            options.give_old = true;
        } else if args.is(at, "keepttl") && options.expire.is_none() {
            options.keep_expiry = true;
        } else if let (Some(unit), true, false) = (expiry::unit(args.at(at)), more, timed) {
            options.expire = Some(expiry::moment(context.store.now, args.at(at + 1), unit, "set")?);
            at += 1;
        } else {
            return Err(Failure::Syntax);
        }
        at += 1;
    }
    let found = context.store.find(key);
    let mut answered = false;
    if options.give_old {
        match context.store.read::<Bytes>(key)? {
            Some(old) => context.out.bulk(old),
            None => context.out.null(),
        }
        answered = true;
    }
    if (options.only_new && found.is_some()) || (options.only_old && found.is_none()) {
        if !answered {
            context.out.null();
        }
        return Ok(());
    }
    let kept = found.and_then(|index| context.store.db().table.entry(index).value.expire());
    let index = assign(context, key, value)?;
    let expire = if options.keep_expiry { kept } else { options.expire };
    if let Some(when) = expire {
        context.store.db().set_expire(index, when);
    }
    if !answered {
        context.out.ok();
    }
    Ok(())
}

pub(crate) fn setnx(context: &mut Context<'_, '_>) -> Done {
    let fresh = context.store.find(context.args.at(1)).is_none();
    if fresh {
        assign(context, context.args.at(1), context.args.at(2))?;
    }
    context.out.truth(fresh);
    Ok(())
}

fn set_with_expiry(context: &mut Context<'_, '_>, unit: expiry::Unit, name: &str) -> Done {
    let args = context.args;
    let when = expiry::moment(context.store.now, args.at(2), unit, name)?;
    let index = assign(context, args.at(1), args.at(3))?;
    context.store.db().set_expire(index, when);
    context.out.ok();
    Ok(())
}

pub(crate) fn setex(context: &mut Context<'_, '_>) -> Done {
    set_with_expiry(context, expiry::Unit::Seconds, "setex")
}

pub(crate) fn psetex(context: &mut Context<'_, '_>) -> Done {
    set_with_expiry(context, expiry::Unit::Milliseconds, "psetex")
}

pub(crate) fn getset(context: &mut Context<'_, '_>) -> Done {
    get(context)?;
    assign(context, context.args.at(1), context.args.at(2))?;
    Ok(())
}

pub(crate) fn getdel(context: &mut Context<'_, '_>) -> Done {
    get(context)?;
    if context.store.remove(context.args.at(1)) {
        context.store.dirty += 1;
    }
    Ok(())
}

pub(crate) fn getex(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    let expire = match args.len() {
        2 => None,
        3 if args.is(2, "persist") => Some(NEVER),
        4 => {
            let unit = expiry::unit(args.at(2)).ok_or(Failure::Syntax)?;
            Some(expiry::moment(context.store.now, args.at(3), unit, "getex")?)
        }
        _ => return Err(Failure::Syntax),
    };
    get(context)?;
    if let (Some(when), Some(index)) = (expire, context.store.find(args.at(1))) {
        context.store.dirty += 1;
        context.store.db().set_expire(index, when);
    }
    Ok(())
}

pub(crate) fn mget(context: &mut Context<'_, '_>) -> Done {
    context.out.array(context.args.len() - 1);
    for key in context.args.from(1).iter() {
        match context.store.read::<Bytes>(key) {
            Ok(Some(value)) => context.out.bulk(value),
            _ => context.out.null(),
        }
    }
    Ok(())
}

fn set_pairs(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    for at in (1..args.len()).step_by(2) {
        assign(context, args.at(at), args.at(at + 1))?;
    }
    Ok(())
}

pub(crate) fn mset(context: &mut Context<'_, '_>) -> Done {
    if context.args.len().is_multiple_of(2) {
        return Err(wrong_arity("mset"));
    }
    set_pairs(context)?;
    context.out.ok();
    Ok(())
}

pub(crate) fn msetnx(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    if args.len().is_multiple_of(2) {
        return Err(wrong_arity("msetnx"));
    }
    let taken = (1..args.len()).step_by(2).any(|at| context.store.find(args.at(at)).is_some());
    if !taken {
        set_pairs(context)?;
    }
    context.out.truth(!taken);
    Ok(())
}

fn too_long(length: usize) -> bool {
    length > MAX_BULK
}

const TOO_LONG: Failure = Failure::Text("ERR string exceeds maximum allowed size (proto-max-bulk-len)");

pub(crate) fn append(context: &mut Context<'_, '_>) -> Done {
    let (key, extra) = (context.args.at(1), context.args.at(2));
    let old = context.store.read::<Bytes>(key)?.map_or(0, |value| value.len());
    if too_long(old + extra.len()) {
        return Err(TOO_LONG);
    }
    let mut value = context.store.edit_or_create::<Bytes>(key)?;
    value.growable(extra.len())?.extend_from_slice(extra);
    let length = value.len();
    drop(value);
    context.store.dirty += 1;
    context.out.len(length);
    Ok(())
}

pub(crate) fn strlen(context: &mut Context<'_, '_>) -> Done {
    let length = context.store.read::<Bytes>(context.args.at(1))?.map_or(0, |value| value.len());
    context.out.len(length);
    Ok(())
}

pub(crate) fn getrange(context: &mut Context<'_, '_>) -> Done {
    let (start, end) = (integer(context.args.at(2))?, integer(context.args.at(3))?);
    match context.store.read::<Bytes>(context.args.at(1))? {
        // Unlike LRANGE, an end before the first byte means the first byte.
        Some(value) if (start >= 0 || end >= 0 || start <= end) && !value.is_empty() => {
            let end = if end < 0 { (end.saturating_add(value.len() as i64)).max(0) } else { end };
            context.out.bulk(&value[slice(start, end, value.len())]);
        }
        _ => context.out.bulk(b""),
    }
    Ok(())
}

pub(crate) fn setrange(context: &mut Context<'_, '_>) -> Done {
    let (key, piece) = (context.args.at(1), context.args.at(3));
    let offset = usize::try_from(integer(context.args.at(2))?)
        .map_err(|_| Failure::Text("ERR offset is out of range"))?;
    let old = context.store.read::<Bytes>(key)?.map_or(0, |value| value.len());
    if piece.is_empty() {
        context.out.len(old);
        return Ok(());
    }
    if too_long(offset.saturating_add(piece.len())) {
        return Err(TOO_LONG);
    }
    let length = old.max(offset + piece.len());
    let mut value = context.store.edit_or_create::<Bytes>(key)?;
    let bytes = value.growable(length - old)?;
    bytes.resize(length, 0);
    bytes[offset..offset + piece.len()].copy_from_slice(piece);
    drop(value);
    context.store.dirty += 1;
    context.out.len(length);
    Ok(())
}

/// LCS with LEN, or the subsequence itself.
pub(crate) fn lcs(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    let only_length = match args.len() {
        3 => false,
        4 if args.is(3, "len") => true,
        _ => return Err(Failure::Syntax),
    };
    context.store.find(args.at(1));
    context.store.find(args.at(2));
    let wrong = |_| Failure::Text("ERR The specified keys must contain string values");
    let a = context.store.peek::<Bytes>(args.at(1)).map_err(wrong)?.map_or(&[][..], |value| value);
    let b = context.store.peek::<Bytes>(args.at(2)).map_err(wrong)?.map_or(&[][..], |value| value);
    let width = b.len() + 1;
    let cells = (a.len() + 1).checked_mul(width).filter(|cells| *cells <= 16 << 20);
    let cells = cells.ok_or(Failure::Text(
        "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
    ))?;
    let mut table = alloc::vec::Vec::<u32>::new();
    table.try_reserve_exact(cells)?;
    table.resize(cells, 0);
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            table[i * width + j] = if a[i - 1] == b[j - 1] {
                table[(i - 1) * width + j - 1] + 1
            } else {
                table[(i - 1) * width + j].max(table[i * width + j - 1])
            };
        }
    }
    let length = table[cells - 1] as usize;
    if only_length {
        context.out.len(length);
        return Ok(());
    }
    let mut found = alloc::vec![0; length];
    let (mut i, mut j, mut left) = (a.len(), b.len(), length);
    while left > 0 {
        if a[i - 1] == b[j - 1] {
            left -= 1;
            found[left] = a[i - 1];
            (i, j) = (i - 1, j - 1);
        } else if table[(i - 1) * width + j] > table[i * width + j - 1] {
            i -= 1;
        } else {
            j -= 1;
        }
    }
    context.out.bulk(&found);
    Ok(())
}
