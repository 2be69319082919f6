use super::*;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use drivers_api::{BlockGeometry, Device, DeviceState, ExportedState, LifecycleError};
use std::sync::{Arc, Mutex};

/// A disk that is pulled out after so many requests.
struct Pulled {
    disk: Arc<Mutex<FakeDisk>>,
    requests: usize,
}

impl Pulled {
    fn ask<R>(&mut self, f: impl FnOnce(&mut FakeDisk) -> Result<R, BlockError>) -> Result<R, BlockError> {
        self.requests = self.requests.checked_sub(1).ok_or(BlockError::Gone)?;
        f(&mut self.disk.lock().unwrap())
    }
}

impl Device for Pulled {
    fn name(&self) -> &'static str {
        "pulled"
    }
    fn state(&self) -> DeviceState {
        DeviceState::Running
    }
    fn quiesce(&mut self) -> Result<(), LifecycleError> {
        Ok(())
    }
    fn export(&self) -> Result<ExportedState, LifecycleError> {
        Err(LifecycleError::WrongState(DeviceState::Running))
    }
    fn import(&mut self, _: &ExportedState) -> Result<(), LifecycleError> {
        Err(LifecycleError::WrongState(DeviceState::Running))
    }
    fn resume(&mut self) -> Result<(), LifecycleError> {
        Ok(())
    }
    fn halt(&mut self) {}
    fn abandon(&mut self) {}
}

impl BlockDevice for Pulled {
    fn geometry(&self) -> BlockGeometry {
        self.disk.lock().unwrap().geometry()
    }
    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> Result<(), BlockError> {
        self.ask(|disk| disk.read(sector, buffer))
    }
    fn write(&mut self, sector: u64, buffer: &[u8]) -> Result<(), BlockError> {
        self.ask(|disk| disk.write(sector, buffer))
    }
    fn flush(&mut self) -> Result<(), BlockError> {
        self.ask(|disk| disk.flush())
    }
}

/// What is plugged in, one after another; then the time is over.
#[derive(Default)]
struct Plugged {
    disks: VecDeque<Pulled>,
    rejected: Arc<Mutex<usize>>,
    gone: Arc<Mutex<usize>>,
}

impl Replacements for Plugged {
    fn is_gone(&mut self) {
        *self.gone.lock().unwrap() += 1;
    }
    fn next(&mut self) -> Option<Box<dyn BlockDevice>> {
        self.disks.pop_front().map(|disk| Box::new(disk) as _)
    }
    fn reject(&mut self, _: Box<dyn BlockDevice>) {
        *self.rejected.lock().unwrap() += 1;
    }
}

fn shared() -> Arc<Mutex<FakeDisk>> {
    Arc::new(Mutex::new(old()))
}

/// The first read is that of who it is.
fn pulled_after(disk: &Arc<Mutex<FakeDisk>>, requests: usize) -> Pulled {
    Pulled { disk: Arc::clone(disk), requests: requests + 1 }
}

#[test]
fn requests_go_on_when_the_disk_is_back() {
    let disk = shared();
    let plugged =
        Plugged { disks: [pulled_after(&disk, 1), pulled_after(&disk, 9)].into(), ..Plugged::default() };
    let gone = Arc::clone(&plugged.gone);
    let mut waiting = Waiting::new(Box::new(pulled_after(&disk, 1)), plugged).unwrap();
    let mut buffer = vec![0; SECTOR];
    for sector in HEAD..HEAD + 5 {
        waiting.read(sector, &mut buffer).unwrap();
        assert_eq!(buffer[..8], sector.to_le_bytes());
    }
    assert_eq!(*gone.lock().unwrap(), 2);
    assert_eq!(waiting.flush(), Ok(()), "nothing was written");
}

#[test]
fn what_was_not_flushed_is_told_once() {
    let disk = shared();
    let plugged = Plugged { disks: [pulled_after(&disk, 9)].into(), ..Plugged::default() };
    let mut waiting = Waiting::new(Box::new(pulled_after(&disk, 3)), plugged).unwrap();
    waiting.write(HEAD, &[1; SECTOR]).unwrap();
    waiting.flush().unwrap();
    waiting.write(HEAD, &[2; SECTOR]).unwrap();
    // Pulled out here: this one is made again, the one before is perhaps lost.
    waiting.write(HEAD + 1, &[3; SECTOR]).unwrap();
    assert_eq!(waiting.flush(), Err(BlockError::Gone));
    assert_eq!(waiting.flush(), Ok(()));
}

#[test]
fn after_the_time_each_request_ends_once() {
    let disk = shared();
    let mut waiting = Waiting::new(Box::new(pulled_after(&disk, 0)), Plugged::default()).unwrap();
    for _ in 0..3 {
        assert_eq!(waiting.read(HEAD, &mut [0; SECTOR]), Err(BlockError::Gone));
    }
    assert_eq!(waiting.state(), DeviceState::Halted);
    assert_eq!(waiting.geometry().sectors, SECTORS);
}

#[test]
fn another_disk_is_not_taken() {
    let disk = shared();
    let larger = Arc::new(Mutex::new(disk_of(SECTORS + 1, PARTITION)));
    let other = Arc::new(Mutex::new(disk_of(SECTORS, PARTITION - 1)));
    let disks = [pulled_after(&larger, 9), pulled_after(&other, 9), pulled_after(&disk, 9)].into();
    let plugged = Plugged { disks, ..Plugged::default() };
    let rejected = Arc::clone(&plugged.rejected);
    let mut waiting = Waiting::new(Box::new(pulled_after(&disk, 0)), plugged).unwrap();
    waiting.write(HEAD, &[1; SECTOR]).unwrap();
    assert_eq!(*rejected.lock().unwrap(), 2);
    assert!(larger.lock().unwrap().operations.is_empty() && other.lock().unwrap().operations.is_empty());
    assert_eq!(disk.lock().unwrap().operations.len(), 1);
}
