//! Belts: bytes on their way from a job to its client, or from the client to the job, a piece at a time.

use super::{Cancelled, Handle, Load};
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use machine::sync::Mutex;
use machine::thread::{self, Priority};
use machine::time::Instant;
use net::ssh::{Gone, Output};

/// Bytes that are asked for at a time.
const PIECE: usize = 256 * 1024;

/// To the client's standard output.
pub struct Outward(Mutex<Option<Vec<u8>>>);

impl Outward {
    /// With nothing on it.
    pub const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Puts a piece on it, and waits until it was taken off.
    pub fn put(&self, handle: &Handle, piece: Vec<u8>) -> Result<(), Cancelled> {
        *self.0.lock() = Some(piece);
        handle.wake();
        handle.wait_for(|| self.0.lock().is_none().then_some(()))
    }
}

impl Load for Outward {
    fn is_ready(&self) -> bool {
        self.0.lock().is_some()
    }

    fn carry(&self, job: &Handle, output: &mut dyn Output) -> Result<(), Gone> {
        let Some(piece) = self.0.lock().take() else { return Ok(()) };
        job.wake();
        // To encrypt it is work as much as to make it was.
        let before = thread::set_priority(Priority::Background);
        let told = output.bytes(&piece);
        thread::set_priority(before);
        told
    }
}

/// From the client's standard input.
pub struct Inward {
    /// Empty: all has come.
    piece: Mutex<Option<Vec<u8>>>,
    has_ended: AtomicBool,
    is_over: AtomicBool,
    is_alone: AtomicBool,
}

impl Inward {
    /// With nothing on it.
    pub const fn new() -> Self {
        Self::that(false)
    }

    /// On which nothing comes.
    pub const fn closed() -> Self {
        Self::that(true)
    }

    const fn that(has_ended: bool) -> Self {
        Self {
            piece: Mutex::new(None),
            has_ended: AtomicBool::new(has_ended),
            is_over: AtomicBool::new(false),
            is_alone: AtomicBool::new(false),
        }
    }

    /// Waits for the next piece. It is empty where there are no more.
    pub fn get(&self, handle: &Handle) -> Result<Vec<u8>, Cancelled> {
        let piece = handle.wait_for(|| self.piece.lock().take())?;
        handle.wake();
        Ok(piece)
    }

    /// Lets the client go with success, and waits until its connection has ended, or a time has come.
    pub fn dismiss(&self, handle: &Handle, until: Instant) {
        self.is_over.store(true, Ordering::Release);
        handle.wake();
        handle.wait_until_or(until, || self.is_alone.load(Ordering::Acquire));
    }

    /// The client's connection has ended.
    pub fn client_is_gone(&self, handle: &Handle) {
        self.is_alone.store(true, Ordering::Release);
        handle.wake();
    }
}

impl Load for Inward {
    fn is_ready(&self) -> bool {
        self.is_over() || !self.has_ended.load(Ordering::Acquire) && self.piece.lock().is_none()
    }

    fn carry(&self, job: &Handle, output: &mut dyn Output) -> Result<(), Gone> {
        if self.is_over() || !self.is_ready() {
            return Ok(());
        }
        let mut piece = vec![0; PIECE];
        let count = output.read(&mut piece)?;
        piece.truncate(count);
        self.has_ended.store(count == 0, Ordering::Release);
        *self.piece.lock() = Some(piece);
        job.wake();
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }
}
