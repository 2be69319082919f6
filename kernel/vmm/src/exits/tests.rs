//! The handlers over a guest of plain memory.

mod absorb;
mod record;
mod restore;
mod snapshot;
mod vmx;

use super::*;
use crate::call::{Call, Status};
use crate::frozen::tests::Ram;
use crate::frozen::{Frozen, Pages, Span};
use crate::memory::Memory;
use crate::nested::{ENTRIES, MemoryType, Npt, Rights, Size, Tree};
use crate::shared::{Bounds, Report, Shared};
use crate::svm::Guest;
use crate::svm::checks::tests::LIMITS;
use core::cell::{Cell, OnceCell};
use core::sync::atomic::AtomicU64;
use proptest::prelude::*;
use std::boxed::Box;
use std::vec::Vec;
use x86defs::cpuid::{EXTENDED1_ECX_SVM, LEAF1_ECX_HYPERVISOR, LEAF1_ECX_VMX, Leaf};
use x86defs::event::Kind;
use x86defs::state::Registers;
use x86defs::svm::{Vmcb, exit_code};

extern crate std;

type Table = (Box<[u64; ENTRIES]>, OnceCell<Box<[AtomicU64; ENTRIES]>>);

/// Tables numbered from 1; the address is the number times 4 KiB. Filled by plain stores until first looked at.
struct Heap {
    tables: Vec<Table>,
    limit: usize,
    ram: Ram,
}

impl Pages for Heap {
    fn copy_page(&mut self, from: u64, to: u64) {
        self.ram.copy_page(from, to);
    }
    fn clear(&mut self, page: u64) {
        self.ram.clear(page);
    }
    fn fill(&mut self, page: u64, word: u64) {
        self.ram.fill(page, word);
    }
    fn word(&self, address: u64) -> u64 {
        self.ram.word(address)
    }
    fn set_word(&mut self, address: u64, value: u64) {
        self.ram.set_word(address, value);
    }
    fn put_state(&mut self, page: u64, state: &CpuState) {
        self.ram.put_state(page, state);
    }
    fn state(&self, page: u64) -> CpuState {
        self.ram.state(page)
    }
}

impl Tables for Heap {
    fn entry(&self, table: u64, index: usize) -> &AtomicU64 {
        &self.entries(table)[index]
    }
    fn entries(&self, table: u64) -> &[AtomicU64; ENTRIES] {
        let (fresh, live) = &self.tables[table as usize / 4096 - 1];
        live.get_or_init(|| Box::new(fresh.map(AtomicU64::new)))
    }
    fn take(&mut self) -> Option<(u64, &mut [u64; ENTRIES])> {
        if self.tables.len() == self.limit {
            return None;
        }
        self.tables.push((Box::new([0; ENTRIES]), OnceCell::new()));
        let address = self.tables.len() as u64 * 4096;
        self.tables.last_mut().map(|(table, _)| (address, &mut **table))
    }
    fn give_back(&mut self, _: u64) {}
}

struct Machine {
    notified: Cell<u32>,
    xcr0: Cell<u64>,
    cpu: Cell<usize>,
    installed: Cell<Option<CpuState>>,
}

impl Machine {
    fn new() -> Self {
        let installed = Cell::new(None);
        Self { notified: Cell::new(0), xcr0: Cell::new(0), cpu: Cell::new(0), installed }
    }
}

impl Source for Machine {
    fn subleaf(&self, number: u32, sub: u32) -> Leaf {
        Leaf { eax: number, ebx: sub, ecx: !LEAF1_ECX_HYPERVISOR, edx: 4 }
    }
}

impl Platform for Machine {
    fn notify(&self) {
        self.notified.set(self.notified.get() + 1);
    }
    fn set_xcr0(&self, value: u64) {
        self.xcr0.set(value);
    }
    fn cpu(&self) -> usize {
        self.cpu.get()
    }
    fn ticks(&self) -> u64 {
        0
    }
    fn patience(&self) -> u64 {
        0
    }
    fn complete(&self, state: &mut CpuState) {
        state.cr2 = 0x1234;
    }
    fn install(&self, state: &CpuState) {
        self.installed.set(Some(*state));
    }
}

