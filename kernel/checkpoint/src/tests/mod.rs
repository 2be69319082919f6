extern crate std;

mod check;
mod damage;
mod forged;
mod merge;
mod round;

use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

use crate::chunk::{CHUNK_HEADER, FIELDS, Head};
use crate::seal::Seal;
use crate::*;

pub fn sample_key() -> Key {
    Key::new([9; 32])
}

/// First frame of the second region of [`map`].
pub const UPPER: u64 = 0x100;

/// A page of its own for each number; 0 is zero, even ones can be compressed.
pub fn page(number: u8) -> Vec<u8> {
    let mut state = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    if number.is_multiple_of(2) { vec![number; PAGE] } else { (0..PAGE).map(|_| noise()).collect() }
}

pub fn region(start: u64, end: u64, kind: RegionKind) -> Region {
    Region { start: start * PAGE as u64, end: end * PAGE as u64, kind }
}

pub fn map() -> Map {
    let mut map = Map::new();
    for (start, end, kind) in [
        (1, 0x40, RegionKind::Memory),
        (0x40, 0x80, RegionKind::Image),
        (0xa0, 0xb0, RegionKind::Other),
        (UPPER, 0x200, RegionKind::Memory),
        (0x200, 0x210, RegionKind::Reserve),
        (0x300, 0x310, RegionKind::Other),
    ] {
        map.push(region(start, end, kind)).unwrap();
    }
    map
}

pub fn features() -> Features {
    let mut features = Features::new();
    features.push(Word { leaf: 0, subleaf: 0, register: Register::Xcr0, bits: 7 }).unwrap();
    features.push(Word { leaf: 1, subleaf: 0, register: Register::Ecx, bits: 1 << 28 | 1 << 16 }).unwrap();
    features.push(Word { leaf: 0x8000_0001, subleaf: 0, register: Register::Edx, bits: 1 << 20 }).unwrap();
    features
}

pub fn frames(ranges: &[(u64, u32, FrameKind)]) -> Frames {
    let mut frames = Frames::new();
    for &(first, count, kind) in ranges {
        frames.push(Range { first, count, kind }).unwrap();
    }
    frames
}

pub fn manifest(frames: Frames) -> Manifest {
    let header = Header {
        id: [1; 16],
        base: None,
        generation: 3,
        image: [7; 32],
        vendor: Vendor::Amd,
        cpus: 2,
        monotonic: 5_000_000_000,
        wall: 1_700_000_000_000_000_000,
        memory_end: 0x210 * PAGE as u64,
    };
    Manifest { header, features: features(), map: map(), cpus: vec![vec![4; 300], vec![5; 200]], frames }
}

/// Pages by frame, as a machine had them.
pub type Memory = BTreeMap<u64, u8>;

/// The list of frames of a memory.
pub fn listed(memory: &Memory) -> Frames {
    let ranges = memory.keys().map(|frame| (*frame, 1, FrameKind::Here));
    frames(&ranges.collect::<Vec<_>>())
}

/// Writes a checkpoint with these pages, which are those that its list has here.
pub fn write(manifest: Manifest, memory: &Memory, key: Option<&Key>) -> Vec<u8> {
    let frames = manifest.frames.clone();
    let mut writer = Writer::begin(Vec::new(), manifest, key, MIN_CHUNK).unwrap();
    for range in frames.ranges().iter().filter(|range| range.kind == FrameKind::Here) {
        for frame in range.first..range.end() {
            writer.pages(frame, &page(memory[&frame])).unwrap();
        }
    }
    writer.end().unwrap().0
}

/// A checkpoint with a bit of everything: several chunks of pages, zero pages, holes.
pub fn sample(id: u8, key: Option<&Key>) -> Vec<u8> {
    let memory = (0..20).map(|frame| (UPPER + frame + frame / 6, frame as u8)).chain([(2, 1), (0x41, 3)]);
    let memory: Memory = memory.collect();
    let mut manifest = manifest(listed(&memory));
    manifest.header.id = [id; 16];
    manifest.frames.push(Range { first: 0x180, count: 8, kind: FrameKind::Zero }).unwrap();
    write(manifest, &memory, key)
}

/// What a checkpoint brings: its manifest, its pages, and those that are said to be zero where its list has them here.
#[derive(Debug, PartialEq)]
pub struct Found {
    pub manifest: Manifest,
    pub pages: BTreeMap<u64, Vec<u8>>,
    pub totals: Totals,
}

/// Reads a checkpoint that comes in pieces of so many bytes.
pub fn read(bytes: &[u8], key: Option<Key>, piece: usize) -> Result<Found, Error> {
    let mut reader = Reader::new(key);
    let (mut manifest, mut pages, mut ends) = (None, BTreeMap::new(), 0);
    for mut bytes in bytes.chunks(piece) {
        while let Some(event) = reader.push(&mut bytes)? {
            match event {
                Event::Manifest(all) => assert_eq!(manifest.replace(all.clone()), None),
                Event::Pages(chunk) => {
                    for Piece { first, content } in chunk.pieces() {
                        let content = match content {
                            Content::Pages(bytes) => bytes.to_vec(),
                            Content::Zero(count) => vec![0; count as usize * PAGE],
                        };
                        for (frame, page) in (first..).zip(content.chunks(PAGE)) {
                            assert_eq!(pages.insert(frame, page.to_vec()), None);
                        }
                    }
                }
                Event::End(_) => ends += 1,
            }
        }
    }
    let totals = reader.finish()?;
    assert_eq!(ends, 1);
    Ok(Found { manifest: manifest.expect("it comes first"), pages, totals })
}

/// Why a checkpoint is refused.
pub fn refusal(bytes: &[u8], key: Option<Key>) -> Error {
    read(bytes, key, bytes.len().max(1)).unwrap_err()
}

/// Where the chunks are.
pub fn chunks(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut found: Vec<std::ops::Range<usize>> = Vec::new();
    let mut at = HEADER;
    while at < bytes.len() {
        let stored = u32::from_le_bytes(bytes[at + 16..at + 20].try_into().unwrap()) as usize;
        found.push(at..at + CHUNK_HEADER + stored);
        at += CHUNK_HEADER + stored;
    }
    found
}

/// A checkpoint of chunks as somebody who has the key can make it: raw bytes by kind, stored as they are.
pub fn forge(header: &Header, chunks: &[(Kind, Vec<u8>)], key: Option<&Key>) -> Vec<u8> {
    let (bytes, seal) = header.encode(key);
    let mut bytes = bytes.to_vec();
    for (number, (kind, raw)) in chunks.iter().enumerate() {
        let head = Head { number: number as u64, kind: *kind, raw: raw.len(), stored: raw.len() };
        bytes.extend(forge_chunk(&seal, head.encode(), raw));
    }
    bytes
}

/// A chunk with a right tag, whatever it says.
pub fn forge_chunk(seal: &Seal, head: [u8; FIELDS], stored: &[u8]) -> Vec<u8> {
    let tag = seal.of_chunk(&head, stored);
    [&head[..], tag.as_bytes(), stored].concat()
}
