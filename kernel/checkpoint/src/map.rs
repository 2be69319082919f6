//! The map of a machine's memory.
//!
//! A chunk of the map is a list of regions, each of 24 bytes, ascending, apart, at most 1024:
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 8 | first address, a multiple of 4096 |
//! | 8 | 8 | address behind the last, a multiple of 4096, at most 2^46 |
//! | 16 | 4 | kind: 1 memory, 2 the image's memory, 3 the VMM's reserve, 4 anything else |
//! | 20 | 4 | zero |

use alloc::vec::Vec;

use crate::fields::{self, Fields};
use crate::{Error, MAX_ADDRESS, PAGE};

/// Regions at most.
pub const MAX_REGIONS: usize = 1024;

/// What a region is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum RegionKind {
    /// Memory that the frame allocator hands out.
    Memory = 1,
    /// Memory that the image was loaded into.
    Image = 2,
    /// The VMM's reserve.
    Reserve = 3,
    /// The firmware's, devices', broken.
    Other = 4,
}

impl RegionKind {
    /// Whether frames of a checkpoint may be there.
    pub(crate) fn has_frames(self) -> bool {
        matches!(self, Self::Memory | Self::Image)
    }

    fn new(number: u32) -> Option<Self> {
        let all = [Self::Memory, Self::Image, Self::Reserve, Self::Other];
        all.into_iter().find(|kind| *kind as u32 == number)
    }
}

/// Physical memory from `start` inclusive to `end` exclusive, in whole pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "described above")]
pub struct Region {
    pub start: u64,
    pub end: u64,
    pub kind: RegionKind,
}

/// Regions in ascending order, apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Map(Vec<Region>);

impl Map {
    /// No memory at all.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a region behind those that are in.
    pub fn push(&mut self, region: Region) -> Result<(), Error> {
        let Region { start, end, .. } = region;
        let page = PAGE as u64;
        if start >= end || end > MAX_ADDRESS || !start.is_multiple_of(page) || !end.is_multiple_of(page) {
            return Err(Error::Field("region"));
        }
        if self.0.last().is_some_and(|last| last.end > start) {
            return Err(Error::Field("region order"));
        }
        if self.0.len() == MAX_REGIONS {
            return Err(Error::Field("number of regions"));
        }
        fields::push(&mut self.0, region)
    }

    /// Ascending.
    pub fn regions(&self) -> &[Region] {
        &self.0
    }

    /// The address behind the last byte of memory, the reserve included; 0 if there is none.
    pub fn memory_end(&self) -> u64 {
        self.0.iter().rev().find(|region| region.kind != RegionKind::Other).map_or(0, |region| region.end)
    }

    /// Cuts a range of frames where regions begin and end: first frame, number of frames, and what is there.
    pub(crate) fn pieces(
        &self,
        first: u64,
        count: u64,
    ) -> impl Iterator<Item = (u64, u64, Option<RegionKind>)> + '_ {
        let (mut at, end) = (first, first + count);
        let frame = |address: u64| address / PAGE as u64;
        let mut index = self.0.partition_point(|region| frame(region.end) <= at);
        core::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let (until, kind) = match self.0.get(index) {
                Some(region) if frame(region.start) <= at => {
                    index += 1;
                    (frame(region.end), Some(region.kind))
                }
                Some(region) => (frame(region.start), None),
                None => (end, None),
            };
            let piece = (at, until.min(end) - at, kind);
            at += piece.1;
            Some(piece)
        })
    }

    pub(crate) fn encode(&self, raw: &mut Vec<u8>) {
        for region in &self.0 {
            raw.extend_from_slice(&region.start.to_le_bytes());
            raw.extend_from_slice(&region.end.to_le_bytes());
            raw.extend_from_slice(&u64::from(region.kind as u32).to_le_bytes());
        }
    }

    pub(crate) fn decode(raw: &[u8]) -> Result<Self, Error> {
        let (mut fields, mut map) = (Fields(raw), Self::new());
        while !fields.0.is_empty() {
            let (start, end) = (fields.u64("region")?, fields.u64("region")?);
            let kind = RegionKind::new(fields.u32("region kind")?).ok_or(Error::Field("region kind"))?;
            if fields.u32("region padding")? != 0 {
                return Err(Error::Field("region padding"));
            }
            map.push(Region { start, end, kind })?;
        }
        Ok(map)
    }
}