const TEXT: u64 = 0x20_0000;
const RESERVE: u64 = 0x1000_0000;
const MEMORY_END: u64 = 0x2000_0000;
/// Memory of a device's, below the end of RAM.
const DEVICE: u64 = 0x1800_0000;
/// The page that takes the place of a forbidden one, and those that do of device memory.
const SINK: u64 = 0x5_0000;
const ONES: u64 = RESERVE + 0x8000;
/// Facts of the machine.
const FACTS: core::ops::Range<u64> = 0x30_0000..0x30_1000;
/// What the reserve has for copies.
const OWN: Span = Span { start: RESERVE + 0x10_0000, end: RESERVE + 0x10_0000 + 12 * 4096 };

/// On a machine with one CPU.
fn shared<F: Format>(limit: usize) -> Shared<F, Heap> {
    shared_by(1, limit)
}

fn shared_by<F: Format>(cpus: usize, limit: usize) -> Shared<F, Heap> {
    let mut tables = Heap { tables: Vec::new(), limit: usize::MAX, ram: Ram::default() };
    let host = Tree::new(&mut tables, Size::Huge).unwrap();
    host.map(&mut tables, 0..MEMORY_END, Rights::READ_WRITE, MemoryType::WriteBack).unwrap();
    host.protect(&mut tables, TEXT..TEXT + 0x1000, Rights::READ_EXECUTE).unwrap();
    host.unmap(&mut tables, DEVICE..DEVICE + (2 << 20)).unwrap();
    tables.limit = limit + tables.tables.len();
    let tree = Tree::new(&mut tables, Size::Huge).unwrap();
    tree.map(&mut tables, 0..1 << 30, Rights::ALL, MemoryType::WriteBack).unwrap();
    tree.unmap(&mut tables, RESERVE..RESERVE + (2 << 20)).unwrap();
    tree.protect(&mut tables, TEXT..TEXT + 0x1000, Rights::READ_EXECUTE).unwrap();
    let bounds = Bounds {
        text: TEXT..TEXT + 0x1000,
        facts: FACTS,
        reserve: RESERVE..RESERVE + (2 << 20),
        memory_end: MEMORY_END,
    };
    let list = |count| Box::leak(std::vec![Span::default(); count].into_boxed_slice());
    let mut frozen = Frozen::new(list(4), list(8), MEMORY_END);
    frozen.arena.set_own(OWN);
    let states = (0..cpus).map(|_| spin::Mutex::new(CpuState::default())).collect::<Vec<_>>();
    Shared::new(
        bounds,
        Memory::new(tree, host, tables, SINK, ONES, frozen),
        Box::leak(states.into_boxed_slice()),
    )
}

/// A guest in the system's text, with the machine around it.
struct Setting {
    vmcb: Vmcb,
    registers: Registers,
    shared: Shared<Npt, Heap>,
    machine: Machine,
}

impl Setting {
    fn new() -> Self {
        Self::with_tables(64)
    }

    fn with_tables(limit: usize) -> Self {
        let mut vmcb = Vmcb::ZERO;
        vmcb.save.rip = TEXT + 0x10;
        Self { vmcb, registers: Registers::default(), shared: shared(limit), machine: Machine::new() }
    }

    fn exit(&mut self, code: u64, info_1: u64, info_2: u64) -> Next {
        self.vmcb.control.exit_code = code;
        self.vmcb.control.exit_info_1 = info_1;
        self.vmcb.control.exit_info_2 = info_2;
        let mut guest = Guest { vmcb: &mut self.vmcb, registers: &mut self.registers, limits: &LIMITS };
        handle(&mut guest, &self.shared, &self.machine)
    }

    fn call(&mut self, number: u64, first: u64, second: u64) -> (u64, u64) {
        self.vmcb.save.rax = number;
        self.vmcb.save.rip = TEXT + 0x10;
        self.registers.rdi = first;
        self.registers.rdx = second;
        assert_eq!(self.exit(exit_code::VMMCALL, 0, 0), Next::Resume);
        (self.vmcb.save.rax, self.registers.rdx)
    }

    fn injected(&self) -> Option<Event> {
        Event::decode(self.vmcb.control.event_injection)
    }
}

const WRITE: u64 = exit_code::NPF_WRITE;
const PROTECTED: u64 = exit_code::NPF_WRITE | exit_code::NPF_PRESENT;

