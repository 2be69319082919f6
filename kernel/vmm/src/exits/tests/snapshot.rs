//! Snapshots: the calls, and what several CPUs write meanwhile.

use super::*;
use crate::call::{MOST_FETCHED, MOST_NAMED};
use crate::frozen::Stage;
use crate::nested::Resolution;

pub(super) const DONATED: u64 = 0x80_0000;
pub(super) const EXEMPT: u64 = 0xc0_0000;
pub(super) const BLOCK: u64 = 2 << 20;

pub(super) fn status(setting: &mut Setting, call: Call, first: u64, second: u64) -> Status {
    Status::of(setting.call(call as u64, first, second).0)
}

/// With memory exempted, and frozen.
fn frozen(limit: usize) -> Setting {
    let mut setting = Setting::with_tables(limit);
    assert_eq!(status(&mut setting, Call::Exempt, EXEMPT, BLOCK), Status::Done);
    assert_eq!(setting.call(Call::Freeze as u64, 0, 0), (0, 0));
    setting
}

pub(super) fn thaw(setting: &mut Setting) -> u64 {
    let mut calls = 1;
    while setting.call(Call::Thaw as u64, 0, 0) == (0, 1) {
        calls += 1;
    }
    assert_eq!(setting.shared.memory.lock().frozen.stage(), Stage::Idle);
    calls
}

/// A write of the system's: as often as it faults, until it is through.
pub(super) fn write(setting: &mut Setting, address: u64, value: u64) {
    for _ in 0..2 {
        let mut memory = setting.shared.memory.lock();
        let leaf = memory.tree.translate(&memory.tables, address).unwrap();
        if leaf.rights.write {
            memory.tables.set_word(address, value);
            return;
        }
        drop(memory);
        assert_eq!(setting.exit(exit_code::NPF, PROTECTED, address), Next::Resume);
    }
    panic!("{address:#x} can't be written");
}

fn fetched(setting: &mut Setting, frame: u64) -> Result<u64, Status> {
    match status(setting, Call::Fetch, frame, EXEMPT | 1) {
        Status::Done => Ok(setting.shared.memory.lock().tables.word(EXEMPT)),
        other => Err(other),
    }
}

#[test]
fn what_is_fetched_is_what_was_frozen() {
    let mut setting = Setting::new();
    write(&mut setting, 0x40_0000, 1);
    assert_eq!(status(&mut setting, Call::Exempt, EXEMPT, BLOCK), Status::Done);
    setting.vmcb.save.cr3 = 0x7000;
    assert_eq!(setting.call(Call::Freeze as u64, 0, 0), (0, 0));
    // No older translation may allow what is forbidden now.
    assert_eq!(setting.vmcb.control.tlb_control, x86defs::svm::vmcb::TLB_FLUSH_ALL);
    write(&mut setting, 0x40_0000, 2);
    assert_eq!(fetched(&mut setting, 0x40_0000), Ok(1));
    assert_eq!(status(&mut setting, Call::FetchState, 0, EXEMPT + 0x1000), Status::Done);
    let state = setting.shared.memory.lock().tables.ram.states[&(EXEMPT + 0x1000)];
    assert_eq!((state.rip, state.cr3, state.cr2), (TEXT + 0x13, 0x7000, 0x1234));
    // It returns twice.
    assert_eq!((state.registers.rax, state.registers.rdx), (0, 1));
    thaw(&mut setting);
    assert_eq!(fetched(&mut setting, 0x40_0000), Err(Status::Nothing));
    let memory = setting.shared.memory.lock();
    assert_eq!((memory.tables.word(0x40_0000), memory.tree.census(&memory.tables).watched), (2, 0));
}

#[test]
fn devices_and_what_is_exempt_are_given_back_whole() {
    let mut setting = frozen(64);
    let watched = |setting: &Setting| {
        let memory = setting.shared.memory.lock();
        memory.tree.census(&memory.tables).watched
    };
    let before = watched(&setting);
    for address in [DEVICE + 0x5008, EXEMPT + 0x1_2348] {
        write(&mut setting, address, 1);
    }
    assert_eq!(before - watched(&setting), 2 * BLOCK);
    // All beyond RAM, as far as it is a leaf of its own.
    write(&mut setting, MEMORY_END + 8, 1);
    assert_eq!(fetched(&mut setting, DEVICE), Err(Status::BadArgument));
    assert_eq!(fetched(&mut setting, EXEMPT), Err(Status::BadArgument));
}

