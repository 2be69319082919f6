//! Request bodies: this server has no use for them, and skips them (RFC 9112, 6 and 7.1).

/// The longest request body that is skipped, in bytes. A longer one is an error.
pub const MAX_BODY: u64 = 1 << 20;

/// The most bytes of chunk extensions and trailers in one body.
const MAX_EXTRA: u32 = 8 << 10;

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes follow.
    Length(u64),
    /// Chunks follow.
    Chunked,
}

/// Why a body can't be skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// The chunks are malformed.
    Malformed,
    /// It is longer than `MAX_BODY`, or has more than 8 KiB of extensions and trailers.
    TooLong,
}

/// A body that is being skipped.
#[derive(Clone, Copy, Debug)]
pub struct Skip {
    state: State,
    /// Bytes of chunks so far.
    length: u64,
    /// Bytes of extensions and trailers so far.
    extra: u32,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// So many bytes of a body of known length are left.
    Length(u64),
    /// In a chunk's size; the value and digits so far.
    Size(u64, u32),
    /// In what follows a chunk's size.
    Extension(u64),
    /// After the CR that ends a line with this chunk size.
    SizeLineFeed(u64),
    /// So many bytes of a chunk are left.
    Data(u64),
    DataReturn,
    DataLineFeed,
    /// In the trailers; true at the start of a line.
    Trailer(bool),
    /// After a CR at the start of a trailer line.
    LastLineFeed,
    Done,
}

impl Skip {
    /// A body of which nothing has arrived.
    ///
    /// # Errors
    /// `TooLong` when the length is known to be too big.
    pub fn new(framing: Framing) -> Result<Self, BodyError> {
        let state = match framing {
            Framing::Length(length) if length > MAX_BODY => return Err(BodyError::TooLong),
            Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size(0, 0),
        };
        Ok(Self { state, length: 0, extra: 0 })
    }

    /// All of it has been skipped.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Skips what of `input` belongs to the body, and returns how many bytes that are.
    ///
    /// # Errors
    /// When the chunks are malformed or too long.
    pub fn skip(&mut self, input: &[u8]) -> Result<usize, BodyError> {
        let mut at = 0;
        while at < input.len() && !self.is_done() {
            at += match self.state {
                State::Length(left) => {
                    let (bytes, left) = advance(left, input.len() - at);
                    self.state = if left == 0 { State::Done } else { State::Length(left) };
                    bytes
                }
                State::Data(left) => {
                    let (bytes, left) = advance(left, input.len() - at);
                    self.state = if left == 0 { State::DataReturn } else { State::Data(left) };
                    bytes
                }
                _ => {
                    self.state = self.framing_byte(input[at])?;
                    1
                }
            };
        }
        Ok(at)
    }

    /// The state after one byte of what is around the data.
    fn framing_byte(&mut self, byte: u8) -> Result<State, BodyError> {
        let state = match (self.state, byte) {
            (State::Size(value, digits), _) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16).expect("a hexadecimal digit");
                let value = value << 4 | u64::from(digit);
                if self.length + value > MAX_BODY || digits == 16 {
                    return Err(BodyError::TooLong);
                }
                State::Size(value, digits + 1)
            }
            (State::Size(_, 0), _) => return Err(BodyError::Malformed),
            (State::Size(value, _) | State::Extension(value), b'\r') => State::SizeLineFeed(value),
            (State::Size(value, _), b';' | b' ' | b'\t') => State::Extension(value),
            (State::Extension(value), b' '..=b'~' | b'\t' | 0x80..) => {
                self.count_extra()?;
                State::Extension(value)
            }
            (State::SizeLineFeed(0), b'\n') => State::Trailer(true),
            (State::SizeLineFeed(size), b'\n') => {
                self.length += size;
                State::Data(size)
            }
            (State::DataReturn, b'\r') => State::DataLineFeed,
            (State::DataLineFeed, b'\n') => State::Size(0, 0),
            (State::Trailer(true), b'\r') => State::LastLineFeed,
            (State::LastLineFeed, b'\n') => State::Done,
            (State::Trailer(_), byte) => {
                self.count_extra()?;
                State::Trailer(byte == b'\n')
            }
            _ => return Err(BodyError::Malformed),
        };
        Ok(state)
    }

    fn count_extra(&mut self) -> Result<(), BodyError> {
        self.extra += 1;
        if self.extra > MAX_EXTRA { Err(BodyError::TooLong) } else { Ok(()) }
    }
}

/// The bytes to take of `available` when `left` are wanted, and how many are wanted then.
fn advance(left: u64, available: usize) -> (usize, u64) {
    let bytes = usize::try_from(left).map_or(available, |left| left.min(available));
    (bytes, left - bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skip(body: &[u8]) -> Result<(usize, bool), BodyError> {
        let mut skip = Skip::new(Framing::Chunked)?;
        let bytes = skip.skip(body)?;
        Ok((bytes, skip.is_done()))
    }

    #[test]
    fn chunks_are_skipped_to_their_end() {
        assert_eq!(skip(b"0\r\n\r\nGET"), Ok((5, true)));
        assert_eq!(skip(b"5\r\nhello\r\n0\r\n\r\nGET"), Ok((15, true)));
        assert_eq!(skip(b"5;name=\"value\"\r\nhello\r\n000\r\nA: b\r\nC: d\r\n\r\nG"), Ok((42, true)));
        assert_eq!(skip(b"A\r\n0123456789\r\n"), Ok((15, false)));
        assert_eq!(skip(b"5\r\nhel"), Ok((6, false)));
    }

    #[test]
    fn malformed_chunks_are_refused() {
        for body in
            [&b"\r\n"[..], b"g\r\n", b"-1\r\n", b"5\n", b"5\r\r", b"1\r\nab\r\n", b"1\r\na\n", b"1;\x01\r\n"]
        {
            assert_eq!(skip(body), Err(BodyError::Malformed), "{body:?}");
        }
    }

    #[test]
    fn bodies_have_a_limit() {
        assert!(Skip::new(Framing::Length(MAX_BODY)).is_ok());
        assert_eq!(Skip::new(Framing::Length(MAX_BODY + 1)).unwrap_err(), BodyError::TooLong);
        assert_eq!(skip(b"100001\r\n"), Err(BodyError::TooLong));
        assert_eq!(skip(b"00000000000000001\r\n"), Err(BodyError::TooLong));
        let mut long = std::vec::Vec::from(&b"0\r\n"[..]);
        long.resize(9000, b'a');
        assert_eq!(skip(&long), Err(BodyError::TooLong));
    }
}
