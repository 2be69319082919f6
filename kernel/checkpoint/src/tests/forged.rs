//! What somebody with the key has made up is refused by what it says.

use super::*;
use crate::frames::encode_run;
use proptest::prelude::*;
use std::string::ToString;

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn runs(ranges: &[(u64, u32, u32)]) -> Vec<u8> {
    let mut raw = Vec::new();
    ranges.iter().for_each(|&(first, count, kind)| encode_run(&mut raw, first, count, kind));
    raw
}

fn list(left: u64, ranges: &[(u64, u32, u32)]) -> Vec<u8> {
    [words(&[left]), runs(ranges)].concat()
}

/// A chunk of pages.
fn pages(count: usize, ranges: &[(u64, u32, u32)]) -> Vec<u8> {
    [vec![3; count * PAGE], runs(ranges), words(&[ranges.len() as u64])].concat()
}

fn cpu(number: u32, length: u32) -> Vec<u8> {
    [&number.to_le_bytes()[..], &length.to_le_bytes(), &vec![6; length as usize]].concat()
}

fn feature(leaf: u32, register: u32, bits: u64) -> Vec<u8> {
    [&leaf.to_le_bytes()[..], &0u32.to_le_bytes(), &register.to_le_bytes(), &bits.to_le_bytes()].concat()
}

fn header() -> Header {
    manifest(Frames::new()).header
}

/// A small checkpoint: two frames whose pages come, one that is zero.
fn good() -> Vec<(Kind, Vec<u8>)> {
    let mut regions = Vec::new();
    map().encode(&mut regions);
    vec![
        (Kind::Features, feature(1, 2, 1)),
        (Kind::Map, regions),
        (Kind::Cpus, [cpu(0, 9), cpu(1, 9)].concat()),
        (Kind::Frames, list(0, &[(2, 2, 1), (9, 1, 2)])),
        (Kind::Pages, pages(1, &[(2, 1, 1)])),
        (Kind::Pages, pages(0, &[(3, 1, 2)])),
        (Kind::End, words(&[6, 1, 1])),
    ]
}

/// Why it is refused with another chunk at a place.
fn with(at: usize, raw: Vec<u8>) -> Error {
    let mut chunks = good();
    chunks[at].1 = raw;
    refusal(&forge(&header(), &chunks, None), None)
}

