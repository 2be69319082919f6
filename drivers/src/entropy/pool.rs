//! The sources' bytes, their tests and the generator they end in; no hardware, so that fake sources can be tried on it.

use super::{Generator, Health, HealthTest, SourceHealth};

/// Bytes given out after which fresh entropy is to be mixed in.
const RESEED: u64 = 1 << 20;

/// Where bytes came from; each origin has tests of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Cpu,
    Device,
    Jitter,
}

pub(super) struct Pool {
    generator: Generator,
    health: Health,
    tests: [HealthTest; 3],
}

impl Pool {
    pub(super) const fn new() -> Self {
        Self {
            generator: Generator::new(),
            health: Health {
                cpu: SourceHealth::NONE,
                device: SourceHealth::NONE,
                jitter: SourceHealth::NONE,
            },
            tests: [HealthTest::new(8), HealthTest::new(8), HealthTest::new(1)],
        }
    }

    /// Takes what a source gave. A source that gave nothing changes nothing.
    pub(super) fn take(&mut self, source: Origin, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let health = match source {
            Origin::Cpu => &mut self.health.cpu,
            Origin::Device => &mut self.health.device,
            Origin::Jitter => &mut self.health.jitter,
        };
        *health = self.tests[source as usize].run(bytes, *health);
        self.generator.mix(bytes);
    }

    /// Whether fresh entropy is due: nothing was ever mixed in, or much was given out since.
    pub(super) fn is_due(&self) -> bool {
        self.generator.given() >= RESEED
    }

    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        self.generator.fill(bytes);
    }

    pub(super) fn health(&self) -> Health {
        self.health
    }
}
