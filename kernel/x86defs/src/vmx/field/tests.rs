extern crate std;

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::format;

/// Lists with the type that bits 11 and 10 of their encodings name.
const LISTS: [(&[(&str, u32)], u32); 4] =
    [(control::ALL, 0), (exit::ALL, 1), (guest::ALL, 2), (host::ALL, 3)];

#[test]
fn each_list_is_of_its_type_and_each_encoding_there_once() {
    let mut seen = BTreeSet::new();
    for (list, kind) in LISTS {
        for (field, encoding) in list {
            assert_eq!(encoding >> 10 & 3, kind, "{field}");
            assert!(seen.insert(*encoding), "{field}");
            assert_eq!(name(*encoding), Some(*field));
        }
    }
    assert_eq!(seen.len(), 173);
}

#[test]
fn widths_are_as_declared() {
    fn width<T: Width, A>(field: Field<T, A>) -> (u32, usize) {
        (field.encoding() >> 13, size_of::<T::Value>())
    }
    assert_eq!(width(control::VPID), (0, 2));
    assert_eq!(width(control::EPT_POINTER), (1, 8));
    assert_eq!(width(exit::REASON), (2, 4));
    assert_eq!(width(guest::RIP), (3, 8));
}

#[test]
fn encodings_are_those_of_appendix_b() {
    // The first and last of each table, and those that neighbours are easily mistaken for.
    let known = [
        (control::SECONDARY.encoding(), 0x401e),
        (control::PIN.encoding(), 0x4000),
        (control::CR4_SHADOW.encoding(), 0x6006),
        (control::EPT_POINTER.encoding(), 0x201a),
        (exit::GUEST_PHYSICAL_ADDRESS.encoding(), 0x2400),
        (exit::GUEST_LINEAR_ADDRESS.encoding(), 0x640a),
        (guest::EFER.encoding(), 0x2806),
        (guest::PREEMPTION_TIMER.encoding(), 0x482e),
        (guest::SYSENTER_EIP.encoding(), 0x6826),
        (guest::TR_ACCESS_RIGHTS.encoding(), 0x4822),
        (host::TR_SELECTOR.encoding(), 0x0c0c),
        (host::RIP.encoding(), 0x6c16),
    ];
    for (encoding, expected) in known {
        assert_eq!(encoding, expected);
    }
    assert_eq!(format!("{:?}", guest::RIP), "RIP");
}

#[test]
fn contradictions_do_not_get_through() {
    for (wrong, make) in [
        ("width", (|| Field::<u16>::new(0x4000).encoding()) as fn() -> u32),
        ("access", || Field::<u32>::new(0x4402).encoding()),
        ("access", || Field::<u32, ReadOnly>::new(0x4000).encoding()),
        ("upper half", || Field::<u64>::new(0x2001).encoding()),
    ] {
        assert!(std::panic::catch_unwind(make).is_err(), "{wrong}");
    }
}

proptest! {
    #[test]
    fn an_image_keeps_what_is_written(a: u16, b: u32, c: u64, d: u64) {
        let mut image = Image::ZERO;
        image.write(guest::CS_SELECTOR, a);
        image.write(guest::CS_LIMIT, b);
        image.write(guest::PAT, c);
        image.write(guest::CR0, d);
        image.set(exit::REASON, b);
        prop_assert_eq!(image.read(guest::CS_SELECTOR), a);
        prop_assert_eq!(image.read(guest::CS_LIMIT), b);
        prop_assert_eq!(image.read(guest::PAT), c);
        prop_assert_eq!(image.read(guest::CR0), d);
        prop_assert_eq!(image.read(exit::REASON), b);
        prop_assert_eq!((image.read(host::CR0), image.read(control::PIN)), (0, 0));
    }

    #[test]
    fn all_fields_have_room(value: u64) {
        for (list, _) in LISTS {
            for &(field, encoding) in list {
                prop_assert!(((encoding >> 1 & 0x1ff) as usize) < 64, "{}", field);
            }
        }
        let mut image = Image::ZERO;
        image.write(control::SECONDARY_EXIT, value);
        prop_assert_eq!(image.read(control::SECONDARY_EXIT), value);
    }
}
