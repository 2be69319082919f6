//! Why a machine can't go on from a checkpoint: all reasons at once, none of which needs more than the manifest.

use alloc::vec::Vec;
use core::fmt;

use crate::{Features, Manifest, Map, PAGE, RegionKind, Vendor};

/// What a machine is.
#[derive(Clone, Copy, Debug)]
pub struct Machine<'m> {
    /// Identity of the image that runs.
    pub image: [u8; 32],
    /// Whose CPUs.
    pub vendor: Vendor,
    /// What they are all able to do.
    pub features: &'m Features,
    /// How many run.
    pub cpus: u32,
    /// Its memory.
    pub map: &'m Map,
}

/// A reason why a machine can't go on from a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It has to be merged with its base first.
    Incremental,
    /// Another image runs here.
    Image,
    /// The CPUs are another vendor's.
    #[expect(missing_docs, reason = "what is needed, what is there")]
    Vendor { needed: Vendor, here: Vendor },
    /// The CPUs lack these features.
    Features(Features),
    /// There are fewer CPUs, or more: none is left out, and none is added.
    #[expect(missing_docs, reason = "what is needed, what is there")]
    Cpus { needed: u32, here: u32 },
    /// So many frames in use, of which this is the first, are where this machine has no memory.
    #[expect(missing_docs, reason = "described above")]
    Memory { first: u64, frames: u64 },
    /// So many frames in use, of which this is the first, are where this machine's VMM is.
    #[expect(missing_docs, reason = "described above")]
    Reserve { first: u64, frames: u64 },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = |frame: &u64| frame * PAGE as u64;
        match self {
            Self::Incremental => f.write_str("it is incremental, and has to be merged with its base first"),
            Self::Image => f.write_str("it was taken of another image"),
            Self::Vendor { needed, here } => write!(f, "it needs CPUs of {needed}, and these are {here}'s"),
            Self::Features(missing) => write!(f, "the CPUs lack {missing}"),
            Self::Cpus { needed, here } => write!(f, "it needs {needed} CPUs, and there are {here}"),
            Self::Memory { first, frames } => {
                write!(f, "{frames} frames from {:#x} on are where there is no memory", address(first))
            }
            Self::Reserve { first, frames } => {
                write!(f, "{frames} frames from {:#x} on are where the VMM is", address(first))
            }
        }
    }
}

/// All reasons why `machine` can't go on from a checkpoint; none if it can.
pub fn refusals(manifest: &Manifest, machine: &Machine<'_>) -> Vec<Refusal> {
    let header = &manifest.header;
    let mut refusals = Vec::new();
    if header.base.is_some() {
        refusals.push(Refusal::Incremental);
    }
    if header.image != machine.image {
        refusals.push(Refusal::Image);
    }
    if header.vendor != machine.vendor {
        refusals.push(Refusal::Vendor { needed: header.vendor, here: machine.vendor });
    }
    let missing = manifest.features.missing(machine.features);
    if !missing.is_empty() {
        refusals.push(Refusal::Features(missing));
    }
    if header.cpus != machine.cpus {
        refusals.push(Refusal::Cpus { needed: header.cpus, here: machine.cpus });
    }
    let (mut absent, mut reserved) = (None, None);
    for range in manifest.frames.ranges() {
        for (first, count, kind) in machine.map.pieces(range.first, range.count.into()) {
            let place = match kind {
                Some(RegionKind::Reserve) => &mut reserved,
                Some(kind) if kind.has_frames() => continue,
                _ => &mut absent,
            };
            let (_, frames) = place.get_or_insert((first, 0));
            *frames += count;
        }
    }
    refusals.extend(absent.map(|(first, frames)| Refusal::Memory { first, frames }));
    refusals.extend(reserved.map(|(first, frames)| Refusal::Reserve { first, frames }));
    refusals
}
