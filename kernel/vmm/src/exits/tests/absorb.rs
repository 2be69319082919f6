//! Device memory that is taken away and given back.

use super::restore::{GOOD, other, setting as restoring};
use super::*;
use crate::memory::MOST_ABSORBED;
use crate::nested::Leaf;

const PAGE: u64 = 4096;
/// All of what is a device's below the end of RAM.
const DEVICE_PAGES: u64 = 512;
/// Device memory that nobody has touched yet, beyond what was prepared.
const FAR: u64 = 1 << 40;

fn call(setting: &mut Setting, call: Call, start: u64, pages: u64) -> Status {
    Status::of(setting.call(call as u64, start, pages * PAGE).0)
}

fn leaf(setting: &Setting, address: u64) -> Option<Leaf> {
    let memory = setting.shared.memory.lock();
    memory.tree.translate(&memory.tables, address)
}

/// What the guest reads there: a word of the fake memory.
fn read(setting: &Setting, address: u64) -> u64 {
    let leaf = leaf(setting, address).unwrap();
    let at = leaf.address + (address & (leaf.size.bytes() - 1));
    setting.shared.memory.lock().tables.word(at)
}

/// What the guest sees of a page, and whatever the size of the leaf is: where it leads, and what is allowed.
type View = (u64, u64, Rights, MemoryType, bool);

/// What it sees of all pages around the VMM's and the device's that are mapped.
fn view(setting: &Setting) -> Vec<View> {
    let memory = setting.shared.memory.lock();
    let around = |start, length| start - 16 * PAGE..start + length + 16 * PAGE;
    let pages =
        [around(RESERVE, 2 << 20), around(DEVICE, 2 << 20)].into_iter().flat_map(|range| range.step_by(4096));
    let seen = pages.filter_map(|page| {
        let leaf = memory.tree.translate(&memory.tables, page)?;
        let to = leaf.address + (page & (leaf.size.bytes() - 1));
        Some((page, to, leaf.rights, leaf.kind, leaf.watched))
    });
    seen.collect()
}

/// On the bare machine.
fn settle(setting: &Setting) {
    setting.shared.memory.lock().settle();
}

#[test]
fn what_is_away_reads_as_ones_and_takes_no_writes() {
    let mut setting = Setting::new();
    let (before, first) = (view(&setting), DEVICE + 0x3000);
    setting.shared.memory.lock().tables.set_word(first + 8, 7);
    assert_eq!(call(&mut setting, Call::Absorb, first, 3), Status::Done);
    assert_eq!(setting.vmcb.control.tlb_control, 1, "the CPU flushes");
    for page in 0..3 {
        assert_eq!(read(&setting, first + page * PAGE + 8), u64::MAX);
        let leaf = leaf(&setting, first + page * PAGE).unwrap();
        assert_eq!((leaf.address, leaf.rights), (ONES, Rights::READ_WRITE));
    }
    assert_eq!(leaf(&setting, first - PAGE).unwrap().address, first - PAGE);
    assert_eq!(leaf(&setting, first + 3 * PAGE).unwrap().address, first + 3 * PAGE);
    // A write stays in the page of ones, and is gone when that is used again.
    setting.shared.memory.lock().tables.set_word(ONES + 8, 1);
    assert_eq!(call(&mut setting, Call::Release, first, 3), Status::Done);
    assert_eq!((read(&setting, first + 8), view(&setting)), (7, before));
    assert_eq!(call(&mut setting, Call::Release, first, 3), Status::Nothing);
    assert_eq!(call(&mut setting, Call::Absorb, first, 1), Status::Done);
    assert_eq!(read(&setting, first + 8), u64::MAX);
}

#[test]
fn what_may_not_go_is_refused_each_with_its_reason() {
    let mut setting = Setting::new();
    let before = view(&setting);
    for (start, bytes, status) in [
        (DEVICE + 1, PAGE, Status::Unaligned),
        (DEVICE, PAGE + 1, Status::Unaligned),
        (DEVICE, 0, Status::Empty),
        (!0xfff, PAGE, Status::BadArgument),
        (!0xfff, 2 * PAGE, Status::BadArgument),
        (1 << 48, PAGE, Status::BadArgument),
        (DEVICE, (16 << 20) + PAGE, Status::BadArgument),
        (0, PAGE, Status::Memory),
        (TEXT, PAGE, Status::Memory),
        (DEVICE - PAGE, 2 * PAGE, Status::Memory),
        (DEVICE, (2 << 20) + PAGE, Status::Memory),
        (RESERVE, PAGE, Status::Reserve),
        (RESERVE - PAGE, 2 * PAGE, Status::Reserve),
        (0xfee0_0000, PAGE, Status::Apic),
        (0xfedf_f000, 2 * PAGE, Status::Apic),
    ] {
        let answer = setting.call(Call::Absorb as u64, start, bytes).0;
        assert_eq!(Status::of(answer), status, "{start:#x} + {bytes:#x}");
    }
    for number in 0..MOST_ABSORBED as u64 {
        assert_eq!(call(&mut setting, Call::Absorb, DEVICE + number * 2 * PAGE, 1), Status::Done);
    }
    assert_eq!(call(&mut setting, Call::Absorb, DEVICE + 101 * PAGE, 1), Status::Full);
    for (start, pages) in [(0, 1), (1, 2), (0, 3)] {
        assert_eq!(call(&mut setting, Call::Absorb, DEVICE + start * PAGE, pages), Status::Overlap);
    }
    assert_eq!(call(&mut setting, Call::Release, DEVICE, 2), Status::Nothing);
    for number in 0..MOST_ABSORBED as u64 {
        assert_eq!(call(&mut setting, Call::Release, DEVICE + number * 2 * PAGE, 1), Status::Done);
    }
    assert_eq!(view(&setting), before);
}

