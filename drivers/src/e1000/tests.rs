extern crate std;
use super::*;
use std::boxed::Box;
use std::vec;
use std::vec::Vec;

/// Registers in memory. What the card does by itself, the tests do: memory does not.
struct Fake {
    memory: Box<[u64]>,
}

impl Fake {
    fn new() -> (Self, Registers) {
        let mut memory = vec![0u64; 0x2_0000 / 8].into_boxed_slice();
        // SAFETY: the memory lives as long as the fake, which outlives the driver in every test.
        let registers =
            unsafe { Registers::new(NonNull::new(memory.as_mut_ptr().cast()).unwrap(), 0x2_0000) };
        registers.write(register::RAL0, 0x1200_5452u32);
        registers.write(register::RAH0, 0x5634u32 | RAH_AV);
        (Self { memory }, registers)
    }
    fn registers(&mut self) -> Registers {
        // SAFETY: as above.
        unsafe { Registers::new(NonNull::new(self.memory.as_mut_ptr().cast()).unwrap(), 0x2_0000) }
    }
}

/// A card whose reset bit clears as on hardware: the fake's CTRL is wiped by a helper thread while the driver waits.
fn card() -> (Fake, E1000) {
    let (fake, registers) = Fake::new();
    let card =
        with_self_clearing_reset(registers, || E1000::new(registers, MacAddr([0; 6]), Model::E1000).unwrap());
    (fake, card)
}

fn with_self_clearing_reset<R>(registers: Registers, f: impl FnOnce() -> R) -> R {
    use std::sync::atomic::{AtomicBool, Ordering};
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let value = registers.read::<u32>(register::CTRL);
                if value & CTRL_RST != 0 {
                    registers.write(register::CTRL, value & !CTRL_RST);
                }
                std::thread::yield_now();
            }
        });
        // Stops the helper even if `f` panics.
        let _stop = Stop(&stop);
        f()
    })
}

/// Puts a frame where the card would.
fn deliver(card: &mut E1000, at: usize, frame: &[u8], status: u8, errors: u8) {
    // SAFETY: the descriptor's buffer holds 2 KiB.
    unsafe {
        core::ptr::copy_nonoverlapping(frame.as_ptr(), card.rx.buffer(at).as_ptr(), frame.len());
        let descriptor = (card.rx.descriptors().lend() as *mut u8).add(at * 16 + 8);
        descriptor.cast::<u16>().write_volatile(frame.len() as u16);
        descriptor.add(5).write_volatile(errors);
        descriptor.add(4).write_volatile(status);
    }
}

/// Says that a frame was sent, as the card would.
fn sent(card: &mut E1000, at: usize) {
    // SAFETY: the descriptor's status byte.
    unsafe { (card.tx.descriptors().lend() as *mut u8).add(at * 16 + 12).write_volatile(DONE) };
}

fn take(card: &mut E1000) -> Option<Vec<u8>> {
    let frame = card.receive()?;
    // SAFETY: the frame is ours until it is recycled.
    let bytes = unsafe { frame.data.as_ref() }.to_vec();
    card.recycle(frame);
    Some(bytes)
}

#[test]
fn the_card_is_programmed_and_named() {
    let (mut fake, card) = card();
    let registers = fake.registers();
    assert_eq!(card.link().mac, MacAddr([0x52, 0x54, 0, 0x12, 0x34, 0x56]));
    assert_eq!(registers.read::<u32>(register::RDBAL + 8), 4096);
    assert_eq!(registers.read::<u32>(register::RDBAL + 0x18), 255);
    assert_ne!(registers.read::<u32>(register::RCTL) & RCTL_EN, 0);
    assert!(!card.link_up());
    registers.write(register::STATUS, STATUS_LU);
    assert!(card.link_up());
}

