//! The VMM's reserve: memory carved out at boot that the frame allocator never sees.

use super::map::{MemoryMap, RegionKind};

const ALIGN: u64 = 2 << 20;

/// Where the reserve lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserve {
    /// Physical address, a multiple of 2 MiB.
    pub start: u64,
    /// Length in bytes, a multiple of 2 MiB.
    pub length: u64,
    /// Usable memory before it was carved out, in bytes.
    pub of: u64,
}

impl Reserve {
    /// Share of memory, in thousandths.
    pub fn per_mille(&self) -> u64 {
        self.length * 1000 / self.of.max(1)
    }
}

/// How large the reserve of a machine with `memory` bytes is: a thirty-second, from 2 MiB to 1 GiB.
pub fn size_for(memory: u64) -> u64 {
    (memory / 32).clamp(ALIGN, 1 << 30) & !(ALIGN - 1)
}

/// Takes the reserve from the top of the largest usable region. `None` if no region can hold it.
pub fn carve(map: &mut MemoryMap) -> Option<Reserve> {
    let of = map.total(RegionKind::Usable);
    let length = size_for(of);
    let fits = |region: &&super::map::Region| {
        let start = region.end.checked_sub(length).map(|start| start & !(ALIGN - 1));
        start.is_some_and(|start| start >= region.start)
    };
    let region = map.usable().filter(fits).max_by_key(|region| region.end - region.start)?;
    let start = (region.end - length) & !(ALIGN - 1);
    map.insert(start, length, RegionKind::Reserve);
    Some(Reserve { start, length, of })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_taken_from_the_largest_region() {
        let mut map = MemoryMap::new();
        map.insert(0x10_0000, 3 << 30, RegionKind::Usable);
        map.insert(4 << 30, 13 << 30, RegionKind::Usable);
        let reserve = carve(&mut map).unwrap();
        assert_eq!(reserve.length, 512 << 20);
        assert_eq!(reserve.start + reserve.length, 17 << 30);
        assert_eq!(map.total(RegionKind::Usable), (16 << 30) - (512 << 20));
        assert_eq!(reserve.per_mille(), 31);
    }

    #[test]
    fn a_small_machine_keeps_what_it_needs() {
        let mut map = MemoryMap::new();
        map.insert(0x10_0000, 47 << 20, RegionKind::Usable);
        carve(&mut map).unwrap();
        assert!(map.total(RegionKind::Usable) >= 40 << 20);
    }

    #[test]
    fn no_room_is_no_reserve() {
        let mut map = MemoryMap::new();
        map.insert(0x10_0000, 0x10_0000, RegionKind::Usable);
        assert_eq!(carve(&mut map), None);
        assert_eq!(map.total(RegionKind::Usable), 0x10_0000);
    }
}
