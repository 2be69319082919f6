//! The memory map: what firmware said about physical memory, made consistent.

/// Most regions kept; what firmware lists beyond is dropped, and reported by [`MemoryMap::is_truncated`].
pub const MAX_REGIONS: usize = 192;

/// Pages are the map's unit: usable memory is rounded inwards, everything else outwards.
pub const PAGE: u64 = 4096;

/// Addresses beyond 46 bits are ignored: the identity map ends there.
pub const LIMIT: u64 = 1 << 46;

/// What a region is for. The order is that of restriction: where regions overlap, the greater kind wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RegionKind {
    /// RAM that the frame allocator may hand out.
    Usable,
    /// ACPI tables; could be used once they are read.
    AcpiReclaim,
    /// ACPI non-volatile storage.
    AcpiNvs,
    /// The image, boot information, the trampoline: RAM that is in use for ever.
    Kernel,
    /// The VMM's reserve.
    Reserve,
    /// Not RAM, or the firmware's.
    Reserved,
    /// Broken RAM.
    Unusable,
}

/// A range of physical memory, `start` inclusive, `end` exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "described above")]
pub struct Region {
    pub start: u64,
    pub end: u64,
    pub kind: RegionKind,
}

/// Regions in ascending order, not overlapping, neighbours of one kind merged.
#[derive(Clone)]
pub struct MemoryMap {
    regions: [Region; MAX_REGIONS],
    count: usize,
    truncated: bool,
}

impl Default for MemoryMap {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryMap {
    /// An empty map.
    pub const fn new() -> Self {
        Self {
            regions: [Region { start: 0, end: 0, kind: RegionKind::Reserved }; MAX_REGIONS],
            count: 0,
            truncated: false,
        }
    }

    /// Adds a region, in any order and overlapping others. Empty, wrapped and out-of-reach ranges are ignored or cut.
    pub fn insert(&mut self, start: u64, length: u64, kind: RegionKind) {
        let end = start.saturating_add(length).min(LIMIT);
        let (start, end) = if kind == RegionKind::Usable {
            (start.min(LIMIT).next_multiple_of(PAGE), end & !(PAGE - 1))
        } else {
            (start & !(PAGE - 1), end.next_multiple_of(PAGE))
        };
        if start < end {
            self.place(start, end, kind);
        }
    }

    /// Puts one clean range in: where something is already, the greater kind stays.
    fn place(&mut self, start: u64, end: u64, kind: RegionKind) {
        let old = self.clone();
        self.count = 0;
        let mut at = start;
        let mut before = true;
        for region in old.iter() {
            if region.end <= start {
                self.push(*region);
                continue;
            }
            if region.start >= end {
                if before {
                    self.push(Region { start: at, end, kind });
                    before = false;
                }
                self.push(*region);
                continue;
            }
            // They overlap: what lies before, the gap, the shared part, what lies behind.
            self.push(Region { start: region.start, end: region.start.max(start), kind: region.kind });
            self.push(Region { start: at, end: region.start.max(at), kind });
            let (low, high) = (region.start.max(start), region.end.min(end));
            self.push(Region { start: low, end: high, kind: region.kind.max(kind) });
            self.push(Region { start: high, end: region.end, kind: region.kind });
            at = high;
            if region.end >= end {
                before = false;
            }
        }
        if before {
            self.push(Region { start: at, end, kind });
        }
    }

    fn push(&mut self, region: Region) {
        if region.start >= region.end {
            return;
        }
        if let Some(last) = self.regions[..self.count].last_mut()
            && last.kind == region.kind
            && last.end == region.start
        {
            last.end = region.end;
            return;
        }
        if self.count == MAX_REGIONS {
            self.truncated = true;
            return;
        }
        self.regions[self.count] = region;
        self.count += 1;
    }

    /// The regions in ascending order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Region> {
        self.regions[..self.count].iter()
    }

    /// The regions of usable memory.
    pub fn usable(&self) -> impl DoubleEndedIterator<Item = &Region> {
        self.iter().filter(|region| region.kind == RegionKind::Usable)
    }

    /// Bytes of one kind.
    pub fn total(&self, kind: RegionKind) -> u64 {
        self.iter().filter(|region| region.kind == kind).map(|region| region.end - region.start).sum()
    }

    /// End of the highest usable region.
    pub fn usable_end(&self) -> u64 {
        self.usable().last().map_or(0, |region| region.end)
    }

    /// Whether regions were lost for want of room.
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    #[test]
    fn reserved_wins_and_neighbours_merge() {
        let mut map = MemoryMap::new();
        map.insert(0x10_0000, 0x700_0000, RegionKind::Usable);
        map.insert(0, 0x9_fc00, RegionKind::Usable);
        map.insert(0x9_fc00, 0x400, RegionKind::Reserved);
        map.insert(0x20_0000, 0x1000, RegionKind::Kernel);
        map.insert(0x20_1000, 0x1000, RegionKind::Kernel);
        let regions: Vec<_> = map.iter().copied().collect();
        assert_eq!(regions.len(), 5);
        assert_eq!(regions[0], Region { start: 0, end: 0x9_f000, kind: RegionKind::Usable });
        assert_eq!(regions[3], Region { start: 0x20_0000, end: 0x20_2000, kind: RegionKind::Kernel });
        assert_eq!(map.total(RegionKind::Usable), 0x9_f000 + 0x700_0000 - 0x2000);
    }

    #[test]
    fn nonsense_is_ignored() {
        let mut map = MemoryMap::new();
        map.insert(u64::MAX - 10, 100, RegionKind::Usable);
        map.insert(0x1000, 0, RegionKind::Usable);
        map.insert(0x1001, 0xffe, RegionKind::Usable);
        assert_eq!(map.iter().count(), 0);
    }

    proptest! {
        /// Against a page-by-page model.
        #[test]
        fn equals_the_model(regions in proptest::collection::vec((0u64..64, 0u64..20, 0usize..7), 0..40)) {
            use RegionKind::*;
            let kinds = [Usable, AcpiReclaim, AcpiNvs, Kernel, Reserve, Reserved, Unusable];
            let mut map = MemoryMap::new();
            let mut model = [None; 100];
            for (start, length, kind) in regions {
                map.insert(start * PAGE, length * PAGE, kinds[kind]);
                for page in start..start + length {
                    model[page as usize] = model[page as usize].max(Some(kinds[kind]));
                }
            }
            let mut found = [None; 100];
            let mut last_end = 0;
            for region in map.iter() {
                prop_assert!(region.start >= last_end);
                last_end = region.end;
                for page in region.start / PAGE..region.end / PAGE {
                    found[page as usize] = Some(region.kind);
                }
            }
            prop_assert_eq!(found, model);
        }
    }
}
