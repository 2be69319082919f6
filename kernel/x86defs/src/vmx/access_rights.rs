//! Segment attributes as the VMCS packs them (SDM vol. 3, table 25-2): those of [`Segment`](crate::segment::Segment), with the
//! upper four bits moved up by four, and a bit of their own for segments that can't be used.

use crate::segment::PRESENT;

/// Long mode: 64-bit code.
pub const LONG: u32 = 1 << 13;
/// Default size: 32-bit code or stack.
pub const DEFAULT_BIG: u32 = 1 << 14;
/// Granularity: the limit counts pages.
pub const GRANULARITY: u32 = 1 << 15;
/// The segment can't be used: it was loaded with a null selector, or not at all.
pub const UNUSABLE: u32 = 1 << 16;
/// Bits that must be zero.
pub const RESERVED: u32 = 0xfffe_0f00;

/// From a segment's attributes. One that is not present can't be used.
pub const fn from_attributes(attributes: u16) -> u32 {
    let bits = (attributes & 0xff) as u32 | (attributes as u32 & 0xf00) << 4;
    if attributes & PRESENT == 0 { bits | UNUSABLE } else { bits }
}

/// To a segment's attributes. One that can't be used is not present; its privilege level and type stay.
pub const fn to_attributes(rights: u32) -> u16 {
    let bits = (rights & 0xff | rights >> 4 & 0xf00) as u16;
    if rights & UNUSABLE != 0 { bits & !PRESENT } else { bits }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::Segment;
    use proptest::prelude::*;

    #[test]
    fn a_flat_code_segment_is_as_the_manual_has_it() {
        let code = Segment::from_descriptor(8, 0x00af_9b00_0000_ffff);
        assert_eq!(from_attributes(code.attributes), 0xa09b);
        assert_eq!(from_attributes(0), UNUSABLE);
        // Saved by an exit: unusable, with privilege level 3.
        assert_eq!(to_attributes(0x1_00f3), 0x73);
    }

    proptest! {
        #[test]
        fn attributes_go_round(attributes in 0..0x1000u16) {
            let rights = from_attributes(attributes);
            prop_assert_eq!(rights & RESERVED, 0);
            prop_assert_eq!(to_attributes(rights), attributes);
        }
    }
}
