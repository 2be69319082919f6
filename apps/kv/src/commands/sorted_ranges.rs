//! Ranges of sorted sets: by rank, by score, by member. Each becomes a range of ranks.
use super::{Context, Done, integer, slice};
use crate::failure::Failure;
use crate::number::parse_f64;
use crate::order::Order;
use crate::resp::Args;
use crate::value::{Kind, Sorted};
use core::ops::Range;

#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Member,
}

/// A bound of a range of scores.
fn score_bound(text: &[u8]) -> Result<(f64, bool), Failure> {
    let (number, exclusive) = match text {
        [b'(', number @ ..] => (number, true),
        number => (number, false),
    };
    let number = parse_f64(number).ok_or(Failure::Text("ERR min or max is not a float"))?;
    Ok((number, exclusive))
}

fn score_range(order: &Order, min: (f64, bool), max: (f64, bool)) -> Range<usize> {
    let start = order.rank_by(|element| if min.1 { element.0 <= min.0 } else { element.0 < min.0 });
    let end = order.rank_by(|element| if max.1 { element.0 < max.0 } else { element.0 <= max.0 });
    start..end.max(start)
}

/// A bound of a range of members.
#[derive(Clone, Copy)]
enum MemberBound<'a> {
    Lowest,
    Highest,
    At(&'a [u8], bool),
}

fn member_bound(text: &[u8]) -> Result<MemberBound<'_>, Failure> {
    match text {
        b"-" => Ok(MemberBound::Lowest),
        b"+" => Ok(MemberBound::Highest),
        [b'[', member @ ..] => Ok(MemberBound::At(member, false)),
        [b'(', member @ ..] => Ok(MemberBound::At(member, true)),
        _ => Err(Failure::Text("ERR min or max not valid string range item")),
    }
}

fn member_range(order: &Order, min: MemberBound<'_>, max: MemberBound<'_>) -> Range<usize> {
    let start = order.rank_by(|element| match min {
        MemberBound::Lowest => false,
        MemberBound::Highest => true,
        MemberBound::At(member, exclusive) if exclusive => *element.1 <= *member,
        MemberBound::At(member, _) => *element.1 < *member,
    });
    let end = order.rank_by(|element| match max {
        MemberBound::Lowest => false,
        MemberBound::Highest => true,
        MemberBound::At(member, exclusive) if exclusive => *element.1 < *member,
        MemberBound::At(member, _) => *element.1 <= *member,
    });
    start..end.max(start)
}

/// Checks the bounds, and returns what finds the ranks.
fn finder<'a>(
    by: By,
    reverse: bool,
    low: &'a [u8],
    high: &'a [u8],
) -> Result<impl Fn(&Order) -> Range<usize> + 'a, Failure> {
    let (mut scores, mut members, mut ranks) = (None, None, None);
    match by {
        By::Score => scores = Some((score_bound(low)?, score_bound(high)?)),
        By::Member => members = Some((member_bound(low)?, member_bound(high)?)),
        By::Rank => ranks = Some((integer(low)?, integer(high)?)),
    }
    Ok(move |order: &Order| {
        if let Some((min, max)) = scores {
            return score_range(order, min, max);
        }
        if let Some((min, max)) = members {
            return member_range(order, min, max);
        }
        let (start, stop) = ranks.unwrap_or((0, -1));
        let range = slice(start, stop, order.len());
        if reverse && !range.is_empty() { order.len() - range.end..order.len() - range.start } else { range }
    })
}

/// What a range command asks for.
struct Query {
    by: By,
    reverse: bool,
    scores: bool,
    limit: Option<(i64, i64)>,
}

impl Query {
    const fn new(by: By, reverse: bool) -> Self {
        Self { by, reverse, scores: false, limit: None }
    }

