//! The list of frames in use, which comes before what is in them.
//!
//! A chunk of frames begins with a word of 8 bytes, the number of ranges that follow in further chunks. Its ranges have 16 bytes each,
//! ascending, apart, at most 2^20 in all:
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 8 | number of the first frame: its address by 4096 |
//! | 8 | 4 | number of frames, at least 1 |
//! | 12 | 4 | kind: 1 its pages come, 2 zero, 3 as in the base |

use alloc::vec::Vec;

use crate::fields::{self, Fields};
use crate::{Error, FrameFault, MAX_FRAME, PAGE};

/// Ranges at most.
pub const MAX_RANGES: usize = 1 << 20;
/// Bytes of a range.
pub const RANGE: usize = 16;

/// A piece of physical memory.
type Span = core::ops::Range<u64>;

/// Where the contents of frames are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum FrameKind {
    /// In this checkpoint.
    Here = 1,
    /// Nowhere: they are zero.
    Zero = 2,
    /// In the base: not changed since then.
    Base = 3,
}

impl FrameKind {
    fn new(number: u32) -> Option<Self> {
        [Self::Here, Self::Zero, Self::Base].into_iter().find(|kind| *kind as u32 == number)
    }
}

/// Frames one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Number of the first.
    pub first: u64,
    /// How many, at least 1.
    pub count: u32,
    /// Where their contents are.
    pub kind: FrameKind,
}

const _: () = assert!(size_of::<Range>() == RANGE);

impl Range {
    /// The number behind the last one's.
    pub const fn end(&self) -> u64 {
        self.first + self.count as u64
    }
}

/// Ranges in ascending order, apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frames(Vec<Range>);

impl Frames {
    /// None.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds frames behind those that are in; joins them to the last range where they continue it.
    pub fn push(&mut self, range: Range) -> Result<(), Error> {
        if range.count == 0 {
            return Err(Error::Field("frame count"));
        }
        if range.first >= MAX_FRAME || range.end() > MAX_FRAME {
            return Err(Error::Field("first frame"));
        }
        if let Some(last) = self.0.last_mut() {
            if range.first < last.end() {
                return Err(Error::Frame(range.first, FrameFault::Order));
            }
            if (last.end(), last.kind) == (range.first, range.kind)
                && let Some(count) = last.count.checked_add(range.count)
            {
                last.count = count;
                return Ok(());
            }
        }
        if self.0.len() == MAX_RANGES {
            return Err(Error::Field("number of ranges"));
        }
        fields::push(&mut self.0, range)
    }

    /// The frames of `used` that are not in `left_out`, with their contents here, and `needed`, of which nobody needs the contents: as zero.
    /// Physical addresses, whole pages, in any order. What is used or needed is there once; what is left out may overlap.
    pub fn of(mut used: Vec<Span>, mut left_out: Vec<Span>, needed: &[Span]) -> Result<Self, Error> {
        left_out.extend_from_slice(needed);
        used.sort_unstable_by_key(|span| span.start);
        left_out.sort_unstable_by_key(|span| span.start);
        let (mut spans, mut left_out) = (Vec::new(), left_out.into_iter().peekable());
        spans.extend(needed.iter().map(|span| (span.clone(), FrameKind::Zero)));
        for Span { start, end } in used {
            let mut at = start;
            while at < end {
                while left_out.next_if(|out| out.end <= at).is_some() {}
                let next = left_out.peek().map_or(end, |out| out.start.min(end));
                if next <= at {
                    at = left_out.peek().map_or(end, |out| out.end);
                    continue;
                }
                fields::push(&mut spans, (at..next, FrameKind::Here))?;
                at = next;
            }
        }
        spans.sort_unstable_by_key(|(span, _)| span.start);
        let mut frames = Self::new();
        for (span, kind) in spans {
            frames.push_span(span, kind)?;
        }
        Ok(frames)
    }

