//! SCAN, HSCAN, SSCAN, ZSCAN.
use super::{Context, Done, integer};
use crate::failure::Failure;
use crate::glob;
use crate::number::{digits, format_f64};
use crate::table::{Entry, Table};
use crate::value::{Hash, Set, Sorted};
use alloc::vec::Vec;

/// Options of the scans.
struct Options<'a> {
    pattern: Option<&'a [u8]>,
    count: usize,
    kind: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn parse(context: &Context<'a, '_>, at: usize) -> Result<Self, Failure> {
        let args = context.args;
        let mut options = Self { pattern: None, count: 10, kind: None };
        for at in (at..args.len()).step_by(2) {
            if at + 1 >= args.len() {
                return Err(Failure::Syntax);
            }
            let value = args.at(at + 1);
            if args.is(at, "count") {
                let count = integer(value)?;
                options.count = usize::try_from(count).ok().filter(|n| *n > 0).ok_or(Failure::Syntax)?;
            } else if args.is(at, "match") {
                options.pattern = (value != b"*").then_some(value);
            } else if args.is(at, "type") && args.is(0, "scan") {
                options.kind = Some(value);
            } else {
                return Err(Failure::Syntax);
            }
        }
        Ok(options)
    }

    fn accepts(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, name))
    }

    /// Visits buckets from `cursor` on until about `count` entries were seen.
    fn walk<V>(&self, table: &Table<V>, cursor: u32, mut visit: impl FnMut(&Entry<V>)) -> u32 {
        let (mut cursor, mut seen, mut visited) = (cursor, 0, 0);
        loop {
            cursor = table.scan(cursor, |entry| {
                seen += 1;
                visit(entry);
            });
            visited += 1;
            if cursor == 0 || seen >= self.count || visited >= self.count.saturating_mul(10) {
                return cursor;
            }
        }
    }
}

/// A cursor: as in Redis any number of 64 bits, of which we give out 32.
fn cursor(bytes: &[u8]) -> Result<u32, Failure> {
    let text = core::str::from_utf8(bytes).ok();
    let number = text.filter(|text| !text.starts_with('+')).and_then(|text| text.parse::<u64>().ok());
    number.map(|number| number as u32).ok_or(Failure::Text("ERR invalid cursor"))
}

fn reply(context: &mut Context<'_, '_>, next: u32, found: &[Vec<u8>]) -> Done {
    context.out.array(2);
    context.out.bulk(&digits(i64::from(next)));
    context.out.array(found.len());
    found.iter().for_each(|name| context.out.bulk(name));
    Ok(())
}

pub(crate) fn scan(context: &mut Context<'_, '_>) -> Done {
    let start = cursor(context.args.at(1))?;
    let options = Options::parse(context, 2)?;
    let now = context.store.now;
    let mut found = Vec::new();
    let table = &context.store.dbs[context.store.current].table;
    let next = options.walk(table, start, |entry| {
        let slot = &entry.value;
        let kind =
            options.kind.is_none_or(|kind| kind.eq_ignore_ascii_case(slot.value.type_name().as_bytes()));
        if kind && slot.expire().is_none_or(|when| when > now) && options.accepts(&entry.key) {
            found.push(entry.key.to_vec());
        }
    });
    reply(context, next, &found)
}

pub(crate) fn hscan(context: &mut Context<'_, '_>) -> Done {
    let start = cursor(context.args.at(2))?;
    let options = Options::parse(context, 3)?;
    let (mut found, mut next) = (Vec::new(), 0);
    if let Some(hash) = context.store.read::<Hash>(context.args.at(1))? {
        next = options.walk(&hash.table, start, |entry| {
            if options.accepts(&entry.key) {
                found.extend([entry.key.to_vec(), entry.value.to_vec()]);
            }
        });
    }
    reply(context, next, &found)
}

pub(crate) fn sscan(context: &mut Context<'_, '_>) -> Done {
    let start = cursor(context.args.at(2))?;
    let options = Options::parse(context, 3)?;
    let (mut found, mut next) = (Vec::new(), 0);
    if let Some(set) = context.store.read::<Set>(context.args.at(1))? {
        next = options.walk(&set.table, start, |entry| {
            if options.accepts(&entry.key) {
                found.push(entry.key.to_vec());
            }
        });
    }
    reply(context, next, &found)
}

pub(crate) fn zscan(context: &mut Context<'_, '_>) -> Done {
    let start = cursor(context.args.at(2))?;
    let options = Options::parse(context, 3)?;
    let (mut found, mut next) = (Vec::new(), 0);
    if let Some(sorted) = context.store.read::<Sorted>(context.args.at(1))? {
        next = options.walk(&sorted.table, start, |entry| {
            if options.accepts(&entry.key) {
                found.extend([entry.key.to_vec(), format_f64(entry.value).into_bytes()]);
            }
        });
    }
    reply(context, next, &found)
}
