//! What is damaged, mixed up or cut off is refused, by somebody who has no key.

use super::*;

#[test]
fn each_bit_of_the_header_counts() {
    for key in [None, Some(sample_key())] {
        let bytes = sample(1, key.as_ref());
        for (at, bit) in (0..HEADER).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << bit;
            let error = refusal(&bytes, key.clone());
            let fits = match at {
                0..8 => error == Error::Header("magic"),
                8..10 => matches!(error, Error::Version(_)),
                10..12 => error == Error::Header("length"),
                12..16 => match bit {
                    0 if at == 12 => matches!(error, Error::KeyMissing | Error::KeyUnwanted),
                    1 if at == 12 => error == Error::Header("tag"),
                    _ => error == Error::Header("flags"),
                },
                120..128 => error == Error::KeyOther,
                _ => error == Error::Header("tag"),
            };
            assert!(fits, "byte {at}, bit {bit}: {error:?}");
        }
    }
}

#[test]
fn each_byte_of_a_chunk_counts() {
    let bytes = sample(1, None);
    for (number, chunk) in chunks(&bytes).into_iter().enumerate() {
        // All of its header, and some of what is stored.
        let header = chunk.start..chunk.start + CHUNK_HEADER;
        let stored = (header.end..chunk.end).step_by(997).chain(chunk.end.checked_sub(1));
        for at in header.chain(stored) {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x41;
            let error = refusal(&bytes, None);
            let fits = match at - chunk.start {
                0..8 => matches!(error, Error::Chunk { field: "number", .. }),
                8..12 => matches!(error, Error::Chunk { field: "kind" | "tag", .. }),
                12..16 => matches!(error, Error::Chunk { field: "raw length" | "stored length" | "tag", .. }),
                16..20 => {
                    matches!(error, Error::Chunk { field: "stored length" | "tag", .. } | Error::Truncated(_))
                }
                _ => {
                    matches!(error, Error::Chunk { number: found, field: "tag", .. } if found == number as u64)
                }
            };
            assert!(fits, "chunk {number}, byte {}: {error}", at - chunk.start);
        }
    }
}

#[test]
fn what_is_cut_off_is_noticed() {
    let bytes = sample(1, None);
    let ends = chunks(&bytes).into_iter().flat_map(|chunk| {
        [chunk.start, chunk.start + 1, chunk.start + CHUNK_HEADER, chunk.end.saturating_sub(1)]
    });
    for end in (0..HEADER).chain(ends) {
        assert_eq!(read(&bytes[..end], None, 4096), Err(Error::Truncated(end as u64)));
    }
    assert_eq!(refusal(&[&bytes[..], &[0]].concat(), None), Error::Trailing);
}

/// Puts chunks together in another order, or others.
fn rearranged(bytes: &[u8], parts: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut all = bytes[..HEADER].to_vec();
    parts.for_each(|part| all.extend(part));
    all
}

#[test]
fn chunks_have_their_places() {
    let bytes = sample(1, None);
    let parts: Vec<Vec<u8>> = chunks(&bytes).into_iter().map(|chunk| bytes[chunk].to_vec()).collect();
    let number = |error| matches!(error, Error::Chunk { field: "number", .. });
    for a in 0..parts.len() {
        for b in 0..a {
            let mut swapped = parts.clone();
            swapped.swap(a, b);
            assert!(number(refusal(&rearranged(&bytes, swapped.into_iter()), None)), "{a} and {b}");
        }
        let mut doubled = parts.clone();
        doubled.insert(a, parts[a].clone());
        let error = refusal(&rearranged(&bytes, doubled.into_iter()), None);
        assert!(if a + 1 == parts.len() { error == Error::Trailing } else { number(error) }, "{a}: {error}");
        let mut without = parts.clone();
        without.remove(a);
        let error = refusal(&rearranged(&bytes, without.into_iter()), None);
        assert!(
            number(error) || a + 1 == parts.len() && matches!(error, Error::Truncated(_)),
            "{a}: {error}"
        );
    }
}

#[test]
fn chunks_of_other_checkpoints_are_strangers() {
    let bytes = sample(1, Some(&sample_key()));
    // The same but for its ID, and the same but for its key.
    for other in [sample(2, Some(&sample_key())), sample(1, Some(&Key::new([8; 32]))), sample(1, None)] {
        assert_eq!(other.len(), bytes.len());
        for (number, chunk) in chunks(&bytes).into_iter().enumerate() {
            let mixed = [&bytes[..chunk.start], &other[chunk.clone()], &bytes[chunk.end..]].concat();
            let error = refusal(&mixed, Some(sample_key()));
            let expected = number as u64;
            assert!(
                matches!(error, Error::Chunk { number, field: "tag", .. } if number == expected),
                "{number}: {error}"
            );
        }
    }
}

#[test]
fn keys_have_to_fit() {
    let (keyed, plain) = (sample(1, Some(&sample_key())), sample(1, None));
    assert_eq!(refusal(&keyed, None), Error::KeyMissing);
    assert_eq!(refusal(&keyed, Some(Key::new([8; 32]))), Error::KeyOther);
    assert_eq!(refusal(&plain, Some(sample_key())), Error::KeyUnwanted);
    // To look at what it says takes no key.
    let mut reader = Reader::unchecked();
    assert!(matches!(reader.push(&mut &keyed[..]), Ok(Some(Event::Manifest(_)))));
    assert!(reader.is_keyed());
}

#[test]
fn who_has_refused_refuses() {
    let mut bytes = sample(1, None);
    let chunk = chunks(&bytes)[3].clone();
    bytes[chunk.end - 1] ^= 1;
    let (mut reader, mut rest) = (Reader::new(None), &bytes[..]);
    let error = loop {
        match reader.push(&mut rest) {
            Ok(_) => assert!(!rest.is_empty()),
            Err(error) => break error,
        }
    };
    assert_eq!(reader.push(&mut &sample(1, None)[..]).unwrap_err(), error);
    assert_eq!(reader.finish(), Err(error));
}

#[test]
fn noise_is_refused() {
    let header = &sample(1, None)[..HEADER];
    for length in (0..300).chain([5000]) {
        let noise: Vec<u8> = page(1).into_iter().cycle().take(length).collect();
        assert!(read(&noise, None, 64).is_err());
        // Behind a good header, too.
        let noise = [header, &noise].concat();
        assert!(read(&noise, None, 64).is_err());
    }
}
