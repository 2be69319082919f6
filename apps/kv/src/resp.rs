//! Requests of the Redis protocol: arrays of bulk strings, and inline commands, parsed where they lie in the buffer.
use alloc::string::String;
use alloc::vec::Vec;

/// The longest header line, and the longest inline command.
const MAX_LINE: usize = 64 * 1024;
/// The longest bulk string.
pub(crate) const MAX_BULK: usize = 512 << 20;
/// What a client may send before it has said its password.
const UNAUTHENTICATED_ARGS: i64 = 10;
const UNAUTHENTICATED_BULK: i64 = 16 * 1024;

/// The arguments of a command: slices of a buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Args<'a> {
    buffer: &'a [u8],
    ranges: &'a [(u32, u32)],
}

impl<'a> Args<'a> {
    pub fn new(buffer: &'a [u8], ranges: &'a [(u32, u32)]) -> Self {
        Self { buffer, ranges }
    }

    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Argument `index`, empty when there is none.
    pub fn at(&self, index: usize) -> &'a [u8] {
        self.ranges.get(index).map_or(&[], |(from, to)| &self.buffer[*from as usize..*to as usize])
    }

    /// The arguments from `index` on.
    pub fn from(&self, index: usize) -> Args<'a> {
        Self { buffer: self.buffer, ranges: self.ranges.get(index..).unwrap_or(&[]) }
    }

    /// The first `count` arguments.
    pub fn first(&self, count: usize) -> Args<'a> {
        Self { buffer: self.buffer, ranges: self.ranges.get(..count).unwrap_or(self.ranges) }
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &'a [u8]> + use<'a> {
        let buffer = self.buffer;
        self.ranges.iter().map(move |(from, to)| &buffer[*from as usize..*to as usize])
    }

    /// Whether argument `index` is this word, in any case.
    pub fn is(&self, index: usize, word: &str) -> bool {
        self.at(index).eq_ignore_ascii_case(word.as_bytes())
    }
}

/// Input that is no request; the connection ends with an error reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProtocolError {
    BigInline,
    UnbalancedQuotes,
    BigCount,
    InvalidCount,
    UnauthenticatedCount,
    BigBulkCount,
    NoDollar(u8),
    InvalidBulk,
    UnauthenticatedBulk,
}

impl ProtocolError {
    /// The text after `-ERR Protocol error: `.
    pub fn text(self) -> String {
        String::from(match self {
            Self::BigInline => "too big inline request",
            Self::UnbalancedQuotes => "unbalanced quotes in request",
            Self::BigCount => "too big mbulk count string",
            Self::InvalidCount => "invalid multibulk length",
            Self::UnauthenticatedCount => "unauthenticated multibulk length",
            Self::BigBulkCount => "too big bulk count string",
            Self::InvalidBulk => "invalid bulk length",
            Self::UnauthenticatedBulk => "unauthenticated bulk length",
            Self::NoDollar(byte) => {
                return alloc::format!(
                    "expected '$', got '{}'",
                    char::from(if byte < 0x80 { byte } else { b'?' })
                );
            }
        })
    }
}

/// What the parser made of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// The request goes on in bytes that are not there yet.
    Incomplete,
    /// A request, which may be empty; the next one starts here.
    Request(usize),
    /// The same, and the arguments lie in `scratch`.
    Inline(usize),
}

/// The state in the middle of a request.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    /// How far the request is parsed, from its start.
    pos: usize,
    /// Bulk strings that are still to come.
    missing: i64,
    /// Length of the bulk string whose header is parsed.
    bulk: Option<usize>,
    /// The arguments, relative to the request's start.
    pub ranges: Vec<(u32, u32)>,
    /// The decoded arguments of an inline command.
    pub scratch: Vec<u8>,
}

impl Parser {
    /// Parses the request at `start` of `buffer`, going on where the last call for the same request stopped. `trusted`:
    /// the client has said its password.
    #[inline]
    pub fn parse(&mut self, buffer: &[u8], start: usize, trusted: bool) -> Result<Parsed, ProtocolError> {
        let request = &buffer[start..];
        if self.missing == 0 {
            self.ranges.clear();
            self.pos = 0;
            match request.first() {
                None => return Ok(Parsed::Incomplete),
                Some(b'*') => {}
                Some(_) => return self.parse_inline(request, start),
            }
            let Some((end, count)) = header(request, 1, ProtocolError::BigCount)? else {
                return Ok(Parsed::Incomplete);
            };
            let count = count.filter(|c| *c <= i64::from(i32::MAX)).ok_or(ProtocolError::InvalidCount)?;
            if count > UNAUTHENTICATED_ARGS && !trusted {
                return Err(ProtocolError::UnauthenticatedCount);
            }
            if count <= 0 {
                return Ok(Parsed::Request(start + end));
            }
            self.missing = count;
            self.pos = end;
        }
        while self.missing > 0 {
            let length = match self.bulk {
                Some(length) => length,
                None => match self.bulk_header(request, trusted)? {
                    Some(length) => length,
                    None => return Ok(Parsed::Incomplete),
                },
            };
            let end = self.pos + length;
            if request.len() < end + 2 {
                self.bulk = Some(length);
                return Ok(Parsed::Incomplete);
            }
            // A buffer never reaches 4 GiB: `Session` bounds it.
            self.ranges.push((self.pos as u32, end as u32));
            self.bulk = None;
            self.pos = end + 2;
            self.missing -= 1;
        }
        Ok(Parsed::Request(start + self.pos))
    }

