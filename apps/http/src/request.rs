//! A request's head, reduced to what decides the answer (RFC 9112, 2 to 6).
use crate::body::{BodyError, Framing, Skip};
use crate::conditions::number;
use crate::response::Status;
use core::mem::MaybeUninit;

/// The longest head of a request, in bytes.
pub const MAX_HEAD: usize = 8 << 10;

/// The most header fields of a request.
const MAX_FIELDS: usize = 64;

/// What becomes of the connection after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// It stays, as HTTP/1.1 expects.
    Keep,
    /// It stays, and the answer says so to an HTTP/1.0 client that asked for it.
    KeepAndSay,
    /// It is closed.
    Close,
}

/// A request, as far as this server is interested.
#[derive(Debug)]
pub struct Request<'a> {
    /// Only the head of the answer is wanted.
    pub head_only: bool,
    /// As it was sent.
    pub target: &'a [u8],
    pub persistence: Persistence,
    /// The body, of which nothing has been read.
    pub body: Skip,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    pub if_none_match: Option<&'a [u8]>,
    pub if_range: Option<&'a [u8]>,
    pub range: Option<&'a [u8]>,
}

/// A request that is refused, after its body where that is known.
#[derive(Debug)]
pub struct Refused {
    pub status: Status,
    /// How to go on; `None` when the end of the request can't be told, so that the connection has to be closed.
    pub go_on: Option<(Persistence, Skip)>,
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Self { status, go_on: None }
    }
}

/// The header fields that matter.
#[derive(Default)]
struct Fields<'a> {
    hosts: usize,
    close: bool,
    keep_alive: bool,
    content_length: Option<u64>,
    /// `Some(true)`: chunked and nothing else.
    transfer_encoding: Option<bool>,
    expect: Option<bool>,
    if_none_match: Option<&'a [u8]>,
    if_range: Option<&'a [u8]>,
    range: Option<&'a [u8]>,
}

/// Reads the head at the start of `input`, and says how long it is; `None` if it isn't complete.
///
/// # Errors
/// The status to refuse the request with. A refusal of an incomplete head may change as more of it arrives.
pub fn read(input: &[u8]) -> Result<Option<(usize, Request<'_>)>, Refused> {
    let mut fields = [MaybeUninit::uninit(); MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    let length = match parsed.parse_with_uninit_headers(input, &mut fields) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(status_of(error, input).into()),
    };
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Status::BadRequest.into());
    };
    let fields = Fields::read(parsed.headers)?;
    let request = fields.check(method, target.as_bytes(), version)?;
    Ok(Some((length, request)))
}

fn status_of(error: httparse::Error, input: &[u8]) -> Status {
    match error {
        httparse::Error::TooManyHeaders => Status::HeaderFieldsTooLarge,
        httparse::Error::Version if names_other_version(input) => Status::VersionNotSupported,
        _ => Status::BadRequest,
    }
}

/// Whether the request line ends in a well-formed HTTP version. (httparse refuses all but 1.0 and 1.1.)
fn names_other_version(input: &[u8]) -> bool {
    let line = input.split(|&byte| byte == b'\n').next().unwrap_or(input).trim_ascii_end();
    let version = line.rsplit(|&byte| byte == b' ').next().unwrap_or(line);
    matches!(version, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
        if major.is_ascii_digit() && minor.is_ascii_digit())
}

impl<'a> Fields<'a> {
    fn read(headers: &[httparse::Header<'a>]) -> Result<Self, Refused> {
        let mut fields = Self::default();
        for header in headers {
            let (name, value) = (header.name.as_bytes(), header.value);
            // Most fields of most requests are none of these, and their length tells.
            match name.len() {
                4 if name.eq_ignore_ascii_case(b"host") => fields.hosts += 1,
                5 if name.eq_ignore_ascii_case(b"range") => fields.range = Some(value),
                6 if name.eq_ignore_ascii_case(b"expect") => {
                    fields.expect = Some(value.eq_ignore_ascii_case(b"100-continue"));
                }
                8 if name.eq_ignore_ascii_case(b"if-range") => fields.if_range = Some(value),
                10 if name.eq_ignore_ascii_case(b"connection") => {
                    fields.close |= lists(value, b"close");
                    fields.keep_alive |= lists(value, b"keep-alive");
                }
                13 if name.eq_ignore_ascii_case(b"if-none-match") => fields.if_none_match = Some(value),
                14 if name.eq_ignore_ascii_case(b"content-length") => fields.read_length(value)?,
                17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                    let first = fields.transfer_encoding.is_none();
                    fields.transfer_encoding = Some(first && value.eq_ignore_ascii_case(b"chunked"));
                }
                _ => {}
            }
        }
        Ok(fields)
    }

    /// A repeated `Content-Length` must say the same (RFC 9112, 6.3).
    fn read_length(&mut self, value: &[u8]) -> Result<(), Refused> {
        for value in value.split(|&byte| byte == b',') {
            let length = number(value.trim_ascii()).ok_or(Status::BadRequest)? as u64;
            if self.content_length.replace(length).is_some_and(|other| other != length) {
                return Err(Status::BadRequest.into());
            }
        }
        Ok(())
    }

    fn check(&self, method: &str, target: &'a [u8], version: u8) -> Result<Request<'a>, Refused> {
        // No host or several, or a body that ends in two ways or in a way unknown to HTTP/1.0: nobody knows what was meant.
        let old = version == 0;
        let two_ends = self.content_length.is_some() && self.transfer_encoding.is_some();
        let bad_host = self.hosts > 1 || (self.hosts == 0 && !old);
        if bad_host || two_ends || (old && self.transfer_encoding.is_some()) {
            return Err(Status::BadRequest.into());
        }
        let framing = match self.transfer_encoding {
            Some(true) => Framing::Chunked,
            Some(false) => return Err(Status::NotImplemented.into()),
            None => Framing::Length(self.content_length.unwrap_or(0)),
        };
        let persistence = match (old, self.close, self.keep_alive) {
            (_, true, _) | (true, false, false) => Persistence::Close,
            (false, false, _) => Persistence::Keep,
            (true, false, true) => Persistence::KeepAndSay,
        };
        let body = Skip::new(framing).map_err(|error| match error {
            BodyError::TooLong => Status::ContentTooLarge,
            BodyError::Malformed => Status::BadRequest,
        })?;
        // HTTP/1.0 knows no expectations (RFC 9110, 10.1.1).
        let expect = self.expect.filter(|_| !old);
        let refuse = |status| Refused {
            status,
            // A client that waits for leave to send its body may send it or not after a refusal.
            go_on: (expect.is_none() || body.is_done()).then_some((persistence, body)),
        };
        let head_only = match method {
            "GET" => false,
            "HEAD" => true,
            "POST" | "PUT" | "DELETE" | "PATCH" | "OPTIONS" | "TRACE" | "CONNECT" => {
                return Err(refuse(Status::MethodNotAllowed));
            }
            _ => return Err(refuse(Status::NotImplemented)),
        };
        if expect == Some(false) {
            return Err(Status::ExpectationFailed.into());
        }
        Ok(Request {
            head_only,
            target,
            persistence,
            body,
            expects_continue: expect.is_some() && !body.is_done(),
            if_none_match: self.if_none_match,
            if_range: self.if_range,
            range: self.range,
        })
    }
}

/// Whether a comma-separated list has this word.
fn lists(value: &[u8], word: &[u8]) -> bool {
    value.split(|&byte| byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(word))
}
