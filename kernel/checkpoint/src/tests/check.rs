//! Why a machine can't go on from a checkpoint.

use super::*;
use std::string::ToString;

#[test]
fn all_reasons_come_at_once() {
    let kinds = [(2, 4, FrameKind::Here), (0x40, 4, FrameKind::Zero), (UPPER, 0x80, FrameKind::Here)];
    let mut checkpoint = manifest(frames(&kinds));
    let (features, map) = (features(), map());
    let twin = Machine { image: [7; 32], vendor: Vendor::Amd, features: &features, cpus: 2, map: &map };
    assert_eq!(refusals(&checkpoint, &twin), []);
    // More of everything does no harm.
    let mut more = features.clone();
    more.push(Word { leaf: 0x8000_0008, subleaf: 0, register: Register::Ebx, bits: 1 }).unwrap();
    assert_eq!(refusals(&checkpoint, &Machine { features: &more, ..twin }), []);

    let mut small = Map::new();
    for (start, end, kind) in [
        (0, 4, RegionKind::Memory),
        (0x40, 0x50, RegionKind::Image),
        (UPPER, UPPER + 0x10, RegionKind::Memory),
        (UPPER + 0x10, UPPER + 0x30, RegionKind::Reserve),
        (UPPER + 0x30, UPPER + 0x40, RegionKind::Other),
    ] {
        small.push(region(start, end, kind)).unwrap();
    }
    let mut few = Features::new();
    few.push(Word { leaf: 1, subleaf: 0, register: Register::Ecx, bits: 1 << 16 }).unwrap();
    let other = Machine { image: [8; 32], vendor: Vendor::Intel, features: &few, cpus: 1, map: &small };
    checkpoint.header.base = Some([9; 16]);
    let found: Vec<_> = refusals(&checkpoint, &other).iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "it is incremental, and has to be merged with its base first",
            "it was taken of another image",
            "it needs CPUs of AMD, and these are Intel's",
            "the CPUs lack x87-state, sse-state, avx-state, avx, nx",
            "it needs 2 CPUs, and there are 1",
            "82 frames from 0x4000 on are where there is no memory",
            "32 frames from 0x110000 on are where the VMM is",
        ]
    );

    // What was free need not be here.
    checkpoint.header.base = None;
    let mut less = Map::new();
    for each in map.regions() {
        let kind = if each.start == UPPER * 4096 { RegionKind::Other } else { each.kind };
        less.push(Region { kind, ..*each }).unwrap();
    }
    checkpoint.frames = frames(&kinds[..2]);
    assert_eq!(refusals(&checkpoint, &Machine { map: &less, ..twin }), []);
    let found = refusals(&checkpoint, &Machine { cpus: 3, ..twin });
    assert_eq!(found, [Refusal::Cpus { needed: 2, here: 3 }]);
}