    /// These frames, those left to the base that are among `base` and of which `written` says no: whatever has been taken into use since has
    /// its contents here, written or not.
    pub fn since(&self, base: &Self, written: impl Fn(u64) -> bool) -> Result<Self, Error> {
        let (mut frames, mut base) = (Self::new(), base.0.iter().peekable());
        for range in &self.0 {
            let mut at = range.first;
            while at < range.end() {
                while base.next_if(|range| range.end() <= at).is_some() {}
                let (is_there, end) = match base.peek() {
                    Some(there) if there.first <= at => (true, there.end()),
                    next => (false, next.map_or(u64::MAX, |there| there.first)),
                };
                let end = end.min(range.end());
                while at < end {
                    let is_left = |frame: &u64| is_there && !written(*frame);
                    let left = is_left(&at);
                    let next = (at + 1..end).find(|frame| is_left(frame) != left).unwrap_or(end);
                    let kind = if left { FrameKind::Base } else { range.kind };
                    frames.push(Range { first: at, count: (next - at) as u32, kind })?;
                    at = next;
                }
            }
        }
        Ok(frames)
    }

    fn push_span(&mut self, span: Span, kind: FrameKind) -> Result<(), Error> {
        let (mut at, end) = (span.start / PAGE as u64, span.end / PAGE as u64);
        while at < end {
            let count = u32::try_from(end - at).unwrap_or(u32::MAX);
            self.push(Range { first: at, count, kind })?;
            at += u64::from(count);
        }
        Ok(())
    }

    /// Ascending.
    pub fn ranges(&self) -> &[Range] {
        &self.0
    }

    /// How many frames have their contents there.
    pub fn count(&self, kind: FrameKind) -> u64 {
        self.0.iter().filter(|range| range.kind == kind).map(|range| u64::from(range.count)).sum()
    }

    /// The range that a frame is in.
    fn find(&self, frame: u64) -> Option<&Range> {
        let behind = self.0.partition_point(|range| range.first <= frame);
        self.0[..behind].last().filter(|range| frame < range.end())
    }

    /// A chunk of the ranges from `at` on, in as many bytes as there are at most; how many ranges that were.
    pub(crate) fn encode(&self, at: usize, bytes: usize, raw: &mut Vec<u8>) -> usize {
        let left = &self.0[at..];
        let (now, later) = left.split_at(left.len().min((bytes - 8) / RANGE));
        raw.extend_from_slice(&(later.len() as u64).to_le_bytes());
        for range in now {
            encode_run(raw, range.first, range.count, range.kind as u32);
        }
        now.len()
    }

    /// Reads a chunk, of which `left` ranges may be there. How many are to follow.
    pub(crate) fn decode(&mut self, raw: &[u8], left: Option<u64>) -> Result<u64, Error> {
        let mut fields = Fields(raw);
        let rest = fields.u64("number of ranges")?;
        let here = (fields.0.len() / RANGE) as u64;
        let fits = match left {
            Some(left) => rest.checked_add(here) == Some(left),
            None => rest <= MAX_RANGES as u64,
        };
        // Else any number of chunks could come that bring nothing.
        if !fits || here == 0 && rest > 0 {
            return Err(Error::Field("number of ranges"));
        }
        while !fields.0.is_empty() {
            let (first, count, kind) = decode_run(&mut fields)?;
            let kind = FrameKind::new(kind).ok_or(Error::Field("frame kind"))?;
            self.push(Range { first, count, kind })?;
        }
        Ok(rest)
    }
}

/// Adds a range of frames or a run of pages to a chunk.
pub fn encode_run(raw: &mut Vec<u8>, first: u64, count: u32, kind: u32) {
    raw.extend_from_slice(&first.to_le_bytes());
    raw.extend_from_slice(&count.to_le_bytes());
    raw.extend_from_slice(&kind.to_le_bytes());
}

/// Reads what [`encode_run`] has written.
pub fn decode_run(fields: &mut Fields<'_>) -> Result<(u64, u32, u32), Error> {
    Ok((fields.u64("first frame")?, fields.u32("frame count")?, fields.u32("frame kind")?))
}

/// How far the contents of the listed frames have come: they come in the order of the list, each once.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    range: usize,
    done: u32,
}

