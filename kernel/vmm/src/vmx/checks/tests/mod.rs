//! A sound VMCS, and for each rule one that breaks it.

extern crate std;

mod control_rules;
mod guest_rules;
mod segment_rules;

use super::*;
use crate::vmx::controls::cpus;
use crate::vmx::{Controls, Host, Places, load, set_up};
use proptest::prelude::*;
use std::string::ToString;
use x86defs::registers::{
    CR0_NE, CR0_PE, CR0_PG, CR0_WP, CR4_CET, CR4_OSXSAVE, CR4_PAE, CR4_PCIDE, CR4_PGE, CR4_VMXE, EFER_LMA,
    EFER_LME, EFER_NXE, EFER_SCE, RFLAGS_FIXED, RFLAGS_IF, RFLAGS_TF, RFLAGS_VM,
};
use x86defs::segment::{BUSY_TSS, GRANULARITY, LONG, PRESENT, Segment, TableRegister};
use x86defs::state::{CpuState, Msrs, Segments};
use x86defs::vmx::field::{Image, Natural, control, guest, host};

const EFER: u64 = EFER_LMA | EFER_LME | EFER_NXE | EFER_SCE;
const PAT: u64 = 0x0007_0406_0007_0406;
/// The lowest address that is not canonical.
const HOLE: u64 = 1 << 47;

pub(crate) fn limits() -> Limits {
    Limits { can: cpus::ICE_LAKE, physical_bits: 40, linear_bits: 48, efer: EFER }
}

/// The state of a system in 64-bit mode at privilege level 0.
fn state() -> CpuState {
    let code = Segment { selector: 8, attributes: PRESENT | LONG | GRANULARITY | 0x1b, limit: !0, base: 0 };
    let data = Segment { selector: 16, attributes: PRESENT | GRANULARITY | 0x13, limit: !0, base: 0 };
    let task = Segment { selector: 24, attributes: PRESENT | BUSY_TSS, limit: 103, base: 0x4000 };
    let null = Segment::default();
    let segments = Segments {
        es: data,
        cs: code,
        ss: data,
        ds: data,
        fs: null,
        gs: Segment { base: 0xffff_8000_0000_0000, ..null },
        ldtr: null,
        tr: task,
    };
    CpuState {
        rip: 0x20_0000,
        rsp: 0x30_0000,
        rflags: RFLAGS_FIXED | RFLAGS_IF,
        cr0: CR0_PG | CR0_PE | CR0_NE | CR0_WP,
        cr3: 0x30_0000,
        cr4: CR4_PAE | CR4_PGE | CR4_OSXSAVE,
        dr7: 0x400,
        segments,
        gdtr: TableRegister { base: 0x5000, limit: 0x27 },
        idtr: TableRegister { base: 0x6000, limit: 0xfff },
        msrs: Msrs { efer: EFER, pat: PAT, ..Msrs::default() },
        ..CpuState::default()
    }
}

/// A VMCS as a switch makes it.
fn sound() -> Image {
    let can = limits().can;
    let controls = Controls::for_sleeping_system(&can).unwrap();
    let mut vmcs = Image::ZERO;
    set_up(&mut vmcs, &controls, Places { msr_bitmap: 0x10_0000, ept: 0x20_0000 }, &can);
    let host = Host {
        cr0: CR0_PG | CR0_PE | CR0_NE | CR0_WP,
        cr3: 0x40_0000,
        cr4: CR4_PAE | CR4_OSXSAVE | CR4_VMXE,
        efer: EFER,
        pat: PAT,
        cs: 8,
        ss: 16,
        tr: 24,
        gs_base: 0xffff_8000_0000_0000,
        tr_base: 0x7000,
        gdtr_base: 0x8000,
        idtr_base: 0x9000,
        rsp: 0xa000,
        rip: 0x20_1000,
        ..Host::default()
    };
    host.write(&mut vmcs);
    load(&mut vmcs, &state());
    vmcs
}

