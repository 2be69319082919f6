//! Bus numbers and addresses for what is behind a port (PCI-to-PCI Bridge Architecture 1.2, 3.2.5).

use crate::pci::{Bar, ConfigSpace, Function, Window, register};
use alloc::vec::Vec;
use core::ops::Range;

/// Bridges' windows are of whole mebibytes.
const GRAIN: u64 = 1 << 20;
/// The largest register that a function is taken to have where it can't be asked, because it is in use.
const UNASKED: u64 = 256 << 20;

/// Addresses below 4 GiB that are in use.
#[derive(Clone, Debug, Default)]
pub struct Taken(Vec<Range<u64>>);

impl Taken {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// These are.
    pub fn add(&mut self, range: Range<u64>) {
        if !range.is_empty() {
            self.0.push(range);
        }
    }

    /// What a function's registers take, and what is behind it, if it is a bridge. One that masters the bus is not asked for lengths, but
    /// believed to have as much as its addresses are aligned to.
    pub fn add_function(&mut self, space: &dyn ConfigSpace, function: &Function) {
        if function.leads_on(space) {
            if let Some(window) = memory_window(space, function) {
                self.add(window);
            }
            let prefetched = space.read(function.address, register::MEMORY + 4);
            if let Some(window) = decoded(prefetched) {
                self.add(window);
            }
        }
        let registers = if function.leads_on(space) { 2 } else { 6 };
        let mut index = 0;
        while index < registers {
            let raw = space.read(function.address, register::BAR0 + 4 * u16::from(index));
            let is_wide = raw & 7 == 4;
            let address = u64::from(raw & !15);
            let address = match is_wide {
                true => {
                    address
                        | u64::from(space.read(function.address, register::BAR0 + 4 * u16::from(index) + 4))
                            << 32
                }
                false => address,
            };
            if raw & 1 == 0 && address != 0 {
                let length = match function.is_master(space) {
                    true => (1 << address.trailing_zeros()).min(UNASKED),
                    false => match function.bar(space, index) {
                        Ok(Bar::Memory { length, .. }) => length,
                        _ => 0,
                    },
                };
                self.add(address..address.saturating_add(length));
            }
            index += if is_wide { 2 } else { 1 };
        }
    }

    /// The largest part of a range that is not in use, in whole mebibytes.
    pub fn largest_gap(&self, within: Range<u64>) -> Window {
        let mut taken = self.0.clone();
        taken.sort_by_key(|range| range.start);
        let (mut best, mut from) = (Window { next: within.start, end: within.start }, within.start);
        for range in taken.iter().chain([&(within.end..within.end)]) {
            let (start, end) = (from.next_multiple_of(GRAIN), range.start.min(within.end) / GRAIN * GRAIN);
            if end > start && end - start > best.end - best.next {
                best = Window { next: start, end };
            }
            from = from.max(range.end);
        }
        best
    }
}

/// What a register of a bridge's window decodes.
fn decoded(register: u32) -> Option<Range<u64>> {
    let (base, limit) = (u64::from(register & 0xfff0) << 16, u64::from(register & 0xfff0_0000) | (GRAIN - 1));
    (base != 0 && base < limit && register != u32::MAX).then(|| base..limit + 1)
}

fn memory_window(space: &dyn ConfigSpace, bridge: &Function) -> Option<Range<u64>> {
    decoded(space.read(bridge.address, register::MEMORY))
}

/// The bus behind a bridge; `None` if it has no number.
pub fn behind(space: &dyn ConfigSpace, bridge: &Function) -> Option<u8> {
    let buses = space.read(bridge.address, register::BUSES);
    let bus = (buses >> 8) as u8;
    (bus != 0 && buses != u32::MAX).then_some(bus)
}

/// The bus behind a bridge on the first bus, numbered if firmware has not done it: behind all that are. `None` if there are no more numbers,
/// up to `last`.
pub fn number_bus(
    space: &dyn ConfigSpace,
    bridge: &Function,
    functions: &[Function],
    last: u8,
) -> Option<u8> {
    if let Some(bus) = behind(space, bridge) {
        return Some(bus);
    }
    let highest = functions
        .iter()
        .filter(|function| function.leads_on(space))
        .map(|function| (space.read(function.address, register::BUSES) >> 16) as u8)
        .chain(functions.iter().map(|function| function.address.bus))
        .max()
        .unwrap_or(0);
    let bus = highest.checked_add(1).filter(|bus| *bus <= last)?;
    let latency = space.read(bridge.address, register::BUSES) & 0xff00_0000;
    let primary = u32::from(bridge.address.bus);
    let bus32 = u32::from(bus);
    space.write(bridge.address, register::BUSES, latency | bus32 << 16 | bus32 << 8 | primary);
    Some(bus)
}

/// The window of a bridge, opened if firmware left none: `length` bytes of the machine's. The bridge forwards from here on. `None` if there is
/// no room.
pub fn window(
    space: &dyn ConfigSpace,
    bridge: &Function,
    machine: &mut Window,
    length: u64,
) -> Option<Window> {
    let range = match memory_window(space, bridge) {
        Some(range) => range,
        None => {
            let start = machine.next.checked_next_multiple_of(GRAIN)?;
            let end = start.checked_add(length.next_multiple_of(GRAIN)).filter(|end| *end <= machine.end)?;
            let (base, limit) = ((start >> 16) as u32 & 0xfff0, (end - 1) as u32 & 0xfff0_0000);
            space.write(bridge.address, register::MEMORY, limit | base);
            machine.next = end;
            start..end
        }
    };
    bridge.enable(space);
    Some(Window { next: range.start, end: range.end })
}
