//! Entries against the manuals' bit positions, and parts against wholes.

use super::*;

const TYPES: [MemoryType; 5] = [
    MemoryType::WriteBack,
    MemoryType::Uncached,
    MemoryType::WriteCombining,
    MemoryType::WriteThrough,
    MemoryType::WriteProtected,
];
const RIGHTS: [Rights; 4] = [Rights::ALL, Rights::READ, Rights::READ_EXECUTE, Rights::READ_WRITE];

#[test]
fn amd_entries_are_as_the_manual_says() {
    let at = 0x12_4000_0000;
    // P, R/W, U/S, A; leaves also D and PS.
    assert_eq!(Npt::table(at), at | 0x27);
    assert_eq!(LongMode::table(at), at | 0x23);
    assert_eq!(Npt::leaf(at, Size::Page, Rights::ALL, MemoryType::WriteBack), at | 0x67);
    assert_eq!(Npt::leaf(at, Size::Large, Rights::ALL, MemoryType::WriteBack), at | 0xe7);
    // Bit 52 is ours: it stays without write permission.
    assert_eq!(
        LongMode::leaf(at, Size::Huge, Rights::READ, MemoryType::WriteBack),
        at | 0xe1 | 1 << 63 | 1 << 52
    );
    assert_eq!(LongMode::leaf(at, Size::Large, Rights::ALL, MemoryType::Uncached), at | 0xe3 | 0x18);
    assert_eq!(LongMode::leaf(at, Size::Page, Rights::ALL, MemoryType::WriteCombining), at | 0x63 | 0x88);
    assert_eq!(LongMode::leaf(at, Size::Large, Rights::ALL, MemoryType::WriteCombining), at | 0x10eb);
}

#[test]
fn intel_entries_are_as_the_manual_says() {
    let at = 0x12_4000_0000;
    // R, W, X, A; leaves also D, the type in bits 5 to 3, and bit 7.
    assert_eq!(Ept::table(at), at | 0x107);
    assert_eq!(Ept::leaf(at, Size::Page, Rights::ALL, MemoryType::WriteBack), at | 0x337);
    assert_eq!(Ept::leaf(at, Size::Large, Rights::ALL, MemoryType::WriteBack), at | 0x3b7);
    assert_eq!(Ept::leaf(at, Size::Huge, Rights::READ_EXECUTE, MemoryType::Uncached), at | 0x385 | 1 << 52);
    assert_eq!(Ept::leaf(at, Size::Page, Rights::READ, MemoryType::WriteCombining), at | 0x309 | 1 << 52);
}

#[test]
fn the_pat_gives_each_type_its_entry() {
    // AMD64 APM vol. 2, table 7-9: UC 0, WC 1, WT 4, WP 5, WB 6.
    let codes = [6, 0, 1, 4, 5];
    for (kind, code) in TYPES.into_iter().zip(codes) {
        let entry = LongMode::leaf(0, Size::Page, Rights::ALL, kind);
        let index = entry >> 3 & 3 | entry >> 5 & 4;
        assert_eq!(format::PAT >> (8 * index) & 7, code, "{kind:?}");
    }
}

fn fields_come_back<F: Format>() {
    assert!(!F::is_present(0));
    let link = F::table(K4);
    assert!(F::is_present(link) && !F::is_leaf(link, Size::Large) && F::may_write(link));
    let closed = F::without_write(link);
    assert!(F::is_present(closed) && !F::may_write(closed) && F::with_write(closed) == link);
    assert_eq!(F::without_write(0), 0);
    for size in [Size::Page, Size::Large, Size::Huge] {
        for kind in TYPES {
            for rights in RIGHTS {
                for address in [0, 5 << 30, (1 << 52) - G1] {
                    for watched in [false, true] {
                        let watch = |entry| if watched { F::without_write(entry) } else { entry };
                        let entry = watch(F::leaf(address, size, rights, kind));
                        let watched = watched && rights.write;
                        let visible = Rights { write: rights.write && !watched, ..rights };
                        assert!(F::is_present(entry) && F::is_leaf(entry, size));
                        assert_eq!(F::address(entry, size), address);
                        assert_eq!(F::rights(entry), visible);
                        assert_eq!(F::may_write(entry), visible.write);
                        assert_eq!(F::memory_type(entry, size), kind);
                        assert_eq!(F::is_watched(entry), watched);
                        for other in RIGHTS {
                            let changed = F::with_rights(entry, other);
                            assert_eq!(F::rights(changed), other);
                            assert_eq!(watch(F::with_rights(changed, rights)), entry);
                        }
                        let Some(lower) = [None, Some(Size::Page), Some(Size::Large)][size as usize] else {
                            continue;
                        };
                        let (first, step) = F::parts(entry, size);
                        assert_eq!(F::whole(first, size), entry);
                        for index in 0..ENTRIES as u64 {
                            let leaf = F::leaf(address + index * lower.bytes(), lower, rights, kind);
                            assert_eq!(first + index * step, watch(leaf));
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn fields_come_back_and_parts_are_leaves() {
    fields_come_back::<Npt>();
    fields_come_back::<LongMode>();
    fields_come_back::<Ept>();
}
