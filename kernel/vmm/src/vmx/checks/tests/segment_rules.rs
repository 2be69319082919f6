//! 27.3.1.2.

use super::*;
use Violation as V;

/// A guest that is not unrestricted: more rules hold.
fn restricted() -> Image {
    let mut vmcs = sound();
    vmcs.write(control::SECONDARY, vmcs.read(control::SECONDARY) & !0x80);
    vmcs
}

#[test]
fn selectors_and_bases_are_seen_wrong() {
    each_is_seen(
        sound,
        &limits(),
        &[
            (|v| v.write(guest::TR_SELECTOR, 28), V::TrLocal(28)),
            (
                |v| {
                    v.write(guest::LDTR_SELECTOR, 36);
                    v.write(guest::LDTR_ACCESS_RIGHTS, 0x82);
                },
                V::LdtrLocal(36),
            ),
            (|v| v.write(guest::TR_BASE, HOLE), V::BaseNotCanonical(HOLE)),
            (|v| v.write(guest::FS_BASE, HOLE), V::BaseNotCanonical(HOLE)),
            (|v| v.write(guest::GS_BASE, HOLE), V::BaseNotCanonical(HOLE)),
            (
                |v| {
                    v.write(guest::LDTR_BASE, HOLE);
                    v.write(guest::LDTR_ACCESS_RIGHTS, 0x82);
                },
                V::BaseNotCanonical(HOLE),
            ),
            (|v| v.write(guest::CS_BASE, 1 << 32), V::BaseHigh(1 << 32)),
            (|v| v.write(guest::SS_BASE, 1 << 32), V::BaseHigh(1 << 32)),
            (|v| v.write(guest::DS_BASE, 1 << 32), V::BaseHigh(1 << 32)),
            (|v| v.write(guest::ES_BASE, 1 << 32), V::BaseHigh(1 << 32)),
        ],
    );
}

#[test]
fn code_and_stack_are_seen_wrong() {
    each_is_seen(
        sound,
        &limits(),
        &[
            // Not accessed; not code.
            (|v| v.write(guest::CS_ACCESS_RIGHTS, 0xa09a), V::CsType(0xa09a)),
            (|v| v.write(guest::CS_ACCESS_RIGHTS, 0xa097), V::CsType(0xa097)),
            (|v| v.write(guest::CS_ACCESS_RIGHTS, 0xa08b), V::System(0xa08b)),
            (|v| v.write(guest::CS_ACCESS_RIGHTS, 0xa0fb), V::CsDpl(0xa0fb)),
            // Conforming code above the stack, and data that is not the kernel's.
            (|v| v.write(guest::CS_ACCESS_RIGHTS, 0xa0bf), V::CsDpl(0xa0bf)),
            (|v| v.write(guest::CS_ACCESS_RIGHTS, 0xc0b3), V::CsDpl(0xc0b3)),
            (|v| v.write(guest::CS_ACCESS_RIGHTS, 0xa01b), V::NotPresent(0xa01b)),
            (|v| v.write(guest::CS_ACCESS_RIGHTS, 0xa19b), V::RightsReserved(0xa19b)),
            (|v| v.write(guest::CS_ACCESS_RIGHTS, 0xe09b), V::LongAndBig(0xe09b)),
            (|v| v.write(guest::CS_ACCESS_RIGHTS, 0x209b), V::Granularity(0xffff_ffff)),
            (|v| v.write(guest::CS_LIMIT, 0xffff_f000), V::Granularity(0xffff_f000)),
            (|v| v.write(guest::SS_ACCESS_RIGHTS, 0xc091), V::SsType(0xc091)),
            (|v| v.write(guest::SS_ACCESS_RIGHTS, 0xc083), V::System(0xc083)),
            (|v| v.write(guest::SS_ACCESS_RIGHTS, 0xc013), V::NotPresent(0xc013)),
            (
                |v| {
                    real(v);
                    v.write(guest::CS_ACCESS_RIGHTS, 0xc0fb);
                    v.write(guest::SS_ACCESS_RIGHTS, 0xc0f3);
                },
                V::SsDpl(0xc0f3),
            ),
        ],
    );
    each_is_seen(
        restricted,
        &limits(),
        &[
            (|v| v.write(guest::SS_SELECTOR, 19), V::Rpl(19)),
            (|v| v.write(guest::CS_ACCESS_RIGHTS, 0xc093), V::CsType(0xc093)),
            (
                |v| {
                    v.write(guest::CS_ACCESS_RIGHTS, 0xa0fb);
                    v.write(guest::SS_ACCESS_RIGHTS, 0xc0f3);
                },
                V::SsDpl(0xc0f3),
            ),
            (|v| v.write(guest::DS_SELECTOR, 19), V::DataDpl(0x8093)),
        ],
    );
}

#[test]
fn data_and_system_segments_are_seen_wrong() {
    each_is_seen(
        sound,
        &limits(),
        &[
            // Not accessed; code that can't be read.
            (|v| v.write(guest::DS_ACCESS_RIGHTS, 0xc092), V::DataType(0xc092)),
            (|v| v.write(guest::ES_ACCESS_RIGHTS, 0xc099), V::DataType(0xc099)),
            (|v| v.write(guest::FS_ACCESS_RIGHTS, 0x83), V::System(0x83)),
            (|v| v.write(guest::GS_ACCESS_RIGHTS, 0x13), V::NotPresent(0x13)),
            (|v| v.write(guest::GS_ACCESS_RIGHTS, 0x2_0093), V::RightsReserved(0x2_0093)),
            (|v| v.write(guest::DS_LIMIT, 0), V::Granularity(0)),
            (|v| v.write(guest::TR_ACCESS_RIGHTS, 0x1_008b), V::TrUnusable(0x1_008b)),
            (|v| v.write(guest::TR_ACCESS_RIGHTS, 0x89), V::TrType(0x89)),
            (|v| v.write(guest::TR_ACCESS_RIGHTS, 0x83), V::TrType(0x83)),
            (|v| v.write(guest::TR_ACCESS_RIGHTS, 0x9b), V::TrType(0x9b)),
            (|v| v.write(guest::TR_ACCESS_RIGHTS, 0x0b), V::NotPresent(0x0b)),
            (|v| v.write(guest::TR_LIMIT, 0x10_0000), V::Granularity(0x10_0000)),
            (|v| v.write(guest::LDTR_ACCESS_RIGHTS, 0x83), V::LdtrType(0x83)),
            (|v| v.write(guest::LDTR_ACCESS_RIGHTS, 0x02), V::NotPresent(0x02)),
        ],
    );
    // A 16-bit TSS is one outside of long mode.
    let mut vmcs = sound();
    short(&mut vmcs);
    vmcs.write(guest::TR_ACCESS_RIGHTS, 0x83);
    assert_eq!(check(&vmcs, &limits()), Ok(()));
}

#[test]
fn segments_of_virtual_8086_mode_are_all_alike() {
    each_is_seen(
        virtual_8086,
        &limits(),
        &[
            (|v| v.write(guest::CS_BASE, 0), V::Virtual8086(0x1000)),
            (|v| v.write(guest::SS_LIMIT, 0xffff_ffff), V::Virtual8086(0x1000)),
            (|v| v.write(guest::GS_ACCESS_RIGHTS, 0x93), V::Virtual8086(0x1000)),
            (|v| v.write(guest::ES_SELECTOR, 0x1001), V::Virtual8086(0x1001)),
        ],
    );
}
