//! One page at an address of its own, to map and unmap at will: what that costs is measured here.
//!
//! It is also the one place where a page comes on demand. Nothing else of the system faults on purpose: any other page fault ends
//! in last words.

use super::{GLOBAL, PRESENT};
use super::{MapError, PAGE, Rights, lock, root, set_leaf, shootdown_page, translate};
use crate::frames;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Where the page is mapped: in no other window.
const WINDOW: u64 = 0x5800_0000_0000;

static TAKEN: AtomicBool = AtomicBool::new(false);
/// The frame that a fault maps; 0 while nobody has the page.
static FRAME: AtomicU64 = AtomicU64::new(0);

/// The page, and the frame behind it. Unmapped and given back when dropped.
#[derive(Debug)]
pub struct Scratch {
    frame: u64,
}

impl Scratch {
    /// Takes the page, unmapped. `None` while somebody has it, or without memory for it.
    pub fn take() -> Option<Self> {
        if TAKEN.swap(true, Ordering::Acquire) {
            return None;
        }
        let Some(frame) = frames::allocate(0) else {
            TAKEN.store(false, Ordering::Release);
            return None;
        };
        // SAFETY: a frame just allocated is ours and identity-mapped.
        unsafe { core::ptr::write_bytes(frame as *mut u8, 0, PAGE as usize) };
        let scratch = Self { frame };
        FRAME.store(frame, Ordering::Release);
        // Once mapped, so that its page tables are there from now on.
        scratch.map(Rights::READ_WRITE).ok()?;
        scratch.unmap();
        Some(scratch)
    }

    /// Maps it where nothing is mapped: no translation has to be flushed.
    pub fn map(&self, rights: Rights) -> Result<(), MapError> {
        lock(|| set_leaf(root(), WINDOW, PAGE, self.frame | PRESENT | GLOBAL | rights.0))
    }

    /// Changes what may be done with it, on all CPUs when this returns. Interrupts are on.
    pub fn protect(&self, rights: Rights) -> Result<(), MapError> {
        self.map(rights)?;
        shootdown_page(WINDOW);
        Ok(())
    }

    /// Unmaps it, on all CPUs when this returns. Interrupts are on.
    pub fn unmap(&self) {
        // Fails only where there are no tables yet, and so nothing to unmap.
        let _ = lock(|| set_leaf(root(), WINDOW, PAGE, 0));
        shootdown_page(WINDOW);
    }

    /// Reads its first word. Unmapped, it is mapped on demand: a page fault comes and goes.
    #[inline]
    pub fn read(&self) -> u64 {
        // SAFETY: mapped to a frame of ours, or the fault's handler maps it; all bit patterns are numbers.
        unsafe { (WINDOW as *const u64).read_volatile() }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.unmap();
        FRAME.store(0, Ordering::Release);
        frames::free(self.frame, 0);
        TAKEN.store(false, Ordering::Release);
    }
}

/// Answers a page fault: true if it was the scratch page's, which is mapped now. Interrupts are off.
pub(crate) fn demand(address: u64) -> bool {
    let frame = FRAME.load(Ordering::Acquire);
    let ours = (WINDOW..WINDOW + PAGE).contains(&address) && frame != 0;
    // Mapped already, it was a forbidden access: a second look would fault for ever.
    ours && translate(WINDOW).is_none()
        && lock(|| set_leaf(root(), WINDOW, PAGE, frame | PRESENT | GLOBAL | Rights::READ_WRITE.0)).is_ok()
}
