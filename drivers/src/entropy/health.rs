//! Continuous health tests (NIST SP 800-90B, 4.4): repetition count and adaptive proportion.

/// Samples in a window of the proportion test (4.4.2: 512 for non-binary sources).
const WINDOW: u32 = 512;
/// A source that is fine fails a test once in 2^20.
const EXPONENT: u32 = 20;

/// What a source has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceHealth {
    /// Samples taken.
    pub samples: u64,
    /// Tests failed.
    pub failures: u64,
}

impl SourceHealth {
    /// No samples yet.
    pub(super) const NONE: Self = Self { samples: 0, failures: 0 };

    /// Whether the source has delivered and never failed a test.
    pub fn ok(&self) -> bool {
        self.samples > 0 && self.failures == 0
    }
}

/// The tests of one source.
#[derive(Clone, Debug)]
pub struct HealthTest {
    repetition_limit: u32,
    proportion_limit: u32,
    last: Option<u8>,
    repeated: u32,
    reference: u8,
    seen: u32,
    in_window: u32,
}

impl HealthTest {
    /// Tests for samples of a byte with at least `bits` bits of entropy (1 to 8).
    pub const fn new(bits: u32) -> Self {
        let bits = match bits {
            0 => 1,
            1..=8 => bits,
            _ => 8,
        };
        Self {
            // 4.4.1: 1 + ceil(20 / H).
            repetition_limit: 1 + EXPONENT.div_ceil(bits),
            // 4.4.2: the critical value of the binomial distribution, here bounded from above: mean, six deviations, five.
            proportion_limit: (WINDOW >> bits) + 6 * isqrt(WINDOW >> bits) + 5,
            last: None,
            repeated: 0,
            reference: 0,
            seen: 0,
            in_window: 0,
        }
    }

    /// Runs samples through the tests and adds to the source's record.
    pub fn run(&mut self, samples: &[u8], mut health: SourceHealth) -> SourceHealth {
        for &sample in samples {
            health.samples += 1;
            self.repeated = if self.last == Some(sample) { self.repeated + 1 } else { 1 };
            self.last = Some(sample);
            if self.repeated == self.repetition_limit {
                health.failures += 1;
            }
            if self.in_window == 0 {
                self.reference = sample;
                self.seen = 0;
            }
            if sample == self.reference {
                self.seen += 1;
                if self.seen == self.proportion_limit {
                    health.failures += 1;
                }
            }
            self.in_window = (self.in_window + 1) % WINDOW;
        }
        health
    }
}

const fn isqrt(value: u32) -> u32 {
    let mut root = 0;
    while (root + 1) * (root + 1) <= value {
        root += 1;
    }
    root
}
