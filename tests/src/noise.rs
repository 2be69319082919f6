//! Reproducible random bytes, and mutations of valid input.

/// A small generator (xorshift64*). Equal seeds, equal sequences.
#[derive(Clone, Debug)]
pub struct Noise(u64);

impl Noise {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn word(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `bound`, which must not be 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.word() >> 16) as usize % bound
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.word() as u8).collect()
    }

    /// A variant of `seed`: bits flipped, bytes replaced by awkward ones, pieces cut out, doubled or truncated.
    pub fn mutate(&mut self, seed: &[u8]) -> Vec<u8> {
        const AWKWARD: &[u8] =
            &[0, 1, 0x7f, 0x80, 0xff, b'\r', b'\n', b' ', b'-', b'9', b'*', b'$', b':', b'%'];
        let mut input = seed.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(input.len() + 1);
            let end = at + self.below(input.len() - at + 1);
            match self.below(7) {
                0 if at < input.len() => input[at] ^= 1 << self.below(8),
                1 if at < input.len() => input[at] = AWKWARD[self.below(AWKWARD.len())],
                2 => input.truncate(at),
                3 => drop(input.drain(at..end)),
                4 if input.len() < 1 << 16 => {
                    let piece = input[at..end].to_vec();
                    input.splice(at..at, piece);
                }
                5 => input.insert(at, AWKWARD[self.below(AWKWARD.len())]),
                _ => {
                    let count = self.below(16);
                    let random = self.bytes(count);
                    input.splice(at..at, random);
                }
            }
        }
        input
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_repeats_and_varies() {
        let variants = |seed| {
            let mut noise = Noise::new(seed);
            (0..100).map(|_| noise.mutate(b"*1\r\n$4\r\nPING\r\n")).collect::<Vec<_>>()
        };
        assert_eq!(variants(1), variants(1));
        assert_ne!(variants(1), variants(2));
        assert!(variants(3).iter().collect::<std::collections::HashSet<_>>().len() > 80);
        // An empty seed is a seed too.
        let mut noise = Noise::new(4);
        assert!((0..100).any(|_| !noise.mutate(b"").is_empty()));
    }
}
