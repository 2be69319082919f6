//! Strings as arrays of bits.
use super::{Context, Done, integer, slice};
use crate::bytes::Bytes;
use crate::failure::Failure;
use crate::resp::MAX_BULK;
use crate::value::Value;
use alloc::vec::Vec;

fn offset(bytes: &[u8]) -> Result<usize, Failure> {
    let offset = crate::number::parse_i64(bytes).and_then(|n| usize::try_from(n).ok());
    offset
        .filter(|offset| offset / 8 < MAX_BULK)
        .ok_or(Failure::Text("ERR bit offset is not an integer or out of range"))
}

pub(crate) fn setbit(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    let at = offset(args.at(2))?;
    let on = match args.at(3) {
        b"0" => false,
        b"1" => true,
        _ => return Err(Failure::Text("ERR bit is not an integer or out of range")),
    };
    let old_len = context.store.read::<Bytes>(args.at(1))?.map_or(0, |value| value.len());
    let mut value = context.store.edit_or_create::<Bytes>(args.at(1))?;
    let bytes = value.growable((at / 8 + 1).saturating_sub(old_len))?;
    if bytes.len() <= at / 8 {
        bytes.resize(at / 8 + 1, 0);
    }
    let mask = 0x80 >> (at % 8);
    let was = bytes[at / 8] & mask != 0;
    if on {
        bytes[at / 8] |= mask
    } else {
        bytes[at / 8] &= !mask
    }
    drop(value);
    context.store.dirty += 1;
    context.out.truth(was);
    Ok(())
}

pub(crate) fn getbit(context: &mut Context<'_, '_>) -> Done {
    let at = offset(context.args.at(2))?;
    let value = context.store.read::<Bytes>(context.args.at(1))?;
    let byte = value.and_then(|value| value.get(at / 8).copied()).unwrap_or(0);
    context.out.truth(byte & (0x80 >> (at % 8)) != 0);
    Ok(())
}

/// Whether the last argument, if there, counts in bits.
fn unit_is_bit(context: &Context<'_, '_>, at: usize) -> Result<bool, Failure> {
    match context.args.len() {
        len if len <= at => Ok(false),
        len if len == at + 1 && context.args.is(at, "bit") => Ok(true),
        len if len == at + 1 && context.args.is(at, "byte") => Ok(false),
        _ => Err(Failure::Syntax),
    }
}

pub(crate) fn bitcount(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    let range = match args.len() {
        2 => None,
        3 => return Err(Failure::Syntax),
        _ => Some((integer(args.at(2))?, integer(args.at(3))?, unit_is_bit(context, 4)?)),
    };
    let Some(value) = context.store.read::<Bytes>(args.at(1))? else {
        context.out.int(0);
        return Ok(());
    };
    let ones = |bytes: &[u8]| bytes.iter().map(|byte| byte.count_ones() as usize).sum::<usize>();
    let total = match range {
        None => ones(value),
        Some((start, stop, _)) if start < 0 && stop < 0 && start > stop => 0,
        Some((start, stop, false)) => ones(&value[clamped(start, stop, value.len())]),
        Some((start, stop, true)) => {
            let bits = clamped(start, stop, value.len() * 8);
            bits.filter(|at| value[at / 8] & (0x80 >> (at % 8)) != 0).count()
        }
    };
    context.out.len(total);
    Ok(())
}

/// As `slice`, but an end before the first element means the first.
fn clamped(start: i64, stop: i64, len: usize) -> core::ops::Range<usize> {
    let stop = if stop < 0 { (stop.saturating_add(len as i64)).max(0) } else { stop };
    slice(start, stop, len)
}

pub(crate) fn bitpos(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    let wanted = match integer(args.at(2))? {
        0 => false,
        1 => true,
        _ => return Err(Failure::Text("ERR The bit argument must be 1 or 0.")),
    };
    let start = if args.len() > 3 { integer(args.at(3))? } else { 0 };
    let stop = if args.len() > 4 { integer(args.at(4))? } else { -1 };
    let bits = unit_is_bit(context, 5)?;
    let Some(value) = context.store.read::<Bytes>(args.at(1))? else {
        context.out.int(if wanted { -1 } else { 0 });
        return Ok(());
    };
    let range = if bits {
        clamped(start, stop, value.len() * 8)
    } else {
        let bytes = clamped(start, stop, value.len());
        bytes.start * 8..bytes.end * 8
    };
    let (empty, end) = (range.is_empty(), range.end);
    let found = { range }.find(|at| (value[at / 8] & (0x80 >> (at % 8)) != 0) == wanted);
    context.out.int(match found {
        Some(at) => at as i64,
        // Without an end the string goes on in zeros.
        None if !wanted && args.len() < 5 && !empty => end as i64,
        None => -1,
    });
    Ok(())
}

pub(crate) fn bitop(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    let (combine, invert): (fn(u8, u8) -> u8, bool) = match args.at(1).to_ascii_lowercase().as_slice() {
        b"and" => (|a, b| a & b, false),
        b"or" => (|a, b| a | b, false),
        b"xor" => (|a, b| a ^ b, false),
        b"not" if args.len() == 4 => (|a, _| a, true),
        b"not" => return Err(Failure::Text("ERR BITOP NOT must be called with a single source key.")),
        _ => return Err(Failure::Syntax),
    };
    let mut length = 0;
    for key in args.from(3).iter() {
        length = length.max(context.store.read::<Bytes>(key)?.map_or(0, |value| value.len()));
    }
    let mut result = Vec::new();
    result.try_reserve_exact(length)?;
    result.resize(length, 0u8);
    for (number, key) in args.from(3).iter().enumerate() {
        let value = context.store.peek::<Bytes>(key)?.map_or(&[][..], |value| value);
        for (at, byte) in result.iter_mut().enumerate() {
            let other = value.get(at).copied().unwrap_or(0);
            *byte = match number {
                0 if invert => !other,
                0 => other,
                _ => combine(*byte, other),
            };
        }
    }
    if length == 0 {
        context.store.remove(args.at(2));
    } else {
        context.store.put(args.at(2), Value::String(Bytes::from_vec(result)?))?;
    }
    context.store.dirty += 1;
    context.out.len(length);
    Ok(())
}
