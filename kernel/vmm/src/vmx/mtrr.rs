//! Memory types for the nested tables. In a guest with EPT the MTRRs don't count (SDM vol. 3, 29.3.7): the leaves' types take
//! their place, and combine with the guest's PAT as the MTRRs did.
//!
//! Source: SDM vol. 3, 12.11.

use crate::nested::MemoryType;
use core::ops::Range;

const PAGE: u64 = 4096;
/// What fixed-range registers describe ends here.
const FIXED_END: u64 = 1 << 20;

/// DEF_TYPE: all MTRRs count.
const ENABLED: u64 = 1 << 11;
/// DEF_TYPE: those of fixed ranges, too.
const FIXED_ENABLED: u64 = 1 << 10;
/// A variable range's mask: the pair counts.
const VALID: u64 = 1 << 11;

/// Registers of fixed ranges, in the order of their addresses.
pub const FIXED: [u32; 11] = [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f];
/// IA32_MTRRCAP; bits 7 to 0 count the variable ranges.
pub const CAPABILITY: u32 = 0xfe;
/// IA32_MTRR_DEF_TYPE.
pub const DEFAULT: u32 = 0x2ff;
/// The first variable range's base; its mask and the other pairs follow.
pub const VARIABLE: u32 = 0x200;
/// Variable ranges that are kept; no CPU has more.
const MOST: usize = 16;

/// The registers' values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mtrrs {
    /// IA32_MTRR_DEF_TYPE.
    pub default: u64,
    /// Fixed ranges.
    pub fixed: [u64; FIXED.len()],
    /// Base and mask of variable ranges.
    pub variable: [(u64, u64); MOST],
}

impl Mtrrs {
    /// Reads the registers.
    pub fn from_msrs(read: impl Fn(u32) -> u64) -> Self {
        let mut all = Self { default: read(DEFAULT), fixed: FIXED.map(&read), ..Self::default() };
        let count = read(CAPABILITY) as u32 & 0xff;
        for (pair, number) in all.variable.iter_mut().zip(0..count) {
            *pair = (read(VARIABLE + 2 * number), read(VARIABLE + 2 * number + 1));
        }
        all
    }

    /// The type of a stretch whose length is a power of two and divides its start; `None` where it has several.
    pub fn kind(&self, stretch: Range<u64>) -> Option<MemoryType> {
        if self.default & ENABLED == 0 {
            return Some(MemoryType::Uncached);
        }
        if self.default & FIXED_ENABLED != 0 && stretch.start < FIXED_END {
            let is_page = stretch.end - stretch.start == PAGE;
            return is_page.then(|| self.fixed(stretch.start));
        }
        let inside = stretch.end - stretch.start - 1;
        let mut found: Option<MemoryType> = None;
        for (base, mask) in self.variable.into_iter().filter(|(_, mask)| mask & VALID != 0) {
            let mask = mask & !(PAGE - 1);
            if (stretch.start ^ base) & mask & !inside != 0 {
                continue;
            }
            if mask & inside != 0 {
                // The range begins or ends within the stretch.
                return None;
            }
            let kind = decode(base as u8);
            found = Some(found.map_or(kind, |other| overlap(kind, other)));
        }
        Some(found.unwrap_or(decode(self.default as u8)))
    }

    /// 12.11.2.2: eight ranges of 64 KiB, sixteen of 16 KiB, sixty-four of 4 KiB, a byte each.
    fn fixed(&self, address: u64) -> MemoryType {
        let index = match address {
            0..0x8_0000 => address >> 16,
            0x8_0000..0xc_0000 => 8 + ((address - 0x8_0000) >> 14),
            _ => 24 + ((address - 0xc_0000) >> 12),
        } as usize;
        decode((self.fixed[index / 8] >> (index % 8 * 8)) as u8)
    }
}

/// 12.11.4.1: uncached wins, write through wins over write back; anything else is undefined, and uncached is safe.
fn overlap(a: MemoryType, b: MemoryType) -> MemoryType {
    use MemoryType::{Uncached, WriteBack, WriteThrough};
    match (a, b) {
        _ if a == b => a,
        (WriteThrough, WriteBack) | (WriteBack, WriteThrough) => WriteThrough,
        _ => Uncached,
    }
}

const fn decode(kind: u8) -> MemoryType {
    match kind {
        1 => MemoryType::WriteCombining,
        4 => MemoryType::WriteThrough,
        5 => MemoryType::WriteProtected,
        6 => MemoryType::WriteBack,
        _ => MemoryType::Uncached,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use MemoryType::{Uncached, WriteBack, WriteThrough};

    const MIB: u64 = 1 << 20;

    /// As SeaBIOS leaves them on a machine with 36 address bits: write back but for the top GiB below 4 GiB.
    fn seabios() -> Mtrrs {
        let mut mtrrs = Mtrrs { default: ENABLED | FIXED_ENABLED | 6, ..Mtrrs::default() };
        mtrrs.fixed = [0x0606_0606_0606_0606; 11];
        mtrrs.fixed[2] = 0; // 640 to 768 KiB: the screen
        mtrrs.variable[0] = (0xc000_0000, 0xf_c000_0000 | VALID);
        mtrrs
    }

    #[test]
    fn ranges_have_their_types() {
        let mtrrs = seabios();
        assert_eq!(mtrrs.kind(0..PAGE), Some(WriteBack));
        assert_eq!(mtrrs.kind(0xa_0000..0xa_1000), Some(Uncached));
        assert_eq!(mtrrs.kind(0x9_f000..0xa_0000), Some(WriteBack));
        assert_eq!(mtrrs.kind(0xc_0000..0xc_1000), Some(WriteBack));
        assert_eq!(mtrrs.kind(0..2 * MIB), None);
        assert_eq!(mtrrs.kind(2 * MIB..4 * MIB), Some(WriteBack));
        assert_eq!(mtrrs.kind(0xc000_0000..0x1_0000_0000), Some(Uncached));
        assert_eq!(mtrrs.kind(0xfee0_0000..0xfee0_1000), Some(Uncached));
        assert_eq!(mtrrs.kind(0..1 << 32), None);
        assert_eq!(Mtrrs::default().kind(0..PAGE), Some(Uncached));
    }

    #[test]
    fn overlapping_ranges_take_the_stricter_type() {
        let mut mtrrs = Mtrrs { default: ENABLED, ..Mtrrs::default() };
        let mask = |size: u64| (1 << 36) - size | VALID;
        mtrrs.variable[..3].copy_from_slice(&[
            (6, mask(1 << 30)),
            (512 * MIB | 4, mask(256 * MIB)),
            (768 * MIB, mask(256 * MIB)),
        ]);
        assert_eq!(mtrrs.kind(0..512 * MIB), Some(WriteBack));
        assert_eq!(mtrrs.kind(512 * MIB..768 * MIB), Some(WriteThrough));
        assert_eq!(mtrrs.kind(768 * MIB..1024 * MIB), Some(Uncached));
        assert_eq!(mtrrs.kind(0..1024 * MIB), None);
        assert_eq!(mtrrs.kind(1024 * MIB..2048 * MIB), Some(Uncached));
    }
}
