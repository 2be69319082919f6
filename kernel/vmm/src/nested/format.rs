//! How vendors write page table entries: AMD's long-mode format, which nested and host tables share, and Intel's EPT.

use super::{MemoryType, Rights, Size};

/// Address bits 51 to 12.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// Says that an entry above the lowest level is a leaf (PS; SDM: bit 7).
const LARGE: u64 = 1 << 7;
/// "Not writable, and it shall stay so." Ignored by hardware in both formats. A leaf without it and without write permission is
/// watched: so write permission is taken from a table's entries, links and leaves alike, by clearing one bit in each.
const FIXED: u64 = 1 << 52;
/// "Written since a freeze", in links: something below was. Two that take turns, one for each freeze, so that what was written before
/// the last one can be looked up while what is written after it is marked. Ignored by hardware in both formats.
const MARKS: [u64; 2] = [1 << 53, 1 << 54];
/// Both.
pub(super) const EITHER_MARK: u64 = MARKS[0] | MARKS[1];

/// The mark whose turn comes after `last`, one of them or 0.
#[inline]
pub(super) const fn next_mark(last: u64) -> u64 {
    if last == MARKS[0] { MARKS[1] } else { MARKS[0] }
}

/// How a vendor writes entries. An entry of 0 is absent in every format.
///
/// `size` is always that of leaves at the entry's level.
pub trait Format {
    /// The type of memory that nobody knows anything of: devices, beyond what was prepared. The strictest that leaves the last
    /// word to whoever else has one.
    const UNKNOWN: MemoryType;
    /// The bit that allows writing, in links and leaves. A walk may write only if each entry on its way allows it (APM vol. 2,
    /// 15.25.5 and 5.6.1; SDM vol. 3, 29.3.2).
    const WRITE: u64;
    /// The entry that links a lower table, with all rights.
    fn table(address: u64) -> u64;
    /// The entry that maps `size` bytes at `address`, a multiple of `size`.
    fn leaf(address: u64, size: Size, rights: Rights, kind: MemoryType) -> u64;
    /// Whether the entry links or maps anything.
    fn is_present(entry: u64) -> bool;
    /// Whether a present entry maps memory, rather than links a table.
    #[inline]
    fn is_leaf(entry: u64, size: Size) -> bool {
        size == Size::Page || entry & LARGE != 0
    }
    /// The table that a present entry links.
    #[inline]
    fn table_address(entry: u64) -> u64 {
        entry & ADDRESS
    }
    /// The first address that a leaf maps to.
    #[inline]
    fn address(entry: u64, size: Size) -> u64 {
        // A large leaf has PAT, or nothing, between its address and its flags.
        entry & ADDRESS & !(size.bytes() - 1)
    }
    /// What a leaf allows by itself. A watched leaf does not allow writing.
    fn rights(entry: u64) -> Rights;
    /// The same leaf with other rights, watched no more.
    fn with_rights(entry: u64, rights: Rights) -> u64;
    /// Whether an entry by itself allows writing.
    #[inline]
    fn may_write(entry: u64) -> bool {
        entry & Self::WRITE != 0
    }
    /// The same link, or watched leaf, with write permission.
    #[inline]
    fn with_write(entry: u64) -> u64 {
        entry | Self::WRITE
    }
    /// The same entry without write permission: a leaf that had it is watched now; what had none stays as it is.
    #[inline]
    fn without_write(entry: u64) -> u64 {
        entry & !Self::WRITE
    }
    /// The memory type of a leaf.
    fn memory_type(entry: u64, size: Size) -> MemoryType;
    /// Whether the VMM took write permission from the leaf, to give it back at a write fault.
    #[inline]
    fn is_watched(entry: u64) -> bool {
        entry & (Self::WRITE | FIXED) == 0
    }
    /// The 512 next smaller leaves that map the same as a leaf of `size`, which is not [`Size::Page`]: the first, and the
    /// distance from each to the next.
    fn parts(entry: u64, size: Size) -> (u64, u64);
    /// The leaf of `size`, not [`Size::Page`], whose first part is `first`: the inverse of [`parts`](Self::parts).
    fn whole(first: u64, size: Size) -> u64;
}

