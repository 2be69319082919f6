//! Everything that reads what others wrote, one fuzz target each: requests of both applications, what boot loaders and
//! firmware leave in memory, the command line, what operators and strangers say, what is on disks, checkpoints. `tests/fuzz` runs them under libFuzzer,
//! `tests/tests/fuzz_smoke.rs` for a fixed number of rounds on stable Rust.
//!
//! A target must not panic, whatever it is fed, and it checks what else has to hold.

mod acpi;
mod boot;
mod checkpoint;
mod control;
mod disks;
mod http;
mod resp;
mod settings;

pub use acpi::acpi;
pub use boot::{boot_params, multiboot1, multiboot2, pvh};
pub use checkpoint::checkpoint;
pub use control::{access, handshake_stages, request, ssh};
pub use disks::{gpt, slots, state};
pub use http::http;
pub use resp::resp;
pub use settings::settings;

/// A parser under test.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    /// Valid input to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

pub const TARGETS: &[Target] = &[
    Target { name: "resp", run: resp, seeds: resp::seeds },
    Target { name: "http", run: http, seeds: http::seeds },
    Target { name: "pvh", run: pvh, seeds: boot::seeds },
    Target { name: "multiboot1", run: multiboot1, seeds: boot::seeds },
    Target { name: "multiboot2", run: multiboot2, seeds: boot::seeds },
    Target { name: "boot_params", run: boot_params, seeds: boot::seeds },
    Target { name: "acpi", run: acpi, seeds: acpi::seeds },
    Target { name: "settings", run: settings, seeds: settings::seeds },
    Target { name: "request", run: request, seeds: control::requests },
    Target { name: "access", run: access, seeds: control::lists },
    Target { name: "ssh", run: ssh, seeds: control::handshakes },
    Target { name: "gpt", run: gpt, seeds: disks::tables },
    Target { name: "state", run: state, seeds: disks::states },
    Target { name: "slots", run: slots, seeds: disks::records },
    Target { name: "checkpoint", run: checkpoint, seeds: checkpoint::seeds },
];

/// Splits input into pieces whose sizes its first byte decides: what arrives over a network is cut anywhere.
fn pieces(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (size, rest) = match input.split_first() {
        Some((&first, rest)) => (usize::from(first).max(1), rest),
        None => (1, input),
    };
    rest.chunks(size)
}