/// A guest in virtual-8086 mode.
fn virtual_8086() -> Image {
    let mut vmcs = sound();
    short(&mut vmcs);
    vmcs.write(guest::RFLAGS, RFLAGS_FIXED | RFLAGS_VM);
    for fields in crate::vmx::state::CODE_AND_DATA {
        vmcs.write(fields.selector, 0x1000);
        vmcs.write(fields.base, 0x1_0000);
        vmcs.write(fields.limit, 0xffff);
        vmcs.write(fields.rights, 0xf3);
    }
    vmcs
}

/// From 64-bit to 32-bit mode with PAE paging.
fn short(vmcs: &mut Image) {
    use x86defs::vmx::control::entry::IA32E_MODE_GUEST;
    vmcs.write(control::ENTRY, vmcs.read(control::ENTRY) & !IA32E_MODE_GUEST);
    vmcs.write(guest::EFER, EFER_NXE);
    vmcs.write(guest::CS_ACCESS_RIGHTS, 0xc09b);
}

/// Real mode, as an unrestricted guest has it.
fn real(vmcs: &mut Image) {
    short(vmcs);
    vmcs.write(guest::CR0, CR0_NE);
    vmcs.write(guest::CR4, CR4_VMXE);
}

type Break = fn(&mut Image);

/// Applies each change to a VMCS that is sound, and wants the one violation.
fn each_is_seen(base: fn() -> Image, limits: &Limits, table: &[(Break, Violation)]) {
    assert_eq!(check(&base(), limits), Ok(()));
    for (break_it, violation) in table {
        let mut vmcs = base();
        break_it(&mut vmcs);
        assert_eq!(check(&vmcs, limits), Err(*violation), "{violation}");
    }
}

#[test]
fn what_a_switch_makes_is_sound() {
    assert_eq!(check(&sound(), &limits()), Ok(()));
    for can in [cpus::BOCHS_SKYLAKE_X, cpus::ARROW_LAKE, cpus::BROADWELL, cpus::SANDY_BRIDGE] {
        let controls = Controls::for_sleeping_system(&can).unwrap();
        let mut vmcs = sound();
        controls.write(&mut vmcs);
        assert_eq!(check(&vmcs, &Limits { can, ..limits() }), Ok(()));
    }
}

#[test]
fn a_violation_names_its_area() {
    assert_eq!(
        Violation::Cr3(7).to_string(),
        "guest control registers, debug registers and MSRs: CR3 has bits beyond the physical addresses (0x7)"
    );
    assert_eq!(Violation::HostRip(0).group(), Group::Host);
    assert_eq!(Violation::InjectionType(0).group(), Group::Controls);
    assert_eq!(Violation::Rip(0).group(), Group::GuestFlow);
}

#[test]
fn a_refused_entry_is_blamed_on_a_rule() {
    use crate::vmx::{Blame, Refusal};
    use x86defs::vmx::exit_reason::EntryFailure;
    let mut vmcs = sound();
    let blame =
        |vmcs: &Image| Blame::of(Refusal::GuestState(EntryFailure::Other), vmcs, &limits()).to_string();
    assert_eq!(blame(&vmcs), "entry with invalid guest state, though no rule is known to be broken");
    vmcs.write(guest::RFLAGS, 0);
    assert_eq!(
        blame(&vmcs),
        "entry with invalid guest state; guest RIP and RFLAGS: RFLAGS has reserved bits wrong (0x0)"
    );
}

