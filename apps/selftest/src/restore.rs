//! The machine becomes what it was: a snapshot of it, kept in memory, is put in the place of the running system.

use crate::check;
use crate::snapshot::tables;
use crate::stamps::{Block, ORDER, Stamps};
use crate::switch::{LONG, all_are, switch_to, then_native};
use alloc::vec::Vec;
use app::Env;
use app::thread;
use app::time::{Duration, Instant};
use checkpoint::Frames;
use core::ops::Range;
use machine::dma::DmaRegion;
use machine::frames::{self, Taken};
use machine::paging::{PAGE, image_bounds};
use machine::time::wall_clock;
use mode::Refused;
use mode::bare::{CpuError, RestoreError, Returned, Snapshot, SnapshotError, freeze, restore};
use vmm::call::Status;
use vmm::takeover::Writer;

/// Bytes that are donated: for what each CPU writes while all is fetched, and for all of them.
const ROOM_EACH: u64 = 4 << 20;
const ROOM: u64 = 8 << 20;
/// Pages of a piece of the copy.
const PIECE: u64 = 32;
/// Pages of the plan.
const PLAN: usize = 128;
/// Pages in use by which the copy may be larger than what is in use now.
const MORE: u64 = 4096;
/// How often the same past comes back.
const TIMES: u64 = 3;

/// What is remembered of one past in the next: in the pool of DMA memory, which is not restored.
struct Memory(DmaRegion);

impl Memory {
    /// How often the machine was restored.
    const RESTORES: usize = 0;
    /// The wall clock when it was restored, in nanoseconds.
    const WALL: usize = 1;

    fn get(&self, word: usize) -> u64 {
        // SAFETY: within a page that is ours.
        unsafe { self.0.pointer().cast::<u64>().add(word).read_volatile() }
    }

    fn set(&self, word: usize, value: u64) {
        // SAFETY: as above.
        unsafe { self.0.pointer().cast::<u64>().add(word).write_volatile(value) };
    }
}

/// The copy of a machine, and where it goes.
struct Copy {
    /// Ascending.
    pieces: Vec<DmaRegion>,
    table: DmaRegion,
    states: Vec<DmaRegion>,
    plan: DmaRegion,
}

impl Copy {
    /// Room for what is in use.
    fn new(cpus: usize) -> Option<Self> {
        let [.., constants_end, data_end] = image_bounds();
        let statistics = frames::statistics();
        let pages = statistics.total - statistics.free + (data_end - constants_end) / PAGE + MORE;
        let taken: Vec<_> = (0..pages / PIECE).map_while(|_| DmaRegion::new(PIECE as usize)).collect();
        let mut pieces = (taken.len() as u64 == pages / PIECE).then_some(taken)?;
        pieces.sort_unstable_by_key(DmaRegion::physical);
        let states: Vec<_> = (0..cpus).map_while(|_| DmaRegion::new(1)).collect();
        let table = frames::table();
        Some(Self {
            pieces,
            table: DmaRegion::new((table.end.div_ceil(PAGE) - table.start / PAGE) as usize)?,
            states: (states.len() == cpus).then_some(states)?,
            plan: DmaRegion::new(PLAN)?,
        })
    }

    /// Fetches all that was in use at the freeze, and lays out the way back.
    fn fetch(&mut self, snapshot: &Snapshot) -> Result<(), &'static str> {
        for (cpu, buffer) in self.states.iter_mut().enumerate() {
            snapshot.state(cpu, buffer).map_err(unfetched)?;
        }
        let spans = in_use(snapshot, &mut self.table)?;
        let words = self.plan.len() / 8;
        // SAFETY: a buffer of ours.
        let words = unsafe { core::slice::from_raw_parts_mut(self.plan.pointer().cast().as_ptr(), words) };
        let states: Vec<_> = self.states.iter().map(DmaRegion::physical).collect();
        let mut plan = Writer::new(words, self.plan.physical(), &states).ok_or("no room for a plan")?;
        let mut pieces = self.pieces.iter_mut();
        let (mut piece, mut filled) = (pieces.next().ok_or("no room")?, 0);
        for Range { mut start, end } in spans {
            while start < end {
                if filled == PIECE {
                    (piece, filled) = (pieces.next().ok_or("more is in use than there is room for")?, 0);
                }
                let count = ((end - start) / PAGE).min(PIECE - filled);
                let frames = start..start + count * PAGE;
                snapshot.fetch_to(frames, piece, filled as usize).map_err(unfetched)?;
                let from = piece.physical() + filled * PAGE;
                plan.push(start, Some(from), count).ok_or("no room for a plan")?;
                filled += count;
                start += count * PAGE;
            }
        }
        Ok(())
    }
}

/// Why a test can't go on.
pub fn unfetched(error: SnapshotError) -> &'static str {
    log::error!("{error}");
    "a frame can't be fetched"
}