impl Progress {
    /// The next frame whose contents are to come, and how many more of its range do.
    fn next(&mut self, frames: &Frames) -> Option<(u64, u32)> {
        loop {
            let range = frames.0.get(self.range)?;
            if range.kind == FrameKind::Here && self.done < range.count {
                return Some((range.first + u64::from(self.done), range.count - self.done));
            }
            (self.range, self.done) = (self.range + 1, 0);
        }
    }

    /// Takes note of contents that come.
    pub fn accept(&mut self, frames: &Frames, first: u64, count: u32) -> Result<(), Error> {
        let (mut first, mut count) = (first, count);
        while count > 0 {
            let next = self.next(frames);
            let (_, left) = next.filter(|(frame, _)| *frame == first).ok_or_else(|| {
                let is_listed = frames.find(first).is_some_and(|range| range.kind == FrameKind::Here);
                match next {
                    _ if !is_listed => Error::Frame(first, FrameFault::NotListed),
                    Some((frame, _)) if frame < first => Error::Frame(frame, FrameFault::Missing),
                    _ => Error::Frame(first, FrameFault::Twice),
                }
            })?;
            let now = count.min(left);
            self.done += now;
            (first, count) = (first + u64::from(now), count - now);
        }
        Ok(())
    }

    /// Names a frame whose contents have not come.
    pub fn finish(&mut self, frames: &Frames) -> Result<(), Error> {
        match self.next(frames) {
            Some((frame, _)) => Err(Error::Frame(frame, FrameFault::Missing)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use proptest::prelude::*;

    fn frames(spans: &[Span]) -> BTreeSet<u64> {
        spans.iter().flat_map(|span| span.start / 4096..span.end / 4096).collect()
    }

    proptest! {
        #[test]
        fn what_was_there_and_is_not_written_is_left_to_the_base(
            now in proptest::collection::vec(any::<bool>(), 64),
            base in proptest::collection::vec(any::<bool>(), 64),
            written in proptest::collection::vec(any::<bool>(), 64),
        ) {
            let list = |used: &[bool]| {
                let used = (0u64..).zip(used).filter(|(_, used)| **used);
                Frames::of(used.map(|(frame, _)| frame * 4096..(frame + 1) * 4096).collect(), Vec::new(), &[])
            };
            let frames = list(&now).unwrap().since(&list(&base).unwrap(), |frame| written[frame as usize]).unwrap();
            for frame in 0..64 {
                let kind = if base[frame] && !written[frame] { FrameKind::Base } else { FrameKind::Here };
                let found = frames.find(frame as u64).map(|range| range.kind);
                prop_assert_eq!(found, now[frame].then_some(kind));
            }
        }

        #[test]
        fn what_is_left_out_is_not_listed(
            used in proptest::collection::vec((0u64..6, 1u64..20), 0..20),
            out in proptest::collection::vec((0u64..250, 0u64..20), 0..20),
            needs in proptest::collection::vec((0u64..250, 1u64..20), 0..5),
            turn in any::<proptest::sample::Index>(),
        ) {
            let mut at = 0;
            let mut used: Vec<Span> = used
                .into_iter()
                .map(|(gap, count)| {
                    let start = at + gap;
                    at = start + count;
                    start * 4096..at * 4096
                })
                .collect();
            let out: Vec<Span> = out.into_iter().map(|(at, count)| at * 4096..(at + count) * 4096).collect();
            // What is needed may be used or not, left out or not.
            let mut needed: Vec<Span> = Vec::new();
            for span in needs.into_iter().map(|(at, count)| at * 4096..(at + count) * 4096) {
                if needed.last().is_none_or(|last| last.end <= span.start) {
                    needed.push(span);
                }
            }
            let zero = frames(&needed);
            let mut expected = &frames(&used) - &frames(&out);
            expected.extend(&zero);
            if !used.is_empty() {
                let middle = turn.index(used.len());
                used.rotate_left(middle);
            }
            let list = Frames::of(used, out, &needed).unwrap();
            let listed = list.ranges().iter().flat_map(|range| range.first..range.end());
            prop_assert!(listed.eq(expected));
            for range in list.ranges() {
                prop_assert!((range.first..range.end()).all(|frame| zero.contains(&frame) == (range.kind == FrameKind::Zero)));
            }
        }
    }
}
