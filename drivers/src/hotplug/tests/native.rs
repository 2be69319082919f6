extern crate std;
use crate::hotplug::{LinkError, Native, Notice};
use crate::pci::{Address, ConfigSpace, Function, enumerate};
use machine::time::{Duration, Instant};
use std::sync::Mutex;

const PORT: Address = Address { bus: 0, device: 2, function: 0 };
const CARD: Address = Address { bus: 1, device: 0, function: 0 };
const AT: u16 = 0x40;

const BUTTON: u16 = 1;
const FAULT: u16 = 1 << 1;
const PRESENCE: u16 = 1 << 3;
const COMPLETED: u16 = 1 << 4;
const PRESENT: u16 = 1 << 6;
const LINK: u16 = 1 << 8;
/// Power on and its indicator on, blinking; both off.
const ON: u16 = 0x100;
const BLINKS: u16 = 0x200;
const OFF: u16 = 0x700;

/// A root port with a slot, and what is plugged into it.
#[derive(Clone, Copy)]
struct Port {
    status: u16,
    control: u16,
    capabilities: u32,
    link_capabilities: u32,
    link: u16,
    completes: bool,
    /// It is there itself.
    answers: bool,
    /// What the card's first register reads as, if it has power.
    card: u32,
    commands: usize,
}

struct Fake(Mutex<Port>);

impl Fake {
    fn new() -> Self {
        Self(Mutex::new(Port {
            status: 0,
            control: 0x7c0,
            capabilities: 5 << 19 | 0x43,
            link_capabilities: 1 << 20,
            link: 0,
            completes: true,
            answers: true,
            card: 0x1041_1af4,
            commands: 0,
        }))
    }

    fn set(&self, f: impl FnOnce(&mut Port)) {
        f(&mut self.0.lock().unwrap());
    }

    fn port(&self) -> Port {
        *self.0.lock().unwrap()
    }

    fn power(&self) -> u16 {
        self.port().control & 0x700
    }

    fn plug(&self) {
        self.set(|port| {
            port.status |= PRESENT | PRESENCE | BUTTON | LINK;
            port.link = 1 << 13;
        });
    }

    fn pull(&self) {
        self.set(|port| {
            port.status = port.status & !PRESENT | PRESENCE | LINK;
            port.link = 0;
        });
    }

    fn press(&self) {
        self.set(|port| port.status |= BUTTON);
    }

    fn native(&self) -> Native {
        Native::of(self, &self.function()).unwrap()
    }

    fn function(&self) -> Function {
        enumerate(self).into_iter().find(|function| function.address == PORT).unwrap()
    }

    /// With a card in it that is served.
    fn served() -> (Self, Native) {
        let fake = Self::new();
        let mut native = fake.native();
        native.listen(&fake, false);
        assert_eq!(native.poll(&fake, now()), None);
        fake.plug();
        assert_eq!(native.poll(&fake, now()), Some(Notice::Arrived));
        assert_eq!(native.power_on(&fake, 1), Ok(()));
        assert_eq!((native.poll(&fake, now()), fake.power()), (None, ON));
        assert!(native.is_on());
        (fake, native)
    }
}

impl ConfigSpace for Fake {
    fn read(&self, address: Address, offset: u16) -> u32 {
        let port = self.port();
        match (address, offset & !3) {
            _ if !port.answers => u32::MAX,
            (CARD, 0) if port.status & PRESENT != 0 && port.control & 0x400 == 0 => port.card,
            (PORT, 0) => 0x000c_1b36,
            (PORT, 0x04) => 0x10_0000,
            (PORT, 0x0c) => 0x1_0000,
            (PORT, 0x18) => 0x01_0100,
            (PORT, 0x34) => u32::from(AT),
            // Root port with a slot, message 3.
            (PORT, AT) => 0x0742_0010,
            (PORT, 0x4c) => port.link_capabilities,
            (PORT, 0x50) => u32::from(port.link) << 16,
            (PORT, 0x54) => port.capabilities,
            (PORT, 0x58) => u32::from(port.status) << 16 | u32::from(port.control),
            (PORT, _) => 0,
            _ => u32::MAX,
        }
    }

    fn write(&self, _: Address, offset: u16, _: u32) {
        panic!("a write of 32 bits to {offset:#x} would be a command");
    }

