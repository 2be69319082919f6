//! Checkpoints, as somebody sends them: damaged, made up, or as an increment on a good one.
//!
//! Tags are made right first, computed here from the description of the format alone: without a key anybody can make them.

use ::checkpoint::{CHUNK_HEADER, Error, Event, FrameKind, HEADER, MIN_CHUNK, Pages, Reader, Totals, merge};
use blake3::{Hasher, derive_key, keyed_hash};

use super::pieces;
use crate::checkpoints;

fn base() -> Vec<u8> {
    let frames =
        [(2, FrameKind::Here, 1), (3, FrameKind::Here, 0), (4, FrameKind::Zero, 0), (9, FrameKind::Here, 2)];
    checkpoints::checkpoint(1, None, &frames, None).expect("it makes sense")
}

/// Makes the tags right, as far as there are chunks.
fn seal(bytes: &mut [u8]) {
    let Some((header, mut rest)) = bytes.split_first_chunk_mut::<HEADER>() else { return };
    let tag = keyed_hash(&derive_key("Quicksilver checkpoint 1: header", b""), &header[..128]);
    header[128..].copy_from_slice(tag.as_bytes());
    let key = derive_key("Quicksilver checkpoint 1: chunk", b"");
    while let Some((chunk, behind)) = rest.split_first_chunk_mut::<CHUNK_HEADER>() {
        let length = u32::from_le_bytes(chunk[16..20].try_into().expect("four bytes")) as usize;
        let Some((stored, behind)) = behind.split_at_mut_checked(length) else { return };
        let tag =
            Hasher::new_keyed(&key).update(tag.as_bytes()).update(&chunk[..20]).update(stored).finalize();
        chunk[20..].copy_from_slice(tag.as_bytes());
        rest = behind;
    }
}

/// Frames that a chunk brings; each is listed.
fn frames(pages: &Pages<'_>) -> u64 {
    pages.pieces().map(|piece| u64::from(piece.count())).sum()
}

fn read<'b>(mut reader: Reader, pieces: impl Iterator<Item = &'b [u8]>) -> Result<Totals, Error> {
    let (mut manifests, mut came, mut listed) = (0, 0, 0);
    for mut bytes in pieces {
        while let Some(event) = reader.push(&mut bytes)? {
            match event {
                Event::Manifest(manifest) => {
                    manifests += 1;
                    listed = manifest.frames.count(FrameKind::Here);
                    assert_eq!(manifest.cpus.len(), manifest.header.cpus as usize);
                    let ends = manifest.frames.ranges().iter().map(|range| range.end() * 4096);
                    assert!(ends.max().unwrap_or(0) <= manifest.header.memory_end);
                }
                Event::Pages(pages) => came += frames(&pages),
                Event::End(totals) => assert_eq!(totals.pages + totals.zero, came),
            }
            assert!(manifests == 1 && came <= listed);
        }
    }
    let totals = reader.finish()?;
    assert_eq!(came, listed);
    Ok(totals)
}

/// A checkpoint: read in pieces and at once it is the same; what is taken keeps what it promises.
pub fn checkpoint(input: &[u8]) {
    look(input);
    let mut input = input.to_vec();
    seal(&mut input);
    look(&input);
    // It is no matter whether tags that are right are looked at.
    let whole = |reader| read(reader, [&input[..]].into_iter());
    let Ok(totals) = whole(Reader::new(None)) else { return };
    assert_eq!(whole(Reader::unchecked()), Ok(totals));
    if let Ok((merged, totals)) = merge([&base()[..], &input[..]], Vec::new(), None, MIN_CHUNK) {
        assert_eq!(read(Reader::new(None), [&merged[..]].into_iter()), Ok(totals));
    }
}

fn look(input: &[u8]) {
    let at_once = read(Reader::new(None), [input].into_iter());
    let size = usize::from(input.last().copied().unwrap_or(1)).max(1);
    assert_eq!(read(Reader::new(None), input.chunks(size)), at_once);
    let _ = read(Reader::unchecked(), pieces(input));
}

pub fn seeds() -> Vec<Vec<u8>> {
    let frames =
        [(2, FrameKind::Base, 0), (3, FrameKind::Here, 5), (4, FrameKind::Base, 0), (6, FrameKind::Zero, 0)];
    vec![base(), checkpoints::checkpoint(2, Some(1), &frames, None).expect("it makes sense")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_says_how_tags_are_made() {
        for seed in seeds() {
            let mut sealed = seed.clone();
            sealed[128..HEADER].fill(0);
            seal(&mut sealed);
            assert!(sealed == seed);
        }
    }

    #[test]
    fn seeds_are_taken() {
        for seed in seeds() {
            assert!(read(Reader::new(None), seed.chunks(7)).is_ok());
        }
        assert!(merge(seeds().iter().map(|seed| &seed[..]), Vec::new(), None, MIN_CHUNK).is_ok());
    }
}
