extern crate std;
use crate::hotplug::{Event, EventError, IoSpace, Slots};
use crate::pci::{Address, Function};
use machine::acpi::{Block, Fadt};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::vec::Vec;

const BASE: u16 = 0xae00;

/// Registers of slots, and of events, as bytes.
#[derive(Default)]
struct Chipset {
    selected: u32,
    up: [u32; 2],
    down: [u32; 2],
    ejected: Vec<(u32, u32)>,
    bytes: BTreeMap<u16, u8>,
    /// What hands events over does so.
    hands_over: bool,
    /// Nobody claims any port.
    is_gone: bool,
}

struct Fake(Mutex<Chipset>);

impl Fake {
    fn new() -> Self {
        Self(Mutex::new(Chipset { hands_over: true, ..Chipset::default() }))
    }

    fn set<R>(&self, f: impl FnOnce(&mut Chipset) -> R) -> R {
        f(&mut self.0.lock().unwrap())
    }

    fn byte(&self, port: u16) -> u8 {
        self.set(|chipset| chipset.bytes.get(&port).copied().unwrap_or(0))
    }
}

impl IoSpace for Fake {
    fn read8(&self, port: u16) -> u8 {
        if self.set(|chipset| chipset.is_gone) { u8::MAX } else { self.byte(port) }
    }
    fn write8(&self, port: u16, value: u8) {
        self.set(|chipset| match port {
            // Status: written ones clear.
            0xafe0 => {
                let old = chipset.bytes.get(&port).copied().unwrap_or(0);
                chipset.bytes.insert(port, old & !value);
            }
            0xb2 if chipset.hands_over => {
                chipset.bytes.insert(0xb004, 1);
            }
            _ => {
                chipset.bytes.insert(port, value);
            }
        });
    }
    fn read16(&self, port: u16) -> u16 {
        u16::from_le_bytes([self.read8(port), self.read8(port + 1)])
    }
    fn write16(&self, port: u16, value: u16) {
        let [low, high] = value.to_le_bytes();
        self.write8(port, low);
        self.write8(port + 1, high);
    }
    fn read32(&self, port: u16) -> u32 {
        self.set(|chipset| {
            let bus = chipset.selected as usize;
            match port.wrapping_sub(BASE) {
                _ if chipset.is_gone => u32::MAX,
                0 => core::mem::take(&mut chipset.up[bus]),
                4 => chipset.down[bus],
                8 => 0,
                12 => 0xffff_fff8,
                16 => chipset.selected,
                _ => u32::MAX,
            }
        })
    }
    fn write32(&self, port: u16, value: u32) {
        self.set(|chipset| match port - BASE {
            8 => chipset.ejected.push((chipset.selected, value)),
            16 => chipset.selected = value,
            other => panic!("a write to {other}"),
        });
    }
}

fn chipset(device: u16) -> [Function; 1] {
    let address = Address { bus: 0, device: 1, function: 3 };
    [Function { address, vendor: 0x8086, device, class: [6, 0x80, 0], line: 9, pin: 1 }]
}

#[test]
fn slots_are_told_of_by_bus() {
    let fake = Fake::new();
    let slots = Slots::find(&fake, &chipset(0x7113)).unwrap();
    fake.set(|chipset| {
        chipset.up = [1 << 4, 1];
        chipset.down = [0, 1];
    });
    assert_eq!((slots.arrived(&fake, 0), slots.arrived(&fake, 1)), (1 << 4, 1));
    // What arrived is told once, what is asked for until it is ejected.
    assert_eq!((slots.arrived(&fake, 0), slots.arrived(&fake, 1)), (0, 0));
    assert_eq!((slots.asked(&fake, 0), slots.asked(&fake, 1), slots.asked(&fake, 1)), (0, 1, 1));
    assert_eq!(slots.removable(&fake, 0), 0xffff_fff8);
    slots.eject(&fake, 1, 0);
    slots.eject(&fake, 0, 31);
    assert_eq!(fake.set(|chipset| chipset.ejected.clone()), [(1, 1), (0, 1 << 31)]);
}

#[test]
fn registers_that_nobody_claims_are_none() {
    let fake = Fake::new();
    assert!(Slots::find(&fake, &chipset(0x7000)).is_none());
    assert!(Slots::find(&fake, &[]).is_none());
    let slots = Slots::find(&fake, &chipset(0x7113)).unwrap();
    fake.set(|chipset| chipset.is_gone = true);
    assert!(Slots::find(&fake, &chipset(0x7113)).is_none());
    assert_eq!((slots.arrived(&fake, 0), slots.asked(&fake, 0)), (0, 0));
}

fn fadt() -> Fadt {
    Fadt {
        enable: Some((0xb2, 0xf1)),
        pm1_event: Some(Block { port: 0xb000, length: 4 }),
        pm1_control: Some(Block { port: 0xb004, length: 2 }),
        gpe0: Some(Block { port: 0xafe0, length: 4 }),
        ..Fadt::default()
    }
}

#[test]
fn the_slots_event_is_the_only_one_that_interrupts() {
    let fake = Fake::new();
    fake.set(|chipset| chipset.bytes.extend([(0xafe0, 0xff), (0xafe2, 0xfd), (0xafe3, 1), (0xb002, 0xff)]));
    let event = Event::take_over(&fake, &fadt()).unwrap();
    assert_eq!([0xafe2, 0xafe3, 0xb002, 0xb003, 0xb004].map(|port| fake.byte(port)), [2, 0, 0, 0, 1]);
    assert!(!event.acknowledge(&fake));
    fake.set(|chipset| chipset.bytes.insert(0xafe0, 0x82));
    assert!(event.acknowledge(&fake));
    assert_eq!(fake.byte(0xafe0), 0x80);
    assert!(!event.acknowledge(&fake));
    event.ignore(&fake);
    assert_eq!(fake.byte(0xafe2), 0);
}

#[test]
fn events_are_not_promised_where_there_are_none() {
    let fake = Fake::new();
    for length in [None, Some(0), Some(1)] {
        let gpe0 = length.map(|length| Block { port: 0xafe0, length });
        let fadt = Fadt { gpe0, ..fadt() };
        assert_eq!(Event::take_over(&fake, &fadt).unwrap_err(), EventError::NoRegisters);
    }
    fake.set(|chipset| chipset.hands_over = false);
    assert_eq!(Event::take_over(&fake, &fadt()).unwrap_err(), EventError::Refused);
    // Firmware that never had them is not asked.
    let fadt = Fadt { enable: None, ..fadt() };
    assert!(Event::take_over(&fake, &fadt).is_ok());
}
