extern crate std;
use super::controller::{CC_EN, CC_RUN, CSTS_RDY, register};
use super::fake::{Fake, LENGTH, Model, controller_page, namespace_page};
use super::*;
use drivers_api::{BlockDevice, Device, DeviceState};
use machine::time::Duration;
use proptest::prelude::*;
use std::string::ToString;
use std::vec;
use std::vec::Vec;

/// What a test waits for that waits in vain; all else has to be done by then.
const SHORT: Duration = Duration::from_secs(3);

fn fake(model: Model) -> Fake {
    Fake::new(model, 0, 64, Completion::default())
}

fn pattern(seed: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + at / 512 + seed * 7) as u8).collect()
}

fn refused(model: Model) -> Option<NvmeError> {
    fake(model).disk().err()
}

#[test]
fn a_controller_is_brought_up_and_named() {
    let fake = fake(Model::default());
    let mut disk = fake.disk().unwrap();
    assert_eq!((disk.name(), disk.state()), ("nvme", DeviceState::Running));
    assert_eq!(disk.geometry(), BlockGeometry { sectors: 512, read_only: false });
    assert_eq!(disk.identity().unwrap().to_string(), "Fake Drive, serial number S-0042");
    let opcodes = [admin::IDENTIFY; 3].into_iter().chain([
        admin::SET_FEATURES,
        admin::CREATE_COMPLETION_QUEUE,
        admin::CREATE_SUBMISSION_QUEUE,
    ]);
    assert!(fake.model().seen.iter().copied().eq(opcodes.map(|opcode| (0, opcode))));
}

