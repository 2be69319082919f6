//! What is written is read again.

use super::*;
use proptest::prelude::*;
use std::format;
use std::string::ToString;

fn memories() -> impl Strategy<Value = Memory> {
    proptest::collection::btree_map(prop_oneof![1u64..0x80, UPPER..0x200], 0u8..8, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn goes_round(
        memory in memories(),
        states in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..3000), 1..20),
        piece in 1usize..70_000,
        is_keyed: bool,
    ) {
        let key = is_keyed.then_some(sample_key());
        let mut manifest = manifest(listed(&memory));
        manifest.header.cpus = states.len() as u32;
        manifest.cpus = states;
        let bytes = write(manifest.clone(), &memory, key.as_ref());
        let found = read(&bytes, key, piece).unwrap();
        prop_assert_eq!(found.manifest, manifest);
        prop_assert_eq!(found.pages.len(), memory.len());
        for (frame, number) in &memory {
            prop_assert_eq!(&found.pages[frame], &page(*number));
        }
        let zero = memory.values().filter(|number| **number == 0).count() as u64;
        prop_assert_eq!((found.totals.pages, found.totals.zero), (memory.len() as u64 - zero, zero));
        prop_assert_eq!(found.totals.chunks + 1, chunks(&bytes).len() as u64);
    }

    #[test]
    fn headers_go_round(
        id: [u8; 16], base: Option<[u8; 16]>, generation: u64, image: [u8; 32], is_intel: bool,
        cpus in 1u32..=256, monotonic: u64, wall: u64, end in 1u64..=MAX_FRAME, is_keyed: bool,
    ) {
        prop_assume!(id != [0; 16] && base != Some([0; 16]) && base != Some(id));
        let (vendor, memory_end) = (if is_intel { Vendor::Intel } else { Vendor::Amd }, end * PAGE as u64);
        let header = Header { id, base, generation, image, vendor, cpus, monotonic, wall, memory_end };
        let key = is_keyed.then_some(sample_key());
        let (bytes, _) = header.encode(key.as_ref());
        let (decoded, keyed, _) = Header::decode(&bytes, Some(key.as_ref())).unwrap();
        prop_assert_eq!((decoded, keyed), (header, is_keyed));
        // Without a look at tags the key is not asked for.
        prop_assert_eq!(Header::decode(&bytes, None).unwrap().0, header);
    }
}

#[test]
fn a_stream_ends_with_its_source() {
    let bytes = sample(1, None);
    let mut stream = Stream::new(&bytes[..], Reader::new(None)).unwrap();
    let mut events = 0;
    while stream.event().unwrap().is_some() {
        events += 1;
    }
    assert!(events > 3 && stream.event().unwrap().is_none());
    let more = [&bytes[..], b"\0"].concat();
    let mut stream = Stream::new(&more[..], Reader::new(None)).unwrap();
    let error = loop {
        match stream.event() {
            Ok(event) => assert!(event.is_some()),
            Err(error) => break error,
        }
    };
    assert_eq!(error, ReadError::Format(Error::Trailing));
}

#[test]
fn it_is_small_where_pages_are_alike() {
    let count = 2 * MIN_CHUNK / PAGE;
    let memory: Memory = (0..count as u64).map(|frame| (UPPER + frame, 2)).collect();
    let alike = write(manifest(listed(&memory)), &memory, None).len();
    let zero = memory.keys().map(|frame| (*frame, 0)).collect();
    let zero = write(manifest(listed(&memory)), &zero, None).len();
    assert!(zero < 1200 && alike < 2400, "{zero} {alike}");
}

#[test]
fn a_list_of_frames_takes_several_chunks() {
    let mut all = manifest(Frames::new());
    all.map = Map::new();
    all.map.push(region(0, 0x10000, RegionKind::Memory)).unwrap();
    all.header.memory_end = 0x10000 * PAGE as u64;
    for frame in 0..5000 {
        all.frames.push(Range { first: 2 * frame, count: 1, kind: FrameKind::Zero }).unwrap();
    }
    let bytes = write(all.clone(), &Memory::new(), None);
    assert_eq!(read(&bytes, None, 999).unwrap().manifest, all);
    let lists = chunks(&bytes).into_iter().filter(|chunk| bytes[chunk.start + 8] == Kind::Frames as u8);
    assert_eq!(lists.count(), 3);
}

#[test]
fn frames_one_after_another_are_one_range() {
    let joined = frames(&[(1, 2, FrameKind::Here), (3, 4, FrameKind::Here), (7, 1, FrameKind::Zero)]);
    assert_eq!(joined, frames(&[(1, 6, FrameKind::Here), (7, 1, FrameKind::Zero)]));
    assert_eq!((joined.count(FrameKind::Here), joined.count(FrameKind::Zero)), (6, 1));
    // More than a count can tell.
    let long = frames(&[(0, u32::MAX, FrameKind::Zero), (u32::MAX.into(), 9, FrameKind::Zero)]);
    assert_eq!(long.ranges().len(), 2);
}

