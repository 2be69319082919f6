//! The memory types that firmware has set by range: EPT replaces the MTRRs, so what they say has to go into its leaves.
//!
//! Source: Intel SDM vol. 3, 12.11 ("Memory Type Range Registers"), 29.3.7.

#[cfg(test)]
mod tests;

use crate::nested::MemoryType;
use core::ops::Range;

/// Numbers of the registers.
const CAPABILITY: u32 = 0xfe;
const DEFAULT_TYPE: u32 = 0x2ff;
const FIRST_BASE: u32 = 0x200;
/// The fixed-range registers, in the order of what they cover.
const FIXED: [u32; 11] = [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f];
/// Where the fixed ranges of 16 KiB and of 4 KiB begin, and where all end.
const FIXED_16K: u64 = 0x8_0000;
const FIXED_4K: u64 = 0xc_0000;
const FIXED_END: u64 = 0x10_0000;

/// Variable ranges that are looked at; CPUs have about ten.
const VARIABLE: usize = 32;

/// CAPABILITY: there are fixed ranges.
const HAS_FIXED: u64 = 1 << 8;
/// DEFAULT_TYPE: the fixed ranges count.
const FIXED_ENABLED: u64 = 1 << 10;
/// DEFAULT_TYPE: the MTRRs count.
const ENABLED: u64 = 1 << 11;
/// A mask register: the range counts.
const VALID: u64 = 1 << 11;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// A variable range: addresses that agree with `base` where `mask` has ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Variable {
    base: u64,
    mask: u64,
    kind: u8,
}

/// What the MTRRs say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mtrrs {
    /// Type of what no range covers; `None`: they are off, and everything is uncached.
    default: Option<u8>,
    /// One type a byte.
    fixed: Option<[u64; FIXED.len()]>,
    variable: [Variable; VARIABLE],
    /// How many of them count.
    count: usize,
}

impl Mtrrs {
    /// Asks the CPU. `read` is RDMSR. `supported` is CPUID leaf 1, EDX bit 12: CPUs without MTRRs have all memory uncached as
    /// far as they are concerned.
    pub fn read(supported: bool, mut read: impl FnMut(u32) -> u64) -> Self {
        let mut all =
            Self { default: None, fixed: None, variable: [Variable::default(); VARIABLE], count: 0 };
        if !supported {
            return all;
        }
        let (capability, default) = (read(CAPABILITY), read(DEFAULT_TYPE));
        let ranges = (capability & 0xff) as u32;
        // More ranges than any CPU has: nothing is certain but that uncached is safe.
        if default & ENABLED == 0 || ranges as usize > VARIABLE {
            return all;
        }
        all.default = Some(default as u8);
        if capability & HAS_FIXED != 0 && default & FIXED_ENABLED != 0 {
            all.fixed = Some(FIXED.map(&mut read));
        }
        for register in (FIRST_BASE..).step_by(2).take(ranges as usize) {
            let (base, mask) = (read(register), read(register + 1));
            if mask & VALID != 0 {
                all.variable[all.count] =
                    Variable { base: base & ADDRESS, mask: mask & ADDRESS, kind: base as u8 };
                all.count += 1;
            }
        }
        all
    }

    /// The type that all of a stretch has, for [`build_identity`](crate::nested::build_identity): 4 KiB, 2 MiB or 1 GiB long,
    /// aligned to its length. `None`: not the same everywhere, or that can't be told at once; never for 4 KiB.
    #[must_use]
    pub fn memory_type(&self, stretch: Range<u64>) -> Option<MemoryType> {
        let Some(default) = self.default else { return Some(MemoryType::Uncached) };
        if let Some(fixed) = &self.fixed
            && stretch.start < FIXED_END
        {
            let single = stretch.end - stretch.start <= 4096;
            return single.then(|| decode(fixed_type(fixed, stretch.start)));
        }
        // Address bits that are the same in the whole stretch.
        let shared = !(stretch.end - stretch.start - 1);
        let mut mixed = false;
        let mut found: Option<MemoryType> = None;
        for range in &self.variable[..self.count] {
            let apart = (stretch.start ^ range.base) & range.mask;
            if apart & shared != 0 {
                continue;
            }
            if range.mask & !shared != 0 {
                mixed = true;
                continue;
            }
            let kind = decode(range.kind);
            found = Some(found.map_or(kind, |other| overlap(kind, other)));
        }
        match found {
            // Nothing that reaches into the stretch can make that cached.
            Some(MemoryType::Uncached) => found,
            _ if mixed => None,
            None => Some(decode(default)),
            _ => found,
        }
    }
}

/// The type byte of an address below [`FIXED_END`].
const fn fixed_type(fixed: &[u64; FIXED.len()], address: u64) -> u8 {
    // Eight ranges a register: of 64 KiB, then of 16 KiB, then of 4 KiB.
    let index = if address < FIXED_16K {
        address >> 16
    } else if address < FIXED_4K {
        8 + ((address - FIXED_16K) >> 14)
    } else {
        24 + ((address - FIXED_4K) >> 12)
    };
    (fixed[(index / 8) as usize] >> (index % 8 * 8)) as u8
}

/// A type as the registers number it; reserved ones are uncached.
const fn decode(kind: u8) -> MemoryType {
    match kind {
        1 => MemoryType::WriteCombining,
        4 => MemoryType::WriteThrough,
        5 => MemoryType::WriteProtected,
        6 => MemoryType::WriteBack,
        _ => MemoryType::Uncached,
    }
}

/// The type where two variable ranges overlap (12.11.4.1). What the manual leaves undefined is uncached.
fn overlap(one: MemoryType, other: MemoryType) -> MemoryType {
    use MemoryType::{Uncached, WriteBack, WriteThrough};
    match (one, other) {
        _ if one == other => one,
        (WriteThrough, WriteBack) | (WriteBack, WriteThrough) => WriteThrough,
        _ => Uncached,
    }
}