    fn write_half(&self, address: Address, offset: u16, value: u16) {
        assert_eq!(address, PORT);
        self.set(|port| match offset - AT {
            0x18 => {
                port.control = value;
                port.commands += 1;
                port.status |= if port.completes { COMPLETED } else { 0 };
            }
            0x1a => port.status &= !(value & 0x11f),
            other => panic!("a write to {other:#x}"),
        });
    }
}

fn now() -> Instant {
    Instant::now()
}

fn later() -> Instant {
    now().saturating_add(Duration::from_secs(6))
}

#[test]
fn a_card_arrives_and_leaves_when_asked() {
    let (fake, mut native) = Fake::served();
    assert_eq!((native.number(), native.message(&fake)), (5, 3));
    fake.press();
    assert_eq!(native.poll(&fake, now()), Some(Notice::Pressed));
    assert_eq!(fake.power(), BLINKS);
    assert!(native.deadline().is_some());
    assert_eq!(native.poll(&fake, now()), None);
    assert_eq!(native.poll(&fake, later()), Some(Notice::Asked));
    assert_eq!(native.poll(&fake, later()), None);
    let commands = fake.port().commands;
    native.power_off(&fake);
    // Power and indicator by one command: at that moment it may be pulled out.
    assert_eq!((fake.power(), fake.port().commands), (OFF, commands + 1));
    fake.pull();
    assert_eq!(native.poll(&fake, now()), None);
    fake.plug();
    assert_eq!(native.poll(&fake, now()), Some(Notice::Arrived));
}

#[test]
fn a_second_press_withdraws_the_first() {
    let (fake, mut native) = Fake::served();
    for _ in 0..2 {
        fake.press();
        assert_eq!(native.poll(&fake, now()), Some(Notice::Pressed));
        fake.press();
        assert_eq!(native.poll(&fake, now()), Some(Notice::Withdrawn));
        assert_eq!((native.poll(&fake, later()), fake.power()), (None, ON));
    }
}

#[test]
fn who_is_refused_may_ask_again() {
    let (fake, mut native) = Fake::served();
    for _ in 0..2 {
        fake.press();
        assert_eq!(native.poll(&fake, now()), Some(Notice::Pressed));
        assert_eq!(native.poll(&fake, later()), Some(Notice::Asked));
        native.keep(&fake);
        assert_eq!(fake.power(), ON);
    }
}

#[test]
fn a_surprise_is_told_at_any_moment() {
    for stage in 0..3 {
        let (fake, mut native) = Fake::served();
        if stage > 0 {
            fake.press();
            assert_eq!(native.poll(&fake, now()), Some(Notice::Pressed));
        }
        if stage > 1 {
            assert_eq!(native.poll(&fake, later()), Some(Notice::Asked));
        }
        fake.pull();
        assert_eq!(native.poll(&fake, now()), Some(Notice::Gone));
        assert_eq!((native.poll(&fake, later()), native.is_on(), fake.power()), (None, false, OFF));
        fake.plug();
        assert_eq!(native.poll(&fake, now()), Some(Notice::Arrived));
    }
}

#[test]
fn one_that_was_exchanged_between_two_looks_is_gone_and_another_arrives() {
    let (fake, mut native) = Fake::served();
    fake.pull();
    fake.plug();
    assert_eq!(native.poll(&fake, now()), Some(Notice::Gone));
    assert_eq!(native.poll(&fake, later()), Some(Notice::Arrived));
    assert_eq!(native.power_on(&fake, 1), Ok(()));
}

#[test]
fn a_lost_link_is_a_card_that_is_gone() {
    let (fake, mut native) = Fake::served();
    fake.set(|port| (port.status, port.link) = (port.status | LINK, 0));
    assert_eq!(native.poll(&fake, now()), Some(Notice::Gone));
    // The port does not report links: it means nothing.
    let (fake, mut native) = (Fake::new(), Fake::new().native());
    fake.set(|port| (port.status, port.control, port.link_capabilities) = (PRESENT, ON, 0));
    native = Native::of(&fake, native.function()).unwrap();
    native.listen(&fake, true);
    fake.set(|port| port.status |= LINK);
    assert_eq!(native.poll(&fake, now()), None);
}

#[test]
fn a_power_fault_ends_the_service() {
    let (fake, mut native) = Fake::served();
    fake.set(|port| port.status |= FAULT);
    assert_eq!(native.poll(&fake, now()), Some(Notice::Fault));
    assert_eq!((native.poll(&fake, later()), fake.power()), (None, OFF));
    // Until the button is pressed.
    fake.press();
    assert_eq!(native.poll(&fake, now()), None);
    assert_eq!(fake.power(), OFF & 0x400 | BLINKS);
    assert_eq!(native.poll(&fake, later()), Some(Notice::Arrived));
}

