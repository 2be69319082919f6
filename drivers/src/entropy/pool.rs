//! The sources' bytes, their tests and the generator they end in; no hardware, so that fake sources can be tried on it.

use super::{Generator, Health, HealthTest, SourceHealth};

/// Bytes given out after which fresh entropy is to be mixed in.
const RESEED: u64 = 1 << 20;
/// Sources a caller may name; what further ones give is mixed in all the same, but not tested.
pub(super) const NAMED: usize = 4;

/// A source that has tests of its own from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BuiltIn {
    Cpu,
    Device,
    Jitter,
}

pub(super) struct Pool {
    generator: Generator,
    health: Health,
    tests: [HealthTest; 3],
    named_tests: [HealthTest; NAMED],
}

impl Pool {
    pub(super) const fn new() -> Self {
        Self {
            generator: Generator::new(),
            health: Health {
                cpu: SourceHealth::NONE,
                device: SourceHealth::NONE,
                jitter: SourceHealth::NONE,
                named: [None; NAMED],
            },
            tests: [HealthTest::new(8), HealthTest::new(8), HealthTest::new(1)],
            // Of a source that is only known by name nothing better than a bit a byte is assumed.
            named_tests: [const { HealthTest::new(1) }; NAMED],
        }
    }

    /// Takes what a source gave. A source that gave nothing changes nothing.
    pub(super) fn take(&mut self, source: BuiltIn, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let health = match source {
            BuiltIn::Cpu => &mut self.health.cpu,
            BuiltIn::Device => &mut self.health.device,
            BuiltIn::Jitter => &mut self.health.jitter,
        };
        *health = self.tests[source as usize].run(bytes, *health);
        self.generator.mix(bytes);
    }

    /// Takes what a source known by name gave.
    pub(super) fn take_named(&mut self, name: &'static str, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let mut slots = self.health.named.iter_mut().zip(&mut self.named_tests);
        if let Some((slot, test)) = slots.find(|(slot, _)| slot.is_none_or(|(taken, _)| taken == name)) {
            let health = slot.map_or(SourceHealth::NONE, |(_, health)| health);
            *slot = Some((name, test.run(bytes, health)));
        }
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