#[test]
fn the_card_is_told_of_nothing_but_the_pool() {
    let (mut fake, mut card) = card();
    let registers = fake.registers();
    let look = |card: &mut E1000| {
        while card.transmit(60, &mut |_| TxMeta::default()).is_ok() {}
        for base in [register::RDBAL, register::TDBAL] {
            let [low, high, length] = [0, 4, 8].map(|offset| u64::from(registers.read::<u32>(base + offset)));
            let ring = low | high << 32;
            assert!(machine::dma::holds(ring..ring + length));
            for descriptor in (ring..ring + length).step_by(16) {
                // SAFETY: memory of the pool, which the card's driver holds.
                let buffer = unsafe { (descriptor as *const u64).read_volatile() };
                assert!(machine::dma::holds(buffer..buffer + BUFFER as u64));
            }
        }
    };
    look(&mut card);
    with_self_clearing_reset(registers, || card.quiesce().unwrap());
    card.resume().unwrap();
    look(&mut card);
}

#[test]
fn frames_arrive_in_order_round_the_ring_and_bad_ones_are_dropped() {
    let (mut fake, mut card) = card();
    for round in 0..600usize {
        deliver(&mut card, round % DESCRIPTORS, &[round as u8; 60], DONE | END_OF_PACKET, 0);
        assert_eq!(take(&mut card).unwrap(), [round as u8; 60]);
        assert_eq!(fake.registers().read::<u32>(register::RDBAL + 0x18), (round % DESCRIPTORS) as u32);
    }
    let at = 600 % DESCRIPTORS;
    deliver(&mut card, at, &[1; 60], DONE, 0);
    deliver(&mut card, at + 1, &[2; 60], DONE | END_OF_PACKET, 0x10);
    deliver(&mut card, at + 2, &[3; 60], DONE | END_OF_PACKET, 0);
    assert_eq!(take(&mut card).unwrap(), [3; 60]);
    assert!(take(&mut card).is_none());
}

#[test]
fn a_full_ring_says_so_and_is_reclaimed() {
    let (mut fake, mut card) = card();
    let send = |card: &mut E1000| {
        card.transmit(60, &mut |frame| {
            frame.fill(5);
            TxMeta::default()
        })
    };
    for _ in 0..DESCRIPTORS - 1 {
        send(&mut card).unwrap();
    }
    assert_eq!(send(&mut card), Err(TransmitError::Full));
    assert_eq!(card.transmit(MAX_FRAME + 1, &mut |_| TxMeta::default()), Err(TransmitError::TooLong));
    card.flush();
    assert_eq!(fake.registers().read::<u32>(register::TDBAL + 0x18), 255);
    assert!(!card.can_transmit());
    assert_eq!(fake.registers().read::<u32>(register::IMS), CAUSE_TRANSMIT);
    sent(&mut card, 0);
    assert!(card.can_transmit());
    send(&mut card).unwrap();
    assert_eq!(send(&mut card), Err(TransmitError::Full));
}

#[test]
fn the_cycle_keeps_the_address_and_refuses_foreign_state() {
    let (mut fake, mut card) = card();
    let registers = fake.registers();
    with_self_clearing_reset(registers, || card.quiesce().unwrap());
    assert!(card.receive().is_none());
    assert_eq!(card.quiesce(), Err(LifecycleError::WrongState(DeviceState::Quiesced)));
    let mut state = card.export().unwrap();
    state.payload[5] = 0x99;
    card.import(&state).unwrap();
    card.resume().unwrap();
    assert_eq!(registers.read::<u32>(register::RAH0) & 0xffff, 0x9934);
    with_self_clearing_reset(registers, || card.quiesce().unwrap());
    // What the predecessor could do more is for the network to do without.
    state.payload[8] = 7;
    card.import(&state).unwrap();
    state.payload[8] = 8;
    assert_eq!(card.import(&state), Err(LifecycleError::Malformed("offloads")));
    state.kind.version = 2;
    assert_eq!(card.import(&state), Err(LifecycleError::ForeignState(state.kind)));
    with_self_clearing_reset(registers, || card.halt());
    assert_eq!(card.resume(), Err(LifecycleError::WrongState(DeviceState::Halted)));
}

#[test]
fn a_card_that_does_not_reset_is_refused_and_interrupts_are_told_apart() {
    let (_fake, registers) = Fake::new();
    assert_eq!(E1000::new(registers, MacAddr([0; 6]), Model::E1000).err(), Some(E1000Error::Reset));
    registers.write(register::ICR, 0u32);
    assert!(!acknowledge(&registers));
    registers.write(register::ICR, 0x80u32);
    assert!(acknowledge(&registers));
    assert_eq!(registers.read::<u32>(register::IMC), u32::MAX);
}