    /// How many bytes the buffer needs at least, counted from the request's start.
    pub fn wanted(&self) -> usize {
        self.bulk.map_or(0, |length| self.pos + length + 2)
    }

    #[inline(always)]
    fn bulk_header(&mut self, request: &[u8], trusted: bool) -> Result<Option<usize>, ProtocolError> {
        // Redis waits for the whole line before it looks at its first byte.
        let first = request.get(self.pos).copied();
        let found = header(request, self.pos + 1, ProtocolError::BigBulkCount)?;
        let (Some(first), Some((end, length))) = (first, found) else { return Ok(None) };
        if first != b'$' {
            return Err(ProtocolError::NoDollar(first));
        }
        let length =
            length.filter(|l| (0..=MAX_BULK as i64).contains(l)).ok_or(ProtocolError::InvalidBulk)?;
        if length > UNAUTHENTICATED_BULK && !trusted {
            return Err(ProtocolError::UnauthenticatedBulk);
        }
        self.pos = end;
        Ok(Some(length as usize))
    }

    fn parse_inline(&mut self, request: &[u8], start: usize) -> Result<Parsed, ProtocolError> {
        let Some(newline) = request.iter().position(|byte| *byte == b'\n') else {
            return if request.len() > MAX_LINE {
                Err(ProtocolError::BigInline)
            } else {
                Ok(Parsed::Incomplete)
            };
        };
        let line = &request[..newline];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.scratch.clear();
        split_words(line, &mut self.scratch, &mut self.ranges).ok_or(ProtocolError::UnbalancedQuotes)?;
        Ok(Parsed::Inline(start + newline + 1))
    }
}

/// The number between `from` and the next line end, and where the line after starts.
#[inline(always)]
fn header(
    request: &[u8],
    from: usize,
    too_long: ProtocolError,
) -> Result<Option<(usize, Option<i64>)>, ProtocolError> {
    // The usual case first: one digit or two.
    let digit = |byte: u8| i64::from(byte - b'0');
    match request.get(from..) {
        Some([a @ b'0'..=b'9', b'\r', _, ..]) => Ok(Some((from + 3, Some(digit(*a))))),
        Some([a @ b'1'..=b'9', b @ b'0'..=b'9', b'\r', _, ..]) => {
            Ok(Some((from + 4, Some(digit(*a) * 10 + digit(*b)))))
        }
        _ => long_header(request, from, too_long),
    }
}

/// The same for any header.
#[cold]
fn long_header(
    request: &[u8],
    from: usize,
    too_long: ProtocolError,
) -> Result<Option<(usize, Option<i64>)>, ProtocolError> {
    let from = from.min(request.len());
    match request[from..].iter().position(|byte| *byte == b'\r') {
        Some(length) if from + length + 2 <= request.len() => {
            Ok(Some((from + length + 2, crate::number::parse_i64(&request[from..from + length]))))
        }
        Some(_) => Ok(None),
        None if request.len() - from.saturating_sub(1) > MAX_LINE => Err(too_long),
        None => Ok(None),
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// Splits an inline command into words, which may be quoted as in the shell.
fn split_words(line: &[u8], scratch: &mut Vec<u8>, ranges: &mut Vec<(u32, u32)>) -> Option<()> {
    let mut at = 0;
    loop {
        while line.get(at).is_some_and(|byte| is_space(*byte)) {
            at += 1;
        }
        // As in C, a NUL byte ends the line.
        if line.get(at).is_none_or(|byte| *byte == 0) {
            return Some(());
        }
        let from = scratch.len() as u32;
        at = word(line, at, scratch)?;
        ranges.push((from, scratch.len() as u32));
    }
}

/// Appends the word at `at` to `scratch` and returns where it ends; `None` for a quote without its partner.
fn word(line: &[u8], mut at: usize, scratch: &mut Vec<u8>) -> Option<usize> {
    while let Some(byte) = line.get(at).copied().filter(|byte| !is_space(*byte) && *byte != 0) {
        match byte {
            b'"' => {
                at += 1;
                loop {
                    match *line.get(at)? {
                        b'"' => break,
                        b'\\' if line.get(at + 1).is_some() => at += escape(&line[at + 1..], scratch),
                        0 => return None,
                        other => scratch.push(other),
                    }
                    at += 1;
                }
            }
            b'\'' => {
                at += 1;
                loop {
                    match *line.get(at)? {
                        b'\'' => break,
                        b'\\' if line.get(at + 1) == Some(&b'\'') => {
                            scratch.push(b'\'');
                            at += 1;
                        }
                        0 => return None,
                        other => scratch.push(other),
                    }
                    at += 1;
                }
            }
            other => {
                scratch.push(other);
                at += 1;
                continue;
            }
        }
        // A closing quote ends the word.
        at += 1;
        return line.get(at).is_none_or(|byte| is_space(*byte) || *byte == 0).then_some(at);
    }
    Some(at)
}

/// Decodes what follows a backslash, and returns how many bytes that was.
fn escape(rest: &[u8], scratch: &mut Vec<u8>) -> usize {
    let hex = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    if rest[0] == b'x'
        && let (Some(high), Some(low)) = (hex(rest.get(1)), hex(rest.get(2)))
    {
        scratch.push((high * 16 + low) as u8);
        return 3;
    }
    scratch.push(match rest[0] {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    });
    1
}
