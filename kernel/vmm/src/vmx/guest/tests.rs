use super::*;
use crate::vmx::checks::tests::limits;
use crate::vmx::state::SS;
use x86defs::state::SINGLE_STEP;
use x86defs::vmx::field::Image;

const INTERRUPT: Event = Event { kind: Kind::Interrupt, vector: 0xf0, error: None };
const NMI: Event = Event { kind: Kind::Nmi, vector: 2, error: None };

fn with<T>(vmcs: &mut Image, act: impl FnOnce(&mut Guest<'_, Image>) -> T) -> T {
    let mut registers = Registers { rcx: 0xc000_0080, ..Registers::default() };
    act(&mut Guest::new(vmcs, &mut registers, &limits()))
}

fn exited(reason: u32, qualification: u64) -> Image {
    let mut vmcs = Image::ZERO;
    vmcs.set(exit::REASON, reason);
    vmcs.set(exit::QUALIFICATION, qualification);
    vmcs
}

#[test]
fn exits_are_told_apart() {
    let exit = |reason| with(&mut exited(reason, 0), |guest| guest.exit());
    assert_eq!(exit(18), Exit::Hypercall);
    assert_eq!(exit(10), Exit::Cpuid);
    assert_eq!((exit(31), exit(32)), (Exit::ReadMsr(0xc000_0080), Exit::WriteMsr(0xc000_0080)));
    assert_eq!((exit(2), exit(3), exit(4)), (Exit::Shutdown, Exit::Init, Exit::StartUp));
    assert_eq!((exit(55), exit(13), exit(28)), (Exit::Xsetbv, Exit::Invd, Exit::ControlRegister));
    for virtualization in [11, 19, 20, 21, 22, 23, 24, 25, 26, 27, 50, 53, 59] {
        assert_eq!(exit(virtualization), Exit::Virtualization);
    }
    // Guest state, and a machine check, on the way in.
    assert_eq!((exit(0x8000_0021), exit(0x8000_0029)), (Exit::Refused, Exit::Refused));
    // A misconfigured EPT entry, an interrupt that nobody asked for, a number from the future.
    for unexpected in [49, 1, 200] {
        assert_eq!(exit(unexpected), Exit::Unexpected(unexpected.into()));
    }
}

#[test]
fn a_violation_says_what_was_tried() {
    let access = |qualification| {
        let mut vmcs = exited(48, qualification);
        vmcs.set(exit::GUEST_PHYSICAL_ADDRESS, 0x5008);
        match with(&mut vmcs, |guest| guest.exit()) {
            Exit::Nested { address: 0x5008, access } => (access.write, access.fetch, access.present),
            other => panic!("{other:?}"),
        }
    };
    // A write to a page that is read-only; a read and a fetch where nothing is.
    assert_eq!(access(0x1aa), (true, false, true));
    assert_eq!(access(0x181), (false, false, false));
    assert_eq!(access(0x184), (false, true, false));
}

#[test]
fn skipping_ends_the_shadow_and_honours_single_steps() {
    let mut vmcs = exited(10, 0);
    vmcs.write(guest::RIP, 0x1000);
    vmcs.write(guest::INTERRUPTIBILITY, interruptibility::STI | interruptibility::NMI);
    with(&mut vmcs, |guest| guest.skip(2));
    assert_eq!(vmcs.read(guest::RIP), 0x1002);
    assert_eq!(vmcs.read(guest::INTERRUPTIBILITY), interruptibility::NMI);
    assert_eq!(vmcs.read(guest::PENDING_DEBUG), 0);
    // With a prefix, which only the CPU has seen.
    vmcs.set(exit::INSTRUCTION_LENGTH, 3);
    vmcs.write(guest::RFLAGS, RFLAGS_TF);
    with(&mut vmcs, |guest| guest.skip(2));
    assert_eq!(vmcs.read(guest::RIP), 0x1005);
    assert_eq!(vmcs.read(guest::PENDING_DEBUG), SINGLE_STEP);
    vmcs.write(guest::PENDING_DEBUG, 0);
    vmcs.write(guest::DEBUGCTL, DEBUGCTL_BTF);
    with(&mut vmcs, |guest| guest.skip(2));
    assert_eq!(vmcs.read(guest::PENDING_DEBUG), 0);
}

#[test]
fn an_interrupted_delivery_is_repeated() {
    let interrupted = |information, error| {
        let mut vmcs = exited(48, 0x1aa);
        vmcs.set(exit::IDT_VECTORING, information);
        vmcs.set(exit::IDT_VECTORING_ERROR_CODE, error);
        with(&mut vmcs, |guest| guest.interrupted())
    };
    assert_eq!(interrupted(0x8000_00f0, 9), Some(INTERRUPT));
    assert_eq!(interrupted(0x8000_0202, 9), Some(NMI));
    assert_eq!(interrupted(0x8000_0b0e, 2), Some(Event::fault(14, 2)));
    assert_eq!(interrupted(0x8000_0301, 9), Some(Event::exception(1)));
    // INT n, INT1, INT3: executed again.
    for software in [0x8000_0480, 0x8000_0501, 0x8000_0603] {
        assert_eq!(interrupted(software, 0), None);
    }
    assert_eq!(interrupted(0x0000_00f0, 0), None);
}

#[test]
fn an_event_is_injected_once_and_nothing_blocks_it() {
    let mut vmcs = exited(48, 0);
    vmcs.write(guest::INTERRUPTIBILITY, 0xf);
    vmcs.write(guest::ACTIVITY, activity::HLT);
    with(&mut vmcs, |guest| guest.inject(INTERRUPT));
    assert_eq!(vmcs.read(control::ENTRY_INTERRUPTION), 0x8000_00f0);
    assert_eq!(vmcs.read(guest::INTERRUPTIBILITY), interruptibility::SMI | interruptibility::NMI);
    assert_eq!(vmcs.read(guest::ACTIVITY), activity::ACTIVE);
    with(&mut vmcs, |guest| guest.inject(NMI));
    assert_eq!(vmcs.read(guest::INTERRUPTIBILITY), interruptibility::SMI);
    with(&mut vmcs, |guest| guest.inject(Event::fault(13, 8)));
    assert_eq!(
        (vmcs.read(control::ENTRY_INTERRUPTION), vmcs.read(control::ENTRY_ERROR_CODE)),
        (0x8000_0b0d, 8)
    );
    vmcs.set(exit::INSTRUCTION_LENGTH, 4);
    with(&mut vmcs, |guest| guest.inject(Event { kind: Kind::Software, vector: 0x80, error: None }));
    assert_eq!(vmcs.read(control::ENTRY_INSTRUCTION_LENGTH), 4);
    with(&mut vmcs, |guest| guest.begin());
    assert_eq!(vmcs.read(control::ENTRY_INTERRUPTION), 0);
}

#[test]
fn an_iret_that_is_repeated_finds_nmis_blocked() {
    let blocked = |reason, qualification, vectoring| {
        let mut vmcs = exited(reason, qualification);
        vmcs.set(exit::IDT_VECTORING, vectoring);
        with(&mut vmcs, |guest| guest.begin());
        vmcs.read(guest::INTERRUPTIBILITY)
    };
    assert_eq!(blocked(48, 1 << 12, 0), interruptibility::NMI);
    assert_eq!(blocked(48, 0, 0), 0);
    // Bit 12 says nothing when a delivery was interrupted, or of other exits.
    assert_eq!(blocked(48, 1 << 12, 0x8000_00f0), 0);
    assert_eq!(blocked(28, 1 << 12, 0), 0);
}

#[test]
fn privilege_is_that_of_the_stack_even_if_it_is_null() {
    let mut vmcs = Image::ZERO;
    vmcs.write(SS.rights, 0x1_00f3);
    assert_eq!(with(&mut vmcs, |guest| guest.privilege()), 3);
    vmcs.write(SS.rights, 0xc093);
    assert_eq!(with(&mut vmcs, |guest| guest.privilege()), 0);
}

#[test]
fn flushing_lasts_until_the_next_exit() {
    let mut vmcs = Image::ZERO;
    with(&mut vmcs, |guest| {
        guest.flush();
        assert!(guest.stale);
        guest.begin();
        assert!(!guest.stale);
        guest.load(&CpuState::default());
        assert!(guest.stale);
    });
}
