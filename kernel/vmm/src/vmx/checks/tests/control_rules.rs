//! 27.2.1.

use super::*;
use Violation as V;
use x86defs::vmx::control::{entry, exit, pin, primary, secondary};

fn set(vmcs: &mut Image, field: x86defs::vmx::field::Field<u32>, bits: u32) {
    vmcs.write(field, vmcs.read(field) | bits);
}

fn clear(vmcs: &mut Image, field: x86defs::vmx::field::Field<u32>, bits: u32) {
    vmcs.write(field, vmcs.read(field) & !bits);
}

/// Sets the event that the next entry delivers.
fn inject(vmcs: &mut Image, information: u32, error: u32) {
    vmcs.write(control::ENTRY_INTERRUPTION, information);
    vmcs.write(control::ENTRY_ERROR_CODE, error);
}

#[test]
fn execution_rules_are_seen_broken() {
    each_is_seen(
        sound,
        &limits(),
        &[
            (|v| v.write(control::PIN, 0), V::Pin(0)),
            (|v| set(v, control::PIN, 1 << 8), V::Pin(0x116)),
            (|v| clear(v, control::PRIMARY, 2), V::Primary(0x9400_6170)),
            (|v| set(v, control::SECONDARY, 1 << 31), V::Secondary(0x8010_10aa)),
            (|v| set(v, control::PIN, pin::PROCESS_POSTED_INTERRUPTS), V::Unused(0x80)),
            (|v| set(v, control::PRIMARY, primary::USE_TPR_SHADOW), V::Unused(1 << 21)),
            (|v| set(v, control::SECONDARY, secondary::ENABLE_VM_FUNCTIONS), V::Unused(1 << 13)),
            (|v| v.write(control::CR3_TARGET_COUNT, 5), V::Cr3Targets(5)),
            (
                |v| {
                    set(v, control::PRIMARY, primary::USE_IO_BITMAPS);
                    v.write(control::IO_BITMAP_A, 0x800);
                },
                V::IoBitmaps(0x800),
            ),
            (
                |v| {
                    set(v, control::PRIMARY, primary::USE_IO_BITMAPS);
                    v.write(control::IO_BITMAP_B, 1 << 40);
                },
                V::IoBitmaps(1 << 40),
            ),
            (|v| v.write(control::MSR_BITMAP, 0x10_0010), V::MsrBitmap(0x10_0010)),
            (|v| v.write(control::MSR_BITMAP, 1 << 40), V::MsrBitmap(1 << 40)),
            (|v| set(v, control::PIN, pin::VIRTUAL_NMIS), V::VirtualNmis(0x36)),
            (|v| set(v, control::PRIMARY, primary::NMI_WINDOW_EXITING), V::NmiWindow(0x9440_6172)),
            (|v| v.write(control::VPID, 0), V::VpidZero(0)),
            (|v| v.write(control::EPT_POINTER, 0x20_0006), V::EptPointer(0x20_0006)),
            (|v| v.write(control::EPT_POINTER, 1 << 40 | 0x1e), V::EptPointer(1 << 40 | 0x1e)),
            (|v| clear(v, control::SECONDARY, 2), V::UnrestrictedWithoutEpt(0x0010_10a8)),
            (
                |v| {
                    clear(v, control::SECONDARY, 0x82);
                    set(v, control::SECONDARY, secondary::ENABLE_PML);
                },
                V::PmlWithoutEpt(0x0012_1028),
            ),
            (
                |v| {
                    set(v, control::SECONDARY, secondary::ENABLE_PML);
                    v.write(control::PML_ADDRESS, 0x123);
                },
                V::PmlAddress(0x123),
            ),
        ],
    );
}

