//! What a CPU supports, by its own word.

use super::Limits;
use crate::exits::efer_of_guest;
use x86defs::cpuid::{Leaf, Source};
use x86defs::registers::EFER_SVME;

/// A bit of a leaf's register, and the bits of CR4 that it announces (APM vol. 2, 3.1.3; vol. 3, appendix E).
type Announced = (fn(&Leaf) -> u32, u32, u64);

/// Leaf 1: VME and PVI, TSD, DE, PSE, PAE, MCE, PGE, OSFXSR, OSXMMEXCPT; PCIDE, OSXSAVE.
const LEAF_1: [Announced; 11] = [
    (|leaf| leaf.edx, 1, 0b11),
    (|leaf| leaf.edx, 4, 1 << 2),
    (|leaf| leaf.edx, 2, 1 << 3),
    (|leaf| leaf.edx, 3, 1 << 4),
    (|leaf| leaf.edx, 6, 1 << 5),
    (|leaf| leaf.edx, 7, 1 << 6),
    (|leaf| leaf.edx, 13, 1 << 7),
    (|leaf| leaf.edx, 24, 1 << 9),
    (|leaf| leaf.edx, 25, 1 << 10),
    (|leaf| leaf.ecx, 17, 1 << 17),
    (|leaf| leaf.ecx, 26, 1 << 18),
];
/// Leaf 7: FSGSBASE, SMEP, SMAP; UMIP, PKE, CET, LA57.
const LEAF_7: [Announced; 7] = [
    (|leaf| leaf.ebx, 0, 1 << 16),
    (|leaf| leaf.ebx, 7, 1 << 20),
    (|leaf| leaf.ebx, 20, 1 << 21),
    (|leaf| leaf.ecx, 2, 1 << 11),
    (|leaf| leaf.ecx, 3, 1 << 22),
    (|leaf| leaf.ecx, 7, 1 << 23),
    (|leaf| leaf.ecx, 16, 1 << 12),
];
/// Performance counters: announced by nothing.
const CR4_PCE: u64 = 1 << 8;

fn announced(leaf: &Leaf, table: &[Announced]) -> u64 {
    let there = table.iter().filter(|(register, bit, _)| register(leaf) >> bit & 1 != 0);
    there.fold(0, |bits, (_, _, announced)| bits | announced)
}

impl Limits {
    /// Those of a CPU. What it has accepted in CR4 and EFER is known, too, whatever it announces.
    pub fn of(cpuid: &impl Source, cr4: u64, efer: u64) -> Self {
        let features = announced(&cpuid.leaf(1), &LEAF_1) | announced(&cpuid.leaf(7), &LEAF_7);
        Self {
            physical_bits: cpuid.leaf(0x8000_0008).eax & 0xff,
            asids: cpuid.leaf(0x8000_000a).ebx,
            long_mode: cpuid.leaf(0x8000_0001).edx & 1 << 29 != 0,
            cr4: cr4 | features | CR4_PCE,
            efer: efer | efer_of_guest(cpuid) | EFER_SVME,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use x86defs::registers::{
        CR4_CET, CR4_OSXSAVE, CR4_PAE, CR4_PGE, EFER_LMA, EFER_LME, EFER_NXE, EFER_SCE,
    };

    struct Cpu(u32);
    impl Source for Cpu {
        fn subleaf(&self, number: u32, _: u32) -> Leaf {
            match number {
                1 => Leaf { ecx: 1 << 26, edx: 1 << 6 | 1 << 13, ..Leaf::default() },
                7 => Leaf { ebx: 1 << 20, ecx: 1 << 7, ..Leaf::default() },
                0x8000_0001 => Leaf { edx: 1 << 29 | self.0, ..Leaf::default() },
                0x8000_0008 => Leaf { eax: 0x3028, ..Leaf::default() },
                0x8000_000a => Leaf { ebx: 16, ..Leaf::default() },
                _ => Leaf::default(),
            }
        }
    }

    /// A guest may set later what the system had not set when the monitor was built.
    #[test]
    fn what_the_cpu_announces_may_be_set() {
        let limits = Limits::of(&Cpu(1 << 20), CR4_PAE, 0);
        let known = CR4_PAE | CR4_PGE | CR4_OSXSAVE | CR4_CET | 1 << 21 | CR4_PCE;
        assert_eq!((limits.cr4, limits.physical_bits, limits.asids), (known, 40, 16));
        let long = EFER_LMA | EFER_LME | EFER_SCE | EFER_SVME;
        assert_eq!((limits.efer, limits.long_mode), (long | EFER_NXE, true));
        // What was accepted is known.
        let limits = Limits::of(&Cpu(0), 1 << 4, 1 << 14);
        assert_eq!((limits.cr4 >> 4 & 1, limits.efer), (1, long | 1 << 14));
    }
}
