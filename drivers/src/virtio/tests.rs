extern crate std;
use super::block::VirtioBlock;
use super::fake::Fake;
use super::net::VirtioNet;
use super::*;
use crate::block::Completion;
use alloc::boxed::Box;
use drivers_api::{
    BlockDevice, BlockError, Checksum, Device, DeviceState, LifecycleError, NetDevice, TransmitError,
    TxChecksum, TxMeta,
};
use proptest::prelude::*;
use std::string::ToString;
use std::time::Duration;
use std::vec;
use std::vec::Vec;

const OFFLOADS: u64 = 0b1_1001_1000_0011 | 1 << 15 | 1 << 5 | 1 << 29;

fn net() -> (Fake, VirtioNet) {
    let fake = Fake::new(device_type::NETWORK, OFFLOADS, 8, vec![2, 0, 0, 0, 0, 7, 1, 0]);
    let device = VirtioNet::new(Box::new(fake.clone())).unwrap();
    (fake, device)
}

/// Delivers a packet as the device does with MRG_RXBUF: filling buffer after buffer.
fn deliver(fake: &Fake, packet: &[u8], flags: u8) {
    let mut bytes = vec![0u8; 12];
    bytes[0] = flags;
    bytes.extend_from_slice(packet);
    let mut parts = Vec::new();
    while !bytes.is_empty() {
        let (id, buffers) = fake.take(0).expect("a receive buffer");
        let length = bytes.len().min(buffers[0].1 as usize);
        let rest = bytes.split_off(length);
        parts.push((id, buffers[0].0, bytes));
        bytes = rest;
    }
    let count = parts.len() as u16;
    parts[0].2[10..12].copy_from_slice(&count.to_le_bytes());
    for (id, address, part) in &parts {
        fake.write(*address, part);
        fake.give(0, u32::from(*id), part.len() as u32);
    }
}

fn content(device: &mut VirtioNet) -> Option<(Vec<u8>, Checksum)> {
    let frame = device.receive()?;
    // SAFETY: the frame is ours until it is recycled.
    let bytes = unsafe { frame.data.as_ref() }.to_vec();
    let checksum = frame.checksum;
    device.recycle(frame);
    device.flush();
    Some((bytes, checksum))
}

proptest! {
    /// Packets of all lengths arrive whole, however they wrap around the ring.
    #[test]
    fn packets_arrive_whole(lengths in proptest::collection::vec(1usize..25_000, 1..60)) {
        let (fake, mut device) = net();
        for (number, length) in lengths.into_iter().enumerate() {
            let packet: Vec<u8> = (0..length).map(|at| (at * 7 + number) as u8).collect();
            deliver(&fake, &packet, if number % 2 == 0 { 1 } else { 0 });
            let (bytes, checksum) = content(&mut device).unwrap();
            prop_assert_eq!(bytes, packet);
            prop_assert_eq!(checksum == Checksum::Good, number % 2 == 0);
        }
    }

    /// Whatever a device returns, the driver neither panics nor reads beyond its buffers.
    #[test]
    fn a_lying_device_is_left_alone(
        lies in proptest::collection::vec((0u32..20, any::<u32>(), any::<u16>()), 1..20),
    ) {
        let (fake, mut device) = net();
        for (id, length, count) in lies {
            if let Some((_, buffers)) = fake.take(0) {
                fake.write(buffers[0].0 + 10, &count.to_le_bytes());
            }
            fake.give(0, id, length);
            if let Some((bytes, _)) = content(&mut device) {
                prop_assert!(bytes.len() <= 65549);
            }
        }
        let _ = device.transmit(100, &mut |_| TxMeta::default());
        fake.give(1, 77, 0);
        let _ = device.can_transmit();
    }
}

#[test]
fn transmission_fills_the_header_and_reclaims() {
    let (fake, mut device) = net();
    let meta = TxMeta { checksum: Some(TxChecksum { start: 34, offset: 16 }), segmentation: None };
    for round in 0..40u8 {
        device
            .transmit(60, &mut |frame| {
                frame.fill(round);
                meta
            })
            .unwrap();
        device.flush();
        let (id, buffers) = fake.take(1).unwrap();
        let bytes = fake.read(buffers[0].0, buffers[0].1);
        assert_eq!(bytes[..12], [1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0]);
        assert_eq!(bytes[12..], vec![round; 60]);
        fake.give(1, u32::from(id), 0);
    }
    let mut sent = 0;
    while device.transmit(60, &mut |_| TxMeta::default()).is_ok() {
        sent += 1;
    }
    assert_eq!(sent, 8);
    assert_eq!(device.transmit(60, &mut |_| TxMeta::default()), Err(TransmitError::Full));
    assert_eq!(device.transmit(70_000, &mut |_| TxMeta::default()), Err(TransmitError::TooLong));
    assert!(!device.can_transmit());
    device.flush();
    let (id, _) = fake.take(1).unwrap();
    fake.give(1, u32::from(id), 0);
    assert!(device.can_transmit());
}