/// What was in use, ascending: what the allocator had handed out, its table, and the image's data; but not what is in no checkpoint.
/// The buffer is for the table.
pub fn in_use(snapshot: &Snapshot, buffer: &mut DmaRegion) -> Result<Vec<Range<u64>>, &'static str> {
    let Range { start, end } = frames::table();
    let table = start & !(PAGE - 1)..end.next_multiple_of(PAGE);
    snapshot.fetch(table.clone(), buffer).map_err(unfetched)?;
    // SAFETY: fetched into a buffer of ours.
    let state = unsafe {
        let first = buffer.pointer().add((start - table.start) as usize);
        core::slice::from_raw_parts(first.as_ptr(), (end - start) as usize)
    };
    let [.., constants_end, data_end] = image_bounds();
    let mut taken = Taken::default();
    let blocks = taken.read(0, state).map(|(start, order)| start..start + (PAGE << order));
    let used = blocks.chain([constants_end..data_end, table]).collect();
    let frames =
        Frames::of(used, snapshot.left_out().collect(), &[]).map_err(|_| "no list of what is in use")?;
    Ok(frames.ranges().iter().map(|range| range.first * PAGE..range.end() * PAGE).collect())
}

/// Writers on all CPUs go on; then all that they did is undone, again and again, and they go on from there.
pub fn brings_the_past_back(env: &'static Env) -> Result<(), &'static str> {
    let cpus = env.cpus();
    let before = tables();
    let memory = Memory(DmaRegion::new(1).ok_or("no memory")?);
    let mut copy = Copy::new(cpus).ok_or("no memory")?;
    let stamps = Stamps::new(cpus, ORDER).ok_or("no memory")?;
    let own = Block::new(ORDER).ok_or("no memory")?;
    let free = env.free_memory_bytes();
    switch_to(env, mode::Phase::Guest)?;
    let rounds = || {
        stamps.go_on(1);
        own.stamp(1);
        let start = Instant::now();
        match freeze(ROOM + ROOM_EACH * cpus as u64, LONG, &()) {
            Ok(Returned::GoOn(snapshot)) => {
                own.stamp(2);
                copy.fetch(&snapshot)?;
                stamps.go_on(2);
                drop(snapshot);
                refuses(&copy)?;
            }
            Ok(Returned::Restored) => came_back(env, &memory, &stamps, &own, start)?,
            Err(error) => {
                log::error!("{error}");
                return Err("memory was not frozen");
            }
        }
        stamps.go_on(2);
        own.stamp(3);
        let times = memory.get(Memory::RESTORES);
        if times == TIMES {
            return Ok(());
        }
        memory.set(Memory::RESTORES, times + 1);
        memory.set(Memory::WALL, wall_clock().as_nanos() as u64);
        log::error!("{}", restore(copy.plan.physical(), LONG));
        Err("nothing was restored")
    };
    then_native(stamps.written_during(rounds))?;
    check(tables() == before, "tables of the reserve stay used")?;
    // Others may have taken some meanwhile, but not so much.
    check(env.free_memory_bytes() + ROOM / 2 > free, "donated memory was not given back")?;
    log::info!("selftest: restored {TIMES} times");
    Ok(())
}

/// A plan that breaks a rule changes nothing.
fn refuses(copy: &Copy) -> Result<(), &'static str> {
    let head = copy.plan.pointer().cast::<u64>();
    let state = copy.states[0].pointer().cast::<x86defs::state::CpuState>();
    let bad = |result| match result {
        RestoreError::Refused(Refused::Failed(_, CpuError::Restore(Status::BadArgument))) => Ok(()),
        error => {
            log::error!("{error}");
            Err("a plan was refused for another reason")
        }
    };
    // SAFETY: the plan is ours, and a state is in its page.
    unsafe {
        let cpus = head.add(1).read();
        head.add(1).write(cpus + 1);
        bad(restore(copy.plan.physical(), LONG))?;
        head.add(1).write(cpus);
        let cr4 = state.as_ref().cr4;
        (&raw mut (*state.as_ptr()).cr4).write(cr4 | 1 << 63);
        bad(restore(copy.plan.physical(), LONG))?;
        (&raw mut (*state.as_ptr()).cr4).write(cr4);
    }
    Ok(())
}

/// All is as it was at the freeze, and goes on.
fn came_back(
    env: &'static Env,
    memory: &Memory,
    stamps: &Stamps,
    own: &Block,
    start: Instant,
) -> Result<(), &'static str> {
    check(Instant::now() >= start, "time has gone back")?;
    check(memory.get(Memory::RESTORES) > 0, "nobody has restored anything")?;
    let wall = Duration::from_nanos(memory.get(Memory::WALL));
    check(wall_clock() >= wall, "the wall clock is not the machine's")?;
    check(own.stamps().all(|stamp| stamp == 1), "memory is not what it was")?;
    all_are(env, true)?;
    // Timers tick, on all CPUs; writers write.
    thread::sleep(Duration::from_millis(2));
    stamps.go_on(1);
    Ok(())
}
