//! Each fuzz target on its seeds and on mutations of them: a fixed number, the same on every run.

use std::panic::catch_unwind;

use tests::noise::Noise;
use tests::targets::TARGETS;

const MUTATIONS: usize = 1_500;

#[test]
fn no_parser_panics() {
    let mut failures = Vec::new();
    for target in TARGETS {
        let seeds = (target.seeds)();
        let mut noise = Noise::new(target.name.bytes().map(u64::from).sum());
        let random = (0..50).map(|length| noise.bytes(length * 3)).collect::<Vec<_>>();
        let mutations =
            (0..MUTATIONS).map(|round| noise.mutate(&seeds[round % seeds.len()])).collect::<Vec<_>>();
        let truncated =
            seeds.iter().flat_map(|seed| (0..seed.len().min(300)).map(|end| seed[..end].to_vec()));
        for input in seeds.iter().cloned().chain(truncated).chain(random).chain(mutations) {
            if catch_unwind(|| (target.run)(&input)).is_err() {
                failures.push(format!("{} on \"{}\"", target.name, input.escape_ascii()));
                break;
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