    /// Takes the options from `at` on; `zrange`: those of ZRANGE and ZRANGESTORE as well.
    fn options(&mut self, args: Args<'_>, mut at: usize, zrange: bool, store: bool) -> Done {
        while at < args.len() {
            let left = args.len() - at - 1;
            if args.is(at, "withscores") && !store {
                self.scores = true;
            } else if args.is(at, "limit") && left >= 2 {
                self.limit = Some((integer(args.at(at + 1))?, integer(args.at(at + 2))?));
                at += 2;
            } else if zrange && args.is(at, "rev") {
                self.reverse = true;
            } else if zrange && args.is(at, "byscore") && self.by == By::Rank {
                self.by = By::Score;
            } else if zrange && args.is(at, "bylex") && self.by == By::Rank {
                self.by = By::Member;
            } else {
                return Err(Failure::Syntax);
            }
            at += 1;
        }
        if self.limit.is_some() && self.by == By::Rank {
            return Err(Failure::Text(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if self.scores && self.by == By::Member {
            return Err(Failure::Text(
                "ERR syntax error, WITHSCORES not supported in combination with BYLEX",
            ));
        }
        Ok(())
    }

    /// The first rank to visit, and how many.
    fn span(&self, range: Range<usize>) -> (usize, usize) {
        let (offset, count) = self.limit.unwrap_or((0, -1));
        let Ok(offset) = usize::try_from(offset) else { return (0, 0) };
        let count = range.len().saturating_sub(offset).min(usize::try_from(count).unwrap_or(usize::MAX));
        let first = if self.reverse { range.end.saturating_sub(offset + 1) } else { range.start + offset };
        (if count == 0 { 0 } else { first }, count)
    }
}

/// Replies the elements between the bounds at `at` and `at + 1` of the sorted set named at `key`.
fn range(context: &mut Context<'_, '_>, query: &Query) -> Done {
    let args = context.args;
    let swapped = query.reverse && query.by != By::Rank;
    let (low, high) = if swapped { (args.at(3), args.at(2)) } else { (args.at(2), args.at(3)) };
    let find = finder(query.by, query.reverse, low, high)?;
    let Some(sorted) = context.store.read::<Sorted>(args.at(1))? else {
        context.out.array(0);
        return Ok(());
    };
    let (first, count) = query.span(find(&sorted.order));
    let nested = query.scores && context.out.resp3;
    context.out.array(if query.scores && !nested { count * 2 } else { count });
    for (score, member) in sorted.order.walk(first, count, query.reverse) {
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

fn range_with(context: &mut Context<'_, '_>, by: By, reverse: bool, zrange: bool) -> Done {
    let mut query = Query::new(by, reverse);
    if !zrange && by == By::Rank {
        match context.args.len() {
            4 => {}
            5 if context.args.is(4, "withscores") => query.scores = true,
            _ => return Err(Failure::Syntax),
        }
    } else {
        query.options(context.args, 4, zrange, false)?;
    }
    range(context, &query)
}

pub(crate) fn zrange(context: &mut Context<'_, '_>) -> Done {
    range_with(context, By::Rank, false, true)
}

pub(crate) fn zrevrange(context: &mut Context<'_, '_>) -> Done {
    range_with(context, By::Rank, true, false)
}

pub(crate) fn zrangebyscore(context: &mut Context<'_, '_>) -> Done {
    range_with(context, By::Score, false, false)
}

pub(crate) fn zrevrangebyscore(context: &mut Context<'_, '_>) -> Done {
    range_with(context, By::Score, true, false)
}

pub(crate) fn zrangebylex(context: &mut Context<'_, '_>) -> Done {
    range_with(context, By::Member, false, false)
}

pub(crate) fn zrevrangebylex(context: &mut Context<'_, '_>) -> Done {
    range_with(context, By::Member, true, false)
}

pub(crate) fn zrangestore(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    let mut query = Query::new(By::Rank, false);
    query.options(args, 5, true, true)?;
    let swapped = query.reverse && query.by != By::Rank;
    let (low, high) = if swapped { (args.at(4), args.at(3)) } else { (args.at(3), args.at(4)) };
    let find = finder(query.by, query.reverse, low, high)?;
    let mut result = Sorted::fresh(context.store.seed);
    if let Some(sorted) = context.store.read::<Sorted>(args.at(2))? {
        let (first, count) = query.span(find(&sorted.order));
        for (score, member) in sorted.order.walk(first, count, query.reverse) {
            result.set(member, *score)?;
        }
    }
    super::sorted_store::put(context, args.at(1), result)
}

fn count_between(context: &mut Context<'_, '_>, by: By) -> Done {
    let find = finder(by, false, context.args.at(2), context.args.at(3))?;
    let sorted = context.store.read::<Sorted>(context.args.at(1))?;
    context.out.len(sorted.map_or(0, |sorted| find(&sorted.order).len()));
    Ok(())
}

pub(crate) fn zcount(context: &mut Context<'_, '_>) -> Done {
    count_between(context, By::Score)
}

pub(crate) fn zlexcount(context: &mut Context<'_, '_>) -> Done {
    count_between(context, By::Member)
}

fn remove_between(context: &mut Context<'_, '_>, by: By) -> Done {
    let args = context.args;
    let find = finder(by, false, args.at(2), args.at(3))?;
    let mut removed = 0;
    if let Some(mut sorted) = context.store.edit::<Sorted>(args.at(1))? {
        let range = find(&sorted.order);
        removed = range.len();
        for _ in 0..removed {
            let Some((_, member)) = sorted.order.at(range.start) else { break };
            let member = crate::bytes::Bytes::new(member)?;
            sorted.remove(&member);
        }
    }
    if removed > 0 {
        context.store.reap(args.at(1));
        context.store.dirty += 1;
    }
    context.out.len(removed);
    Ok(())
}

pub(crate) fn zremrangebyrank(context: &mut Context<'_, '_>) -> Done {
    remove_between(context, By::Rank)
}

pub(crate) fn zremrangebyscore(context: &mut Context<'_, '_>) -> Done {
    remove_between(context, By::Score)
}

pub(crate) fn zremrangebylex(context: &mut Context<'_, '_>) -> Done {
    remove_between(context, By::Member)
}
