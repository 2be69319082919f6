//! Where received frames are kept until they are needed: in their own places where these are free, else in others that are no frame's
//! place. What has to be moved at last is a plan of [`vmm::takeover`].

use alloc::vec::Vec;
use checkpoint::{Content, FrameKind, Manifest, Piece};
use core::fmt;
use core::ops::Range;
use machine::frames::Block;
use machine::paging::{PAGE, facts_bounds, image_bounds};
use vmm::takeover::{MOST_ENTRIES, Writer};
use x86defs::state::CpuState;

/// Frames of one allocation at most, where frames are wanted that may be anywhere.
const SPARE: u64 = 64;
/// Allocations that may turn out to be somebody's place, which was in use before.
const STRAYS: usize = 1024;

/// Why what has come can't be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// There is no memory for so many frames more.
    Memory(u64),
    /// A CPU's state has another length than here.
    State,
    /// This frame is the image's text, its constants, or a fact of the machine's.
    Fixed(u64),
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(frames) => {
                write!(f, "there is not enough memory here: {} MiB are missing", frames.div_ceil(256))
            }
            Self::State => f.write_str("the CPUs' states are not as long as here"),
            Self::Fixed(frame) => {
                write!(f, "frame {:#x} is one that a checkpoint does not have", frame * PAGE)
            }
        }
    }
}

/// All frames of a checkpoint, as they come.
pub struct Places {
    /// Free frames that are their own places, ascending.
    own: Vec<Block>,
    /// Frames for those whose places are in use, ascending.
    spare: Vec<Block>,
    /// Kept until the end, lest they come again.
    strays: Vec<Block>,
    /// A page for each CPU.
    states: Vec<Block>,
    /// Numbers of the frames: from the first to before the second, ascending.
    all: Vec<Range<u64>>,
    /// Those of them of which nothing comes, for they are zero, as far as they are not cleared yet: the last first.
    zeros: Vec<Range<u64>>,
    /// Which of `own` the next frame may be in.
    at_own: usize,
    /// The block of `spare` that the next one goes to, and the page in it.
    at_spare: (usize, u64),
    moves: Vec<Move>,
}

/// Frames that go somewhere at last.
struct Move {
    to: u64,
    /// `None`: they become zero.
    from: Option<u64>,
    pages: u64,
}

impl Places {
    /// Takes frames for all that the manifest lists.
    pub fn find(manifest: &Manifest) -> Result<Self, Misfit> {
        let ranges = manifest.frames.ranges().iter();
        let all: Vec<_> = ranges.clone().map(|range| range.first..range.end()).collect();
        let zeros = ranges.rev().filter(|range| range.kind == FrameKind::Zero);
        let [text, _, constants_end, _] = image_bounds();
        let facts = facts_bounds();
        for fixed in [text..constants_end, facts] {
            let fixed = fixed.start / PAGE..fixed.end.div_ceil(PAGE);
            if let Some(range) = all.iter().find(|range| range.start < fixed.end && fixed.start < range.end) {
                return Err(Misfit::Fixed(range.start.max(fixed.start)));
            }
        }
        let mut places = Self {
            own: Vec::new(),
            spare: Vec::new(),
            strays: Vec::new(),
            states: Vec::new(),
            all,
            zeros: zeros.map(|range| range.first..range.end()).collect(),
            at_own: 0,
            at_spare: (0, 0),
            moves: Vec::new(),
        };
        for Range { start, end } in &places.all {
            let (mut at, end) = (start * PAGE, end * PAGE);
            while let Some(block) = Block::claim(at..end) {
                at = block.span().end;
                places.own.push(block);
            }
        }
        let mut missing = places.pages() - pages(&places.own);
        while missing > 0 {
            let block = places.spare(missing.min(SPARE)).or_else(|_| places.spare(1));
            let block = block.map_err(|_| Misfit::Memory(missing))?;
            missing -= pages(core::slice::from_ref(&block));
            places.spare.push(block);
        }
        places.spare.sort_unstable_by_key(|block| block.span().start);
        for state in &manifest.cpus {
            if state.len() != size_of::<CpuState>() {
                return Err(Misfit::State);
            }
            let mut block = places.spare(1)?;
            block.bytes()[..state.len()].copy_from_slice(state);
            places.states.push(block);
        }
        Ok(places)
    }

    /// How many frames there are.
    pub fn pages(&self) -> u64 {
        self.all.iter().map(|range| range.end - range.start).sum()
    }