#[test]
fn a_button_beside_a_card_without_power_can_be_withdrawn() {
    let fake = Fake::new();
    let mut native = fake.native();
    native.listen(&fake, false);
    assert_eq!(native.poll(&fake, now()), None);
    fake.set(|port| port.status |= PRESENT | BUTTON);
    assert_eq!(native.poll(&fake, now()), None);
    fake.press();
    assert_eq!((native.poll(&fake, now()), native.poll(&fake, later())), (None, None));
    assert_eq!(fake.power(), OFF);
}

#[test]
fn what_was_there_at_the_start_is_served_or_arrives() {
    for is_served in [false, true] {
        let fake = Fake::new();
        fake.set(|port| (port.status, port.link) = (PRESENT | BUTTON | LINK, 1 << 13));
        let mut native = fake.native();
        native.listen(&fake, is_served);
        let told = (!is_served).then_some(Notice::Arrived);
        assert_eq!((native.poll(&fake, later()), native.is_on()), (told, is_served));
        assert_eq!(native.poll(&fake, later()), None);
    }
}

#[test]
fn what_does_not_answer_is_powered_off_and_not_tried_for_ever() {
    for (card, link, why) in [
        (0xffff_0001, 1 << 13, LinkError::Silent),
        (u32::MAX, 1 << 13, LinkError::Silent),
        (1, 0, LinkError::Down),
    ] {
        let fake = Fake::new();
        let mut native = fake.native();
        native.listen(&fake, false);
        fake.plug();
        fake.set(|port| (port.card, port.link) = (card, link));
        assert_eq!(native.poll(&fake, now()), Some(Notice::Arrived));
        assert_eq!(native.power_on(&fake, 1), Err(why));
        assert_eq!((fake.power(), native.poll(&fake, later())), (OFF, None));
        // Another one may.
        fake.pull();
        assert_eq!(native.poll(&fake, now()), None);
        fake.plug();
        fake.set(|port| port.card = 0x10d3_8086);
        assert_eq!(native.poll(&fake, now()), Some(Notice::Arrived));
        assert_eq!(native.power_on(&fake, 1), Ok(()));
    }
}

#[test]
fn commands_that_never_complete_are_done_all_the_same() {
    let (fake, mut native) = Fake::served();
    fake.set(|port| port.completes = false);
    native.power_off(&fake);
    assert_eq!((fake.power(), native.is_on()), (OFF, false));
    // Such a slot may say beforehand that it tells nothing; then nobody waits.
    let fake = Fake::new();
    fake.set(|port| (port.completes, port.capabilities) = (false, port.capabilities | 1 << 18));
    let before = now();
    fake.native().listen(&fake, false);
    assert!(now().saturating_since(before) < Duration::from_millis(900));
}

#[test]
fn events_without_end_are_not_waited_for() {
    struct Stuck(Fake);
    impl ConfigSpace for Stuck {
        fn read(&self, address: Address, offset: u16) -> u32 {
            self.0.read(address, offset)
        }
        fn write(&self, address: Address, offset: u16, value: u32) {
            self.0.write(address, offset, value);
        }
        fn write_half(&self, address: Address, offset: u16, value: u16) {
            self.0.write_half(address, offset, value);
            self.0.set(|port| port.status |= COMPLETED);
        }
    }
    let (fake, mut native) = Fake::served();
    let stuck = Stuck(fake);
    assert_eq!(native.poll(&stuck, now()), None);
    stuck.0.press();
    assert_eq!(native.poll(&stuck, now()), Some(Notice::Pressed));
}

#[test]
fn a_port_that_is_gone_takes_its_card_with_it() {
    let (fake, mut native) = Fake::served();
    fake.set(|port| port.answers = false);
    assert_eq!(native.poll(&fake, now()), Some(Notice::Gone));
    assert_eq!(native.poll(&fake, later()), None);
    assert_eq!(native.power_on(&fake, 1), Err(LinkError::NoPort));
}

#[test]
fn a_port_without_hot_plug_is_none() {
    let fake = Fake::new();
    fake.set(|port| port.capabilities &= !(1 << 6));
    let function = fake.function();
    assert!(Native::of(&fake, &function).is_none());
    assert!(Native::root_port(&fake, &function).is_some());
    fake.set(|port| port.answers = false);
    assert!(Native::of(&fake, &function).is_none());
}