#[test]
fn arguments_are_checked() {
    let mut setting = Setting::new();
    let bad = [
        (1, 0x1000),
        (0x40_0000, 0),
        (0x40_0000, 0x123),
        (!0xfff, 0x1000),
        (0x40_0000, MOST_NAMED + 0x1000),
        (RESERVE, 0x1000),
        (TEXT, 0x1000),
        (DEVICE, 0x1000),
        (DEVICE - 0x1000, 0x2000),
        (MEMORY_END, 0x1000),
    ];
    for (start, length) in bad {
        for call in [Call::Donate, Call::Exempt] {
            assert_eq!(status(&mut setting, call, start, length), Status::BadArgument, "{start:#x}");
        }
    }
    assert_eq!(status(&mut setting, Call::Donate, DONATED, BLOCK), Status::Done);
    assert_eq!(status(&mut setting, Call::Exempt, EXEMPT, BLOCK), Status::Done);
    for start in [DONATED, DONATED + 0x1000, EXEMPT, EXEMPT - 0x1000] {
        for call in [Call::Donate, Call::Exempt] {
            assert_eq!(status(&mut setting, call, start, 0x2000), Status::BadArgument, "{start:#x}");
        }
    }
    // As many as there are places.
    for place in 1..4 {
        assert_eq!(status(&mut setting, Call::Donate, DONATED - place * 0x1000, 0x1000), Status::Done);
    }
    assert_eq!(status(&mut setting, Call::Donate, 0x60_0000, 0x1000), Status::Dry);
    // Nothing to fetch yet.
    for call in [Call::Fetch, Call::FetchState, Call::Pass] {
        assert_eq!(
            status(&mut setting, call, 0, EXEMPT | 1 & !u64::from(call == Call::FetchState)),
            Status::Nothing
        );
    }
    assert_eq!(setting.call(Call::Freeze as u64, 0, 0), (0, 0));
    for call in [Call::Donate, Call::Exempt, Call::Watch, Call::Unwatch] {
        assert_eq!(status(&mut setting, call, 0x60_0000, 0x1000), Status::Busy);
    }
    assert_eq!(status(&mut setting, Call::Freeze, 0, 0), Status::Busy);
    for (frame, to) in [
        (0x40_0000, EXEMPT),
        (0x40_0000, EXEMPT | (MOST_FETCHED + 1)),
        (0x40_0001, EXEMPT | 1),
        (0x40_0000, 0x60_0000 | 1),
        (0x40_0000, (EXEMPT + BLOCK - 0x1000) | 2),
        (0x40_0000, RESERVE | 1),
        (RESERVE, EXEMPT | 1),
        (TEXT, EXEMPT | 1),
        (DONATED, EXEMPT | 1),
        (EXEMPT, EXEMPT | 1),
        (MEMORY_END, EXEMPT | 1),
        (!0xfff, EXEMPT | 1),
    ] {
        assert_eq!(status(&mut setting, Call::Fetch, frame, to), Status::BadArgument, "{frame:#x} {to:#x}");
    }
    for (cpu, to) in [(1, EXEMPT), (u64::MAX, EXEMPT), (0, EXEMPT + 8), (0, 0x60_0000), (0, RESERVE)] {
        assert_eq!(status(&mut setting, Call::FetchState, cpu, to), Status::BadArgument, "{cpu} {to:#x}");
    }
    assert_eq!(setting.call(Call::Pass as u64, 0x40_0000, 0), (0, 0x40_0000));
    for mark in [0x40_0001, 0x3f_f000, MEMORY_END + 0x1000] {
        assert_eq!(status(&mut setting, Call::Pass, mark, 0), Status::BadArgument);
    }
    assert_eq!(fetched(&mut setting, 0x3f_f000), Err(Status::BadArgument));
}

