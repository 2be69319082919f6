//! Snapshots: what is fetched is memory as it was at one instant, whoever writes meanwhile; and nothing remains of it.

use crate::check;
use crate::stamps::{Block, ORDER, PAGES, Stamps};
use crate::switch::{LONG, all_are, switch_to, then_native};
use alloc::vec::Vec;
use app::Env;
use app::time::Duration;
use machine::dma::DmaRegion;
use machine::paging::{PAGE, image_bounds};
use machine::state::{Hardware, Privileged, Register};
use mode::bare::{FreezeError, RequestError, Returned, Snapshot, freeze, look, monitor, request};
use mode::{Phase, Refused};
use vmm::call::{Count, Status};

/// Bytes that are donated for each CPU: its pages, and what else it writes.
pub const ROOM: u64 = 4 << 20;
/// Snapshots under writers, divided by the CPUs; `snapshots=` has another number.
const SNAPSHOTS: usize = 40;
const SHORT: Duration = Duration::from_millis(30);

/// What was stamped on the pages of a block, in the order in which it is written.
fn stamped(snapshot: &Snapshot, block: &Block, buffer: &mut DmaRegion) -> Result<Vec<u64>, &'static str> {
    snapshot.fetch(block.frames(), buffer).map_err(|error| {
        log::error!("{error}");
        "a page can't be fetched"
    })?;
    let words = (0..PAGES).flat_map(|page| [0, PAGE - 8].map(|word| page * PAGE + word));
    // SAFETY: within the buffer, which is ours; nobody else writes it.
    Ok(words
        .map(|at| unsafe { buffer.pointer().byte_add(at as usize).cast::<u64>().read_volatile() })
        .collect())
}

/// All stamps of one instant: each CPU's fall once and by one, and all CPUs' are of the same step or the one before.
fn is_one_instant(stamps: &[Vec<u64>]) -> bool {
    let by_one = |stamps: &Vec<u64>| stamps.is_sorted_by(|one, next| one >= next);
    let all = || stamps.iter().flatten().copied();
    stamps.iter().all(by_one) && all().max().unwrap_or(0) - all().min().unwrap_or(0) <= 1
}

fn frozen(room: u64) -> Result<Snapshot, &'static str> {
    match freeze(room, LONG, &()) {
        Ok(Returned::GoOn(snapshot)) => Ok(snapshot),
        Ok(Returned::Restored) => Err("nobody has restored anything"),
        Err(error) => {
            log::error!("{error}");
            Err("memory was not frozen")
        }
    }
}

/// Nested tables in use, on the bare machine.
pub fn tables() -> u64 {
    monitor().map_or(0, vmm::monitor::Monitor::tables)
}

/// Writers on all CPUs go through pages of theirs in step. Whenever memory is frozen, and however much they write before it is
/// fetched: it is as it was at one instant.
pub fn is_of_one_instant(env: &'static Env) -> Result<(), &'static str> {
    let cpus = env.cpus();
    let wanted = env.setting("snapshots").and_then(|text| text.parse().ok());
    let snapshots = wanted.unwrap_or((SNAPSHOTS / cpus).max(4));
    let before = tables();
    let mut buffer = DmaRegion::new(PAGES as usize).ok_or("no memory")?;
    let stamps = Stamps::new(cpus, ORDER).ok_or("no memory")?;
    switch_to(env, Phase::Guest)?;
    let rounds = || {
        let mut stop = 0;
        for number in 0..snapshots {
            stamps.go_on(1);
            stop = stop.max(one(env, &stamps, &mut buffer, number)?);
            // What was split is joined between times.
            if number % 8 == 7 {
                switch_to(env, Phase::Native)?;
                check(tables() == before, "tables of the reserve stay used")?;
                switch_to(env, Phase::Guest)?;
            }
        }
        Ok(stop)
    };
    let result = stamps.written_during(rounds);
    let stop = result.as_ref().copied().unwrap_or(0);
    then_native(result.map(drop))?;
    check(tables() == before, "tables of the reserve stay used")?;
    log::info!("selftest: {snapshots} snapshots, stopped for {stop} ticks at most");
    Ok(())
}

/// One snapshot. Returns for how many ticks the machine stood still.
fn one(
    env: &'static Env,
    stamps: &Stamps,
    buffer: &mut DmaRegion,
    number: usize,
) -> Result<u64, &'static str> {
    let free = env.free_memory_bytes();
    let snapshot = frozen(ROOM * env.cpus() as u64)?;
    let mut fetch = || stamps.blocks.iter().map(|block| stamped(&snapshot, block, buffer)).collect();
    let first: Result<Vec<_>, _> = fetch();
    let first = first?;
    if !is_one_instant(&first) {
        log::error!("snapshot {number}: {first:?}");
        return Err("a snapshot is not of one instant");
    }
    // All pages are written, at least once.
    stamps.go_on(2);
    check(fetch()? == first, "what was written later is in the snapshot")?;
    states(env, &snapshot, buffer)?;
    // What was sent is not fetched again; and the next one is as good.
    let sent = stamps.blocks.iter().map(|block| block.frames().start).min().unwrap_or(0) + PAGE;
    snapshot.pass(sent).map_err(|_| "what was sent can't be told")?;
    stamps.go_on(1);
    let gone = snapshot.fetch(sent - PAGE..sent, buffer).map_err(|error| error.1);
    check(gone == Err(Status::BadArgument), "what was sent was fetched")?;
    let stop = snapshot.stop();
    drop(snapshot);
    // Others may have taken some meanwhile, but not so much.
    check(env.free_memory_bytes() + ROOM / 2 > free, "donated memory was not given back")?;
    Ok(stop)
}

