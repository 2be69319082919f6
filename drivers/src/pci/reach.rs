//! What can be reached of a device, and what of that is its alone: whole pages of memory.

use super::{Bar, ConfigSpace, Function};
use crate::mmio::Registers;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use machine::io;

/// Bytes of a page.
const PAGE: u64 = 4096;

/// Where a device's registers are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Whole pages of memory that are the device's alone: physical addresses, ascending, as few ranges as can be.
    pub pages: Vec<Range<u64>>,
    /// What is not: ports, and memory that may share a page with another device's.
    pub others: Vec<Bar>,
}

impl Reach {
    /// That of a device with these registers. Base addresses are multiples of their length, a power of two (PCI 3.0, 6.2.5.1), so
    /// what has a page shares none.
    pub fn new(bars: impl IntoIterator<Item = Bar>) -> Self {
        let mut reach = Self::default();
        for bar in bars {
            match bar {
                Bar::Memory { address: 0, .. } => {}
                Bar::Memory { address, length, .. }
                    if (address | length).is_multiple_of(PAGE) && length > 0 =>
                {
                    reach.pages.push(address..address.saturating_add(length));
                }
                other => reach.others.push(other),
            }
        }
        reach.pages.sort_by_key(|range| range.start);
        reach.pages.dedup_by(|next, before| {
            let meets = next.start <= before.end;
            if meets {
                before.end = before.end.max(next.end);
            }
            meets
        });
        reach
    }

    /// That of a function that is not in use yet.
    pub fn of(space: &dyn ConfigSpace, function: &Function) -> Self {
        let (mut bars, mut index) = (Vec::new(), 0);
        while index < 6 {
            let bar = function.bar(space, index);
            index += if matches!(bar, Ok(Bar::Memory { wide: true, .. })) { 2 } else { 1 };
            bars.extend(bar);
        }
        Self::new(bars)
    }

    /// Whether the first word of each page reads as ones, as of a device that is not there. Not to be asked of one that is: reading a register may
    /// have an effect.
    pub fn is_ones(&self) -> bool {
        self.pages.iter().all(|range| {
            let length = (range.end - range.start) as usize;
            io::map_device(range.start, length).is_some_and(|memory| {
                // SAFETY: just mapped, for good.
                let registers = unsafe { Registers::new(memory, length) };
                (0..length).step_by(PAGE as usize).all(|at| registers.read::<u32>(at) == u32::MAX)
            })
        })
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory { address, length, .. } => write!(f, "{length} bytes at {address:#x}"),
            Self::Io { port, length } => write!(f, "{length} ports from {port:#x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::super::enumerate;
    use super::super::tests::{FakeSpace, at};
    use super::*;
    use std::string::ToString;

    const fn memory(address: u64, length: u64) -> Bar {
        Bar::Memory { address, length, wide: false }
    }

    #[test]
    fn pages_that_meet_are_one_range_and_what_is_less_than_a_page_is_left() {
        let ports = Bar::Io { port: 0xc000, length: 32 };
        let small = memory(0xfebd_5100, 256);
        let reach = Reach::new([
            memory(0xfebb_0000, 0x2_0000),
            ports,
            memory(0xfeb9_0000, 0x2_0000),
            memory(0xfebd_0000, 0x4000),
            small,
            memory(0, 0x1000),
            // What a table of ACPI describes need not be aligned.
            memory(0xfebe_0800, 0x1000),
        ]);
        assert_eq!(reach.pages.as_slice(), core::slice::from_ref(&(0xfeb9_0000..0xfebd_4000)));
        assert_eq!(reach.others, [ports, small, memory(0xfebe_0800, 0x1000)]);
        let told = reach.others[..2].iter().map(Bar::to_string).collect::<Vec<_>>();
        assert_eq!(told, ["32 ports from 0xc000", "256 bytes at 0xfebd5100"]);
    }

    #[test]
    fn a_function_is_asked_for_each_register_once() {
        let mut space = FakeSpace::default();
        let nic = at(0, 4, 0);
        space.put(
            nic,
            &[(0, 0x1041_1af4), (0x10, 0xc001), (0x14, 0xfebf_1000), (0x20, 0x1000_400c), (0x24, 0x80)],
        );
        for (offset, mask) in
            [(0x10, 0xffff_ffe1), (0x14, 0xffff_f000), (0x20, 0xffff_c00c), (0x24, 0xffff_ffff)]
        {
            space.sizes.insert((nic, offset), mask);
        }
        let reach = Reach::of(&space, &enumerate(&space)[0]);
        assert_eq!(reach.pages, [0xfebf_1000..0xfebf_2000, 0x80_1000_4000..0x80_1000_8000]);
        assert_eq!(reach.others, [Bar::Io { port: 0xc000, length: 32 }]);
    }
}
