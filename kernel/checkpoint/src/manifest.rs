//! What a checkpoint says before its pages.
//!
//! The states of the CPUs are in one or more chunks, one after another from CPU 0 on, each behind its CPU's number (4 bytes) and its
//! length (4 bytes, 1 to 16 KiB). The last chunk is three words of 8 bytes: the chunks before it, the frames whose pages came, the frames
//! that came as zero.

use alloc::vec::Vec;

use crate::fields::{self, Fields};
use crate::frames::Frames;
use crate::{Error, Features, FrameFault, FrameKind, Header, Map};

/// CPUs at most.
pub const MAX_CPUS: usize = 256;
/// Bytes of a CPU's state at most.
pub const MAX_CPU_STATE: usize = 16 * 1024;

/// Bytes before a CPU's state.
pub const CPU_RECORD: usize = 8;

/// All that is known before the first page comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// What the checkpoint says of itself.
    pub header: Header,
    /// What the CPUs have to be able to do.
    pub features: Features,
    /// The memory of the machine.
    pub map: Map,
    /// The states of the CPUs, as many as the header says; 1 byte to [`MAX_CPU_STATE`] each.
    pub cpus: Vec<Vec<u8>>,
    /// The frames that were in use.
    pub frames: Frames,
}

impl Manifest {
    /// Whether its parts fit together.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.header.check()?;
        if self.header.memory_end != self.map.memory_end() {
            return Err(Error::Header("memory end"));
        }
        if self.cpus.len() != self.header.cpus as usize {
            return Err(Error::Header("CPUs"));
        }
        if self.cpus.iter().any(|state| !(1..=MAX_CPU_STATE).contains(&state.len())) {
            return Err(Error::Field("CPU state length"));
        }
        for range in self.frames.ranges() {
            if range.kind == FrameKind::Base && self.header.base.is_none() {
                return Err(Error::Frame(range.first, FrameFault::NoBase));
            }
            let mut pieces = self.map.pieces(range.first, range.count.into());
            let outside = pieces.find(|(.., kind)| !kind.is_some_and(|kind| kind.has_frames()));
            if let Some((frame, ..)) = outside {
                return Err(Error::Frame(frame, FrameFault::Outside));
            }
        }
        Ok(())
    }
}

/// Reads a chunk of CPU states: those that follow the ones that are in, `count` in all.
pub fn decode_cpus(raw: &[u8], cpus: &mut Vec<Vec<u8>>, count: u32) -> Result<(), Error> {
    let mut fields = Fields(raw);
    // At least one, else any number of chunks could come that bring nothing.
    loop {
        let number = fields.u32("CPU number")?;
        if number as usize != cpus.len() || number >= count {
            return Err(Error::Field("CPU number"));
        }
        let length = fields.u32("CPU state length")? as usize;
        if !(1..=MAX_CPU_STATE).contains(&length) {
            return Err(Error::Field("CPU state length"));
        }
        let bytes = fields.bytes(length, "CPU state length")?;
        let mut state = Vec::new();
        state.try_reserve_exact(length).map_err(|_| Error::Memory)?;
        state.extend_from_slice(bytes);
        fields::push(cpus, state)?;
        if fields.0.is_empty() {
            return Ok(());
        }
    }
}

/// What a whole checkpoint has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Chunks before the last.
    pub chunks: u64,
    /// Frames whose pages came.
    pub pages: u64,
    /// Frames that came as zero.
    pub zero: u64,
}

impl Totals {
    /// Bytes of the last chunk.
    pub const BYTES: usize = 24;

    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        for (word, bytes) in [self.chunks, self.pages, self.zero].iter().zip(bytes.chunks_exact_mut(8)) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}
