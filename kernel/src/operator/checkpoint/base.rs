//! The checkpoint that the next one can build on: the last one, where what is written since is recorded.

use super::Fault;
use alloc::string::String;
use alloc::vec::Vec;
use checkpoint::Frames;
use core::fmt;
use machine::dma::DmaRegion;
use machine::paging::PAGE;
use machine::sync::Mutex;
use mode::bare::{Snapshot, look};
use vmm::call::{Status, TOLD};

static BASE: Mutex<Option<Base>> = Mutex::new(None);

/// What has to be known of a checkpoint to build on it.
#[derive(Debug)]
pub struct Base {
    /// Its ID.
    pub id: [u8; 16],
    /// All frames that are in it or in what it builds on.
    pub frames: Frames,
    /// Switches at the time.
    switches: u64,
}

impl Base {
    /// The next one can build on the one with this ID, from now on. The machine stays in guest mode.
    pub fn keep(id: [u8; 16], frames: Frames) {
        *BASE.lock() = Some(Self { id, frames, switches: switches() });
    }
}

fn switches() -> u64 {
    look(|figures, _| figures.switches).unwrap_or(0)
}

/// Why there is nothing to build on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// What was written since any checkpoint is not known.
    None,
    /// It is known since this one only.
    Other([u8; 16]),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str(
                "what was written since is not recorded: take a full one, with --track, and stay in guest mode",
            ),
            Self::Other(id) => write!(f, "what is written is recorded since checkpoint {}", hex(id)),
        }
    }
}

/// An ID as `qs checkpoint inspect` prints it.
pub fn hex(id: &[u8; 16]) -> String {
    alloc::format!("{:032x}", u128::from_be_bytes(*id))
}

/// Whether a checkpoint can build on the one with this ID, as far as it is known before memory is frozen. What is of no use any more is
/// forgotten.
pub fn check(id: [u8; 16]) -> Result<(), Unfit> {
    match is_kept().then(|| BASE.lock().as_ref().map(|base| base.id)).flatten() {
        None => Err(Unfit::None),
        Some(other) if other != id => Err(Unfit::Other(other)),
        Some(_) => Ok(()),
    }
}

/// Whether a checkpoint can build on any.
pub fn is_kept() -> bool {
    let mut base = BASE.lock();
    // A record does not outlive guest mode.
    base.take_if(|base| base.switches != switches());
    base.is_some()
}

/// Takes it: memory has been frozen, and what was recorded is known through that snapshot only.
pub fn take() -> Option<Base> {
    BASE.lock().take()
}

/// Those of `frames` that have to be in a checkpoint that builds on the one with this ID are here, all others in the base.
pub fn since(
    id: [u8; 16],
    base: Option<Base>,
    frames: &Frames,
    snapshot: &Snapshot,
    buffer: &mut DmaRegion,
) -> Result<Frames, Fault> {
    let base = base.filter(|base| base.id == id).ok_or(Fault::Base(Unfit::None))?;
    let written = Written::read(frames, snapshot, buffer)?;
    Ok(frames.since(&base.frames, |frame| written.has(frame))?)
}

/// A bit for each frame.
struct Written(Vec<u64>);

impl Written {
    fn read(frames: &Frames, snapshot: &Snapshot, buffer: &mut DmaRegion) -> Result<Self, Fault> {
        let end = frames.ranges().last().map_or(0, checkpoint::Range::end).next_multiple_of(TOLD);
        let mut bits = Vec::new();
        bits.try_reserve_exact((end / 64) as usize).map_err(|_| Fault::Memory)?;
        for first in (0..end).step_by(TOLD as usize) {
            match snapshot.written(first * PAGE, buffer) {
                Err(error) if error.1 == Status::Nothing => return Err(Fault::Base(Unfit::None)),
                told => told?,
            };
            let words = super::contents(buffer, (TOLD / 8) as usize).as_chunks::<8>().0;
            bits.extend(words.iter().map(|word| u64::from_le_bytes(*word)));
        }
        Ok(Self(bits))
    }

    fn has(&self, frame: u64) -> bool {
        self.0.get((frame / 64) as usize).is_none_or(|word| word >> (frame % 64) & 1 != 0)
    }
}