/// AMD's long-mode format (APM vol. 2, 5.3 and 5.4). `USER`: whether user accesses are allowed.
///
/// Executing is forbidden by NX, which wants `EFER.NXE` set in the host. Memory types are chosen by PAT, PCD and PWT from
/// the host's PAT register (7.8), which has to hold [`PAT`].
#[derive(Clone, Copy, Debug)]
pub struct Amd64<const USER: bool>;

/// AMD's nested tables. Nested walks are user accesses, hence U = 1 everywhere (APM vol. 2, 15.25.5).
pub type Npt = Amd64<true>;

/// Host page tables of the VMM: U = 0. Addresses from 2^47 on are reached only in their canonical, sign-extended form.
pub type LongMode = Amd64<false>;

/// What the host's PAT register (MSR 0x277; APM vol. 2, 7.8.1) has to hold for [`Amd64`]'s memory types: the reset value, but
/// for entries 4 (write protected) and 5 (write combining). Write back is entry 0 in either, so trees that know only
/// write-back memory can do without.
pub const PAT: u64 = 0x0007_0105_0007_0406;

const PRESENT: u64 = 1 << 0;
const WRITE: u64 = 1 << 1;
const USER_BIT: u64 = 1 << 2;
const PWT: u64 = 1 << 3;
const PCD: u64 = 1 << 4;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const PAT_OF_PAGE: u64 = 1 << 7;
const PAT_OF_LARGE: u64 = 1 << 12;
const NX: u64 = 1 << 63;

impl<const USER: bool> Amd64<USER> {
    const COMMON: u64 = PRESENT | ACCESSED | if USER { USER_BIT } else { 0 };

    #[inline]
    const fn pat_bit(size: Size) -> u64 {
        match size {
            Size::Page => PAT_OF_PAGE,
            Size::Large | Size::Huge => PAT_OF_LARGE,
        }
    }

    #[inline]
    const fn large_bit(size: Size) -> u64 {
        match size {
            Size::Page => 0,
            Size::Large | Size::Huge => LARGE,
        }
    }
}

impl<const USER: bool> Format for Amd64<USER> {
    /// The MTRRs combine with it (APM vol. 2, 15.25.8).
    const UNKNOWN: MemoryType = MemoryType::WriteBack;
    const WRITE: u64 = WRITE;

    #[inline]
    fn table(address: u64) -> u64 {
        address | Self::COMMON | WRITE
    }

    #[inline]
    fn leaf(address: u64, size: Size, rights: Rights, kind: MemoryType) -> u64 {
        let pat = Self::pat_bit(size);
        let kind = match kind {
            MemoryType::WriteBack => 0,
            MemoryType::WriteThrough => PWT,
            MemoryType::Uncached => PCD | PWT,
            MemoryType::WriteProtected => pat,
            MemoryType::WriteCombining => pat | PWT,
        };
        Self::with_rights(address | Self::COMMON | DIRTY | Self::large_bit(size) | kind, rights)
    }

    #[inline]
    fn is_present(entry: u64) -> bool {
        entry & PRESENT != 0
    }

    #[inline]
    fn rights(entry: u64) -> Rights {
        Rights { write: entry & WRITE != 0, execute: entry & NX == 0 }
    }

    #[inline]
    fn with_rights(entry: u64, rights: Rights) -> u64 {
        let write = if rights.write { WRITE } else { FIXED };
        let execute = if rights.execute { 0 } else { NX };
        entry & !(WRITE | FIXED | NX) | write | execute
    }

    #[inline]
    fn memory_type(entry: u64, size: Size) -> MemoryType {
        match (entry & Self::pat_bit(size) != 0, entry & PCD != 0, entry & PWT != 0) {
            (false, false, false) => MemoryType::WriteBack,
            (false, false, true) => MemoryType::WriteThrough,
            (true, false, false) => MemoryType::WriteProtected,
            (true, false, true) => MemoryType::WriteCombining,
            (_, true, _) => MemoryType::Uncached,
        }
    }