/// Each CPU's state is that of the call that froze it.
fn states(env: &'static Env, snapshot: &Snapshot, buffer: &mut DmaRegion) -> Result<(), &'static str> {
    let [text, text_end, ..] = image_bounds();
    // SAFETY: nothing is written through it.
    let cr3 = unsafe { Hardware::new() }.read(Register::Cr3);
    for cpu in 0..env.cpus() {
        let state = snapshot.state(cpu, buffer).map_err(|_| "a state can't be fetched")?;
        check((text..text_end).contains(&state.rip), "a CPU was not in the system's text")?;
        check((state.registers.rax, state.registers.rdx) == (0, 1), "a freeze does not return twice")?;
        check(state.cr3 == cr3, "a CPU had other page tables")?;
        check(state.rflags & 1 << 9 == 0, "a CPU had interrupts on")?;
    }
    check(snapshot.state(env.cpus(), buffer).is_err(), "a CPU that is not there has a state")
}

/// Without guest mode there is no snapshot, and without the end of the snapshot no native mode.
pub fn needs_guest_mode(env: &'static Env) -> Result<(), &'static str> {
    let native = freeze(0, LONG, &()).map(drop);
    check(native == Err(FreezeError::Native), "memory was frozen in native mode")?;
    switch_to(env, Phase::Guest)?;
    let snapshot = frozen(0)?;
    let left = request(Some(Phase::Native), SHORT);
    let pinned = Refused::Pinned("a snapshot");
    check(left == Err(RequestError::Refused(pinned)), "the machine left under a snapshot")?;
    let second = freeze(0, SHORT, &()).map(drop);
    check(second == Err(FreezeError::Refused(pinned)), "memory was frozen twice")?;
    all_are(env, true)?;
    // What is guarded is guarded as ever.
    let forbidden = || look(|_, monitor| monitor.exits(Count::Forbidden)).unwrap_or(0);
    let reserve = look(|_, monitor| monitor.reserve()).map_err(|_| "no monitor")?;
    let before = forbidden();
    // SAFETY: unsound on purpose: it is not ours. In guest mode it goes nowhere.
    unsafe { core::ptr::with_exposed_provenance_mut::<u64>(reserve.start as usize).write_volatile(!0) };
    check(forbidden() == before + 1, "a wild write was not stopped")?;
    drop(snapshot);
    then_native(Ok(()))
}

/// More is written than there is room for: the snapshot is lost, nothing else.
pub fn may_be_spoilt(env: &'static Env) -> Result<(), &'static str> {
    const BLOCK: u64 = PAGE << ORDER;
    let mut buffer = DmaRegion::new(1).ok_or("no memory")?;
    let room = look(|_, monitor| monitor.arena()).map_err(|_| "no monitor")?;
    let blocks: Vec<_> = (0..room / BLOCK + 2).map_while(|_| Block::new(ORDER)).collect();
    check(blocks.len() as u64 == room / BLOCK + 2, "no memory")?;
    blocks.iter().for_each(|block| block.stamp(1));
    switch_to(env, Phase::Guest)?;
    let result = (|| {
        let snapshot = frozen(0)?;
        blocks.iter().for_each(|block| block.stamp(2));
        let first = blocks[0].frames().start;
        let spoilt = snapshot.fetch(first..first + PAGE, &mut buffer).map_err(|error| error.1);
        check(spoilt == Err(Status::Spoilt), "a snapshot has more pages than there is room for")?;
        blocks.iter().for_each(|block| block.stamp(3));
        drop(snapshot);
        // The next one has the room again.
        let snapshot = frozen(0)?;
        blocks[0].stamp(4);
        let stamps = stamped_page(&snapshot, &blocks[0], &mut buffer)?;
        check(stamps == 3, "a snapshot does not hold what was there")
    })();
    then_native(result)
}

/// The stamp of a block's first page.
fn stamped_page(snapshot: &Snapshot, block: &Block, buffer: &mut DmaRegion) -> Result<u64, &'static str> {
    snapshot
        .fetch(block.frames().start..block.frames().start + PAGE, buffer)
        .map_err(|_| "a page can't be fetched")?;
    // SAFETY: as in `stamped`.
    Ok(unsafe { buffer.pointer().cast::<u64>().read_volatile() })
}