/// What the VMM's own tables map uncached is the local APIC, wherever that is.
#[test]
fn a_local_apic_that_was_moved_is_refused() {
    let mut setting = Setting::new();
    {
        let mut memory = setting.shared.memory.lock();
        let memory = &mut *memory;
        let range = DEVICE..DEVICE + PAGE;
        memory.host.map(&mut memory.tables, range, Rights::READ_WRITE, MemoryType::Uncached).unwrap();
    }
    assert_eq!(call(&mut setting, Call::Absorb, DEVICE, 2), Status::Apic);
}

#[test]
fn types_are_kept_and_not_mixed() {
    let mut setting = Setting::new();
    let map = |setting: &mut Setting, range: core::ops::Range<u64>, kind| {
        let mut memory = setting.shared.memory.lock();
        let memory = &mut *memory;
        memory.tree.map(&mut memory.tables, range, Rights::ALL, kind).unwrap();
    };
    map(&mut setting, DEVICE..DEVICE + 4 * PAGE, MemoryType::Uncached);
    map(&mut setting, DEVICE + 4 * PAGE..DEVICE + 6 * PAGE, MemoryType::WriteCombining);
    assert_eq!(call(&mut setting, Call::Absorb, DEVICE + 3 * PAGE, 2), Status::Mixed);
    let before = view(&setting);
    assert_eq!(call(&mut setting, Call::Absorb, DEVICE + PAGE, 3), Status::Done);
    assert_eq!(call(&mut setting, Call::Absorb, DEVICE + 4 * PAGE, 2), Status::Done);
    assert_eq!(call(&mut setting, Call::Release, DEVICE + PAGE, 3), Status::Done);
    assert_eq!(call(&mut setting, Call::Release, DEVICE + 4 * PAGE, 2), Status::Done);
    assert_eq!(view(&setting), before);
    assert_eq!(leaf(&setting, DEVICE + 4 * PAGE).unwrap().kind, MemoryType::WriteCombining);
}

#[test]
fn what_nobody_has_touched_goes_and_comes_back() {
    let mut setting = Setting::new();
    assert_eq!(leaf(&setting, FAR), None);
    assert_eq!(call(&mut setting, Call::Absorb, FAR, 32), Status::Done);
    assert_eq!(read(&setting, FAR + 31 * PAGE), u64::MAX);
    assert_eq!(call(&mut setting, Call::Release, FAR, 32), Status::Done);
    assert_eq!(leaf(&setting, FAR).unwrap().address, FAR);
}

#[test]
fn a_snapshot_and_absence_exclude_each_other() {
    let mut setting = Setting::new();
    assert_eq!(call(&mut setting, Call::Absorb, DEVICE, 1), Status::Done);
    assert_eq!(call(&mut setting, Call::Freeze, 0, 0), Status::Busy);
    assert_eq!(call(&mut setting, Call::Release, DEVICE, 1), Status::Done);
    assert_eq!(call(&mut setting, Call::Freeze, 0, 0), Status::Done);
    assert_eq!(call(&mut setting, Call::Absorb, DEVICE, 1), Status::Busy);
    while setting.call(Call::Thaw as u64, 0, 0).1 != 0 {
        assert_eq!(call(&mut setting, Call::Absorb, DEVICE, 1), Status::Busy);
    }
    assert_eq!(call(&mut setting, Call::Absorb, DEVICE, 1), Status::Done);
}

/// The last CPU to come does it; who comes alone is told so.
#[test]
fn all_cpus_have_to_come() {
    let mut setting = Setting { shared: shared_by(2, 64), ..Setting::new() };
    let before = view(&setting);
    assert_eq!(call(&mut setting, Call::Absorb, DEVICE, 1), Status::Alone);
    assert_eq!(view(&setting), before);
}