#[test]
fn host_rules_are_seen_broken() {
    use Violation as V;
    each_is_seen(
        sound,
        &limits(),
        &[
            (|v| v.write(host::CR0, 0x8000_0001), V::HostCr0(0x8000_0001)),
            (|v| v.write(host::CR0, 0x1_8000_0021), V::HostCr0(0x1_8000_0021)),
            (|v| v.write(host::CR4, CR4_PAE), V::HostCr4(CR4_PAE)),
            (|v| v.write(host::CR3, 1 << 40), V::HostCr3(1 << 40)),
            (|v| v.write(host::SYSENTER_ESP, HOLE), V::HostSysenter(HOLE)),
            (|v| v.write(host::SYSENTER_EIP, HOLE), V::HostSysenter(HOLE)),
            (|v| v.write(host::PAT, 2), V::HostPat(2)),
            (|v| v.write(host::EFER, EFER | 2), V::HostEferReserved(EFER | 2)),
            (|v| v.write(host::EFER, EFER_LME), V::HostEferMode(EFER_LME)),
            (|v| v.write(host::CS_SELECTOR, 9), V::HostSelector(9)),
            (|v| v.write(host::SS_SELECTOR, 20), V::HostSelector(20)),
            (|v| v.write(host::ES_SELECTOR, 3), V::HostSelector(3)),
            (|v| v.write(host::CS_SELECTOR, 0), V::HostCsNull(0)),
            (|v| v.write(host::TR_SELECTOR, 0), V::HostTrNull(0)),
            (|v| v.write(host::FS_BASE, HOLE), V::HostBase(HOLE)),
            (|v| v.write(host::IDTR_BASE, HOLE), V::HostBase(HOLE)),
            (|v| v.write(host::TR_BASE, HOLE), V::HostBase(HOLE)),
            (|v| v.write(host::CR4, CR4_VMXE), V::HostPae(CR4_VMXE)),
            (|v| v.write(host::RIP, HOLE), V::HostRip(HOLE)),
        ],
    );
    let mut limits = limits();
    limits.can.cr4.settable |= CR4_CET;
    each_is_seen(
        sound,
        &limits,
        &[(
            |v| {
                v.write(host::CR4, CR4_PAE | CR4_VMXE | CR4_CET);
                v.write(host::CR0, 0x8000_0021);
            },
            V::HostCet(CR4_PAE | CR4_VMXE | CR4_CET),
        )],
    );
    // A 32-bit host, consistent in itself.
    each_is_seen(
        sound,
        &limits,
        &[(
            |v| {
                v.write(host::EFER, 0);
                v.write(control::EXIT, v.read(control::EXIT) & !0x200);
            },
            V::HostSize(0x003f_6dff),
        )],
    );
}

proptest! {
    #[test]
    fn memory_types_are_told_one_by_one(pat: [u8; 8]) {
        let legal = pat.iter().all(|kind| matches!(kind, 0 | 1 | 4..=7));
        prop_assert_eq!(is_pat(u64::from_le_bytes(pat)), legal);
        let types = pat.map(|kind| [0, 1, 4, 5, 6, 7][kind as usize % 6]);
        prop_assert!(is_pat(u64::from_le_bytes(types)));
    }

    #[test]
    fn canonical_addresses_are_told(address: u64, far: bool) {
        let bits = if far { 57 } else { 48 };
        let top = address >> (bits - 1);
        let limits = Limits { linear_bits: bits, ..limits() };
        prop_assert_eq!(limits.is_canonical(address), top == 0 || top == u64::MAX >> (bits - 1));
    }

    #[test]
    fn any_vmcs_gets_an_answer(words in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>()), 0..20)) {
        let mut vmcs = sound();
        let all: std::vec::Vec<_> = [control::ALL, guest::ALL, host::ALL].concat();
        for (index, word) in words {
            let (_, encoding) = all[index.index(all.len())];
            match encoding >> 13 {
                0 => vmcs.write(field::<u16>(encoding), word as u16),
                1 => vmcs.write(field::<u64>(encoding), word),
                2 => vmcs.write(field::<u32>(encoding), word as u32),
                _ => vmcs.write(field::<Natural>(encoding), word),
            }
        }
        if let Err(violation) = check(&vmcs, &limits()) {
            prop_assert!(violation.to_string().starts_with(&violation.group().to_string()));
        }
    }
}

fn field<T: x86defs::vmx::field::Width>(encoding: u32) -> x86defs::vmx::field::Field<T> {
    x86defs::vmx::field::Field::new(encoding)
}