#[test]
fn hypercalls_answer() {
    let mut setting = Setting::new();
    assert_eq!(setting.call(Call::Version as u64, 0, 0), (Status::Done as u64, crate::call::VERSION));
    assert_eq!(setting.vmcb.save.rip, TEXT + 0x13);
    assert_eq!(setting.call(Call::Exits as u64, Count::Hypercall as u64, 0), (0, 2));
    assert_eq!(setting.call(Call::Exits as u64, 99, 0).0, Status::BadArgument as u64);
    assert_eq!(setting.call(Call::Report as u64, 0, 0).0, Status::Nothing as u64);
    assert_eq!(setting.call(u64::MAX, 0, 0).0, Status::Unknown as u64);
    setting.vmcb.save.rax = Call::Leave as u64;
    setting.vmcb.save.rip = TEXT;
    assert_eq!(setting.exit(exit_code::VMMCALL, 0, 0), Next::Leave);
    assert_eq!((setting.vmcb.save.rax, setting.vmcb.save.rip), (0, TEXT + 3));
}

#[test]
fn nobody_else_may_call() {
    let mut setting = Setting::new();
    for (rip, privilege) in [(TEXT - 1, 0), (TEXT + 0x1000, 0), (TEXT, 3)] {
        setting.vmcb.save.rip = rip;
        setting.vmcb.save.cpl = privilege;
        setting.vmcb.save.rax = Call::Leave as u64;
        assert_eq!(setting.exit(exit_code::VMMCALL, 0, 0), Next::Resume);
        assert_eq!(setting.injected(), Some(Event::exception(6)));
        assert_eq!(setting.vmcb.save.rip, rip);
    }
}

#[test]
fn cpuid_names_us_and_hides_virtualization() {
    let mut setting = Setting::new();
    let mut ask = |leaf: u64, sub: u64| {
        setting.vmcb.save.rax = leaf;
        setting.registers.rcx = sub;
        assert_eq!(setting.exit(exit_code::CPUID, 0, 0), Next::Resume);
        let registers = setting.registers;
        [setting.vmcb.save.rax, registers.rbx, registers.rcx, registers.rdx].map(|word| word as u32)
    };
    let [highest, b, c, d] = ask(0x4000_0000, 0);
    assert_eq!(highest, 0x4000_0001);
    assert_eq!([b, c, d].map(u32::to_le_bytes).concat(), SIGNATURE);
    let [_, _, features, _] = ask(1, 0);
    assert_eq!(features & (LEAF1_ECX_VMX | LEAF1_ECX_HYPERVISOR), LEAF1_ECX_HYPERVISOR);
    assert_eq!(ask(0x8000_0001, 0)[2] & EXTENDED1_ECX_SVM, 0);
    assert_eq!(ask(0x8000_000a, 0), [0; 4]);
    assert_eq!(ask(0x4000_0010, 0), [0; 4]);
    // The CPU's own answers, subleaf included.
    assert_eq!(ask(0xd, 3), [0xd, 3, !LEAF1_ECX_HYPERVISOR, 4]);
    assert_eq!(setting.vmcb.save.rip, TEXT + 0x10 + 2 * 6);
}

#[test]
fn what_could_hurt_the_vmm_is_not_written() {
    let mut setting = Setting::new();
    // The last is in none of the map's ranges, and no register of AMD's.
    for register in [msr::VM_HSAVE_PA, msr::VM_CR, msr::SVM_KEY, 0x4b56_4d00] {
        setting.registers.rcx = register.into();
        assert_eq!(setting.exit(exit_code::MSR, 1, 0), Next::Resume);
        assert_eq!((setting.injected(), setting.vmcb.save.rip), (Some(Event::fault(13, 0)), TEXT + 0x10));
    }
    setting.registers.rcx = msr::EFER.into();
    // Long mode off, a bit that nobody knows, one that this CPU lacks (NXE): refused.
    for value in [0, 0x501 | 1 << 20, 0xd01] {
        setting.vmcb.save.rax = value;
        setting.exit(exit_code::MSR, 1, 0);
        assert_eq!(setting.injected(), Some(Event::fault(13, 0)));
    }
    // Without SVME, as the system believes it to be: it stays set beneath.
    setting.vmcb.save.rax = 0x501;
    setting.exit(exit_code::MSR, 1, 0);
    assert_eq!((setting.vmcb.save.efer, setting.injected()), (0x1501, None));
    assert_eq!(setting.vmcb.save.rip, TEXT + 0x12);
}

