extern crate std;

use super::*;
use crate::svm::{Maps, set_up};
use proptest::prelude::*;
use std::vec::Vec;
use x86defs::registers::{CR4_OSXSAVE, CR4_PGE, EFER_NXE, EFER_SCE};
use x86defs::segment::Segment;

pub(crate) const LIMITS: Limits = Limits {
    physical_bits: 40,
    asids: 16,
    long_mode: true,
    cr4: CR4_PAE | CR4_PGE | CR4_OSXSAVE | CR4_CET,
    efer: EFER_SVME | EFER_LMA | EFER_LME | EFER_NXE | EFER_SCE,
};

/// A control block as a switch makes it.
pub(crate) fn sound() -> Vmcb {
    let mut vmcb = Vmcb::ZERO;
    set_up(&mut vmcb.control, Maps { msr: 0x10_0000, io: 0x10_2000, nested: 0x20_0000 });
    let save = &mut vmcb.save;
    save.efer = EFER_SVME | EFER_LMA | EFER_LME | EFER_NXE;
    save.cr0 = CR0_PG | CR0_PE;
    save.cr3 = 0x30_0000;
    save.cr4 = CR4_PAE | CR4_PGE;
    save.dr6 = 0xffff_0ff0;
    save.dr7 = 0x400;
    save.rflags = RFLAGS_FIXED;
    save.g_pat = 0x0007_0406_0007_0406;
    save.cs = Segment { selector: 8, attributes: PRESENT | LONG | 0x1b, limit: u32::MAX, base: 0 };
    save.tr = Segment { selector: 24, attributes: PRESENT | BUSY_TSS, limit: 103, base: 0x4000 };
    vmcb
}

#[test]
fn what_a_switch_makes_is_sound() {
    assert_eq!(check(&sound(), &LIMITS), Ok(()));
}

type Break = fn(&mut Vmcb);

#[test]
fn each_rule_is_seen_broken() {
    use Violation as V;
    let table: Vec<(Break, Violation)> = std::vec![
        (|v| v.save.efer &= !EFER_SVME, V::SvmeClear(0xd00)),
        (|v| v.save.cr0 |= CR0_NW, V::NotWriteThroughWithCaches(0xa000_0001)),
        (|v| v.save.cr0 |= 1 << 32, V::Cr0High(0x1_8000_0001)),
        (|v| v.save.cr3 |= 1 << 40, V::Cr3Reserved(1 << 40 | 0x30_0000)),
        (|v| v.save.cr4 |= 1 << 63, V::Cr4Reserved(1 << 63 | 0xa0)),
        (|v| v.save.dr6 |= 1 << 32, V::Dr6High(0x1_ffff_0ff0)),
        (|v| v.save.dr7 |= 1 << 63, V::Dr7High(1 << 63 | 0x400)),
        (|v| v.save.efer |= 1 << 20, V::EferReserved(0x10_1d00)),
        (|v| v.save.cr4 &= !CR4_PAE, V::LongModeWithoutPae(CR4_PGE)),
        (|v| v.save.cr0 &= !CR0_PE, V::LongModeWithoutProtection(CR0_PG)),
        (|v| v.save.cs.attributes |= DEFAULT_BIG, V::CodeLongAndBig(0x69b)),
        (|v| v.save.cr4 |= CR4_CET, V::CetWithoutWriteProtection(CR4_CET | 0xa0)),
        (|v| v.save.s_cet = 4, V::SupervisorCetReserved(4)),
        (|v| v.control.intercept_2 &= !1, V::VmrunNotIntercepted(0x7e)),
        (|v| v.control.msrpm_base_pa = 0x800, V::MsrMap(0x800)),
        (|v| v.control.msrpm_base_pa = (1 << 40) - 4096, V::MsrMap((1 << 40) - 4096)),
        (|v| v.control.iopm_base_pa = (1 << 40) - 8192, V::IoMap((1 << 40) - 8192)),
        (|v| v.control.iopm_base_pa = !0xfff, V::IoMap(!0xfff)),
        (|v| v.control.event_injection = 0x8000_0102, V::Injection(0x8000_0102)),
        (|v| v.control.event_injection = 0x8000_03f0, V::Injection(0x8000_03f0)),
        (|v| v.control.event_injection = 0x8000_0302, V::Injection(0x8000_0302)),
        (|v| v.control.asid = 0, V::AsidZero(0)),
        (|v| v.control.asid = 16, V::AsidRange(16)),
        (|v| v.control.nested_cr3 = 1 << 41, V::NestedCr3(1 << 41)),
        (|v| v.control.nested_cr3 |= 1, V::NestedCr3(0x20_0001)),
        (|v| v.save.g_pat = 2, V::GuestPat(2)),
        (|v| v.save.g_pat = 8 << 56, V::GuestPat(8 << 56)),
        (|v| v.save.efer &= !EFER_LMA, V::LmaInconsistent(0x1900)),
        (|v| v.save.rflags = 0, V::Rflags(0)),
        (|v| v.save.cs.attributes &= !PRESENT, V::CodeNotPresent(0x21b)),
        (|v| v.save.tr.attributes = PRESENT | 9, V::TaskRegister(0x89)),
        (|v| v.control.reserved_100 = 1, V::ControlReserved(1)),
        (|v| v.control.nested_control |= 2, V::NestedControl(3)),
        (|v| v.control.nested_control = 0, V::NestedControl(0)),
    ];
    for (break_it, violation) in table {
        let mut vmcb = sound();
        break_it(&mut vmcb);
        assert_eq!(check(&vmcb, &LIMITS), Err(violation), "{violation}");
    }
    let old = Limits { long_mode: false, ..LIMITS };
    assert_eq!(check(&sound(), &old), Err(V::NoLongMode(0x1d00)));
}

#[test]
fn legal_events_may_be_injected() {
    for event in [0, 0x0000_0102, 0x8000_00f0, 0x8000_0202, 0x8000_0306, 0x2_8000_0b0e, 0x8000_0480] {
        let mut vmcb = sound();
        vmcb.control.event_injection = event;
        assert_eq!(check(&vmcb, &LIMITS), Ok(()), "{event:#x}");
    }
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
    fn any_control_block_gets_an_answer(words in prop::collection::vec((0usize..14, any::<u64>()), 0..20)) {
        let mut vmcb = sound();
        for (field, word) in words {
            let (control, save) = (&mut vmcb.control, &mut vmcb.save);
            match field {
                0 => save.efer = word,
                1 => save.cr0 = word,
                2 => save.cr3 = word,
                3 => save.cr4 = word,
                4 => save.g_pat = word,
                5 => save.rflags = word,
                6 => save.cs.attributes = word as u16,
                7 => control.asid = word as u32,
                8 => control.nested_cr3 = word,
                9 => control.msrpm_base_pa = word,
                10 => control.iopm_base_pa = word,
                11 => control.event_injection = word,
                12 => control.intercept_2 = word as u32,
                _ => save.dr7 = word,
            }
        }
        let _ = check(&vmcb, &LIMITS);
    }
}