fn fields(at: usize, cases: Vec<(Vec<u8>, &'static str)>) {
    for (raw, expected) in cases {
        let kind = Some(good()[at].0);
        let error = with(at, raw);
        assert_eq!(error, Error::Chunk { number: at as u64, kind, field: expected }, "{error}");
    }
}

fn faults(cases: Vec<(usize, Vec<u8>, u64, FrameFault)>) {
    for (at, raw, frame, fault) in cases {
        assert_eq!(with(at, raw), Error::Frame(frame, fault));
    }
}

#[test]
fn the_good_one_is_taken() {
    let found = read(&forge(&header(), &good(), None), None, 100).unwrap();
    assert_eq!(found.totals, Totals { chunks: 6, pages: 1, zero: 1 });
}

#[test]
fn fields_of_the_manifest() {
    fields(
        0,
        vec![
            (vec![0; 19], "feature bits"),
            (feature(1, 5, 1), "feature register"),
            (feature(1, 2, 0), "feature bits"),
            (feature(1, 2, 1 << 32), "feature bits"),
            (feature(1, 4, 1), "feature bits"),
            ([feature(1, 2, 1), feature(1, 2, 2)].concat(), "feature order"),
            ([feature(7, 2, 1), feature(1, 2, 2)].concat(), "feature order"),
            ((0..65).flat_map(|leaf| feature(leaf, 1, 1)).collect(), "number of feature words"),
        ],
    );
    fields(
        1,
        vec![
            (words(&[0, 4096]), "region kind"),
            (words(&[0, 4096, 0]), "region kind"),
            (words(&[0, 4096, 5]), "region kind"),
            (words(&[0, 4096, 1 << 32 | 1]), "region padding"),
            (words(&[0, 4097, 1]), "region"),
            (words(&[1, 4096, 1]), "region"),
            (words(&[4096, 4096, 1]), "region"),
            (words(&[8192, 4096, 1]), "region"),
            (words(&[0, 1 << 47, 1]), "region"),
            (words(&[0, 8192, 1, 4096, 12288, 1]), "region order"),
            (words(&[8192, 12288, 1, 0, 4096, 1]), "region order"),
        ],
    );
    assert_eq!(with(1, words(&[0, 0x100000, 1])), Error::Header("memory end"));
    fields(
        2,
        vec![
            (vec![], "CPU number"),
            (cpu(1, 9), "CPU number"),
            ([cpu(0, 9), cpu(0, 9)].concat(), "CPU number"),
            ([cpu(0, 9), cpu(1, 9), cpu(2, 9)].concat(), "CPU number"),
            (cpu(0, 0), "CPU state length"),
            (cpu(0, MAX_CPU_STATE as u32 + 1), "CPU state length"),
            (cpu(0, 9)[..16].to_vec(), "CPU state length"),
            ([cpu(0, 9), vec![1]].concat(), "CPU number"),
        ],
    );
    assert_eq!(with(2, cpu(0, 9)), Error::Header("CPUs"));
}

#[test]
fn the_list_of_frames() {
    fields(
        3,
        vec![
            (vec![0; 7], "number of ranges"),
            (words(&[MAX_RANGES as u64 + 1]), "number of ranges"),
            (words(&[1]), "number of ranges"),
            (words(&[u64::MAX]), "number of ranges"),
            (list(0, &[(2, 0, 1)]), "frame count"),
            (list(0, &[(2, 1, 0)]), "frame kind"),
            (list(0, &[(2, 1, 4)]), "frame kind"),
            (list(0, &[(u64::MAX, 1, 1)]), "first frame"),
            (list(0, &[(MAX_FRAME - 1, 2, 1)]), "first frame"),
            (list(0, &[(2, 1, 1)])[..20].to_vec(), "frame kind"),
        ],
    );
    faults(vec![
        (3, list(0, &[(2, 2, 1), (3, 1, 1)]), 3, FrameFault::Order),
        (3, list(0, &[(2, 2, 1), (2, 2, 1)]), 2, FrameFault::Order),
        (3, list(0, &[(9, 1, 1), (2, 2, 1)]), 2, FrameFault::Order),
        (3, list(0, &[(2, 2, 3)]), 2, FrameFault::NoBase),
        (3, list(0, &[(0x3f, 0x60, 1)]), 0x80, FrameFault::Outside),
        (3, list(0, &[(0x1ff, 2, 1)]), 0x200, FrameFault::Outside),
        (3, list(0, &[(MAX_FRAME - 1, 1, 2)]), MAX_FRAME - 1, FrameFault::Outside),
    ]);
    // What is said to follow has to.
    let parts = |left: u64| {
        let mut chunks = good();
        chunks[3].1 = list(left, &[(2, 2, 1)]);
        chunks.insert(4, (Kind::Frames, list(0, &[(9, 1, 2)])));
        chunks[7].1 = words(&[7, 1, 1]);
        read(&forge(&header(), &chunks, None), None, 1 << 20).map(|found| found.totals.chunks)
    };
    let wrong = |number, field| Err(Error::Chunk { number, kind: Some(Kind::Frames), field });
    assert_eq!(parts(1), Ok(7));
    assert_eq!(parts(2), wrong(4, "number of ranges"));
    assert_eq!(parts(0), wrong(4, "kind"));
}

#[test]
fn pages_that_nobody_expects() {
    fields(
        4,
        vec![
            (vec![0; 7], "number of runs"),
            (words(&[0]), "number of runs"),
            (words(&[1]), "number of runs"),
            (words(&[u64::MAX]), "number of runs"),
            (words(&[1 << 60]), "number of runs"),
            (pages(1, &[(2, 0, 1)]), "frame count"),
            (pages(1, &[(2, 1, 3)]), "frame kind"),
            (pages(1, &[(u64::MAX, 1, 1)]), "first frame"),
            (pages(1, &[(2, u32::MAX, 1)]), "pages"),
            (pages(1, &[(2, 2, 1)]), "pages"),
            (pages(2, &[(2, 1, 1)]), "pages"),
            (pages(1, &[(2, 1, 2)]), "pages"),
        ],
    );
    faults(vec![
        (4, pages(1, &[(1, 1, 1)]), 1, FrameFault::NotListed),
        (4, pages(1, &[(9, 1, 1)]), 9, FrameFault::NotListed),
        (4, pages(3, &[(2, 3, 1)]), 4, FrameFault::NotListed),
        (4, pages(0, &[(2, u32::MAX, 2)]), 4, FrameFault::NotListed),
        (4, pages(1, &[(3, 1, 1)]), 2, FrameFault::Missing),
        (4, pages(2, &[(2, 1, 1), (2, 1, 1)]), 2, FrameFault::Twice),
        (5, pages(1, &[(2, 1, 1)]), 2, FrameFault::Twice),
        (4, pages(2, &[(2, 2, 1)]), 3, FrameFault::Twice),
    ]);
    let mut chunks = good();
    chunks.remove(5);
    assert_eq!(refusal(&forge(&header(), &chunks, None), None), Error::Frame(3, FrameFault::Missing));
}

#[test]
fn the_end_counts() {
    let wrong = [[5, 1, 1], [6, 2, 1], [6, 1, 0]].map(|totals| (words(&totals), "totals"));
    fields(6, [&wrong[..], &[(words(&[6, 1, 1, 0]), "totals"), (vec![], "totals")]].concat());
}

#[test]
fn chunks_come_in_order() {
    for at in 0..good().len() {
        for kind in [Kind::Features, Kind::Map, Kind::Cpus, Kind::Frames, Kind::Pages, Kind::End] {
            let mut chunks = good();
            let old = core::mem::replace(&mut chunks[at].0, kind);
            let result = read(&forge(&header(), &chunks, None), None, 1 << 20);
            if kind == old {
                assert!(result.is_ok());
            } else {
                assert!(
                    matches!(result, Err(Error::Chunk { .. } | Error::Frame(..) | Error::Header("CPUs"))),
                    "{at} {kind}: {result:?}"
                );
            }
        }
    }
}

#[test]
fn lengths_are_believed_in_nothing() {
    let (bytes, seal) = header().encode(None);
    let with = |number: u64, kind: u32, raw: u32, stored_length: u32, stored: &[u8]| {
        let mut head = [0; FIELDS];
        head[..8].copy_from_slice(&number.to_le_bytes());
        for (at, word) in [(8, kind), (12, raw), (16, stored_length)] {
            head[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        refusal(&[&bytes[..], &forge_chunk(&seal, head, stored)].concat(), None)
    };
    let wrong = |kind, field| Error::Chunk { number: 0, kind, field };
    let features = Some(Kind::Features);
    assert_eq!(with(1, 1, 9, 9, &[0; 9]), wrong(None, "number"));
    assert_eq!(with(0, 0, 9, 9, &[0; 9]), wrong(None, "kind"));
    assert_eq!(with(0, 7, 9, 9, &[0; 9]), wrong(None, "kind"));
    assert_eq!(with(0, 1, MAX_RAW as u32 + 1, 9, &[0; 9]), wrong(features, "raw length"));
    assert_eq!(with(0, 1, u32::MAX, u32::MAX, &[0; 9]), wrong(features, "raw length"));
    assert_eq!(with(0, 1, 8, 9, &[0; 9]), wrong(features, "stored length"));
    assert!(matches!(with(0, 1, 10, 10, &[0; 9]), Error::Truncated(_)));
    // Blocks of LZ4 that end early, reach back too far, or bring more or less than was said.
    for (raw, block) in
        [(20, &[][..]), (20, &[0xff]), (20, &[0x10, 7, 9, 9, 0]), (MAX_RAW as u32, &[0xff; 4000])]
    {
        assert_eq!(with(0, 1, raw, block.len() as u32, block), wrong(features, "stored bytes"));
    }
    let block = [0x1f, 7, 1, 0, 200, 0x50, 1, 2, 3, 4, 5];
    for raw in [20, 224, 226, 500] {
        assert_eq!(with(0, 1, raw, block.len() as u32, &block), wrong(features, "stored bytes"));
    }
    assert_eq!(with(0, 1, 225, block.len() as u32, &block), wrong(features, "feature register"));
}

#[test]
fn fields_of_the_header() {
    let refused = |change: fn(&mut Header)| {
        let mut header = header();
        change(&mut header);
        refusal(&forge(&header, &good(), None), None)
    };
    assert_eq!(refused(|header| header.id = [0; 16]), Error::Header("id"));
    assert_eq!(refused(|header| header.base = Some([0; 16])), Error::Header("base"));
    assert_eq!(refused(|header| header.base = Some(header.id)), Error::Header("base"));
    assert_eq!(refused(|header| header.cpus = 0), Error::Header("CPUs"));
    assert_eq!(refused(|header| header.cpus = 257), Error::Header("CPUs"));
    for end in [0, 4097, MAX_ADDRESS + 4096] {
        let mut header = header();
        header.memory_end = end;
        assert_eq!(refusal(&forge(&header, &good(), None), None), Error::Header("memory end"));
    }
    // Those that an encoder can't get wrong.
    for (at, byte, field) in [(32, 1, "base"), (88, 0, "vendor"), (88, 3, "vendor"), (12, 4, "flags")] {
        let (mut bytes, _) = header().encode(None);
        bytes[at] = byte;
        let tag = crate::seal::of_header(None, &bytes[..128]);
        bytes[128..].copy_from_slice(tag.as_bytes());
        assert_eq!(refusal(&bytes, None), Error::Header(field));
    }
}

#[test]
fn errors_name_the_field() {
    for (error, text) in [
        (Error::Header("CPUs"), "header: CPUs"),
        (Error::Version(2), "header: version 2, which is not known here"),
        (Error::Chunk { number: 4, kind: Some(Kind::Pages), field: "tag" }, "chunk 4 (pages): tag"),
        (Error::Chunk { number: 4, kind: None, field: "number" }, "chunk 4: number"),
        (Error::Frame(0x1f, FrameFault::Missing), "frame 0x1f: its contents are missing"),
    ] {
        assert_eq!(error.to_string(), text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever is in a chunk, if it is taken it says the same when it is written again.
    #[test]
    fn made_up_chunks_do_no_harm(at in 0usize..7, raw: Vec<u8>, edit: (usize, u8)) {
        let mut chunks = good();
        drop(read(&forge(&header(), &{ let mut all = good(); all[at].1 = raw; all }, None), None, 1 << 20));
        let length = chunks[at].1.len();
        chunks[at].1[edit.0 % length] = edit.1;
        if let Ok(found) = read(&forge(&header(), &chunks, None), None, 1 << 20) {
            let Found { manifest, pages, totals } = found;
            prop_assert_eq!(pages.len() as u64, totals.pages + totals.zero);
            prop_assert_eq!(manifest.frames.count(FrameKind::Here), totals.pages + totals.zero);
            prop_assert!(manifest.check().is_ok());
        }
    }
}
