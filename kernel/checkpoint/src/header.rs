//! The header: 64 bytes, little-endian.
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 8 | magic, `QSCHKPT\0` |
//! | 8 | 2 | format version |
//! | 10 | 2 | header length, 64 |
//! | 12 | 4 | sections that follow |
//! | 16 | 8 | generation of the machine |
//! | 24 | 32 | identity of the image that was running |
//! | 56 | 4 | reserved, zero |
//! | 60 | 4 | Fletcher-32 of the 60 bytes before |

/// First bytes of a checkpoint.
pub const MAGIC: [u8; 8] = *b"QSCHKPT\0";
/// The version written, and the only one read.
pub const VERSION: u16 = 1;
/// Length of the header.
pub const HEADER_BYTES: usize = 64;

/// What a checkpoint says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Sections that follow.
    pub sections: u32,
    /// Grows with every restore.
    pub generation: u64,
    /// Identity of the image: restoring into another is refused.
    pub image: [u8; 32],
}

/// Why a header is refused; nothing was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// Fewer bytes than a header has.
    Truncated,
    /// The named field is wrong.
    Field(&'static str),
    /// Written in another version.
    Version(u16),
    /// Taken of another image.
    ForeignImage,
}

fn fletcher(bytes: &[u8]) -> u32 {
    let (low, high) = bytes.chunks(2).fold((0u32, 0u32), |(low, high), pair| {
        let word = u32::from(pair[0]) | u32::from(pair.get(1).copied().unwrap_or(0)) << 8;
        let low = (low + word) % 65535;
        (low, (high + low) % 65535)
    });
    high << 16 | low
}

impl Header {
    /// As bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&(HEADER_BYTES as u16).to_le_bytes());
        bytes[12..16].copy_from_slice(&self.sections.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.generation.to_le_bytes());
        bytes[24..56].copy_from_slice(&self.image);
        let sum = fletcher(&bytes[..60]);
        bytes[60..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads a header, which must be of this `image`.
    pub fn decode(bytes: &[u8], image: &[u8; 32]) -> Result<Self, HeaderError> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(HeaderError::Truncated)?;
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if bytes[..8] != MAGIC {
            return Err(HeaderError::Field("magic"));
        }
        // Before the sum: another version may lay out the rest otherwise.
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if version != VERSION {
            return Err(HeaderError::Version(version));
        }
        if word(60) != fletcher(&bytes[..60]) {
            return Err(HeaderError::Field("checksum"));
        }
        if usize::from(u16::from_le_bytes([bytes[10], bytes[11]])) != HEADER_BYTES {
            return Err(HeaderError::Field("header length"));
        }
        if word(56) != 0 {
            return Err(HeaderError::Field("reserved"));
        }
        if bytes[24..56] != image[..] {
            return Err(HeaderError::ForeignImage);
        }
        let generation = u64::from(word(16)) | u64::from(word(20)) << 32;
        Ok(Self { sections: word(12), generation, image: *image })
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    proptest! {
        #[test]
        fn goes_round(sections: u32, generation: u64, image: [u8; 32]) {
            let header = Header { sections, generation, image };
            prop_assert_eq!(Header::decode(&header.encode(), &image), Ok(header));
        }

        #[test]
        fn any_change_is_noticed(at in 0usize..64, change in 1u8..255, image: [u8; 32]) {
            let mut bytes = Header { sections: 3, generation: 9, image }.encode();
            bytes[at] = bytes[at].wrapping_add(change);
            prop_assert!(Header::decode(&bytes, &image).is_err());
        }

        #[test]
        fn noise_is_refused(noise: Vec<u8>) {
            prop_assert!(Header::decode(&noise, &[0; 32]).is_err());
        }
    }

    #[test]
    fn refusals_are_named() {
        let header = Header { sections: 1, generation: 1, image: [7; 32] };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes[..63], &[7; 32]), Err(HeaderError::Truncated));
        assert_eq!(Header::decode(&bytes, &[8; 32]), Err(HeaderError::ForeignImage));
        let mut newer = bytes;
        newer[8] = 2;
        assert_eq!(Header::decode(&newer, &[7; 32]), Err(HeaderError::Version(2)));
    }
}
