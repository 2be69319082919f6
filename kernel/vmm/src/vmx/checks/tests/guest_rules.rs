//! 27.3.1.1, 27.3.1.3 to 27.3.1.6.

use super::*;
use Violation as V;
use x86defs::state::SINGLE_STEP;
use x86defs::vmx::interruption::{activity, interruptibility as block, pending_debug};

/// Blocks interrupts so.
fn blocked(vmcs: &mut Image, state: u32) {
    vmcs.write(guest::INTERRUPTIBILITY, state);
}

#[test]
fn registers_are_seen_wrong() {
    each_is_seen(
        sound,
        &limits(),
        &[
            (|v| v.write(guest::CR0, CR0_PG | CR0_PE), V::Cr0(CR0_PG | CR0_PE)),
            (|v| v.write(guest::CR0, 1 << 32 | 0x8000_0021), V::Cr0(1 << 32 | 0x8000_0021)),
            (|v| v.write(guest::CR0, 0x8000_0020), V::PagingWithoutProtection(0x8000_0020)),
            (|v| v.write(guest::CR4, CR4_PAE), V::Cr4(CR4_PAE)),
            (|v| v.write(guest::DEBUGCTL, 8), V::Debugctl(8)),
            (|v| v.write(guest::CR0, CR0_NE | CR0_PE), V::LongWithoutPaging(CR0_NE | CR0_PE)),
            (|v| v.write(guest::CR4, CR4_VMXE), V::LongWithoutPae(CR4_VMXE)),
            (
                |v| {
                    short(v);
                    v.write(guest::CR4, CR4_VMXE | CR4_PAE | CR4_PCIDE);
                },
                V::PcideWithoutLong(CR4_VMXE | CR4_PAE | CR4_PCIDE),
            ),
            (|v| v.write(guest::CR3, 1 << 40), V::Cr3(1 << 40)),
            (|v| v.write(guest::DR7, 1 << 32), V::Dr7(1 << 32)),
            (|v| v.write(guest::SYSENTER_ESP, HOLE), V::Sysenter(HOLE)),
            (|v| v.write(guest::SYSENTER_EIP, HOLE), V::Sysenter(HOLE)),
            (|v| v.write(guest::PAT, 8 << 56), V::Pat(8 << 56)),
            (|v| v.write(guest::EFER, EFER | 1 << 12), V::EferReserved(EFER | 1 << 12)),
            (|v| v.write(guest::EFER, EFER_LME), V::EferLma(EFER_LME)),
            (|v| v.write(guest::EFER, EFER_LMA), V::EferLme(EFER_LMA)),
        ],
    );
    let mut limits = limits();
    limits.can.cr4.settable |= CR4_CET;
    each_is_seen(
        sound,
        &limits,
        &[(
            |v| {
                v.write(guest::CR4, CR4_PAE | CR4_VMXE | CR4_CET);
                v.write(guest::CR0, 0x8000_0021);
            },
            V::Cet(CR4_PAE | CR4_VMXE | CR4_CET),
        )],
    );
}

#[test]
fn a_restricted_guest_has_paging() {
    let restrict = |v: &mut Image| v.write(control::SECONDARY, v.read(control::SECONDARY) & !0x80);
    let mut vmcs = sound();
    restrict(&mut vmcs);
    assert_eq!(check(&vmcs, &limits()), Ok(()));
    real(&mut vmcs);
    assert_eq!(check(&vmcs, &limits()), Err(V::Cr0(CR0_NE)));
    let mut vmcs = sound();
    real(&mut vmcs);
    assert_eq!(check(&vmcs, &limits()), Ok(()));
}

#[test]
fn tables_and_flow_are_seen_wrong() {
    each_is_seen(
        sound,
        &limits(),
        &[
            (|v| v.write(guest::GDTR_BASE, HOLE), V::TableBase(HOLE)),
            (|v| v.write(guest::IDTR_BASE, HOLE), V::TableBase(HOLE)),
            (|v| v.write(guest::GDTR_LIMIT, 0x1_0000), V::TableLimit(0x1_0000)),
            (|v| v.write(guest::IDTR_LIMIT, 0x1_0000), V::TableLimit(0x1_0000)),
            (|v| v.write(guest::RIP, 1 << 48), V::Rip(1 << 48)),
            (|v| v.write(guest::RIP, !0 << 49), V::Rip(!0 << 49)),
            (
                |v| {
                    short(v);
                    v.write(guest::RIP, 1 << 32);
                },
                V::Rip(1 << 32),
            ),
            (|v| v.write(guest::RFLAGS, 0), V::Rflags(0)),
            (|v| v.write(guest::RFLAGS, 1 << 22 | 2), V::Rflags(1 << 22 | 2)),
            (|v| v.write(guest::RFLAGS, 0x22), V::Rflags(0x22)),
            (
                |v| {
                    v.write(guest::RFLAGS, RFLAGS_FIXED);
                    v.write(control::ENTRY_INTERRUPTION, 0x8000_00f0);
                },
                V::RflagsIf(RFLAGS_FIXED),
            ),
        ],
    );
    each_is_seen(
        virtual_8086,
        &limits(),
        &[(
            |v| {
                v.write(control::ENTRY, v.read(control::ENTRY) | 0x200);
                v.write(guest::EFER, EFER);
            },
            V::RflagsVm(RFLAGS_FIXED | RFLAGS_VM),
        )],
    );
}