#[test]
fn guest_modes_end_and_a_restore_give_everything_back() {
    let mut setting = restoring(1, &other(), &GOOD);
    let before = view(&setting);
    let census = |setting: &Setting| {
        let memory = setting.shared.memory.lock();
        memory.tree.census(&memory.tables)
    };
    settle(&setting);
    let whole = census(&setting);
    for number in 0..3 {
        assert_eq!(call(&mut setting, Call::Absorb, DEVICE + number * 8 * PAGE, 4), Status::Done);
    }
    settle(&setting);
    assert_eq!((view(&setting), census(&setting)), (before.clone(), whole));
    assert!(!setting.shared.memory.lock().is_absorbing());
    assert_eq!(call(&mut setting, Call::Absorb, DEVICE, 4), Status::Done);
    assert_eq!(super::restore::restore(&mut setting), Next::Restored);
    assert_eq!(view(&setting), before);
}

#[test]
fn without_tables_nothing_is_done() {
    let mut setting = Setting::with_tables(5);
    let before = view(&setting);
    // One table splits 1 GiB, another 2 MiB.
    assert_eq!(call(&mut setting, Call::Absorb, 0x3000_0000 - PAGE, 2), Status::Dry);
    assert_eq!(view(&setting), before);
    settle(&setting);
}

/// What a test may do.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Absorb,
    Release,
    Record,
    Freeze,
    Thaw,
    Keep,
    Watch,
    Unwatch,
    Write,
    Wild,
    Settle,
}
const DEEDS: [Deed; 11] = [
    Deed::Absorb,
    Deed::Release,
    Deed::Record,
    Deed::Freeze,
    Deed::Thaw,
    Deed::Keep,
    Deed::Watch,
    Deed::Unwatch,
    Deed::Write,
    Deed::Wild,
    Deed::Settle,
];

proptest! {
    /// In any order of changes, snapshots, watches and accesses, nothing but devices' pages leads to pages of ones, and they to nothing but
    /// those; and when all is over, the tree is what it was.
    #[test]
    fn the_tree_is_what_it_was(
        deeds in prop::collection::vec((prop::sample::select(&DEEDS[..]), 0..16u64, 1..6u64), 1..40),
        limit in 4..64usize,
    ) {
        let mut setting = Setting::with_tables(limit);
        settle(&setting);
        let before = view(&setting);
        let mut away = Vec::new();
        for (deed, at, pages) in deeds {
            // Some of them are RAM, or the reserve's.
            let start = match at {
                14 => RESERVE - PAGE,
                15 => DEVICE - 2 * PAGE,
                _ => DEVICE + at * 2 * PAGE,
            };
            match deed {
                Deed::Absorb => {
                    if call(&mut setting, Call::Absorb, start, pages) == Status::Done {
                        prop_assert!(start >= DEVICE && start + pages * PAGE <= DEVICE + DEVICE_PAGES * PAGE);
                        away.push((start, pages));
                    }
                }
                Deed::Release => {
                    let known = away.iter().position(|span| *span == (start, pages));
                    let status = call(&mut setting, Call::Release, start, pages);
                    prop_assert_eq!(status == Status::Done, known.is_some());
                    known.map(|known| away.swap_remove(known));
                }
                Deed::Record => drop(setting.call(Call::Record as u64, 0, 0)),
                Deed::Freeze => {
                    let status = call(&mut setting, Call::Freeze, 0, 0);
                    prop_assert!(status == Status::Busy || away.is_empty());
                }
                Deed::Thaw => while setting.call(Call::Thaw as u64, 0, 0).1 != 0 {},
                Deed::Keep => drop(setting.call(Call::Thaw as u64, 1, 0)),
                Deed::Watch => drop(setting.call(Call::Watch as u64, start, pages * PAGE)),
                Deed::Unwatch => drop(setting.call(Call::Unwatch as u64, start, pages * PAGE)),
                Deed::Write => {
                    let writable = leaf(&setting, start).is_some_and(|leaf| leaf.rights.write);
                    if !(RESERVE..DEVICE).contains(&start) {
                        setting.exit(exit_code::NPF, if writable { WRITE } else { PROTECTED }, start);
                    }
                }
                Deed::Wild => drop(setting.exit(exit_code::NPF, WRITE, RESERVE + at * PAGE)),
                Deed::Settle => {
                    settle(&setting);
                    away.clear();
                }
            }
            let ones = ONES..ONES + MOST_ABSORBED as u64 * PAGE;
            for (page, to, ..) in view(&setting) {
                let is_away = away.iter().any(|(start, pages)| (*start..start + pages * PAGE).contains(&page));
                let is_wild = setting.shared.bounds.reserve.contains(&page) && to == SINK;
                let is_right = if is_away { ones.contains(&to) } else { to == page || is_wild };
                prop_assert!(is_right, "{page:#x} leads to {to:#x}");
            }
        }
        settle(&setting);
        // A watch that was not ended is the system's affair.
        call(&mut setting, Call::Unwatch, DEVICE, DEVICE_PAGES);
        call(&mut setting, Call::Unwatch, DEVICE - 8 * PAGE, 8);
        call(&mut setting, Call::Unwatch, RESERVE - PAGE, 1);
        prop_assert!(view(&setting) == before);
    }
}