    #[inline]
    fn parts(entry: u64, size: Size) -> (u64, u64) {
        match size {
            Size::Huge => (entry, Size::Large.bytes()),
            // PAT moves from bit 12, now part of the address, to bit 7, which no longer says "large".
            Size::Large | Size::Page => {
                let pat = (entry & PAT_OF_LARGE) >> 5;
                (entry & !(LARGE | PAT_OF_LARGE) | pat, Size::Page.bytes())
            }
        }
    }

    #[inline]
    fn whole(first: u64, size: Size) -> u64 {
        match size {
            Size::Huge => first,
            Size::Large | Size::Page => first & !PAT_OF_PAGE | (first & PAT_OF_PAGE) << 5 | LARGE,
        }
    }
}

/// Intel's extended page tables (SDM vol. 3, "EPT translation mechanism", 29.3.2).
///
/// The memory type of a leaf combines with the guest's PAT (29.3.7): "ignore PAT" is clear. Bits 8 and 9, accessed and dirty,
/// count only if the EPT pointer enables them; set as they are, it makes no difference.
///
/// A CPU without `IF_PSCHANGE_MC_NO` in `IA32_ARCH_CAPABILITIES` may raise a machine check when an executable large leaf is
/// split while it runs (erratum "ITLB multihit"): there, executable leaves have to be of 4 KiB or CPUs stopped for a split.
#[derive(Clone, Copy, Debug)]
pub struct Ept;

const EPT_READ: u64 = 1 << 0;
const EPT_WRITE: u64 = 1 << 1;
const EPT_EXECUTE: u64 = 1 << 2;
const EPT_TYPE_SHIFT: u32 = 3;
const EPT_ACCESSED: u64 = 1 << 8;
const EPT_DIRTY: u64 = 1 << 9;

impl Format for Ept {
    /// The MTRRs no longer count; the guest's PAT can still make it write combining (29.3.7.2).
    const UNKNOWN: MemoryType = MemoryType::Uncached;
    const WRITE: u64 = EPT_WRITE;

    #[inline]
    fn table(address: u64) -> u64 {
        address | EPT_READ | EPT_WRITE | EPT_EXECUTE | EPT_ACCESSED
    }

    #[inline]
    fn leaf(address: u64, size: Size, rights: Rights, kind: MemoryType) -> u64 {
        let kind: u64 = match kind {
            MemoryType::Uncached => 0,
            MemoryType::WriteCombining => 1,
            MemoryType::WriteThrough => 4,
            MemoryType::WriteProtected => 5,
            MemoryType::WriteBack => 6,
        };
        let large = if size == Size::Page { 0 } else { LARGE };
        let flags = EPT_READ | EPT_ACCESSED | EPT_DIRTY | large | kind << EPT_TYPE_SHIFT;
        Self::with_rights(address | flags, rights)
    }

    #[inline]
    fn is_present(entry: u64) -> bool {
        entry & (EPT_READ | EPT_WRITE | EPT_EXECUTE) != 0
    }

    #[inline]
    fn rights(entry: u64) -> Rights {
        Rights { write: entry & EPT_WRITE != 0, execute: entry & EPT_EXECUTE != 0 }
    }

    #[inline]
    fn with_rights(entry: u64, rights: Rights) -> u64 {
        let write = if rights.write { EPT_WRITE } else { FIXED };
        let execute = if rights.execute { EPT_EXECUTE } else { 0 };
        entry & !(EPT_WRITE | FIXED | EPT_EXECUTE) | write | execute
    }

    #[inline]
    fn memory_type(entry: u64, _: Size) -> MemoryType {
        match entry >> EPT_TYPE_SHIFT & 7 {
            1 => MemoryType::WriteCombining,
            4 => MemoryType::WriteThrough,
            5 => MemoryType::WriteProtected,
            6 => MemoryType::WriteBack,
            // 2, 3 and 7 are reserved and never written here.
            _ => MemoryType::Uncached,
        }
    }

    #[inline]
    fn parts(entry: u64, size: Size) -> (u64, u64) {
        match size {
            Size::Huge => (entry, Size::Large.bytes()),
            Size::Large | Size::Page => (entry & !LARGE, Size::Page.bytes()),
        }
    }

    #[inline]
    fn whole(first: u64, _: Size) -> u64 {
        first | LARGE
    }
}