/// Not canonical, but no rule forbids it: the guest faults (Xen's XSA-170).
#[test]
fn rip_may_be_in_the_hole_by_one_bit() {
    for rip in [HOLE, !(HOLE - 1) ^ HOLE] {
        let mut vmcs = sound();
        vmcs.write(guest::RIP, rip);
        assert_eq!(check(&vmcs, &limits()), Ok(()), "{rip:#x}");
    }
}

#[test]
fn activity_is_seen_wrong() {
    let misc_without_states =
        Limits { can: x86defs::vmx::capability::Capabilities { misc: 0, ..limits().can }, ..limits() };
    let states: [(Break, Violation); 3] = [
        (|v| v.write(guest::ACTIVITY, activity::HLT), V::Activity(1)),
        (|v| v.write(guest::ACTIVITY, activity::SHUTDOWN), V::Activity(2)),
        (|v| v.write(guest::ACTIVITY, activity::WAIT_FOR_SIPI), V::Activity(3)),
    ];
    each_is_seen(sound, &misc_without_states, &states);
    each_is_seen(
        sound,
        &limits(),
        &[
            (|v| v.write(guest::ACTIVITY, 4), V::Activity(4)),
            (
                |v| {
                    v.write(guest::ACTIVITY, activity::HLT);
                    v.write(guest::CS_ACCESS_RIGHTS, 0xa0fb);
                    v.write(guest::SS_ACCESS_RIGHTS, 0xc0f3);
                },
                V::HaltedUser(1),
            ),
            (
                |v| {
                    v.write(guest::ACTIVITY, activity::HLT);
                    blocked(v, block::STI);
                },
                V::InactiveShadow(1),
            ),
            (
                |v| {
                    v.write(guest::ACTIVITY, activity::HLT);
                    v.write(control::ENTRY_INTERRUPTION, 0x8000_0306);
                },
                V::InactiveInjection(1),
            ),
            (
                |v| {
                    v.write(guest::ACTIVITY, activity::SHUTDOWN);
                    v.write(control::ENTRY_INTERRUPTION, 0x8000_00f0);
                },
                V::InactiveInjection(2),
            ),
        ],
    );
    for (state, event) in [(1, 0x8000_00f0), (1, 0x8000_0301), (1, 0x8000_0312), (2, 0x8000_0202), (1, 0)] {
        let mut vmcs = sound();
        vmcs.write(guest::ACTIVITY, state);
        vmcs.write(control::ENTRY_INTERRUPTION, event);
        assert_eq!(check(&vmcs, &limits()), Ok(()), "{state} {event:#x}");
    }
}

#[test]
fn blocking_is_seen_wrong() {
    each_is_seen(
        sound,
        &limits(),
        &[
            (|v| blocked(v, 1 << 5), V::InterruptibilityReserved(1 << 5)),
            (|v| blocked(v, block::SHADOW), V::BothShadows(3)),
            (
                |v| {
                    v.write(guest::RFLAGS, RFLAGS_FIXED);
                    blocked(v, block::STI);
                },
                V::StiWithoutIf(1),
            ),
            (
                |v| {
                    v.write(control::ENTRY_INTERRUPTION, 0x8000_00f0);
                    blocked(v, block::MOV_SS);
                },
                V::InterruptBlocked(2),
            ),
            (
                |v| {
                    v.write(control::ENTRY_INTERRUPTION, 0x8000_0202);
                    blocked(v, block::MOV_SS);
                },
                V::NmiBlocked(2),
            ),
            (
                |v| {
                    // Virtual NMIs.
                    v.write(control::PIN, 0x3e);
                    v.write(control::ENTRY_INTERRUPTION, 0x8000_0202);
                    blocked(v, block::NMI);
                },
                V::NmiBlocked(8),
            ),
            (|v| blocked(v, block::SMI), V::SmiBlocking(4)),
            (|v| blocked(v, block::ENCLAVE | block::MOV_SS), V::EnclaveShadow(0x12)),
        ],
    );
}

#[test]
fn the_rest_is_seen_wrong() {
    each_is_seen(
        sound,
        &limits(),
        &[
            (|v| v.write(guest::PENDING_DEBUG, 1 << 13), V::PendingDebugReserved(1 << 13)),
            (
                |v| {
                    blocked(v, block::STI);
                    v.write(guest::PENDING_DEBUG, SINGLE_STEP);
                },
                V::PendingSingleStep(1 << 14),
            ),
            (
                |v| {
                    blocked(v, block::STI);
                    v.write(guest::RFLAGS, RFLAGS_FIXED | RFLAGS_IF | RFLAGS_TF);
                },
                V::PendingSingleStep(0),
            ),
            (|v| v.write(guest::PENDING_DEBUG, pending_debug::TRANSACTION), V::PendingTransaction(1 << 16)),
            (|v| v.write(guest::VMCS_LINK, 0x1000), V::Link(0x1000)),
            (
                |v| {
                    short(v);
                    v.write(guest::PDPTE_2, 3);
                },
                V::Pdpte(3),
            ),
            (
                |v| {
                    short(v);
                    v.write(guest::PDPTE_3, 1 << 40 | 1);
                },
                V::Pdpte(1 << 40 | 1),
            ),
        ],
    );
}