#[test]
fn the_network_card_lives_through_its_cycle() {
    let (fake, mut device) = net();
    assert_eq!(device.link().mac.0, [2, 0, 0, 0, 0, 7]);
    assert!(device.link().offloads.tso4 && device.link_up());
    let state = device.export().unwrap();
    deliver(&fake, b"before", 0);
    device.quiesce().unwrap();
    assert!(device.receive().is_none());
    assert_eq!(device.transmit(60, &mut |_| TxMeta::default()), Err(TransmitError::NotRunning));
    assert_eq!(device.export().unwrap(), state);
    let mut other = state.clone();
    other.kind.version = 9;
    assert_eq!(device.import(&other), Err(LifecycleError::ForeignState(other.kind)));
    other = state.clone();
    other.payload.pop();
    assert_eq!(device.import(&other), Err(LifecycleError::Malformed("length")));
    device.import(&state).unwrap();
    device.resume().unwrap();
    deliver(&fake, b"after", 0);
    assert_eq!(content(&mut device).unwrap().0, b"after");
    device.halt();
    assert_eq!(device.resume(), Err(LifecycleError::WrongState(DeviceState::Halted)));
    assert_eq!(fake.0.lock().unwrap().status, 0);
}

#[test]
fn another_address_is_taken_where_the_device_can() {
    let mac = [2, 0, 0, 0, 0, 9];
    let other = |device: &VirtioNet| {
        let mut state = device.export().unwrap();
        state.payload[..6].copy_from_slice(&mac);
        state
    };
    let (_, mut without) = net();
    without.quiesce().unwrap();
    without.import(&other(&without)).unwrap();
    assert_eq!(without.link().mac.0, [2, 0, 0, 0, 0, 7], "it keeps its own");

    let fake = Fake::new(device_type::NETWORK, OFFLOADS | 1 << 17 | 1 << 23, 8, vec![2, 0, 0, 0, 0, 7, 1, 0]);
    let mut device = VirtioNet::new(Box::new(fake.clone())).unwrap();
    device.quiesce().unwrap();
    device.import(&other(&device)).unwrap();
    assert_eq!(device.resume(), Err(LifecycleError::Timeout), "it does not answer");
    assert_eq!((device.state(), fake.0.lock().unwrap().status), (DeviceState::Quiesced, 0));
    fake.0.lock().unwrap().obeys = Some(1);
    assert_eq!(device.resume(), Err(LifecycleError::Malformed("mac")));
    fake.0.lock().unwrap().obeys = Some(0);
    // Where its host is busy it may take long.
    fake.0.lock().unwrap().hesitates = Duration::from_millis(300);
    device.resume().unwrap();
    assert_eq!(device.link().mac.0, mac);
    let expected = vec![1, 1, 2, 0, 0, 0, 0, 9];
    assert_eq!(fake.0.lock().unwrap().commands, [expected.clone(), expected]);
    deliver(&fake, b"after", 0);
    assert_eq!(content(&mut device).unwrap().0, b"after");
}

#[test]
fn refusals_are_named() {
    let without_merging = Fake::new(device_type::NETWORK, 0, 8, vec![]);
    assert_eq!(VirtioNet::new(Box::new(without_merging)).err(), Some(VirtioError::Features));
    let disk = Fake::new(device_type::BLOCK, 0, 8, vec![]);
    assert_eq!(VirtioNet::new(Box::new(disk)).err(), Some(VirtioError::WrongDevice));
    let (fake, device) = net();
    drop(device);
    fake.0.lock().unwrap().refuses_features = true;
    assert_eq!(VirtioNet::new(Box::new(fake.clone())).err(), Some(VirtioError::Features));
    fake.0.lock().unwrap().offered &= !feature::VERSION_1;
    assert_eq!(VirtioNet::new(Box::new(fake)).err(), Some(VirtioError::Legacy));
}

