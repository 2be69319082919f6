extern crate std;
use super::*;
use std::vec;
use std::vec::Vec;

#[test]
fn a_stuck_source_fails_and_a_good_one_does_not() {
    let mut test = HealthTest::new(8);
    let stuck = test.run(&[7; 600], SourceHealth::default());
    assert_eq!((stuck.samples, stuck.failures > 0), (600, true));
    let mut generator = Generator::new();
    generator.mix(b"a test");
    let mut bytes = vec![0; 200_000];
    generator.fill(&mut bytes);
    assert_eq!(HealthTest::new(8).run(&bytes, SourceHealth::default()).failures, 0);
}

#[test]
fn a_biased_source_fails_the_proportion_test() {
    let biased: Vec<u8> =
        (0..2000u32).map(|index| if index % 3 == 0 { index as u8 } else { 9 + (index % 2) as u8 }).collect();
    assert!(HealthTest::new(8).run(&biased, SourceHealth::default()).failures > 0);
}

#[test]
fn the_stream_depends_on_everything_mixed_in_and_never_repeats() {
    let mut first = Generator::new();
    first.mix(b"seed");
    let mut second = first.clone();
    let mut third = first.clone();
    third.mix(b"more");
    let take = |generator: &mut Generator| {
        let mut bytes = [0; 32];
        generator.fill(&mut bytes);
        bytes
    };
    let bytes = take(&mut first);
    assert_eq!(bytes, take(&mut second));
    assert_ne!(bytes, take(&mut third));
    assert_ne!(bytes, take(&mut first));
    assert_eq!(first.given(), 64);
}

#[test]
fn missing_sources_are_reported_and_bytes_still_come() {
    init(Some(&mut |_: &mut [u8]| 0));
    let mut bytes = [0; 64];
    fill(&mut bytes);
    assert_ne!(bytes, [0; 64]);
    assert_eq!(health().device.samples, 0);
    assert!(std::format!("{}", health()).contains("virtio-rng absent"));
}

#[test]
fn a_pool_is_due_until_seeded_and_again_after_much_was_given() {
    let mut pool = Pool::new();
    assert!(pool.is_due());
    pool.take(Origin::Cpu, &[]);
    assert!(pool.is_due(), "nothing is no seed");
    pool.take(Origin::Cpu, b"01234567");
    assert!(!pool.is_due());
    assert!(pool.health().is_good());
    pool.fill(&mut vec![0; 1 << 20]);
    assert!(pool.is_due());
    pool.take(Origin::Jitter, b"89");
    assert!(!pool.is_due());
}

#[test]
fn a_stuck_source_degrades_the_pool_and_is_named() {
    let mut pool = Pool::new();
    pool.take(Origin::Device, b"unlike each other");
    assert!(pool.health().is_good());
    pool.take(Origin::Cpu, &[0xff; 64]);
    assert!(!pool.health().is_good());
    assert!(!pool.health().cpu.ok());
    assert!(std::format!("{}", pool.health()).starts_with("degraded, CPU failed"));
}

#[test]
fn jitter_alone_is_degraded() {
    let mut pool = Pool::new();
    pool.take(Origin::Jitter, b"some timings");
    assert!(!pool.health().is_good());
}

#[test]
fn any_claim_of_entropy_makes_a_test() {
    for bits in [0, 9, 64, u32::MAX] {
        assert!(HealthTest::new(bits).run(&[1; 600], SourceHealth::default()).failures > 0);
    }
}
