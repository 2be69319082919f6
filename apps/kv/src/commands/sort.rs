//! SORT and SORT_RO.
use super::sets::members;
use super::{Context, Done, integer};
use crate::bytes::Bytes;
use crate::failure::Failure;
use crate::number::parse_f64;
use crate::resp::Args;
use crate::store::Store;
use crate::value::{Hash, Kind, List, Value};
use alloc::vec::Vec;
use core::cmp::Ordering;

/// The value that a BY or GET pattern means for an element: `*` is replaced by it, `->field` names a field of a hash.
fn look_up(store: &mut Store, pattern: &[u8], element: &[u8]) -> Option<Vec<u8>> {
    if pattern == b"#" {
        return Some(element.to_vec());
    }
    let star = pattern.iter().position(|byte| *byte == b'*')?;
    let arrow = pattern[star..].windows(2).position(|pair| pair == b"->").map(|at| at + star);
    let field = arrow.map(|at| &pattern[at + 2..]).filter(|field| !field.is_empty());
    let end = if field.is_some() { arrow.unwrap_or(pattern.len()) } else { pattern.len() };
    let key = [&pattern[..star], element, &pattern[star + 1..end]].concat();
    match field {
        Some(field) => store.read::<Hash>(&key).ok()??.table.value(field).map(|value| value.to_vec()),
        None => store.read::<Bytes>(&key).ok()?.map(|value| value.to_vec()),
    }
}

struct Options<'a> {
    by: Option<&'a [u8]>,
    get: Vec<&'a [u8]>,
    limit: (i64, i64),
    descending: bool,
    alphabetic: bool,
    store: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn parse(args: Args<'a>) -> Result<Self, Failure> {
        let mut options = Self {
            by: None,
            get: Vec::new(),
            limit: (0, -1),
            descending: false,
            alphabetic: false,
            store: None,
        };
        let mut at = 2;
        while at < args.len() {
            let left = args.len() - at - 1;
            match args.at(at).to_ascii_lowercase().as_slice() {
                b"asc" => options.descending = false,
                b"desc" => options.descending = true,
                b"alpha" => options.alphabetic = true,
                b"limit" if left >= 2 => {
                    options.limit = (integer(args.at(at + 1))?, integer(args.at(at + 2))?);
                    at += 2;
                }
                b"store" if left >= 1 && args.is(0, "sort") => {
                    options.store = Some(args.at(at + 1));
                    at += 1;
                }
                b"by" if left >= 1 => {
                    options.by = Some(args.at(at + 1));
                    at += 1;
                }
                b"get" if left >= 1 => {
                    options.get.push(args.at(at + 1));
                    at += 1;
                }
                _ => return Err(Failure::Syntax),
            }
            at += 1;
        }
        Ok(options)
    }
}

fn elements(store: &mut Store, key: &[u8]) -> Result<Vec<Bytes>, Failure> {
    let Some(index) = store.find(key) else { return Ok(Vec::new()) };
    match &store.db().table.entry(index).value.value {
        Value::List(list) => list.items.iter().map(|item| Bytes::new(item)).collect(),
        Value::Set(set) => members(set),
        Value::Sorted(sorted) => {
            sorted.order.walk(0, usize::MAX, false).map(|(_, member)| Bytes::new(member)).collect()
        }
        _ => Err(Failure::WrongType),
    }
}

/// What an element is sorted by.
struct Weighted {
    element: Bytes,
    number: f64,
    text: Option<Vec<u8>>,
}

pub(crate) fn sort(context: &mut Context<'_, '_>) -> Done {
    let options = Options::parse(context.args)?;
    let mut sorted = Vec::new();
    for element in elements(context.store, context.args.at(1))? {
        let text = match options.by {
            Some(pattern) if pattern.contains(&b'*') => look_up(context.store, pattern, &element),
            _ => Some(element.to_vec()),
        };
        let unsorted = options.by.is_some_and(|pattern| !pattern.contains(&b'*'));
        let number = match &text {
            Some(text) if !options.alphabetic && !unsorted => parse_f64(text)
                .ok_or(Failure::Text("ERR One or more scores can't be converted into double"))?,
            _ => 0.0,
        };
        sorted.push(Weighted { element, number, text: if unsorted { None } else { text } });
    }
    sorted.sort_by(|a, b| {
        let order = if options.alphabetic {
            a.text.cmp(&b.text)
        } else {
            a.number.partial_cmp(&b.number).unwrap_or(Ordering::Equal)
        };
        let plain = options.by.is_none();
        let order = if plain { order.then_with(|| (*a.element).cmp(&*b.element)) } else { order };
        if options.descending { order.reverse() } else { order }
    });
    let offset = usize::try_from(options.limit.0).unwrap_or(0).min(sorted.len());
    let count = usize::try_from(options.limit.1).unwrap_or(usize::MAX).min(sorted.len() - offset);
    let mut replies: Vec<Option<Vec<u8>>> = Vec::new();
    for weighted in &sorted[offset..offset + count] {
        if options.get.is_empty() {
            replies.push(Some(weighted.element.to_vec()));
        }
        for pattern in &options.get {
            replies.push(look_up(context.store, pattern, &weighted.element));
        }
    }
    let Some(target) = options.store else {
        context.out.array(replies.len());
        replies.iter().for_each(|reply| context.out.optional(reply.as_deref()));
        return Ok(());
    };
    let mut list = List::default();
    for reply in &replies {
        list.push(reply.as_deref().unwrap_or(b""), false)?;
    }
    context.store.find(target);
    if replies.is_empty() {
        context.store.remove(target);
    } else {
        context.store.put(target, list.wrap())?;
    }
    context.store.dirty += 1;
    context.store.changed(context.store.current, target);
    context.out.len(replies.len());
    Ok(())
}
