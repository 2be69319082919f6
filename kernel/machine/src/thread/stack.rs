//! Thread stacks: mapped in a window where an unmapped page lies below each of them.
//!
//! A stack that is no longer used stays mapped and is handed out again: unmapping would cost a shootdown on all CPUs.

use crate::frames;
use crate::paging::{self, PAGE, STACK_WINDOW};
use crate::sync::SpinLock;
use core::sync::atomic::{AtomicU64, Ordering};

/// Distance between stacks; the largest stack is one page shorter.
const STRIDE: u64 = 4 << 20;

static NEXT_SLOT: AtomicU64 = AtomicU64::new(0);
static FREE: SpinLock<Option<Free>> = SpinLock::new(None);

/// The list of unused stacks runs through the stacks themselves.
#[derive(Clone, Copy)]
struct Free {
    top: u64,
    bytes: u64,
}

/// A stack.
pub(crate) struct Stack {
    top: u64,
    bytes: u64,
}

/// The link kept in the topmost words of an unused stack.
fn link(stack: Free) -> *mut Option<Free> {
    (stack.top - 64) as *mut Option<Free>
}

impl Stack {
    /// A stack of at least `bytes`; `None` when memory is out or `bytes` is larger than a slot.
    pub(crate) fn new(bytes: usize) -> Option<Self> {
        let bytes = (bytes as u64).max(4 * PAGE).next_power_of_two();
        if bytes > STRIDE / 2 {
            return None;
        }
        if let Some(stack) = reuse(bytes) {
            return Some(stack);
        }
        let frame = frames::allocate_near(bytes.trailing_zeros() - PAGE.trailing_zeros())?;
        let slot = NEXT_SLOT.fetch_add(1, Ordering::Relaxed);
        let top = STACK_WINDOW + (slot + 1) * STRIDE;
        match paging::map_window(top - bytes, frame, bytes) {
            Ok(()) => Some(Self { top, bytes }),
            Err(_) => {
                // The slot is not used again: part of it may be mapped.
                frames::free(frame, bytes.trailing_zeros() - PAGE.trailing_zeros());
                None
            }
        }
    }

    /// Address just above the stack; a multiple of 16.
    pub(crate) fn top(&self) -> u64 {
        self.top
    }
}

fn reuse(bytes: u64) -> Option<Stack> {
    let mut free = FREE.lock();
    let mut place: *mut Option<Free> = &mut *free;
    loop {
        // SAFETY: `place` is the list's head or the link of a stack on the list, and the list is locked.
        let entry = unsafe { (*place)? };
        if entry.bytes == bytes {
            // SAFETY: as above; the entry leaves the list.
            unsafe { *place = *link(entry) };
            return Some(Stack { top: entry.top, bytes });
        }
        place = link(entry);
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let entry = Free { top: self.top, bytes: self.bytes };
        let mut free = FREE.lock();
        // SAFETY: nothing runs on the stack any more, so its memory is ours.
        unsafe { link(entry).write(*free) };
        *free = Some(entry);
    }
}

/// Whether an address lies in the window but in no stack: most likely just below one.
pub(crate) fn is_guard(address: u64) -> bool {
    let end = STACK_WINDOW + NEXT_SLOT.load(Ordering::Relaxed) * STRIDE;
    (STACK_WINDOW..end).contains(&address)
}
