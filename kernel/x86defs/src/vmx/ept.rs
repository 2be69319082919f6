//! The EPT pointer (SDM vol. 3, 25.6.11). Entries are the affair of whoever builds the tables.

/// Memory type of the tables themselves, bits 2 to 0: write back.
const WRITE_BACK: u64 = 6;
/// Memory type of the tables: uncached.
const UNCACHED: u64 = 0;
/// Bits 5 to 3: levels less one.
const FOUR_LEVELS: u64 = 3 << 3;
/// Bit 6: accessed and dirty bits are kept. Then walks of the guest's own page tables count as writes to them.
pub const ACCESSED_DIRTY: u64 = 1 << 6;

/// The pointer to four-level tables in write-back memory, whose root is at `root`, a multiple of 4 KiB. Accessed and dirty bits
/// are off.
pub const fn pointer(root: u64) -> u64 {
    root | FOUR_LEVELS | WRITE_BACK
}

/// Whether an entry would accept the pointer (27.2.1.1) on a CPU whose physical addresses have `physical_bits` and whose
/// IA32_VMX_EPT_VPID_CAP is `capability`.
pub const fn is_valid(pointer: u64, physical_bits: u32, capability: u64) -> bool {
    use super::capability::{EPT_ACCESSED_DIRTY, EPT_FOUR_LEVELS, EPT_UNCACHED, EPT_WRITE_BACK};
    let cached = match pointer & 7 {
        WRITE_BACK => capability & EPT_WRITE_BACK != 0,
        UNCACHED => capability & EPT_UNCACHED != 0,
        _ => false,
    };
    let levels = pointer & 0x38 == FOUR_LEVELS && capability & EPT_FOUR_LEVELS != 0;
    let dirty = pointer & ACCESSED_DIRTY == 0 || capability & EPT_ACCESSED_DIRTY != 0;
    cached && levels && dirty && pointer & 0xf80 == 0 && pointer >> physical_bits == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_told_from_others() {
        assert_eq!(pointer(0x1234_5000), 0x1234_501e);
        let full = 0x0f01_0633_4141;
        assert!(is_valid(pointer(0x1000), 40, full));
        assert!(is_valid(pointer(0x1000) | ACCESSED_DIRTY, 40, full));
        assert!(is_valid(0x1018, 40, full));
        let bad = [0x1000, 0x101f, 0x1006, 0x1026, 0x109e, 1 << 40 | 0x1e];
        for pointer in bad {
            assert!(!is_valid(pointer, 40, full), "{pointer:#x}");
        }
        assert!(!is_valid(pointer(0x1000), 40, 0x41) && !is_valid(0x1018, 40, 0x4040));
        assert!(!is_valid(pointer(0x1000) | ACCESSED_DIRTY, 40, 0x4140));
    }
}
