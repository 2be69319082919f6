//! The call by which another system takes the place of the running one.

use super::*;
use crate::svm::checks::tests::sound;
use crate::takeover::Writer;

const HEAD: u64 = 0x80_0000;
const STATE: u64 = 0x90_0000;
const FROM: u64 = 0xa0_0000;
const TO: u64 = 0x40_0000;

/// The state of a system that stood elsewhere.
pub(super) fn other() -> CpuState {
    let mut state = CpuState::default();
    let mut vmcb = sound();
    vmcb.save.rip = TEXT + 0x456;
    vmcb.save.lstar = 0x20_1000;
    let mut registers = Registers { rdx: 1, r15: 15, ..Registers::default() };
    Guest { vmcb: &mut vmcb, registers: &mut registers, limits: &LIMITS }.store(&mut state);
    state
}

/// A sound guest, and a plan that brings one page to its place.
pub(super) fn setting(cpus: usize, state: &CpuState, entries: &[(u64, Option<u64>, u64)]) -> Setting {
    let mut setting = Setting { shared: shared_by(cpus, 64), ..Setting::new() };
    setting.vmcb = sound();
    let mut words = std::vec![0; 1024];
    let states: Vec<_> = (0..cpus as u64).map(|cpu| STATE + cpu * 4096).collect();
    let mut writer = Writer::new(&mut words, HEAD, &states).unwrap();
    entries.iter().for_each(|(to, from, count)| writer.push(*to, *from, *count).unwrap());
    let mut memory = setting.shared.memory.lock();
    words.iter().enumerate().for_each(|(at, word)| memory.tables.set_word(HEAD + 8 * at as u64, *word));
    memory.tables.put_state(STATE, state);
    memory.tables.set_word(FROM + 8, 7);
    memory.tables.set_word(TO + 0x1008, 8);
    drop(memory);
    setting
}

fn word(setting: &Setting, address: u64) -> u64 {
    setting.shared.memory.lock().tables.word(address)
}

pub(super) const GOOD: [(u64, Option<u64>, u64); 2] = [(TO, Some(FROM), 1), (TO + 0x1000, None, 1)];

pub(super) fn restore(setting: &mut Setting) -> Next {
    setting.vmcb.save.rax = Call::Restore as u64;
    setting.vmcb.save.rip = TEXT + 0x10;
    setting.registers.rdi = HEAD;
    setting.exit(exit_code::VMMCALL, 0, 0)
}

/// Nothing has changed but that the call has an answer.
fn is_refused(setting: &mut Setting, status: Status) {
    assert_eq!(restore(setting), Next::Resume);
    assert_eq!((setting.vmcb.save.rax, setting.vmcb.save.rip), (status as u64, TEXT + 0x13));
    assert_eq!((word(setting, TO + 8), word(setting, TO + 0x1008)), (0, 8));
    assert!(setting.machine.installed.get().is_none());
    assert_eq!(setting.vmcb.save.cr4, sound().save.cr4);
}

#[test]
fn another_system_goes_on_where_it_stood() {
    let mut setting = setting(1, &other(), &GOOD);
    assert_eq!(restore(&mut setting), Next::Restored);
    assert_eq!((word(&setting, TO + 8), word(&setting, TO + 0x1008)), (7, 0));
    assert_eq!((setting.vmcb.save.rip, setting.vmcb.save.lstar), (TEXT + 0x456, 0x20_1000));
    assert_eq!((setting.registers.rdx, setting.registers.r15), (1, 15));
    assert_eq!(setting.vmcb.control.tlb_control, x86defs::svm::vmcb::TLB_FLUSH_ALL);
    assert_eq!(setting.machine.installed.get().map(|state| state.msrs.lstar), Some(0x20_1000));
}

#[test]
fn what_breaks_a_rule_changes_nothing() {
    for entries in [
        [GOOD[0], (TEXT, None, 1)],
        [(TO, Some(FROM), 1), (FACTS.start, None, 1)],
        [(RESERVE, Some(FROM), 1), GOOD[1]],
        [GOOD[0], (RESERVE + 0x1000, None, 1)],
        [GOOD[0], (DEVICE, None, 1)],
        [GOOD[0], (MEMORY_END, None, 1)],
        [GOOD[0], (TO + 0x1000, Some(RESERVE), 1)],
        [GOOD[0], (TO + 0x1000, Some(DEVICE), 1)],
        [GOOD[0], (STATE, None, 1)],
        [GOOD[0], (HEAD + 0x1000, None, 1)],
    ] {
        is_refused(&mut setting(1, &other(), &entries), Status::BadArgument);
    }
    let breaks: [fn(&mut CpuState); 6] = [
        |state| state.cr4 |= 1 << 63,
        |state| state.msrs.efer |= 1 << 20,
        |state| state.rflags = 0,
        |state| state.msrs.lstar = 1 << 50,
        |state| state.msrs.sfmask = 1 << 32,
        |state| state.dr6 = 1 << 32,
    ];
    for spoil in breaks {
        let mut state = other();
        spoil(&mut state);
        is_refused(&mut setting(1, &state, &GOOD), Status::BadArgument);
    }
}

#[test]
fn nothing_is_restored_under_a_snapshot_or_by_some() {
    let mut one = setting(1, &other(), &GOOD);
    assert_eq!(one.call(Call::Freeze as u64, 0, 0), (0, 0));
    is_refused(&mut one, Status::Busy);
    while one.call(Call::Thaw as u64, 0, 0) == (0, 1) {}
    assert_eq!(restore(&mut one), Next::Restored);
    let mut two = setting(2, &other(), &GOOD);
    is_refused(&mut two, Status::Alone);
    two.machine.cpu.set(2);
    is_refused(&mut two, Status::BadArgument);
}
