//! What was written between two freezes is told at the second: a frame in use that is not told holds what it held at the first.

use crate::check;
use crate::restore::{in_use, unfetched};
use crate::snapshot::{ROOM, tables};
use crate::stamps::{Block, ORDER, Stamps};
use crate::switch::{LONG, switch_to, then_native};
use alloc::vec::Vec;
use app::Env;
use core::ops::Range;
use machine::dma::DmaRegion;
use machine::frames;
use machine::paging::PAGE;
use mode::Phase;
use mode::bare::{Returned, Snapshot, freeze_and_record, monitor};
use vmm::Vendor;
use vmm::call::{Status, TOLD};

/// Freezes on one record.
const FREEZES: u64 = 4;
/// Pages that are fetched at a time.
const PIECE: usize = 32;

fn frozen(cpus: usize) -> Result<Snapshot, &'static str> {
    match freeze_and_record(ROOM * cpus as u64, LONG, &()) {
        Ok(Returned::GoOn(snapshot)) => Ok(snapshot),
        Ok(Returned::Restored) => Err("nobody has restored anything"),
        Err(error) => {
            log::error!("{error}");
            Err("memory was not frozen")
        }
    }
}

/// Where what is fetched goes.
struct Buffers {
    table: DmaRegion,
    piece: DmaRegion,
    /// What counts of a word. Bochs sets bits in page tables, accessed and dirty, without asking EPT; nobody reads them.
    mask: u64,
}

impl Buffers {
    fn new() -> Option<Self> {
        let Range { start, end } = frames::table();
        let table = DmaRegion::new((end.div_ceil(PAGE) - start / PAGE) as usize)?;
        let mask = if monitor().ok()?.vendor() == Vendor::Vmx { !0x60 } else { !0 };
        Some(Self { table, piece: DmaRegion::new(PIECE)?, mask })
    }

    /// The frames that were in use, ascending, each with a sum of what it held.
    fn sums(&mut self, snapshot: &Snapshot) -> Result<Vec<(u64, u64)>, &'static str> {
        let mut sums = Vec::new();
        for Range { mut start, end } in in_use(snapshot, &mut self.table)? {
            while start < end {
                let next = end.min(start + self.piece.len() as u64);
                snapshot.fetch(start..next, &mut self.piece).map_err(unfetched)?;
                let pages = (start..next).step_by(PAGE as usize).enumerate();
                sums.extend(pages.map(|(page, frame)| (frame, self.sum(page))));
                start = next;
            }
        }
        Ok(sums)
    }

    /// A sum of a page of the piece that the order of its words has a part in.
    fn sum(&self, page: usize) -> u64 {
        let words = page * PAGE as usize / 8..(page + 1) * PAGE as usize / 8;
        let first = self.piece.pointer().cast::<u64>();
        // SAFETY: within the buffer, which is ours; nobody else writes it.
        let words = words.map(|word| unsafe { first.add(word).read_volatile() });
        words.fold(0, |sum: u64, word| (sum ^ word & self.mask).wrapping_mul(0x100_0000_01b3).rotate_left(23))
    }

    /// Whether each of these frames, ascending, was written.
    fn written(&mut self, snapshot: &Snapshot, frames: &[(u64, u64)]) -> Result<Vec<bool>, Status> {
        let (mut first, mut told) = (u64::MAX, Vec::new());
        for (frame, _) in frames {
            let start = frame - frame % (TOLD * PAGE);
            if start != first {
                snapshot.written(start, &mut self.piece).map_err(|error| error.1)?;
                first = start;
            }
            let bit = (frame - start) / PAGE;
            // SAFETY: as in `sum`.
            let word = unsafe { self.piece.pointer().cast::<u64>().add(bit as usize / 64).read_volatile() };
            told.push(word >> (bit % 64) & 1 != 0);
        }
        Ok(told)
    }
}

/// Writers on all CPUs go on, through snapshots on one record and between them.
pub fn tells_what_was_written(env: &'static Env) -> Result<(), &'static str> {
    let cpus = env.cpus();
    let before = tables();
    let mut buffers = Buffers::new().ok_or("no memory")?;
    let stamps = Stamps::new(cpus, ORDER).ok_or("no memory")?;
    let (own, quiet) = (Block::new(ORDER).ok_or("no memory")?, Block::new(ORDER).ok_or("no memory")?);
    quiet.stamp(1);
    switch_to(env, Phase::Guest)?;
    let rounds = || {
        let mut last: Vec<(u64, u64)> = Vec::new();
        for round in 0..FREEZES {
            let snapshot = frozen(cpus)?;
            let now = buffers.sums(&snapshot)?;
            match buffers.written(&snapshot, &now) {
                Err(Status::Nothing) if round == 0 => {}
                Ok(told) if round > 0 => compare(&last, &now, &told, [&own, &quiet])?,
                other => {
                    log::error!("{:?}", other.err());
                    return Err("what was written is known where it should not, or the other way round");
                }
            }
            last = now;
            stamps.go_on(1);
            own.stamp(round);
            snapshot.keep_record();
            stamps.go_on(1);
        }
        // A record does not outlive guest mode.
        switch_to(env, Phase::Native)?;
        check(tables() == before, "tables of the reserve stay used")?;
        switch_to(env, Phase::Guest)?;
        let told = buffers.written(&frozen(cpus)?, &last);
        check(told == Err(Status::Nothing), "a record is older than guest mode")
    };
    then_native(stamps.written_during(rounds))?;
    check(tables() == before, "tables of the reserve stay used")
}

/// What is not told is the same; what was written is told; what nobody has written is not.
fn compare(
    last: &[(u64, u64)],
    now: &[(u64, u64)],
    told: &[bool],
    [own, quiet]: [&Block; 2],
) -> Result<(), &'static str> {
    let mut changed = 0;
    for ((frame, sum), told) in now.iter().zip(told) {
        let then = last.binary_search_by_key(frame, |(frame, _)| *frame).map(|place| last[place].1);
        changed += u64::from(then.is_ok_and(|then| then != *sum));
        if !told && then.is_ok_and(|then| then != *sum) {
            log::error!("{frame:#x}");
            return Err("a frame was written, and is not told");
        }
    }
    let of = |block: &Block| {
        let frames = block.frames();
        let pages = now.iter().zip(told).filter(|((frame, _), _)| frames.contains(frame));
        pages.filter(|(_, told)| **told).count() as u64
    };
    let all = told.iter().filter(|told| **told).count();
    log::info!("selftest: {all} of {} frames were told to be written, {changed} are other", now.len());
    check(of(own) == (own.frames().end - own.frames().start) / PAGE, "a page that was stamped is not told")?;
    check(of(quiet) == 0, "a page is told that nobody has written")
}
