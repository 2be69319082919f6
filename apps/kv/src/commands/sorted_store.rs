//! Unions, intersections and differences of sorted sets.
use super::sets::Operation;
use super::{Context, Done, count, integer};
use crate::failure::Failure;
use crate::resp::Args;
use crate::store::Store;
use crate::value::{Kind, Set, Sorted};
use alloc::vec::Vec;

#[derive(Clone, Copy)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn of(self, a: f64, b: f64) -> f64 {
        match self {
            // The sum of opposite infinities counts as 0.
            Self::Sum => Some(a + b).filter(|sum| !sum.is_nan()).unwrap_or(0.0),
            Self::Min => a.min(b),
            Self::Max => a.max(b),
        }
    }
}

/// A source: a sorted set, or a set whose members all have score 1.
#[derive(Clone, Copy)]
enum Source<'a> {
    None,
    Set(&'a Set),
    Sorted(&'a Sorted),
}

impl<'a> Source<'a> {
    fn of(store: &'a Store, key: &[u8]) -> Result<Self, Failure> {
        match store.peek::<Sorted>(key) {
            Ok(sorted) => Ok(sorted.map_or(Self::None, Self::Sorted)),
            Err(_) => Ok(store.peek::<Set>(key)?.map_or(Self::None, Self::Set)),
        }
    }

    fn len(self) -> usize {
        match self {
            Self::None => 0,
            Self::Set(set) => set.table.len(),
            Self::Sorted(sorted) => sorted.table.len(),
        }
    }

    fn score(self, member: &[u8]) -> Option<f64> {
        match self {
            Self::None => None,
            Self::Set(set) => set.table.contains(member).then_some(1.0),
            Self::Sorted(sorted) => sorted.score(member),
        }
    }

    fn visit(self, mut visit: impl FnMut(&[u8], f64) -> Done) -> Done {
        match self {
            Self::None => Ok(()),
            Self::Set(set) => set.table.iter().try_for_each(|entry| visit(&entry.key, 1.0)),
            Self::Sorted(sorted) => sorted.table.iter().try_for_each(|entry| visit(&entry.key, entry.value)),
        }
    }
}

/// What a combination is made of.
struct Query<'a> {
    keys: Args<'a>,
    weights: Vec<f64>,
    aggregate: Aggregate,
    scores: bool,
}

/// The number of keys and the keys from `at` on.
fn keys_of<'a>(args: Args<'a>, at: usize, name: &str) -> Result<(Args<'a>, usize), Failure> {
    let number = integer(args.at(at))?;
    let number = usize::try_from(number).ok().filter(|number| *number > 0).ok_or_else(|| {
        Failure::Message(alloc::format!("ERR at least 1 input key is needed for '{name}' command"))
    })?;
    if number > args.len() - at - 1 {
        return Err(Failure::Syntax);
    }
    Ok((args.from(at + 1).first(number), at + 1 + number))
}

impl<'a> Query<'a> {
    fn parse(args: Args<'a>, at: usize, name: &str, operation: Operation) -> Result<Self, Failure> {
        let (keys, mut at) = keys_of(args, at, name)?;
        let mut query = Self { keys, weights: Vec::new(), aggregate: Aggregate::Sum, scores: false };
        let combined = operation != Operation::Difference;
        while at < args.len() {
            let left = args.len() - at - 1;
            if combined && args.is(at, "weights") && left >= keys.len() {
                query.weights.clear();
                for weight in args.from(at + 1).first(keys.len()).iter() {
                    let weight = crate::number::parse_f64(weight);
                    query.weights.push(weight.ok_or(Failure::Text("ERR weight value is not a float"))?);
                }
                at += keys.len();
            } else if combined && args.is(at, "aggregate") && left >= 1 {
                query.aggregate = match args.at(at + 1).to_ascii_lowercase().as_slice() {
                    b"sum" => Aggregate::Sum,
                    b"min" => Aggregate::Min,
                    b"max" => Aggregate::Max,
                    _ => return Err(Failure::Syntax),
                };
                at += 1;
            } else if args.is(at, "withscores") && !name.ends_with("store") {
                query.scores = true;
            } else {
                return Err(Failure::Syntax);
            }
            at += 1;
        }
        Ok(query)
    }

    fn weighted(&self, source: usize, score: f64) -> f64 {
        let product = score * self.weights.get(source).copied().unwrap_or(1.0);
        if product.is_nan() { 0.0 } else { product }
    }

