//! Disks of machines: images that are gone with their test, and what a machine says of its disks.

use std::fs;
use std::path::{Path, PathBuf};

use image_builder::checkpoint as file;
use image_builder::disk::{self, CheckpointsSize};
use serde_json::Value;

use crate::operator::{DONE, Operator};

/// Room for checkpoints.
const MEBIBYTES: u64 = 64;
/// Bytes of a sector.
pub const SECTOR: usize = 512;
/// Where the mark is that a disk was replaced.
pub const MARK: std::ops::Range<usize> = 440..444;

/// A directory with images of disks.
#[derive(Debug)]
pub struct Images(PathBuf);

impl Images {
    /// An empty one.
    ///
    /// # Panics
    /// When it can't be made.
    pub fn new(test: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("qs-images-{test}-{}", std::process::id()));
        drop(fs::remove_dir_all(&directory));
        fs::create_dir_all(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        Self(directory)
    }

    /// A disk for checkpoints.
    ///
    /// # Panics
    /// When it can't be made.
    pub fn kept(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        let size = CheckpointsSize::mebibytes(MEBIBYTES);
        disk::create(&path, size.disk(), Some(size)).unwrap_or_else(|error| panic!("{name}: {error}"));
        path
    }

    /// An empty disk, so many bytes larger than one for checkpoints.
    ///
    /// # Panics
    /// When it can't be made.
    pub fn blank(&self, name: &str, more: i64) -> PathBuf {
        let path = self.kept(name);
        let made = fs::metadata(&path)
            .and_then(|kept| fs::File::create(&path)?.set_len(kept.len().saturating_add_signed(more)));
        made.unwrap_or_else(|error| panic!("{name}: {error}"));
        path
    }
}

impl Drop for Images {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// The disks that a machine has.
///
/// # Panics
/// When it does not say.
pub fn all(operator: &Operator) -> Vec<Value> {
    let (status, list) = operator.ask("device list");
    assert_eq!(status, DONE, "{list}");
    let devices = list["devices"].as_array().unwrap_or_else(|| panic!("{list}"));
    let is_disk = |device: &&Value| device["name"].as_str().is_some_and(|name| name.starts_with("disk"));
    devices.iter().filter(is_disk).cloned().collect()
}

/// The names of those in a state.
///
/// # Panics
/// When it does not say.
pub fn names(operator: &Operator, state: &str) -> Vec<String> {
    let found = all(operator).into_iter().filter(|disk| disk["state"] == state);
    found.map(|disk| disk["name"].as_str().unwrap_or_default().to_owned()).collect()
}

/// The disk that is in use, and the other one.
///
/// # Panics
/// When there are more, or fewer.
pub fn used_and_idle(operator: &Operator) -> (String, String) {
    let (used, idle) = (names(operator, "active"), names(operator, "idle"));
    let ([used], [idle]) = (&used[..], &idle[..]) else { panic!("{used:?} {idle:?}") };
    (used.clone(), idle.clone())
}

/// The checkpoints of a machine, as it tells them.
///
/// # Panics
/// When it does not.
pub fn checkpoints(operator: &Operator) -> String {
    let told = operator.tell("checkpoint list");
    assert_eq!(told.status, DONE, "{}", told.err);
    told.out
}

/// Numbers of the checkpoints on a disk's image, each read to its end.
///
/// # Panics
/// When one does not count, or is not whole.
pub fn verified(disk: &Path) -> Vec<u64> {
    let slots = file::list(disk).unwrap_or_else(|error| panic!("{error}"));
    assert!(slots.faults().is_empty(), "{:?}", slots.faults());
    file::verify(disk, None).unwrap_or_else(|error| panic!("{error}"));
    slots.whole().map(|record| record.number).collect()
}

/// A job's number, of what is said when it has begun.
///
/// # Panics
/// When it has not.
pub fn begun(operator: &Operator, line: &str) -> u64 {
    let (status, begun) = operator.ask(&format!("{line} --detach"));
    assert_eq!(status, DONE, "{begun}");
    begun["job"].as_u64().unwrap_or_else(|| panic!("{begun}"))
}

/// What there is to say of a job.
///
/// # Panics
/// When there is nothing.
pub fn job(operator: &Operator, number: u64) -> Value {
    let list = operator.tell("job list --json").out;
    let jobs = list.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_default());
    let found = { jobs }.find(|job| job["job"] == number);
    found.unwrap_or_else(|| panic!("there is no job {number}: {list}"))
}