#[test]
fn exit_and_entry_rules_are_seen_broken() {
    each_is_seen(
        sound,
        &limits(),
        &[
            (|v| clear(v, control::EXIT, 1), V::Exit(0x003f_6ffe)),
            (|v| set(v, control::EXIT, exit::CLEAR_RTIT_CTL), V::Unused(1 << 25)),
            (|v| set(v, control::EXIT, exit::SAVE_PREEMPTION_TIMER), V::SaveTimer(0x007f_6fff)),
            (
                |v| {
                    v.write(control::EXIT_MSR_STORE_COUNT, 1);
                    v.write(control::EXIT_MSR_STORE, 8);
                },
                V::ExitMsrStore(8),
            ),
            (
                |v| {
                    v.write(control::EXIT_MSR_LOAD_COUNT, 2);
                    v.write(control::EXIT_MSR_LOAD, (1 << 40) - 16);
                },
                V::ExitMsrLoad((1 << 40) - 16),
            ),
            (|v| clear(v, control::ENTRY, 1), V::Entry(0xd3fe)),
            (|v| set(v, control::ENTRY, entry::LOAD_RTIT_CTL), V::Unused(1 << 18)),
            (
                |v| {
                    v.write(control::ENTRY_MSR_LOAD_COUNT, 1);
                    v.write(control::ENTRY_MSR_LOAD, u64::MAX - 15);
                },
                V::EntryMsrLoad(u64::MAX - 15),
            ),
            (|v| set(v, control::ENTRY, entry::ENTRY_TO_SMM), V::SmmControls(0x400)),
            (|v| set(v, control::ENTRY, entry::DEACTIVATE_DUAL_MONITOR), V::SmmControls(0x800)),
        ],
    );
}

#[test]
fn illegal_events_are_seen() {
    each_is_seen(
        sound,
        &limits(),
        &[
            (|v| inject(v, 0x8000_0102, 0), V::InjectionType(0x8000_0102)),
            (|v| inject(v, 0x8000_0203, 0), V::InjectionVector(0x8000_0203)),
            (|v| inject(v, 0x8000_0320, 0), V::InjectionVector(0x8000_0320)),
            (|v| inject(v, 0x8000_0701, 0), V::InjectionVector(0x8000_0701)),
            // A page fault without, an invalid opcode and an interrupt with a code.
            (|v| inject(v, 0x8000_030e, 0), V::InjectionErrorCode(0x8000_030e)),
            (|v| inject(v, 0x8000_0b06, 0), V::InjectionErrorCode(0x8000_0b06)),
            (|v| inject(v, 0x8000_08f0, 0), V::InjectionErrorCode(0x8000_08f0)),
            (|v| inject(v, 0x8000_10f0, 0), V::InjectionReserved(0x8000_10f0)),
            (|v| inject(v, 0x8000_0b0e, 0x1_0000), V::ErrorCodeReserved(0x1_0000)),
            (
                |v| {
                    inject(v, 0x8000_0480, 0);
                    v.write(control::ENTRY_INSTRUCTION_LENGTH, 16);
                },
                V::InjectionLength(16),
            ),
        ],
    );
    // No monitor trap flag, no instruction of length zero.
    let mut old = limits();
    old.can.primary.settable &= !primary::MONITOR_TRAP_FLAG;
    old.can.misc = 0x3004_81e5;
    each_is_seen(
        sound,
        &old,
        &[
            (|v| inject(v, 0x8000_0700, 0), V::InjectionType(0x8000_0700)),
            (|v| inject(v, 0x8000_0603, 0), V::InjectionLength(0)),
        ],
    );
}

#[test]
fn legal_events_may_be_injected() {
    for information in [0x8000_00f0, 0x8000_0202, 0x8000_0306, 0x8000_0b0e, 0x8000_0480, 0x8000_0603, 0x102] {
        let mut vmcs = sound();
        inject(&mut vmcs, information, 2);
        assert_eq!(check(&vmcs, &limits()), Ok(()), "{information:#x}");
    }
    // In real mode no exception has a code.
    let mut vmcs = sound();
    real(&mut vmcs);
    inject(&mut vmcs, 0x8000_030d, 0);
    assert_eq!(check(&vmcs, &limits()), Ok(()));
    inject(&mut vmcs, 0x8000_0b0d, 0);
    assert_eq!(check(&vmcs, &limits()), Err(V::InjectionErrorCode(0x8000_0b0d)));
    // A CPU that does not mind.
    let mut limits = limits();
    limits.can.basic |= 1 << 56;
    let mut vmcs = sound();
    inject(&mut vmcs, 0x8000_030d, 0);
    assert_eq!(check(&vmcs, &limits), Ok(()));
}