    fn combine(&self, store: &mut Store, operation: Operation) -> Result<Sorted, Failure> {
        for key in self.keys.iter() {
            store.find(key);
        }
        let mut result = Sorted::fresh(store.seed);
        let sources: Vec<Source<'_>> =
            self.keys.iter().map(|key| Source::of(store, key)).collect::<Result<_, _>>()?;
        match operation {
            Operation::Union => {
                for (number, source) in sources.iter().enumerate() {
                    source.visit(|member, score| {
                        let score = self.weighted(number, score);
                        let old = result.score(member);
                        let score = old.map_or(score, |old| self.aggregate.of(old, score));
                        result.set(member, score).map(|_| ())
                    })?;
                }
            }
            Operation::Intersection => {
                let smallest = (0..sources.len()).min_by_key(|number| sources[*number].len()).unwrap_or(0);
                sources[smallest].visit(|member, _| {
                    let mut total = None;
                    for (number, source) in sources.iter().enumerate() {
                        let Some(score) = source.score(member) else { return Ok(()) };
                        let score = self.weighted(number, score);
                        total = Some(total.map_or(score, |total| self.aggregate.of(total, score)));
                    }
                    result.set(member, total.unwrap_or(0.0)).map(|_| ())
                })?;
            }
            Operation::Difference => sources[0].visit(|member, score| {
                if sources[1..].iter().any(|source| source.score(member).is_some()) {
                    return Ok(());
                }
                result.set(member, score).map(|_| ())
            })?,
        }
        Ok(result)
    }
}

/// Stores a result under a key, and replies its size.
pub(crate) fn put(context: &mut Context<'_, '_>, key: &[u8], result: Sorted) -> Done {
    let len = result.table.len();
    if len > 0 {
        context.store.find(key);
        context.store.put(key, result.wrap())?;
        context.store.dirty += 1;
    } else if context.store.remove(key) {
        context.store.dirty += 1;
    }
    context.out.len(len);
    Ok(())
}

fn store_combined(context: &mut Context<'_, '_>, name: &str, operation: Operation) -> Done {
    let query = Query::parse(context.args, 2, name, operation)?;
    let result = query.combine(context.store, operation)?;
    put(context, context.args.at(1), result)
}

fn reply_combined(context: &mut Context<'_, '_>, name: &str, operation: Operation) -> Done {
    let query = Query::parse(context.args, 1, name, operation)?;
    let result = query.combine(context.store, operation)?;
    let nested = query.scores && context.out.resp3;
    context.out.array(result.order.len() * if query.scores && !nested { 2 } else { 1 });
    for (score, member) in result.order.walk(0, usize::MAX, false) {
        if nested {
            context.out.array(2);
        }
        context.out.bulk(member);
        if query.scores {
            context.out.double(*score);
        }
    }
    Ok(())
}

pub(crate) fn zunionstore(context: &mut Context<'_, '_>) -> Done {
    store_combined(context, "zunionstore", Operation::Union)
}

pub(crate) fn zinterstore(context: &mut Context<'_, '_>) -> Done {
    store_combined(context, "zinterstore", Operation::Intersection)
}

pub(crate) fn zdiffstore(context: &mut Context<'_, '_>) -> Done {
    store_combined(context, "zdiffstore", Operation::Difference)
}

pub(crate) fn zunion(context: &mut Context<'_, '_>) -> Done {
    reply_combined(context, "zunion", Operation::Union)
}

pub(crate) fn zinter(context: &mut Context<'_, '_>) -> Done {
    reply_combined(context, "zinter", Operation::Intersection)
}

pub(crate) fn zdiff(context: &mut Context<'_, '_>) -> Done {
    reply_combined(context, "zdiff", Operation::Difference)
}

pub(crate) fn zintercard(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    let (keys, at) = keys_of(args, 1, "zintercard")?;
    let limit = match args.len() - at {
        0 => 0,
        2 if args.is(at, "limit") => {
            count(args.at(at + 1)).map_err(|_| Failure::Text("ERR LIMIT can't be negative"))?
        }
        _ => return Err(Failure::Syntax),
    };
    let query = Query { keys, weights: Vec::new(), aggregate: Aggregate::Sum, scores: false };
    let len = query.combine(context.store, Operation::Intersection)?.table.len();
    context.out.len(if limit == 0 { len } else { len.min(limit) });
    Ok(())
}