/// Donated memory can be read but not written, until it is given back.
#[test]
fn donated_memory_is_the_vmms_until_the_end() {
    let mut setting = Setting::new();
    let rights = |setting: &Setting| {
        let memory = setting.shared.memory.lock();
        memory.tree.translate(&memory.tables, DONATED + 0x3000).unwrap().rights
    };
    for freeze in [false, true] {
        assert_eq!(status(&mut setting, Call::Donate, DONATED, BLOCK), Status::Done);
        assert_eq!(rights(&setting), Rights::READ);
        if freeze {
            assert_eq!(setting.call(Call::Freeze as u64, 0, 0), (0, 0));
        }
        assert_eq!(setting.exit(exit_code::NPF, PROTECTED, DONATED + 0x3000), Next::Resume);
        assert_eq!(setting.injected(), Some(Event::fault(13, 0)));
        // The reserve has room for nine copies and three pages of index.
        if freeze {
            for page in 0..200 {
                write(&mut setting, 0x100_0000 + page * 0x1000, 1);
            }
            assert_eq!(fetched(&mut setting, 0x100_0000), Err(Status::BadArgument), "nothing is exempt");
        }
        assert!(thaw(&mut setting) > u64::from(freeze));
        assert_eq!(rights(&setting), Rights::ALL);
        write(&mut setting, DONATED + 0x3000, 1);
    }
}

#[test]
fn without_room_for_copies_the_system_goes_on() {
    let mut setting = frozen(64);
    for page in 0..9 {
        write(&mut setting, 0x40_0000 + page * 0x1000, page);
    }
    assert_eq!(fetched(&mut setting, 0x40_0000), Ok(0));
    for page in 9..1000 {
        write(&mut setting, 0x40_0000 + page * 0x1000, page);
    }
    assert_eq!(fetched(&mut setting, 0x40_0000), Err(Status::Spoilt));
    assert_eq!(status(&mut setting, Call::Pass, 0, 0), Status::Spoilt);
    assert_eq!(status(&mut setting, Call::FetchState, 0, EXEMPT), Status::Spoilt);
    thaw(&mut setting);
    assert_eq!(setting.call(Call::Exempt as u64, EXEMPT, BLOCK).0, 0);
    assert_eq!(setting.call(Call::Freeze as u64, 0, 0), (0, 0));
    assert_eq!(fetched(&mut setting, 0x40_5000), Ok(5));
}

/// Without a table to split with, whole leaves are given back, and the snapshot is lost.
#[test]
fn without_tables_the_system_goes_on() {
    let mut setting = frozen(4);
    write(&mut setting, 0x40_0000, 1);
    assert_eq!(fetched(&mut setting, 0x40_0000), Err(Status::Spoilt));
    assert_eq!(status(&mut setting, Call::Thaw, 0, 0), Status::Done);
}

#[test]
fn a_wild_write_to_the_vmm_is_let_pass_under_a_snapshot_too() {
    let mut setting = frozen(64);
    for address in [RESERVE + 0x1234, RESERVE + 0x5000] {
        assert_eq!(setting.exit(exit_code::NPF, WRITE, address), Next::Resume);
        let memory = setting.shared.memory.lock();
        let leaf = memory.tree.translate(&memory.tables, address).unwrap();
        assert_eq!((leaf.address, leaf.rights.write), (0x5_0000, true));
    }
    // Device memory that nobody knew of is there to be written.
    assert_eq!(setting.exit(exit_code::NPF, WRITE, 1 << 40), Next::Resume);
    let memory = setting.shared.memory.lock();
    assert!(memory.tree.translate(&memory.tables, 1 << 40).unwrap().rights.write);
}

#[test]
fn a_freeze_that_not_all_come_to_freezes_nothing() {
    let mut setting = Setting { shared: shared_by(2, 64), ..Setting::new() };
    assert_eq!(status(&mut setting, Call::Freeze, 0, 0), Status::Alone);
    assert_eq!(setting.shared.memory.lock().frozen.stage(), Stage::Idle);
    setting.machine.cpu.set(2);
    assert_eq!(status(&mut setting, Call::Freeze, 0, 0), Status::BadArgument);
}