#[test]
fn a_frame_dropped_behind_one_still_held_does_not_give_that_one_away() {
    let (mut fake, mut card) = card();
    deliver(&mut card, 0, &[1; 60], DONE | END_OF_PACKET, 0);
    deliver(&mut card, 1, &[2; 60], DONE | END_OF_PACKET, 1);
    let held = card.receive().unwrap();
    assert!(card.receive().is_none());
    assert_eq!(fake.registers().read::<u32>(register::RDBAL + 0x18), 255, "nothing is given back");
    card.recycle(held);
    assert_eq!(fake.registers().read::<u32>(register::RDBAL + 0x18), 1);
}

#[test]
fn a_frame_over_several_buffers_is_dropped_to_its_end() {
    let (_fake, mut card) = card();
    deliver(&mut card, 0, &[1; 2048], DONE, 0);
    deliver(&mut card, 1, &[1; 100], DONE | END_OF_PACKET, 0);
    deliver(&mut card, 2, &[2; 60], DONE | END_OF_PACKET, 0);
    assert_eq!(take(&mut card).unwrap(), [2; 60]);
    assert!(take(&mut card).is_none());
}

#[test]
fn a_frame_held_over_a_pause_is_not_given_back_into_the_new_ring() {
    let (mut fake, mut card) = card();
    let registers = fake.registers();
    deliver(&mut card, 0, &[1; 60], DONE | END_OF_PACKET, 0);
    let old = card.receive().unwrap();
    with_self_clearing_reset(registers, || card.quiesce().unwrap());
    card.resume().unwrap();
    deliver(&mut card, 0, &[2; 60], DONE | END_OF_PACKET, 0);
    let new = card.receive().unwrap();
    card.recycle(old);
    assert_eq!(registers.read::<u32>(register::RDBAL + 0x18), 255);
    card.recycle(new);
    assert_eq!(registers.read::<u32>(register::RDBAL + 0x18), 0);
}

#[test]
fn allowing_interrupts_tells_of_frames_and_of_room() {
    let (mut fake, mut card) = card();
    assert!(!card.set_interrupts(true));
    assert_eq!(fake.registers().read::<u32>(register::IMS), CAUSE_RECEIVE);
    deliver(&mut card, 0, &[1; 60], DONE | END_OF_PACKET, 0);
    assert!(!card.set_interrupts(false));
    assert!(card.set_interrupts(true));
    take(&mut card).unwrap();
    while card.transmit(60, &mut |_| TxMeta::default()).is_ok() {}
    card.flush();
    assert!(!card.set_interrupts(true));
    assert_eq!(fake.registers().read::<u32>(register::IMS), CAUSE_RECEIVE | CAUSE_TRANSMIT);
    sent(&mut card, 0);
    assert!(card.set_interrupts(true));
}

#[test]
fn quiescing_sends_what_is_queued_first() {
    let (mut fake, mut card) = card();
    let registers = fake.registers();
    card.transmit(60, &mut |_| TxMeta::default()).unwrap();
    sent(&mut card, 0);
    with_self_clearing_reset(registers, || card.quiesce().unwrap());
    assert_eq!(registers.read::<u32>(register::TDBAL + 0x18), 1, "the card was told");
    assert_eq!(card.tx_oldest, 1, "and waited for");
}

#[test]
fn the_82574_keeps_its_vectors_over_a_pause() {
    let (mut fake, registers) = Fake::new();
    let mut card = with_self_clearing_reset(registers, || {
        E1000::new(registers, MacAddr([0; 6]), Model::E1000e).unwrap()
    });
    with_self_clearing_reset(registers, || card.quiesce().unwrap());
    fake.registers().write(register::IVAR, 0u32);
    card.resume().unwrap();
    assert_eq!(registers.read::<u32>(register::IVAR), 0x8008_8888);
    assert_eq!(registers.read::<u32>(register::CTRL) & CTRL_MASTER_DISABLE, 0);
    // The card goes before the memory that stands for it.
    with_self_clearing_reset(registers, || drop(card));
}
