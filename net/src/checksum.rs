//! The Internet checksum (RFC 1071), eight bytes at a time.

/// The one's complement sum of `data`, folded to 16 bits and not complemented. An odd last byte counts as the high one.
pub(crate) fn sum(data: &[u8]) -> u16 {
    // The sum does not depend on byte order but for a final swap (RFC 1071, 2(B)), so that whole words are added as
    // they lie in memory. 32-bit halves in 64-bit lanes can't overflow below 2^32 words; four lanes make vectors of it.
    let mut lanes = [0u64; 4];
    let (blocks, rest) = data.as_chunks::<16>();
    for block in blocks {
        for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<4>().0) {
            *lane += u64::from(u32::from_ne_bytes(*word));
        }
    }
    let mut total: u64 = lanes.iter().sum();
    let (words, rest) = rest.as_chunks::<4>();
    for word in words {
        total += u64::from(u32::from_ne_bytes(*word));
    }
    let (halves, tail) = rest.as_chunks::<2>();
    if let [half] = halves {
        total += u64::from(u16::from_ne_bytes(*half));
    }
    if let Some(&last) = tail.first() {
        total += u64::from(u16::from_ne_bytes([last, 0]));
    }
    u16::from_be(fold(total))
}

/// Adds folded sums.
pub(crate) fn add(a: u16, b: u16) -> u16 {
    fold(u64::from(a) + u64::from(b))
}

/// The sum of the pseudo-header of TCP and UDP (RFC 9293, 3.1; RFC 8200, 8.1): both addresses (in one slice, as IPv4 and
/// IPv6 headers hold them), the protocol and the transport's length in bytes.
pub(crate) fn pseudo_header(addresses: &[u8], protocol: u8, length: usize) -> u16 {
    fold(u64::from(sum(addresses)) + u64::from(protocol) + length as u64)
}

fn fold(mut total: u64) -> u16 {
    total = (total >> 32) + (total & 0xffff_ffff);
    total = (total >> 32) + (total & 0xffff_ffff);
    total = (total >> 16) + (total & 0xffff);
    total = (total >> 16) + (total & 0xffff);
    total = (total >> 16) + (total & 0xffff);
    total as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn by_the_book(data: &[u8]) -> u16 {
        let mut total = 0u64;
        for pair in data.chunks(2) {
            total += u64::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        }
        while total > 0xffff {
            total = (total >> 16) + (total & 0xffff);
        }
        total as u16
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(data: Vec<u8>) {
            prop_assert_eq!(sum(&data), by_the_book(&data));
        }
    }

    #[test]
    fn example_of_rfc_1071() {
        assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
    }

    #[test]
    fn long_runs_of_ones_do_not_overflow() {
        assert_eq!(sum(&std::vec![0xff; 65549]), by_the_book(&std::vec![0xff; 65549]));
    }
}