/// On the bare machine nothing of it remains, whatever was left behind, and all tables are there again.
#[test]
fn nothing_remains_on_the_bare_machine() {
    for thawed in [false, true] {
        let mut setting = Setting::new();
        let of = |setting: &Setting| {
            let memory = setting.shared.memory.lock();
            let mut leaves = Vec::new();
            memory.tree.visit(&memory.tables, |address, leaf| leaves.push((address, leaf)));
            leaves
        };
        let before = of(&setting);
        assert_eq!(setting.shared.memory.lock().settle(), 0);
        assert_eq!(status(&mut setting, Call::Donate, DONATED, 0x5000), Status::Done);
        assert_eq!(status(&mut setting, Call::Exempt, EXEMPT, BLOCK), Status::Done);
        assert_eq!(status(&mut setting, Call::Freeze, 0, 0), Status::Done);
        for address in [0x40_0000, 0x60_0000, 0x1000_0000 - 8] {
            write(&mut setting, address, 1);
        }
        setting.exit(exit_code::NPF, WRITE, RESERVE + 0x1234);
        if thawed {
            thaw(&mut setting);
            assert_eq!(status(&mut setting, Call::Watch, 0x40_0000, 0x1000), Status::Done);
            assert_eq!(status(&mut setting, Call::Unwatch, 0x40_0000, 0x1000), Status::Done);
        }
        assert!(setting.shared.memory.lock().settle() >= 4);
        assert_eq!(of(&setting), before);
        assert_eq!(status(&mut setting, Call::Exempt, EXEMPT, BLOCK), Status::Done);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// CPUs write, the drain fetches and passes, in any order, each write an exit or not: what is fetched is what was there at the
    /// freeze, what is written stays written, or the snapshot says that it is lost.
    #[test]
    fn the_past_stays_as_it_was(
        tables in prop_oneof![3 => Just(64usize), 1 => 6usize..10],
        donated in prop_oneof![Just(0u64), 1u64..60],
        steps in prop::collection::vec((0u64..24, 0u32..6), 1..150),
    ) {
        let page = |number: u64| 0x100_0000 + number / 8 * BLOCK + number % 8 * 0x1000;
        let mut setting = Setting::with_tables(tables);
        for number in 0..24 {
            write(&mut setting, page(number), number);
        }
        if donated > 0 && status(&mut setting, Call::Donate, DONATED, donated * 0x1000) != Status::Done {
            return Ok(());
        }
        prop_assert_eq!(status(&mut setting, Call::Exempt, EXEMPT, BLOCK), Status::Done);
        prop_assert_eq!(setting.call(Call::Freeze as u64, 0, 0), (0, 0));
        let mut now: [u64; 24] = core::array::from_fn(|number| number as u64);
        let (mut mark, mut spoilt) = (0, false);
        for (step, (number, what)) in steps.into_iter().enumerate() {
            match what {
                0..=2 => {
                    now[number as usize] = 1000 + step as u64;
                    write(&mut setting, page(number), 1000 + step as u64);
                }
                // A fault from an old translation, or of a CPU that was slower.
                3 => {
                    let before = setting.shared.memory.lock().resolve_write(page(number));
                    prop_assert!(!matches!(before, Resolution::Absent | Resolution::NotWatched(_)));
                }
                4 if number % 3 == 0 => match setting.call(Call::Pass as u64, page(number).max(mark), 0) {
                    (0, passed) => mark = passed,
                    (answer, _) => prop_assert_eq!(answer, Status::Spoilt as u64),
                },
                _ => match fetched(&mut setting, page(number)) {
                    Ok(word) => prop_assert!(word == number && page(number) >= mark && !spoilt),
                    Err(Status::Spoilt) => spoilt = true,
                    Err(error) => prop_assert!(error == Status::BadArgument && page(number) < mark, "{:?}", error),
                },
            }
        }
        thaw(&mut setting);
        for (number, word) in now.into_iter().enumerate() {
            write(&mut setting, page(number as u64) + 8, 1);
            prop_assert_eq!(setting.shared.memory.lock().tables.word(page(number as u64)), word);
        }
        let memory = setting.shared.memory.lock();
        prop_assert_eq!(memory.tree.census(&memory.tables).watched, 0);
    }
}
