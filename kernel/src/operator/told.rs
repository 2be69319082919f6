//! Progress in mebibytes of memory.

use super::jobs::Handle;

/// It is told so many times at most.
const TOLD: u64 = 50;

/// Tells how much has been read, in mebibytes, not too often.
pub struct Told<'a> {
    handle: &'a Handle,
    done: u64,
    of: u64,
    told: u64,
}

impl<'a> Told<'a> {
    /// Of so many pages.
    pub fn new(handle: &'a Handle, pages: u64) -> Self {
        Self { handle, done: 0, of: pages, told: 0 }
    }

    /// So many pages more.
    pub fn more(&mut self, pages: u64) {
        self.done += pages;
        let step = self.done * TOLD / self.of;
        if step > self.told {
            self.told = step;
            self.handle.progress((self.done >> 8) as usize, (self.of >> 8) as usize, "MiB of memory");
        }
    }
}