/// Firmware may leave it running.
#[test]
fn a_running_controller_is_reset_first() {
    let fake = fake(Model::default());
    drop(fake.disk().unwrap());
    let mut left = fake.disk().unwrap();
    left.abandon();
    drop(left);
    assert_eq!(fake.registers.read::<u32>(register::CC), CC_RUN);
    let mut disk = fake.disk().unwrap();
    disk.write(0, &[1; 512]).unwrap();
    drop(disk);
    assert_eq!(fake.registers.read::<u32>(register::CC) & CC_EN, 0);
    assert_eq!(fake.registers.read::<u32>(register::CSTS) & CSTS_RDY, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever is asked for lands where it should, and nothing else changes: in one, two and many pages, with queues and transfers of all
    /// sizes.
    #[test]
    fn data_lands_where_it_should(
        requests in proptest::collection::vec((any::<bool>(), 0u64..400, 1usize..280), 1..30),
        transfer in 0u8..6,
        stride in 0u64..4,
        entries in 2u64..20,
    ) {
        let model = Model { transfer, ..Model::default() };
        let fake = Fake::new(model, stride, entries, Completion::default());
        let mut disk = fake.disk().unwrap();
        let mut expected = fake.model().disk.clone();
        for (number, (is_write, sector, sectors)) in requests.into_iter().enumerate() {
            let (start, length) = (sector as usize * SECTOR, sectors * SECTOR);
            let mut bytes = pattern(number, length);
            if start + length > expected.len() {
                prop_assert_eq!(disk.write(sector, &bytes), Err(BlockError::OutOfRange));
                prop_assert_eq!(disk.read(sector, &mut bytes), Err(BlockError::OutOfRange));
            } else if is_write {
                disk.write(sector, &bytes).unwrap();
                expected[start..start + length].copy_from_slice(&bytes);
            } else {
                disk.read(sector, &mut bytes).unwrap();
                prop_assert!(bytes == expected[start..start + length]);
            }
            prop_assert!(fake.model().disk == expected);
        }
    }

    /// Whatever a controller tells of itself is read or refused.
    #[test]
    fn any_page_is_read(page in proptest::collection::vec(any::<u8>(), 4096), exponent in any::<u8>()) {
        let mut page = page;
        let limit = ControllerPage::read(&page).limit;
        prop_assert!((SECTOR..=Buffer::LENGTH).contains(&limit) && limit.is_multiple_of(SECTOR));
        let _ = identify::first_namespace(&page);
        let format = 128 + 4 * usize::from(page[26] & 15);
        page[format + 2] = exponent;
        if let Ok(geometry) = identify::geometry(&page) {
            prop_assert!(exponent == 9 && geometry.sectors > 0);
        }
    }
}

#[test]
fn pages_are_as_large_as_they_say() {
    for (transfer, limit) in [(0, 64), (1, 8), (3, 32), (4, 64), (5, 64), (255, 64)] {
        let page = controller_page(&Model { transfer, ..Model::default() });
        assert_eq!(ControllerPage::read(&page).limit, limit * 1024, "{transfer}");
    }
    let page = namespace_page(&Model::default());
    assert_eq!(identify::geometry(&page), Ok(BlockGeometry { sectors: 512, read_only: false }));
}

#[test]
fn bounds_are_kept() {
    let fake = fake(Model::default());
    let mut disk = fake.disk().unwrap();
    let mut two = [0; 1024];
    assert_eq!(disk.read(511, &mut two), Err(BlockError::OutOfRange));
    assert_eq!(disk.read(0, &mut two[..100]), Err(BlockError::OutOfRange));
    assert_eq!(disk.write(u64::MAX, &two), Err(BlockError::OutOfRange));
    assert_eq!(disk.read(510, &mut two), Ok(()));
    assert_eq!(disk.read(512, &mut []), Ok(()));
}

#[test]
fn a_flush_is_for_caches() {
    for has_cache in [true, false] {
        let fake = fake(Model { has_cache, ..Model::default() });
        let mut disk = fake.disk().unwrap();
        disk.write(0, &[1; 512]).unwrap();
        disk.flush().unwrap();
        assert_eq!(fake.model().seen.contains(&(1, nvm::FLUSH)), has_cache);
        disk.halt();
        assert_eq!(disk.flush(), Err(BlockError::NotRunning));
    }
}

#[test]
fn a_protected_disk_is_not_written() {
    let fake = fake(Model { is_protected: true, ..Model::default() });
    let mut disk = fake.disk().unwrap();
    assert!(disk.geometry().read_only);
    assert_eq!(disk.write(0, &[1; 512]), Err(BlockError::ReadOnly));
    assert!(!fake.model().seen.contains(&(1, nvm::WRITE)));
    disk.read(0, &mut [0; 512]).unwrap();
}

#[test]
fn errors_are_told_apart_and_end_one_request() {
    let fake = fake(Model::default());
    let mut disk = fake.disk().unwrap();
    // Status code from bit 0, its type from bit 8; do not retry, and more.
    for (status, error) in [
        (0x080, BlockError::OutOfRange),
        (0x020, BlockError::ReadOnly),
        (0x182, BlockError::ReadOnly),
        (0x006, BlockError::Io),
        (0x282, BlockError::Io),
        (0x281 | 1 << 14, BlockError::Io),
        (0x7ff | 1 << 13, BlockError::Io),
    ] {
        fake.model().fails = Some((1, nvm::WRITE, status));
        assert_eq!(disk.write(0, &[1; 512]), Err(error), "{status:x}");
        disk.read(0, &mut [0; 512]).unwrap();
    }
    assert!(fake.model().disk.iter().all(|byte| *byte == 0));
    fake.model().fails = Some((1, nvm::FLUSH, 0x006));
    assert_eq!(disk.flush(), Err(BlockError::Io));
}

#[test]
fn what_can_not_be_used_is_refused_by_name() {
    let model = Model::default;
    assert_eq!(refused(Model { sector: 12, ..model() }), Some(NvmeError::SectorSize(4096)));
    assert_eq!(refused(Model { metadata: 8, ..model() }), Some(NvmeError::Metadata(8)));
    assert_eq!(refused(Model { has_namespace: false, ..model() }), Some(NvmeError::NoNamespace));
    assert_eq!(refused(Model { disk: Vec::new(), ..model() }), Some(NvmeError::NoNamespace));
    let status = |kind, code| Some(NvmeError::Refused(Status { kind, code }));
    for opcode in [admin::IDENTIFY, admin::SET_FEATURES, admin::CREATE_SUBMISSION_QUEUE] {
        assert_eq!(refused(Model { fails: Some((0, opcode, 0x102)), ..model() }), status(1, 2));
    }
    assert_eq!(refused(Model { lie: 1, ..model() }), Some(NvmeError::Protocol));
    let fake = fake(model());
    let with = |capabilities: u64| {
        fake.registers.write(register::CAP, capabilities);
        fake.disk().err()
    };
    assert_eq!(with(63), Some(NvmeError::CommandSet));
    assert_eq!(with(63 | 1 << 37 | 2 << 48), Some(NvmeError::PageSize(16384)));
    assert_eq!(with(63 | 1 << 37 | 11 << 32), Some(NvmeError::Registers));
    assert_eq!(with(u64::MAX), Some(NvmeError::Gone));
    fake.registers.write(register::CAP, 63 | 1u64 << 37);
    let few = fake.registers.part(0, 0x1008).unwrap();
    assert_eq!(Nvme::new(few, true, Completion::default()).err(), Some(NvmeError::Registers));
    // Whatever it was refused for, it is off.
    assert_eq!(fake.registers.read::<u32>(register::CC) & CC_EN, 0);
}

#[test]
fn a_controller_that_never_gets_ready_is_given_up() {
    assert_eq!(refused(Model { gets_ready: false, ..Model::default() }), Some(NvmeError::Timeout));
}

#[test]
fn a_request_without_an_end_is_lost_until_a_reset() {
    let fake = Fake::new(Model::default(), 0, 64, Completion::within(SHORT));
    let mut disk = fake.disk().unwrap();
    fake.model().answers = false;
    assert_eq!(disk.write(3, &[1; 512]), Err(BlockError::Timeout));
    assert_eq!(disk.read(3, &mut [0; 512]), Err(BlockError::NotRunning));
    fake.model().answers = true;
    assert_eq!(disk.flush(), Err(BlockError::NotRunning));
    disk.quiesce().unwrap();
    disk.resume().unwrap();
    disk.write(3, &[2; 512]).unwrap();
    assert_eq!(fake.model().disk[3 * 512..][..512], [2; 512]);
}

#[test]
fn a_removed_disk_ends_what_is_in_flight() {
    let mut fake = fake(Model::default());
    let mut disk = fake.disk().unwrap();
    fake.model().answers = false;
    let outcome = std::thread::scope(|scope| {
        let request = scope.spawn(|| {
            let outcome = disk.write(3, &vec![1; 3 * Buffer::LENGTH]);
            (outcome, disk.flush())
        });
        // The request is with the controller, which tells nobody that it goes.
        while fake.registers.read::<u32>(register::DOORBELLS + 8) == 0 {
            std::thread::yield_now();
        }
        fake.remove();
        request.join().unwrap()
    });
    assert_eq!(outcome, (Err(BlockError::Gone), Err(BlockError::Gone)));
    assert_eq!(disk.quiesce(), Ok(()));
    assert_eq!(disk.resume(), Err(LifecycleError::Gone));
    disk.halt();
    assert_eq!(disk.state(), DeviceState::Halted);
    drop(disk);
    assert_eq!(fake.disk().err(), Some(NvmeError::Gone));
}

/// Its registers may be another device's by then.
#[test]
fn a_disk_that_is_told_gone_ends_what_is_in_flight_and_touches_nothing() {
    let fake = fake(Model::default());
    let mut disk = fake.disk().unwrap();
    fake.model().answers = false;
    let outcome = std::thread::scope(|scope| {
        let request = scope.spawn(|| disk.write(3, &[1; 512]));
        while fake.registers.read::<u32>(register::DOORBELLS + 8) == 0 {
            std::thread::yield_now();
        }
        fake.completion.lose();
        request.join().unwrap()
    });
    assert_eq!(outcome, Err(BlockError::Gone));
    let submitted = fake.registers.read::<u32>(register::DOORBELLS + 8);
    fake.model().answers = true;
    assert_eq!(disk.read(3, &mut [0; 512]), Err(BlockError::Gone));
    disk.halt();
    drop(disk);
    assert_eq!(fake.registers.read::<u32>(register::CC) & CC_EN, CC_EN);
    assert_eq!(fake.registers.read::<u32>(register::DOORBELLS + 8), submitted);
}

#[test]
fn a_controller_that_gives_up_ends_what_is_in_flight() {
    let fake = fake(Model::default());
    let mut disk = fake.disk().unwrap();
    fake.give_up();
    assert_eq!(disk.read(3, &mut [0; 512]), Err(BlockError::Io));
    assert_eq!(disk.read(3, &mut [0; 512]), Err(BlockError::NotRunning));
    // A reset is what helps.
    disk.quiesce().unwrap();
    disk.resume().unwrap();
    disk.read(3, &mut [0; 512]).unwrap();
}

#[test]
fn a_lying_controller_is_left_alone() {
    let fake = fake(Model::default());
    let mut disk = fake.disk().unwrap();
    fake.model().lie = 1;
    assert_eq!(disk.read(0, &mut [0; 512]), Err(BlockError::Io));
    fake.model().lie = 0;
    assert_eq!(disk.read(0, &mut [0; 512]), Err(BlockError::NotRunning));
}

#[test]
fn without_msix_each_wait_unmasks() {
    let fake = fake(Model { has_line: true, ..Model::default() });
    let mut disk = fake.disk().unwrap();
    for sector in 0..40 {
        disk.write(sector, &pattern(sector as usize, 512)).unwrap();
    }
    assert_eq!(fake.registers.read::<u32>(register::INTMS), 1);
    assert_eq!(fake.model().disk[39 * 512..40 * 512], pattern(39, 512));
}

#[test]
fn a_disk_lives_through_its_cycle() {
    let fake = fake(Model::default());
    let mut disk = fake.disk().unwrap();
    disk.write(7, &[5; 512]).unwrap();
    let state = disk.export().unwrap();
    disk.quiesce().unwrap();
    assert_eq!(fake.registers.read::<u32>(register::CC) & CC_EN, 0);
    assert_eq!(disk.read(0, &mut [0; 512]), Err(BlockError::NotRunning));
    assert_eq!(disk.export().unwrap(), state);
    disk.import(&state).unwrap();
    let mut other = state;
    other.payload[0] ^= 1;
    assert_eq!(disk.import(&other), Err(LifecycleError::Malformed("sectors")));
    // Another disk in its place is not taken for it.
    fake.model().disk.truncate(100 * 512);
    assert_eq!(disk.resume(), Err(LifecycleError::Malformed("disk")));
    assert_eq!(disk.state(), DeviceState::Quiesced);
    assert_eq!(fake.registers.read::<u32>(register::CC) & CC_EN, 0);
    fake.model().disk.resize(512 * 512, 0);
    disk.resume().unwrap();
    let mut back = [0; 512];
    disk.read(7, &mut back).unwrap();
    assert_eq!(back, [5; 512]);
    disk.halt();
    assert_eq!(disk.resume(), Err(LifecycleError::WrongState(DeviceState::Halted)));
}

#[test]
fn an_abandoned_disk_is_not_touched() {
    let mut fake = fake(Model::default());
    let mut disk = fake.disk().unwrap();
    fake.remove();
    let marks: Vec<u64> = (0..LENGTH as u64).step_by(8).collect();
    marks.iter().for_each(|&mark| fake.registers.write(mark as usize, mark));
    disk.abandon();
    assert_eq!(disk.read(0, &mut [0; 512]), Err(BlockError::NotRunning));
    assert_eq!(disk.quiesce(), Err(LifecycleError::WrongState(DeviceState::Halted)));
    drop(disk);
    assert!(marks.iter().all(|&mark| fake.registers.read::<u64>(mark as usize) == mark));
}
