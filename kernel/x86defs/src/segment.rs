//! Segments in their two forms: the 8-byte descriptor of the GDT, and base, limit and packed attributes as control blocks hold
//! them.
//!
//! Sources: AMD64 APM vol. 2, 4.7 (descriptors), 15.5.1 (segment state in the VMCB).

/// A segment as a CPU holds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Segment {
    /// Selector.
    pub selector: u16,
    /// Type (bits 0 to 3), S (4), DPL (5, 6), P (7), AVL (8), L (9), D/B (10), G (11): the VMCB's packing.
    pub attributes: u16,
    /// Limit in bytes, whatever the granularity.
    pub limit: u32,
    /// Base address.
    pub base: u64,
}
const _: () = assert!(size_of::<Segment>() == 16);

/// GDTR or IDTR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableRegister {
    /// Linear address of the table.
    pub base: u64,
    /// Its length in bytes less one.
    pub limit: u16,
}

/// Present.
pub const PRESENT: u16 = 1 << 7;
/// Long mode: 64-bit code.
pub const LONG: u16 = 1 << 9;
/// Default size: 32-bit code or stack.
pub const DEFAULT_BIG: u16 = 1 << 10;
/// Type of a 64-bit TSS that is in use.
pub const BUSY_TSS: u16 = 0xb;
/// Granularity: the descriptor's limit counts pages.
pub const GRANULARITY: u16 = 1 << 11;

impl Segment {
    /// From a GDT entry. The base of a code or data segment has 32 bits.
    pub const fn from_descriptor(selector: u16, descriptor: u64) -> Self {
        let low = (descriptor & 0xffff) as u32 | (descriptor >> 32) as u32 & 0xf_0000;
        let base = descriptor >> 16 & 0xff_ffff | descriptor >> 32 & 0xff00_0000;
        let attributes = (descriptor >> 40 & 0xff | descriptor >> 44 & 0xf00) as u16;
        let limit = if attributes & GRANULARITY != 0 { low << 12 | 0xfff } else { low };
        Self { selector, attributes, limit, base }
    }

    /// From the two words of a system descriptor (TSS, LDT), whose base has 64 bits.
    pub const fn from_system_descriptor(selector: u16, low: u64, high: u64) -> Self {
        let mut segment = Self::from_descriptor(selector, low);
        segment.base |= high << 32;
        segment
    }

    /// Back to a GDT entry.
    pub const fn to_descriptor(self) -> u64 {
        let low = if self.attributes & GRANULARITY != 0 { self.limit >> 12 } else { self.limit } as u64;
        let attributes = self.attributes as u64;
        low & 0xffff
            | (low & 0xf_0000) << 32
            | (self.base & 0xff_ffff) << 16
            | (self.base & 0xff00_0000) << 32
            | (attributes & 0xff) << 40
            | (attributes & 0xf00) << 44
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn flat_code_is_read_as_the_manual_says() {
        let code = Segment::from_descriptor(8, 0x00af_9b00_0000_ffff);
        assert_eq!(code, Segment { selector: 8, attributes: 0xa9b, limit: u32::MAX, base: 0 });
    }

    proptest! {
        #[test]
        fn descriptors_go_round(descriptor: u64, selector: u16) {
            let segment = Segment::from_descriptor(selector, descriptor);
            prop_assert_eq!(segment.to_descriptor(), descriptor);
            prop_assert_eq!(Segment::from_descriptor(selector, segment.to_descriptor()), segment);
        }
    }
}