#[test]
fn a_writer_takes_what_makes_sense_only() {
    let begin = |manifest: Manifest| Writer::begin(Vec::new(), manifest, None, MIN_CHUNK).err();
    let format = |error| Some(WriteError::Format(error));
    let good = || manifest(frames(&[(2, 4, FrameKind::Here), (UPPER, 1, FrameKind::Zero)]));
    assert_eq!(begin(good()), None);
    let with = |change: fn(&mut Manifest)| {
        let mut manifest = good();
        change(&mut manifest);
        begin(manifest)
    };
    assert_eq!(with(|it| it.header.cpus = 3), format(Error::Header("CPUs")));
    assert_eq!(with(|it| it.header.memory_end += 4096), format(Error::Header("memory end")));
    assert_eq!(with(|it| it.header.id = [0; 16]), format(Error::Header("id")));
    assert_eq!(with(|it| it.cpus[1].clear()), format(Error::Field("CPU state length")));
    let outside = |first, at| {
        let mut manifest = good();
        manifest.frames = frames(&[(first, 4, FrameKind::Zero)]);
        assert_eq!(begin(manifest), format(Error::Frame(at, FrameFault::Outside)));
    };
    for (first, at) in [(0, 0), (0x7e, 0x80), (0x9e, 0x9e), (0xff, 0xff), (0x1fe, 0x200), (0x400, 0x400)] {
        outside(first, at);
    }
    let based = with(|it| it.frames = frames(&[(2, 4, FrameKind::Base)]));
    assert_eq!(based, format(Error::Frame(2, FrameFault::NoBase)));
    for chunk in [MIN_CHUNK - 1, MAX_RAW + 1] {
        assert!(Writer::begin(Vec::new(), good(), None, chunk).is_err());
    }

    let mut writer = Writer::begin(Vec::new(), good(), None, MIN_CHUNK).unwrap();
    let mut put = |first, pages: usize| writer.pages(first, &vec![1; pages]).err();
    assert_eq!(put(2, PAGE + 1), format(Error::Field("pages")));
    assert_eq!(put(u64::MAX, PAGE), format(Error::Field("first frame")));
    assert_eq!(put(4, PAGE), format(Error::Frame(2, FrameFault::Missing)));
    assert_eq!(put(2, 5 * PAGE), format(Error::Frame(6, FrameFault::NotListed)));
    let mut writer = Writer::begin(Vec::new(), good(), None, MIN_CHUNK).unwrap();
    writer.zero(2, 3).unwrap();
    assert_eq!(writer.zero(2, 1).err(), format(Error::Frame(2, FrameFault::Twice)));
    assert_eq!(writer.end().err(), format(Error::Frame(5, FrameFault::Missing)));
}

#[test]
fn a_full_sink_is_told() {
    struct Full;
    impl Sink for Full {
        type Error = &'static str;
        fn write(&mut self, _: &[u8]) -> Result<(), &'static str> {
            Err("full")
        }
    }
    let error = Writer::begin(Full, manifest(Frames::new()), None, MAX_RAW).err();
    assert_eq!(error, Some(WriteError::Sink("full")));
}

#[test]
fn lists_have_limits() {
    let mut frames = Frames::new();
    for number in 0..MAX_RANGES as u64 {
        frames.push(Range { first: 2 * number, count: 1, kind: FrameKind::Here }).unwrap();
    }
    let more = Range { first: 1 << 30, count: 1, kind: FrameKind::Here };
    assert_eq!(frames.push(more), Err(Error::Field("number of ranges")));
    let mut map = Map::new();
    for number in 0..MAX_REGIONS as u64 {
        map.push(region(2 * number, 2 * number + 1, RegionKind::Memory)).unwrap();
    }
    assert_eq!(map.push(region(9000, 9001, RegionKind::Other)), Err(Error::Field("number of regions")));
    let mut features = Features::new();
    let word = |leaf| Word { leaf, subleaf: 0, register: Register::Eax, bits: 1 };
    for leaf in 0..MAX_WORDS as u32 {
        features.push(word(leaf)).unwrap();
    }
    assert_eq!(features.push(word(99)), Err(Error::Field("number of feature words")));
}

#[test]
fn keys_are_read_and_not_shown() {
    let digits = "09".repeat(32);
    assert_eq!(Key::from_hex(&digits), Some(sample_key()));
    for wrong in ["", &digits[1..], &format!("{digits}0"), &"x9".repeat(32), &"00".repeat(32)] {
        assert_eq!(Key::from_hex(wrong), None);
    }
    assert!(!format!("{:?}", sample_key()).contains('9'));
}

#[test]
fn features_have_names() {
    let shown = |leaf, subleaf, register, bits| {
        let mut features = Features::new();
        features.push(Word { leaf, subleaf, register, bits }).unwrap();
        features.to_string()
    };
    assert_eq!(features().to_string(), "x87-state, sse-state, avx-state, CPUID 1h.0 ECX bit 16, avx, nx");
    for (leaf, subleaf, register, bit, name) in [
        (1, 0, Register::Ecx, 31, "hypervisor"),
        (1, 0, Register::Edx, 31, "pbe"),
        (1, 0, Register::Edx, 25, "sse"),
        (7, 0, Register::Ebx, 5, "avx2"),
        (7, 0, Register::Ebx, 31, "avx512vl"),
        (7, 0, Register::Ecx, 22, "rdpid"),
        (7, 0, Register::Ecx, 31, "pks"),
        (7, 0, Register::Edx, 31, "ssbd"),
        (7, 1, Register::Eax, 22, "hreset"),
        (0xd, 1, Register::Eax, 3, "xsaves"),
        (0x8000_0001, 0, Register::Ecx, 30, "addr-mask-ext"),
        (0x8000_0001, 0, Register::Edx, 31, "3dnow"),
        (0x8000_0007, 0, Register::Edx, 8, "invariant-tsc"),
        (0x8000_0008, 0, Register::Ebx, 24, "amd-ssbd"),
        (0, 0, Register::Xcr0, 18, "tiledata-state"),
        (0, 0, Register::Xcr0, 62, "XCR0 bit 62"),
        (0x1234, 5, Register::Eax, 0, "CPUID 1234h.5 EAX bit 0"),
    ] {
        assert_eq!(shown(leaf, subleaf, register, 1u64 << bit), name);
    }
}
