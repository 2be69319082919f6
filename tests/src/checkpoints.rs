//! Small checkpoints of a machine that never was; and what is in those of machines.

use std::fmt::Display;
use std::fs;
use std::path::Path;

use checkpoint::{
    Content, Event, Features, FrameKind, Frames, Header, Key, MIN_CHUNK, Manifest, Map, PAGE, Range, Reader,
    Region, RegionKind, Register, Stream, Vendor, Word, Writer,
};

/// Frames of its memory.
pub const FRAMES: u64 = 64;

/// A checkpoint with an ID of such bytes, perhaps on a base with an ID of such bytes. Frames are listed one by one; those whose
/// pages come are full of their byte.
pub fn checkpoint(
    id: u8,
    base: Option<u8>,
    frames: &[(u64, FrameKind, u8)],
    key: Option<&Key>,
) -> Result<Vec<u8>, checkpoint::Error> {
    let memory_end = FRAMES * PAGE as u64;
    let header = Header {
        id: [id; 16],
        base: base.map(|base| [base; 16]),
        generation: 1,
        image: [7; 32],
        vendor: Vendor::Intel,
        cpus: 2,
        monotonic: 1_500_000_000,
        wall: 1_700_000_000_000_000_000,
        memory_end,
    };
    let (mut features, mut map, mut list) = (Features::new(), Map::new(), Frames::new());
    features.push(Word { leaf: 1, subleaf: 0, register: Register::Ecx, bits: 1 << 28 })?;
    map.push(Region { start: PAGE as u64, end: memory_end, kind: RegionKind::Memory })?;
    for &(first, kind, _) in frames {
        list.push(Range { first, count: 1, kind })?;
    }
    let manifest = Manifest { header, features, map, cpus: vec![vec![id; 40]; 2], frames: list };
    let written = (|| {
        let mut writer = Writer::begin(Vec::new(), manifest, key, MIN_CHUNK)?;
        for (frame, _, byte) in frames.iter().filter(|(_, kind, _)| *kind == FrameKind::Here) {
            writer.pages(*frame, &[*byte; PAGE])?;
        }
        writer.end()
    })();
    match written {
        Ok((bytes, _)) => Ok(bytes),
        Err(checkpoint::WriteError::Format(error)) => Err(error),
        Err(checkpoint::WriteError::Sink(never)) => match never {},
    }
}

/// Reads a file with a checkpoint: shows `look` each page that is in it, with its frame's number. Returns what comes before the pages.
///
/// # Panics
/// When it is none, or was not made with this key.
pub fn pages(path: &Path, key: &Key, mut look: impl FnMut(u64, &[u8])) -> Manifest {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let wrong = |error: &dyn Display| -> ! { panic!("{}: {error}", path.display()) };
    let mut stream =
        Stream::new(&bytes[..], Reader::new(Some(key.clone()))).unwrap_or_else(|error| wrong(&error));
    let mut manifest = None;
    while let Some(event) = stream.event().unwrap_or_else(|error| wrong(&error)) {
        match event {
            Event::Manifest(found) => manifest = Some(found.clone()),
            Event::Pages(found) => {
                for piece in found.pieces() {
                    if let Content::Pages(bytes) = piece.content {
                        bytes
                            .chunks_exact(PAGE)
                            .zip(piece.first..)
                            .for_each(|(page, frame)| look(frame, page));
                    }
                }
            }
            Event::End(_) => {}
        }
    }
    manifest.unwrap_or_else(|| wrong(&"it is empty"))
}

/// An ID as operators say it.
pub fn id(header: &Header) -> String {
    format!("{:032x}", u128::from_be_bytes(header.id))
}