/// Serves a disk in memory until the driver's side is dropped.
fn serve_disk(fake: Fake, sectors: usize) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut disk = vec![0u8; sectors * 512];
        while std::sync::Arc::strong_count(&fake.0) > 1 {
            let Some((id, buffers)) = fake.take(0) else {
                std::thread::yield_now();
                continue;
            };
            let header = fake.read(buffers[0].0, 16);
            let kind = header[0];
            let at = u64::from_le_bytes(header[8..16].try_into().unwrap()) as usize * 512;
            let mut status = 0;
            match (kind, buffers.len()) {
                (0, 3) => fake.write(buffers[1].0, &disk[at..at + buffers[1].1 as usize]),
                (1, 3) => disk[at..at + buffers[1].1 as usize]
                    .copy_from_slice(&fake.read(buffers[1].0, buffers[1].1)),
                (4, 2) => {}
                (8, 3) => fake.write(buffers[1].0, b"qs-1"),
                _ => status = 2,
            }
            fake.write(buffers.last().unwrap().0, &[status]);
            fake.give(0, u32::from(id), 1);
        }
        disk
    })
}

#[test]
fn a_disk_reads_what_was_written() {
    let sectors = 1000u64;
    let fake = Fake::new(device_type::BLOCK, 1 << 9, 8, sectors.to_le_bytes().to_vec());
    // The fake raises no interrupts, so the driver must find entries that came before it slept.
    let completion = Completion::default();
    let mut disk = VirtioBlock::new(Box::new(fake.clone()), completion.clone()).unwrap();
    let server = serve_disk(fake, sectors as usize);
    let waker = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let running = waker.clone();
    let interrupts = std::thread::spawn(move || {
        while running.load(std::sync::atomic::Ordering::Relaxed) {
            completion.notify();
            std::thread::yield_now();
        }
    });
    let data: Vec<u8> = (0..300 * 512).map(|at| (at / 100) as u8).collect();
    disk.write(7, &data).unwrap();
    disk.flush().unwrap();
    let mut back = vec![0; data.len()];
    disk.read(7, &mut back).unwrap();
    assert_eq!(back, data);
    assert_eq!(disk.identity().unwrap().to_string(), "serial number qs-1");
    assert_eq!(disk.read(999, &mut back[..1024]), Err(BlockError::OutOfRange));
    assert_eq!(disk.read(0, &mut back[..100]), Err(BlockError::OutOfRange));
    assert_eq!(disk.write(u64::MAX, &back[..512]), Err(BlockError::OutOfRange));
    disk.quiesce().unwrap();
    assert_eq!(disk.read(0, &mut back[..512]), Err(BlockError::NotRunning));
    let state = disk.export().unwrap();
    disk.import(&state).unwrap();
    let mut foreign = state;
    foreign.payload[0] ^= 1;
    assert_eq!(disk.import(&foreign), Err(LifecycleError::Malformed("sectors")));
    disk.resume().unwrap();
    disk.read(7, &mut back[..512]).unwrap();
    assert_eq!(back[..512], data[..512]);
    waker.store(false, std::sync::atomic::Ordering::Relaxed);
    interrupts.join().unwrap();
    drop(disk);
    assert_eq!(server.join().unwrap()[7 * 512..][..data.len()], data);
}

#[test]
fn a_disk_that_reads_as_ones_is_gone() {
    let fake = Fake::new(device_type::BLOCK, 0, 8, 1000u64.to_le_bytes().to_vec());
    let completion = Completion::default();
    let mut disk = VirtioBlock::new(Box::new(fake.clone()), completion.clone()).unwrap();
    fake.0.lock().unwrap().status = status::ABSENT;
    assert_eq!(disk.read(0, &mut [0; 512]), Err(BlockError::Gone));
    assert!(completion.is_gone());
    assert_eq!(disk.read(0, &mut [0; 512]), Err(BlockError::Gone));
    let resets = fake.0.lock().unwrap().resets;
    assert_eq!(disk.quiesce(), Ok(()));
    assert_eq!(disk.resume(), Err(LifecycleError::Gone));
    drop(disk);
    assert_eq!(fake.0.lock().unwrap().resets, resets);
}

#[test]
fn a_disk_with_larger_sectors_is_refused() {
    let with = |size: u32| {
        let mut config = vec![0; 24];
        config[..8].copy_from_slice(&1000u64.to_le_bytes());
        config[20..].copy_from_slice(&size.to_le_bytes());
        let fake = Fake::new(device_type::BLOCK, 1 << 6, 8, config);
        VirtioBlock::new(Box::new(fake), Completion::default()).err()
    };
    assert_eq!(with(512), None);
    assert_eq!(with(4096), Some(VirtioError::SectorSize(4096)));
}