    /// Frames one after another, none of which is anybody's place.
    fn spare(&mut self, pages: u64) -> Result<Block, Misfit> {
        while let Some(block) = Block::new(pages) {
            let Range { start, end } = block.span();
            let (first, last) = (start / PAGE, end / PAGE);
            let behind = self.all.partition_point(|range| range.end <= first);
            let is_place = self.all.get(behind).is_some_and(|range| range.start < last);
            if !is_place {
                return Ok(block);
            }
            self.strays.push(block);
            if self.strays.len() == STRAYS {
                break;
            }
        }
        Err(Misfit::Memory(pages))
    }

    /// Keeps what comes next: frames ascend.
    pub fn put(&mut self, piece: Piece<'_>) -> Result<(), Misfit> {
        self.clear_before(piece.first)?;
        let frames = piece.first..piece.first + u64::from(piece.count());
        for (frame, at) in frames.zip(0..) {
            let page = match piece.content {
                Content::Pages(bytes) => Some(&bytes[at * PAGE as usize..][..PAGE as usize]),
                Content::Zero(_) => None,
            };
            self.keep(frame, page)?;
        }
        Ok(())
    }

    /// Clears the frames before this one of which nothing comes.
    fn clear_before(&mut self, end: u64) -> Result<(), Misfit> {
        while let Some(zeros) = self.zeros.pop_if(|zeros| zeros.start < end) {
            zeros.into_iter().try_for_each(|frame| self.keep(frame, None))?;
        }
        Ok(())
    }

    /// Keeps what is in a frame, if it is not zero.
    fn keep(&mut self, frame: u64, page: Option<&[u8]>) -> Result<(), Misfit> {
        let address = frame * PAGE;
        match (self.own_place(address), page) {
            (Some(place), Some(page)) => place.copy_from_slice(page),
            (Some(place), None) => place.fill(0),
            (None, None) => self.moves_to(address, None),
            (None, Some(page)) => {
                let (place, from) = self.next_spare().ok_or(Misfit::Memory(1))?;
                place.copy_from_slice(page);
                self.moves_to(address, Some(from));
            }
        }
        Ok(())
    }

    /// The page of a frame that is in its own place.
    fn own_place(&mut self, address: u64) -> Option<&mut [u8]> {
        while self.own.get(self.at_own)?.span().end <= address {
            self.at_own += 1;
        }
        let block = &mut self.own[self.at_own];
        let offset = address.checked_sub(block.span().start)?;
        Some(&mut block.bytes()[offset as usize..][..PAGE as usize])
    }

    fn next_spare(&mut self) -> Option<(&mut [u8], u64)> {
        let (mut block, mut page) = self.at_spare;
        if page == pages(core::slice::from_ref(self.spare.get(block)?)) {
            (block, page) = (block + 1, 0);
        }
        self.at_spare = (block, page + 1);
        let block = self.spare.get_mut(block)?;
        let address = block.span().start + page * PAGE;
        Some((&mut block.bytes()[(page * PAGE) as usize..][..PAGE as usize], address))
    }

    fn moves_to(&mut self, to: u64, from: Option<u64>) {
        if let Some(last) = self.moves.last_mut() {
            let length = last.pages * PAGE;
            if last.to + length == to && last.from.map(|last| last + length) == from {
                last.pages += 1;
                return;
            }
        }
        self.moves.push(Move { to, from, pages: 1 });
    }

    /// What is left to be done, when all has come.
    pub fn plan(mut self) -> Result<Plan, Misfit> {
        self.clear_before(u64::MAX)?;
        let count = 1 + (self.moves.len() as u64).div_ceil(MOST_ENTRIES);
        let mut head = self.spare(count)?;
        let (states, address): (Vec<_>, _) =
            (self.states.iter().map(|block| block.span().start).collect(), head.span().start);
        let words = head.words();
        words.fill(0);
        let mut plan = Writer::new(words, address, &states).ok_or(Misfit::State)?;
        for Move { to, from, pages } in &self.moves {
            plan.push(*to, *from, *pages).ok_or(Misfit::Memory(1))?;
        }
        Ok(Plan { head, _places: self })
    }
}

fn pages(blocks: &[Block]) -> u64 {
    blocks.iter().map(|block| (block.span().end - block.span().start) / PAGE).sum()
}

/// All that is to be done, in memory that is kept for it.
pub struct Plan {
    head: Block,
    _places: Places,
}

impl Plan {
    /// Where its head is.
    pub fn address(&self) -> u64 {
        self.head.span().start
    }
}
