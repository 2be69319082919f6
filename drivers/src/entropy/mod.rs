//! Unpredictable bytes: several sources, each under health tests, mixed into one generator.
//!
//! Sources are the CPU's generator (RDSEED, else RDRAND), a virtio entropy device, and timing jitter. None is trusted
//! alone: everything is hashed together, so one good source suffices, and a bad one does no harm.

mod generator;
mod health;
mod pool;

pub use generator::Generator;
pub use health::{HealthTest, SourceHealth};

use core::fmt;
use machine::cpu;
use machine::sync::SpinLock;
use pool::{Origin, Pool};

/// Bytes asked of each source for a seed.
const SEED: usize = 64;
/// Jitter samples for a seed; each is counted as a fraction of a bit.
const JITTER_SAMPLES: usize = 1024;

/// What is known about the sources.
#[derive(Clone, Copy, Debug, Default)]
pub struct Health {
    /// The CPU's generator.
    pub cpu: SourceHealth,
    /// The virtio device.
    pub device: SourceHealth,
    /// Timing jitter.
    pub jitter: SourceHealth,
}

impl Health {
    /// Whether at least one source beside jitter has delivered and none has failed its tests.
    pub fn is_good(&self) -> bool {
        self.all().iter().all(|(_, source)| source.failures == 0) && (self.cpu.ok() || self.device.ok())
    }

    /// The sources, with their names.
    pub fn all(&self) -> [(&'static str, SourceHealth); 3] {
        [("CPU", self.cpu), ("virtio-rng", self.device), ("jitter", self.jitter)]
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_good() { "good" } else { "degraded" })?;
        for (name, source) in self.all() {
            match (source.samples, source.failures) {
                (0, _) => write!(f, ", {name} absent")?,
                (_, 0) => write!(f, ", {name} ok")?,
                (_, failures) => write!(f, ", {name} failed {failures} tests")?,
            }
        }
        Ok(())
    }
}

static POOL: SpinLock<Pool> = SpinLock::new(Pool::new());

/// Fills a buffer and says how many bytes came.
pub type Source<'a> = &'a mut dyn FnMut(&mut [u8]) -> usize;

/// Seeds the generator from all sources.
pub fn init(device: Option<Source<'_>>) {
    let mut bytes = [0; SEED];
    let length = device.map_or(0, |fill| fill(&mut bytes).min(SEED));
    let mut jitter = [0; JITTER_SAMPLES];
    for sample in &mut jitter {
        *sample = jitter_sample();
    }
    let mut pool = POOL.lock();
    pool.take(Origin::Device, &bytes[..length]);
    pool.take(Origin::Jitter, &jitter);
    take_cpu(&mut pool);
}

/// Unpredictable bytes. Before [`init`] they rest on the CPU's generator and a few timings alone.
pub fn fill(bytes: &mut [u8]) {
    let mut pool = POOL.lock();
    if pool.is_due() {
        reseed(&mut pool);
    }
    pool.fill(bytes);
}

/// What is known about the sources.
pub fn health() -> Health {
    POOL.lock().health()
}

/// Few timings, for the lock keeps interrupts off.
fn reseed(pool: &mut Pool) {
    let mut jitter = [0; SEED];
    for sample in &mut jitter {
        *sample = jitter_sample();
    }
    pool.take(Origin::Jitter, &jitter);
    take_cpu(pool);
}

fn take_cpu(pool: &mut Pool) {
    let mut bytes = [0; SEED];
    let mut length = 0;
    for word in bytes.chunks_exact_mut(8) {
        let Some(value) = cpu::hardware_random() else { break };
        word.copy_from_slice(&value.to_le_bytes());
        length += 8;
    }
    pool.take(Origin::Cpu, &bytes[..length]);
}

/// How long a little work over memory took, in its lowest bits. Under an emulator that counts instructions this is constant,
/// which the health test notices.
fn jitter_sample() -> u8 {
    let start = cpu::tsc();
    let mut memory = [0u8; 512];
    let mut at = start as usize;
    for _ in 0..32 {
        at = at.wrapping_mul(0x9e37_79b9).wrapping_add(core::hint::black_box(memory[at % 512]) as usize);
        memory[at % 512] ^= at as u8;
    }
    core::hint::black_box(&memory);
    // Counters of two CPUs may differ, so that time goes backwards.
    cpu::tsc().wrapping_sub(start) as u8
}

#[cfg(test)]
mod tests;
