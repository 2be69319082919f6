//! The same handlers over Intel's control structure: what it has and AMD's has not.

use super::*;
use crate::nested::Ept;
use crate::vmx::Guest;
use crate::vmx::checks::tests::limits;
use x86defs::vmx::field::{Image, Vmcs, control, exit, guest};
use x86defs::vmx::interruption;

/// The machine around a guest.
struct Around {
    shared: Shared<Ept, Heap>,
    machine: Machine,
}

/// A guest in the system's text that stopped for a reason, with an instruction of three bytes.
fn exited(reason: u32) -> (Image, Registers, Around) {
    let mut vmcs = Image::ZERO;
    vmcs.set(exit::REASON, reason);
    vmcs.set(exit::INSTRUCTION_LENGTH, 3);
    vmcs.write(guest::RIP, TEXT + 0x10);
    (vmcs, Registers::default(), Around { shared: shared(64), machine: Machine::new() })
}

fn handled(vmcs: &mut Image, registers: &mut Registers, around: &Around) -> Next {
    handle(&mut Guest::new(vmcs, registers, &limits()), &around.shared, &around.machine)
}

fn injected(vmcs: &Image) -> Option<Event> {
    interruption::decode(vmcs.read(control::ENTRY_INTERRUPTION), vmcs.read(control::ENTRY_ERROR_CODE))
}

#[test]
fn hypercalls_answer() {
    let (mut vmcs, mut registers, around) = exited(18);
    registers.rax = Call::Version as u64;
    assert_eq!(handled(&mut vmcs, &mut registers, &around), Next::Resume);
    assert_eq!((registers.rax, registers.rdx), (Status::Done as u64, crate::call::VERSION));
    assert_eq!(vmcs.read(guest::RIP), TEXT + 0x13);
    registers.rax = Call::Leave as u64;
    vmcs.write(guest::RIP, TEXT);
    assert_eq!(handled(&mut vmcs, &mut registers, &around), Next::Leave);
}

#[test]
fn xsetbv_is_carried_out_as_the_cpu_would() {
    let xsetbv = |index: u64, value: u64, rights: u32| {
        let (mut vmcs, mut registers, around) = exited(55);
        vmcs.write(guest::SS_ACCESS_RIGHTS, rights);
        registers.rax = value & 0xffff_ffff;
        registers.rdx = value >> 32;
        registers.rcx = index;
        assert_eq!(handled(&mut vmcs, &mut registers, &around), Next::Resume);
        let length = vmcs.read(guest::RIP) - TEXT - 0x10;
        (around.machine.xcr0.get(), injected(&vmcs), length)
    };
    // The machine says in CPUID 0Dh that it has components 0, 2, 3 and 34.
    assert_eq!(xsetbv(0, 1, 0x93), (1, None, 3));
    let refused = (0, Some(Event::fault(13, 0)), 0);
    assert_eq!(xsetbv(0, 0, 0x93), refused);
    assert_eq!(xsetbv(0, 1 | 1 << 33, 0x93), refused);
    assert_eq!(xsetbv(1, 1, 0x93), refused);
    assert_eq!(xsetbv(0, 1, 0xf3), refused);
}

#[test]
fn caches_are_kept() {
    let (mut vmcs, mut registers, around) = exited(13);
    vmcs.set(exit::INSTRUCTION_LENGTH, 2);
    assert_eq!(handled(&mut vmcs, &mut registers, &around), Next::Resume);
    assert_eq!((vmcs.read(guest::RIP), injected(&vmcs)), (TEXT + 0x12, None));
}

#[test]
fn what_belongs_to_vmx_is_not_changed() {
    // A write of CR4 that would set VMXE, and one of a capability register.
    for reason in [28, 32, 31] {
        let (mut vmcs, mut registers, around) = exited(reason);
        registers.rcx = 0x480;
        assert_eq!(handled(&mut vmcs, &mut registers, &around), Next::Resume);
        assert_eq!(injected(&vmcs), Some(Event::fault(13, 0)));
        assert_eq!(vmcs.read(guest::RIP), TEXT + 0x10);
    }
    let (mut vmcs, mut registers, around) = exited(27);
    assert_eq!(handled(&mut vmcs, &mut registers, &around), Next::Resume);
    assert_eq!(injected(&vmcs), Some(Event::exception(6)));
}

#[test]
fn a_page_fault_on_its_way_is_not_lost() {
    let (mut vmcs, mut registers, around) = exited(48);
    vmcs.set(exit::GUEST_PHYSICAL_ADDRESS, 1 << 40);
    vmcs.set(exit::QUALIFICATION, 0x81);
    vmcs.set(exit::IDT_VECTORING, 0x8000_0b0e);
    vmcs.set(exit::IDT_VECTORING_ERROR_CODE, 2);
    assert_eq!(handled(&mut vmcs, &mut registers, &around), Next::Resume);
    assert_eq!(injected(&vmcs), Some(Event::fault(14, 2)));
    // And not delivered twice.
    vmcs.set(exit::IDT_VECTORING, 0);
    assert_eq!(handled(&mut vmcs, &mut registers, &around), Next::Resume);
    assert_eq!(injected(&vmcs), None);
}

#[test]
fn unknown_memory_is_not_cached_and_a_wild_write_is_stopped() {
    let leaf = |around: &Around, address| {
        let memory = around.shared.memory.lock();
        memory.tree.translate(&memory.tables, address).map(|leaf| (leaf.address, leaf.kind))
    };
    let (mut vmcs, mut registers, around) = exited(48);
    // A read of nothing: the MTRRs that would say so do not count under EPT.
    vmcs.set(exit::GUEST_PHYSICAL_ADDRESS, 1 << 40);
    vmcs.set(exit::QUALIFICATION, 0x181);
    assert_eq!(handled(&mut vmcs, &mut registers, &around), Next::Resume);
    assert_eq!(leaf(&around, 1 << 40), Some((1 << 40, MemoryType::Uncached)));
    vmcs.set(exit::GUEST_PHYSICAL_ADDRESS, RESERVE + 8);
    vmcs.set(exit::QUALIFICATION, 0x182);
    assert_eq!(handled(&mut vmcs, &mut registers, &around), Next::Resume);
    assert_eq!(leaf(&around, RESERVE + 8), Some((0x5_0000, MemoryType::WriteBack)));
    assert_eq!(around.machine.notified.get(), 1);
}

#[test]
fn what_can_not_go_on_stops() {
    for (reason, next) in [
        (2, Next::Stop(Stop::Shutdown)),
        (3, Next::Stop(Stop::Init)),
        (4, Next::Stop(Stop::StartUp)),
        (49, Next::Stop(Stop::Unexpected(49))),
        (0x8000_0021, Next::Refused),
    ] {
        let (mut vmcs, mut registers, around) = exited(reason);
        assert_eq!(handled(&mut vmcs, &mut registers, &around), next);
    }
}
