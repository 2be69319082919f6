//! The record of what was written between two freezes.

use super::snapshot::{BLOCK, DONATED, EXEMPT, status, thaw, write};
use super::*;
use crate::call::TOLD;
use crate::memory::PAGE;
use std::collections::BTreeSet;

/// Freezes, with memory exempted.
fn freeze(setting: &mut Setting, record: bool) {
    assert_eq!(status(setting, Call::Exempt, EXEMPT, BLOCK), Status::Done);
    if record {
        assert_eq!(status(setting, Call::Record, 0, 0), Status::Done);
    }
    assert_eq!(setting.call(Call::Freeze as u64, 0, 0), (0, 0));
}

/// Ends the snapshot, and records on.
fn keep(setting: &mut Setting) {
    while setting.call(Call::Thaw as u64, 1, 0) == (0, 1) {}
}

/// Addresses of all frames that are told.
fn told(setting: &mut Setting) -> Result<BTreeSet<u64>, Status> {
    let mut all = BTreeSet::new();
    for start in (0..MEMORY_END).step_by((TOLD * PAGE) as usize) {
        let (answer, count) = setting.call(Call::Written as u64, start, EXEMPT + PAGE);
        if answer != 0 {
            return Err(Status::of(answer));
        }
        let memory = setting.shared.memory.lock();
        let bit = |bit: u64| memory.tables.word(EXEMPT + PAGE + bit / 64 * 8) >> (bit % 64) & 1 != 0;
        let frames: Vec<_> =
            (0..TOLD).filter(|frame| bit(*frame)).map(|frame| start + frame * PAGE).collect();
        assert_eq!(frames.len() as u64, count);
        all.extend(frames);
    }
    Ok(all)
}

#[test]
fn what_is_written_in_a_snapshot_and_behind_it_is_told_at_the_next() {
    let mut setting = Setting::new();
    write(&mut setting, 0x40_0000, 1);
    freeze(&mut setting, true);
    assert_eq!(told(&mut setting), Err(Status::Nothing));
    write(&mut setting, 0x50_1000, 1);
    // What was sent is told by pages, too.
    assert_eq!(setting.call(Call::Pass as u64, 0x70_0000, 0), (0, 0x70_0000));
    write(&mut setting, 0x60_1000, 1);
    keep(&mut setting);
    for address in [0x60_1008, 0x1100_5000, DEVICE + 0x3000, MEMORY_END] {
        write(&mut setting, address, 2);
    }
    assert_eq!(told(&mut setting), Err(Status::Nothing));
    freeze(&mut setting, true);
    write(&mut setting, 0x70_2000, 3);
    let expected = BTreeSet::from([0x50_1000, 0x60_1000, 0x1100_5000]);
    assert_eq!(told(&mut setting), Ok(expected.clone()));
    write(&mut setting, 0x60_1000, 3);
    assert_eq!(told(&mut setting), Ok(expected));
    keep(&mut setting);
    // Nothing is recorded on, but what was is told.
    freeze(&mut setting, false);
    assert_eq!(told(&mut setting), Ok(BTreeSet::from([0x60_1000, 0x70_2000])));
    keep(&mut setting);
    let memory = setting.shared.memory.lock();
    assert_eq!(memory.tree.census(&memory.tables).watched, 0);
}

#[test]
fn what_ends_a_record() {
    let restored = || {
        let mut setting = super::restore::setting(1, &super::restore::other(), &super::restore::GOOD);
        freeze(&mut setting, true);
        keep(&mut setting);
        assert_eq!(super::restore::restore(&mut setting), Next::Restored);
        setting
    };
    let recorded = |end: fn(&mut Setting)| {
        let mut setting = Setting::new();
        freeze(&mut setting, true);
        write(&mut setting, 0x50_0000, 1);
        keep(&mut setting);
        write(&mut setting, 0x40_0000, 1);
        end(&mut setting);
        setting
    };
    let native = |setting: &mut Setting| assert!(setting.shared.memory.lock().settle() > 0);
    let snapshot = |record: bool| {
        move |setting: &mut Setting| {
            freeze(setting, record);
            thaw(setting);
        }
    };
    for mut setting in [
        recorded(native),
        recorded(|setting| {
            freeze(setting, true);
            thaw(setting);
        }),
        recorded(|setting| {
            freeze(setting, false);
            keep(setting);
        }),
        restored(),
    ] {
        {
            let memory = setting.shared.memory.lock();
            assert_eq!(memory.tree.census(&memory.tables).watched, 0);
        }
        freeze(&mut setting, true);
        assert_eq!(told(&mut setting), Err(Status::Nothing));
        keep(&mut setting);
        // The next one is as good.
        write(&mut setting, 0x40_3000, 1);
        snapshot(false)(&mut setting);
    }
}

