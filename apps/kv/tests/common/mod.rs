//! What the tests share: a parser of replies.

/// The length of the complete reply at the start of `bytes`; `None` if there is none yet.
///
/// # Panics
/// When it is no reply.
pub fn reply_length(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")? + 2;
    let number = || -> i64 {
        let text = std::str::from_utf8(&bytes[1..end - 2]).expect("a header is text");
        text.parse().unwrap_or_else(|_| panic!("{text:?} is no length"))
    };
    match bytes[0] {
        b'+' | b'-' | b':' | b',' | b'_' | b'#' | b'(' => Some(end),
        b'$' | b'=' => match number() {
            -1 => Some(end),
            length => {
                let total = end + usize::try_from(length).expect("a length") + 2;
                if bytes.len() < total {
                    return None;
                }
                assert_eq!(&bytes[total - 2..total], b"\r\n");
                Some(total)
            }
        },
        kind @ (b'*' | b'~' | b'>' | b'%') => {
            let mut at = end;
            let count = number() * if kind == b'%' { 2 } else { 1 };
            for _ in 0..count {
                at += reply_length(&bytes[at..])?;
            }
            Some(at)
        }
        other => panic!("{:?} starts no reply", char::from(other)),
    }
}

/// The elements of an aggregate reply, sorted, for those whose order means nothing; and its header.
#[allow(dead_code, reason = "not every test needs it")]
pub fn sorted_elements(bytes: &[u8]) -> Vec<Vec<u8>> {
    if !matches!(bytes.first(), Some(b'*' | b'~' | b'%' | b'>')) {
        return vec![bytes.to_vec()];
    }
    let end = bytes.windows(2).position(|pair| pair == b"\r\n").expect("a header ends") + 2;
    let mut at = end;
    let mut elements = Vec::new();
    while at < bytes.len() {
        let length = reply_length(&bytes[at..]).expect("the reply is complete");
        elements.push(bytes[at..at + length].to_vec());
        at += length;
    }
    elements.sort();
    elements.insert(0, bytes[..end].to_vec());
    elements
}