#[test]
fn instructions_of_svm_are_invalid() {
    let mut setting = Setting::new();
    for code in [exit_code::VMRUN, exit_code::SKINIT, exit_code::INVLPGA] {
        assert_eq!(setting.exit(code, 0, 0), Next::Resume);
        assert_eq!(setting.injected(), Some(Event::exception(6)));
    }
}

#[test]
fn a_wild_write_to_the_vmm_is_stopped_and_reported() {
    let mut setting = Setting::new();
    let address = RESERVE + 0x1234;
    assert_eq!(setting.exit(exit_code::NPF, WRITE, address), Next::Resume);
    assert_eq!(setting.machine.notified.get(), 1);
    // It goes on, on a page that is nobody's.
    let leads_to = |setting: &Setting, address| {
        let memory = setting.shared.memory.lock();
        memory.tree.translate(&memory.tables, address).map(|leaf| leaf.address)
    };
    assert_eq!(leads_to(&setting, address), Some(SINK));
    assert_eq!(setting.shared.reports.lock().fetch(), Some(Report { address, rip: TEXT + 0x10 }));
    // The next page takes its place: the first is guarded again.
    assert_eq!(setting.exit(exit_code::NPF, WRITE, address + 0x1000), Next::Resume);
    assert_eq!((leads_to(&setting, address), leads_to(&setting, address + 0x1000)), (None, Some(SINK)));
    assert_eq!(setting.call(Call::Report as u64, 0, 0), (0, address + 0x1000));
    assert_eq!(setting.call(Call::ReportOrigin as u64, 0, 0), (0, TEXT + 0x10));
    assert_eq!(setting.call(Call::Exits as u64, Count::Forbidden as u64, 0), (0, 2));
}

#[test]
fn what_is_fetched_from_the_vmm_is_a_fault() {
    let mut setting = Setting::new();
    let fetch = exit_code::NPF_FETCH;
    // Once more where a write has left a page that is nobody's.
    for (info, count) in [(fetch, 1), (WRITE, 2), (fetch | exit_code::NPF_PRESENT, 3)] {
        assert_eq!(setting.exit(exit_code::NPF, info, RESERVE + 8), Next::Resume);
        let fault = (info & fetch != 0).then_some(Event::fault(13, 0));
        assert_eq!((setting.injected(), setting.machine.notified.get()), (fault, count));
    }
}

#[test]
fn a_forbidden_access_on_the_way_to_a_handler_ends_the_delivery() {
    let mut setting = Setting::new();
    let mut delivering = |event: Event| {
        setting.vmcb.control.exit_int_info = event.encode();
        assert_eq!(setting.exit(exit_code::NPF, PROTECTED, TEXT + 8), Next::Resume);
        setting.injected().unwrap()
    };
    let interrupt = Event { kind: Kind::Interrupt, vector: 0xf0, error: None };
    assert_eq!(delivering(interrupt), Event::fault(13, 0));
    assert_eq!(delivering(Event::fault(14, 2)), Event::fault(8, 0));
    setting.vmcb.control.exit_int_info = Event::fault(8, 0).encode();
    assert_eq!(setting.exit(exit_code::NPF, PROTECTED, TEXT + 8), Next::Stop(Stop::Shutdown));
}

#[test]
fn the_text_is_not_written_even_if_the_systems_own_tables_allow_it() {
    let mut setting = Setting::new();
    assert_eq!(setting.exit(exit_code::NPF, PROTECTED, TEXT + 8), Next::Resume);
    assert_eq!(setting.injected(), Some(Event::fault(13, 0)));
}

#[test]
fn a_watched_range_exits_once_a_page() {
    let mut setting = Setting::new();
    let (start, length) = (0x40_0000, 0x20_0000);
    assert_eq!(setting.call(Call::Watch as u64, start, length).0, Status::Done as u64);
    let writable = |setting: &Setting, address| {
        let memory = setting.shared.memory.lock();
        memory.tree.translate(&memory.tables, address).map(|leaf| leaf.rights.write)
    };
    assert_eq!(writable(&setting, start), Some(false));
    assert_eq!(setting.exit(exit_code::NPF, PROTECTED, start + 0x3008), Next::Resume);
    assert_eq!(writable(&setting, start + 0x3000), Some(true));
    assert_eq!(writable(&setting, start + 0x4000), Some(false));
    assert_eq!(setting.call(Call::Unwatch as u64, start, length).0, Status::Done as u64);
    assert_eq!(writable(&setting, start + 0x4000), Some(true));
}