/// A freeze that fails costs nothing of it, and asks for nothing.
#[test]
fn a_freeze_that_is_given_up_leaves_the_record() {
    let mut setting = Setting::new();
    freeze(&mut setting, true);
    keep(&mut setting);
    write(&mut setting, 0x40_0000, 1);
    assert_eq!(status(&mut setting, Call::Donate, DONATED, BLOCK), Status::Done);
    assert_eq!(status(&mut setting, Call::Record, 0, 0), Status::Done);
    thaw(&mut setting);
    write(&mut setting, DONATED, 1);
    // Watching takes nothing out of it.
    for call in [Call::Watch, Call::Unwatch] {
        assert_eq!(status(&mut setting, call, 0x40_0000, PAGE), Status::Done);
    }
    freeze(&mut setting, false);
    assert_eq!(status(&mut setting, Call::Record, 0, 0), Status::Busy);
    let told = told(&mut setting).unwrap();
    assert!(told.contains(&0x40_0000) && told.contains(&DONATED) && told.len() as u64 == 1 + BLOCK / PAGE);
    thaw(&mut setting);
    let memory = setting.shared.memory.lock();
    assert!(!memory.tree.is_recording());
}

#[test]
fn arguments_are_checked() {
    let mut setting = Setting::new();
    assert_eq!(status(&mut setting, Call::Written, 0, EXEMPT), Status::Nothing);
    freeze(&mut setting, true);
    keep(&mut setting);
    freeze(&mut setting, true);
    let chunk = TOLD * PAGE;
    for (start, to) in [
        (PAGE, EXEMPT),
        (chunk - PAGE, EXEMPT),
        (0, EXEMPT + 8),
        (0, EXEMPT - PAGE),
        (0, EXEMPT + BLOCK),
        (0, RESERVE),
        (0, u64::MAX),
        (0u64.wrapping_sub(chunk), EXEMPT),
    ] {
        assert_eq!(status(&mut setting, Call::Written, start, to), Status::BadArgument, "{start:#x} {to:#x}");
    }
    // Where there is no memory nothing was written.
    assert_eq!(setting.call(Call::Written as u64, 1 << 45, EXEMPT), (0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Checkpoints on one another, writes at any time, tables and copies that are used up: whatever was written since the one before
    /// is told, if the record holds; what is told is RAM, and no more than that where there are tables.
    #[test]
    fn increments_have_all_that_was_written(
        tables in prop_oneof![3 => Just(200usize), 1 => 6usize..12],
        steps in prop::collection::vec((0u64..30, 0u32..12), 1..150),
    ) {
        let page = |number: u64| 0x100_0000 + number / 8 * BLOCK + number % 8 * PAGE;
        let mut setting = Setting::with_tables(tables);
        let (mut written, mut last) = (BTreeSet::new(), BTreeSet::new());
        let (mut held, mut recorded, mut can_tell) = (false, false, false);
        let mut mark = 0;
        for (number, what) in steps {
            match what {
                0..=6 => {
                    write(&mut setting, page(number), number);
                    written.insert(page(number));
                }
                7 => {
                    for address in [DEVICE + number * PAGE, MEMORY_END + number * PAGE] {
                        let _ = setting.shared.memory.lock().resolve_write(address);
                    }
                }
                8 if held => mark = setting.call(Call::Pass as u64, page(number).max(mark), 0).1.max(mark),
                9 | 10 if !held => {
                    freeze(&mut setting, number % 5 > 0);
                    (held, can_tell, recorded, mark) = (true, recorded, number % 5 > 0, 0);
                    last = core::mem::take(&mut written);
                }
                9 | 10 if number % 4 > 0 => {
                    keep(&mut setting);
                    held = false;
                }
                9..=11 if held => {
                    thaw(&mut setting);
                    (held, recorded) = (false, false);
                }
                11 if number == 0 => {
                    setting.shared.memory.lock().settle();
                    recorded = false;
                }
                _ => {}
            }
            if held {
                match told(&mut setting) {
                    Ok(told) => {
                        prop_assert!(can_tell && told.is_superset(&last));
                        prop_assert!(told.iter().all(|frame| *frame < MEMORY_END));
                        prop_assert!(!told.contains(&DEVICE) && !told.contains(&RESERVE));
                        prop_assert!(tables < 200 || told == last);
                    }
                    Err(Status::Nothing) => prop_assert!(!can_tell),
                    Err(error) => prop_assert_eq!(error, Status::Spoilt),
                }
            }
        }
    }
}
