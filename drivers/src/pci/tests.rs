extern crate std;
use super::*;
use core::sync::atomic::{AtomicUsize, Ordering};
use machine::irq::MsiMessage;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Configuration space in a map; base address registers answer a write of all ones with their size mask.
#[derive(Default)]
pub(crate) struct FakeSpace {
    registers: Mutex<BTreeMap<(Address, u16), u32>>,
    pub(crate) sizes: BTreeMap<(Address, u16), u32>,
    writes: AtomicUsize,
}

impl ConfigSpace for FakeSpace {
    fn read(&self, address: Address, offset: u16) -> u32 {
        let registers = self.registers.lock().unwrap();
        let present = registers.contains_key(&(address, 0));
        registers.get(&(address, offset & !3)).copied().unwrap_or(if present { 0 } else { u32::MAX })
    }
    fn write(&self, address: Address, offset: u16, value: u32) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        let mut registers = self.registers.lock().unwrap();
        let value = match self.sizes.get(&(address, offset)) {
            Some(&u32::MAX) => value, // the upper half of a wide register
            // The lowest four bits say what the register is, and can't be written.
            Some(&mask) => value & mask & !15 | registers[&(address, offset)] & 15,
            None if (0x10..0x28).contains(&offset) => 0,
            None => value,
        };
        registers.insert((address, offset), value);
    }
    fn write_half(&self, address: Address, offset: u16, value: u16) {
        let shift = 8 * (offset & 2);
        let kept = self.read(address, offset) & !(0xffff << shift);
        self.write(address, offset & !3, kept | u32::from(value) << shift);
    }
}

impl FakeSpace {
    pub(crate) fn put(&mut self, address: Address, values: &[(u16, u32)]) {
        self.registers
            .lock()
            .unwrap()
            .extend(values.iter().map(|&(offset, value)| ((address, offset), value)));
    }
}

pub(crate) fn at(bus: u8, device: u8, function: u8) -> Address {
    Address { bus, device, function }
}

#[test]
fn bridges_and_functions_are_followed_once() {
    let mut space = FakeSpace::default();
    space.put(at(0, 0, 0), &[(0, 0x29c0_8086)]);
    // A bridge to bus 2, and one that claims to lead back to bus 0.
    space.put(at(0, 1, 0), &[(0, 0x000c_1b36), (0xc, 0x01_0000), (0x18, 0x02_0200)]);
    space.put(at(0, 3, 0), &[(0, 0x000c_1b36), (0xc, 0x81_0000), (0x18, 0)]);
    space.put(at(0, 3, 5), &[(0, 0x1041_1af4)]);
    space.put(at(2, 0, 0), &[(0, 0x10d3_8086), (8, 0x0200_0000), (0x3c, 0x010b)]);
    let found = enumerate(&space);
    let addresses: Vec<Address> = found.iter().map(|function| function.address).collect();
    assert_eq!(addresses, [at(0, 0, 0), at(0, 1, 0), at(0, 3, 0), at(0, 3, 5), at(2, 0, 0)]);
    let nic = found[4];
    assert_eq!((nic.vendor, nic.device, nic.class, nic.line, nic.pin), (0x8086, 0x10d3, [2, 0, 0], 11, 1));
}

#[test]
fn base_addresses_are_sized_and_assigned() {
    let mut space = FakeSpace::default();
    let nic = at(0, 4, 0);
    space.put(nic, &[(0, 0x1041_1af4), (0x10, 0xc001), (0x14, 0xfebf_1000), (0x20, 0xc), (0x24, 0)]);
    for (offset, mask) in [(0x10, 0xffff_ffe1), (0x14, 0xffff_f000), (0x20, 0xffff_c00c), (0x24, 0xffff_ffff)]
    {
        space.sizes.insert((nic, offset), mask);
    }
    let function = enumerate(&space)[0];
    assert_eq!(function.bar(&space, 0), Ok(Bar::Io { port: 0xc000, length: 32 }));
    assert_eq!(function.bar(&space, 1), Ok(Bar::Memory { address: 0xfebf_1000, length: 4096, wide: false }));
    assert_eq!(function.bar(&space, 2), Err(BarError::Absent));
    assert_eq!(function.bar(&space, 4), Ok(Bar::Memory { address: 0, length: 0x4000, wide: true }));
    assert_eq!(function.map(&space, 4).unwrap_err(), BarError::Unassigned);
    let mut window = Window { next: 0xc000_1000, end: 0xc010_0000 };
    assert_eq!(assign(&space, &function, &mut window), 1);
    assert_eq!(function.bar(&space, 4), Ok(Bar::Memory { address: 0xc000_4000, length: 0x4000, wide: true }));
    let mut full = Window { next: 0xc000_0000, end: 0xc000_1000 };
    space.put(nic, &[(0x20, 0xc)]);
    assert_eq!(assign(&space, &function, &mut full), 0);
}

/// Its driver writes to it meanwhile, and what comes while a register is sized comes nowhere.
#[test]
fn registers_of_a_function_in_use_are_not_touched() {
    let mut space = FakeSpace::default();
    let nic = at(0, 4, 0);
    space.put(nic, &[(0, 0x1041_1af4), (0x14, 0xfebf_1000)]);
    space.sizes.insert((nic, 0x14), 0xffff_f000);
    let function = enumerate(&space)[0];
    function.enable(&space);
    let writes = space.writes.load(Ordering::Relaxed);
    let mut window = Window { next: 0xc000_1000, end: 0xc010_0000 };
    assert_eq!(assign(&space, &function, &mut window), 0);
    assert_eq!(space.writes.load(Ordering::Relaxed), writes);
    function.silence(&space);
    assert_eq!(assign(&space, &function, &mut window), 0);
    assert!(space.writes.load(Ordering::Relaxed) > writes);
}

#[test]
fn a_circular_capability_list_ends() {
    let mut space = FakeSpace::default();
    let nic = at(0, 4, 0);
    space.put(nic, &[(0, 0x1041_1af4), (4, 0x10_0000), (0x34, 0x40), (0x40, 0x5011), (0x50, 0x4009)]);
    let function = enumerate(&space)[0];
    assert_eq!(function.capabilities(&space, 0x09).len(), 24);
    assert!(function.capabilities(&space, 0x42).is_empty());
}

#[test]
fn msi_is_written_in_both_widths() {
    for (control, data) in [(0x80_0005u32, 0x4c), (0x05, 0x48)] {
        let mut space = FakeSpace::default();
        let nic = at(0, 4, 0);
        space.put(nic, &[(0, 0x10d3_8086), (4, 0x10_0007), (0x34, 0x40), (0x40, control)]);
        let function = enumerate(&space)[0];
        let message = MsiMessage { address: 0xfee0_1000, data: 0x31 };
        enable_msi(&space, &function, message).unwrap();
        assert_eq!(space.read(nic, 0x44), 0xfee0_1000);
        assert_eq!(space.read(nic, data), 0x31);
        assert_eq!(space.read(nic, 0x40) >> 16 & 1, 1);
        assert_eq!(space.read(nic, 4) & 1 << 10, 1 << 10);
    }
}