#[test]
fn ranges_are_checked() {
    let mut setting = Setting::new();
    let bad = [
        (1, 0x1000),
        (0, 0),
        (0, 0x123),
        (!0xfff, 0x1000),
        (MEMORY_END, 0x1000),
        (RESERVE, 0x1000),
        (RESERVE - 0x1000, 0x2000),
        (TEXT - 0x1000, 0x3000),
    ];
    for (start, length) in bad {
        for call in [Call::Watch, Call::Unwatch] {
            assert_eq!(setting.call(call as u64, start, length).0, Status::BadArgument as u64, "{start:#x}");
        }
    }
}

#[test]
fn device_memory_far_away_is_mapped_when_first_touched() {
    let mut setting = Setting::new();
    let address = (1 << 40) + 0x5000;
    assert_eq!(setting.exit(exit_code::NPF, 0, address), Next::Resume);
    let memory = setting.shared.memory.lock();
    let leaf = memory.tree.translate(&memory.tables, address).unwrap();
    assert_eq!((leaf.address & !0x3fff_ffff, leaf.rights), (1 << 40, Rights::ALL));
}

#[test]
fn without_tables_the_system_stops_with_a_reason() {
    let mut setting = Setting::with_tables(4);
    assert_eq!(setting.exit(exit_code::NPF, 0, 1 << 40), Next::Stop(Stop::Dry));
    assert_eq!(setting.exit(exit_code::NPF, WRITE, RESERVE), Next::Stop(Stop::Dry));
    assert_eq!(setting.exit(exit_code::SHUTDOWN, 0, 0), Next::Stop(Stop::Shutdown));
    assert_eq!(setting.exit(exit_code::INVALID, 0, 0), Next::Refused);
}

#[test]
fn an_interrupt_on_its_way_is_not_lost() {
    let mut setting = Setting::new();
    // As QEMU reports it: type 3.
    setting.vmcb.control.exit_int_info = Event::exception(0xf0).encode();
    assert_eq!(setting.exit(exit_code::NPF, 0, 1 << 40), Next::Resume);
    let interrupt = Event { kind: Kind::Interrupt, vector: 0xf0, error: None };
    assert_eq!(setting.injected(), Some(interrupt));
    // And not delivered twice.
    setting.vmcb.control.exit_int_info = 0;
    setting.call(Call::Version as u64, 0, 0);
    assert_eq!(setting.injected(), None);
}

proptest! {
    /// Whatever a guest does: an answer, and never a page of the VMM's.
    #[test]
    fn nothing_reaches_the_vmm(
        exits in prop::collection::vec((any::<prop::sample::Index>(), any::<[u64; 6]>(), any::<[bool; 3]>()), 1..40),
    ) {
        const CODES: [u64; 9] = [0x72, 0x7c, 0x80, 0x81, 0x81, 0x81, 0x400, 0x400, 0x7a];
        let mut setting = Setting::with_tables(40);
        for (code, words, [near, low, text]) in exits {
            let address = if near { RESERVE + words[2] % 0x40_0000 } else { words[2] % (1 << 42) };
            setting.vmcb.save.rax = if low { words[0] % 16 } else { words[0] };
            setting.vmcb.save.rip = if text { TEXT } else { words[5] };
            setting.registers.rcx = words[1];
            setting.registers.rdi = if near { address & !0xfff } else { words[3] };
            setting.registers.rdx = if low { (words[4] % 0x20_0000) & !0xfff } else { words[4] };
            let next = setting.exit(CODES[code.index(CODES.len())], words[1] & 0x17, address);
            let is_call = matches!(next, Next::Leave);
            prop_assert!(!is_call || setting.shared.bounds.text.contains(&(setting.vmcb.save.rip - 3)));
            if matches!(next, Next::Stop(_)) {
                return Ok(());
            }
        }
        let memory = setting.shared.memory.lock();
        for page in (RESERVE..RESERVE + (2 << 20)).step_by(4096) {
            let leaf = memory.tree.translate(&memory.tables, page);
            prop_assert!(leaf.is_none_or(|leaf| leaf.address == memory.sink));
        }
        let text = memory.tree.translate(&memory.tables, TEXT).unwrap();
        prop_assert!(!text.rights.write);
    }
}
