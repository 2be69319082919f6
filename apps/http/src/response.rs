//! Answers, written into a buffer.
use crate::date::Date;
use crate::request::Persistence;
use crate::server::Server;
use crate::site::Page;
use alloc::collections::TryReserveError;
use alloc::vec::Vec;
use core::fmt::Write as _;
use core::ops::Range;

/// The statuses of answers without a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    BadRequest,
    NotFound,
    MethodNotAllowed,
    ContentTooLarge,
    UriTooLong,
    RangeNotSatisfiable,
    ExpectationFailed,
    HeaderFieldsTooLarge,
    NotImplemented,
    Unavailable,
    VersionNotSupported,
}

impl Status {
    /// Code and reason (RFC 9110, 15; RFC 6585).
    pub fn text(self) -> &'static str {
        match self {
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::ContentTooLarge => "413 Content Too Large",
            Self::UriTooLong => "414 URI Too Long",
            Self::RangeNotSatisfiable => "416 Range Not Satisfiable",
            Self::ExpectationFailed => "417 Expectation Failed",
            Self::HeaderFieldsTooLarge => "431 Request Header Fields Too Large",
            Self::NotImplemented => "501 Not Implemented",
            Self::Unavailable => "503 Service Unavailable",
            Self::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }
}

/// What is to be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The page with this number, whole.
    Whole(usize),
    /// These bytes of it.
    Part(usize, Range<usize>),
    /// The client has it.
    NotModified(usize),
    /// It doesn't have the bytes.
    Unsatisfiable(usize),
    /// The path lacks a slash.
    MovedToDirectory(usize),
    /// The live resource with this number, from a number on.
    Live(usize, u64),
    /// Nothing but a status.
    Plain(Status),
}

/// What is to be sent: `bytes` first, then `body`; but first of all [`Output::finish`] it.
#[derive(Debug, Default)]
pub struct Output {
    /// Heads and short bodies of one or several answers.
    pub bytes: Vec<u8>,
    /// The rest of the last answer, straight from the packed file.
    pub body: &'static [u8],
    /// A live resource that has to be made for the last answer.
    pending: Option<Pending>,
}

#[derive(Debug)]
struct Pending {
    number: usize,
    from: u64,
    head_only: bool,
    persistence: Persistence,
}

/// The longest body that is copied behind its head, in bytes: a copy is cheaper than one more turn then.
const MAX_COPIED: usize = 4 << 10;

/// Memory that there has to be for a live resource to be made, in bytes.
const LIVE_ROOM: usize = 256 << 10;

/// Room for any head, in bytes, besides what a page brings.
const MAX_OWN_HEAD: usize = 1 << 10;

impl Output {
    /// Nothing is to be sent.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && !self.is_complete()
    }

    /// Nothing can be added before this is sent.
    pub(crate) fn is_complete(&self) -> bool {
        !self.body.is_empty() || self.pending.is_some()
    }

    /// An output that writes into a buffer.
    pub(crate) fn with(bytes: Vec<u8>) -> Self {
        Self { bytes, ..Self::default() }
    }

    /// Makes the live resource that is to be sent, if there is one. Input may be looked at under the network's lock, which
    /// this must not be called with: what is made may ask the network.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn finish(&mut self, server: &Server, date: &Date) -> Result<(), TryReserveError> {
        let Some(Pending { number, from, head_only, persistence }) = self.pending.take() else {
            return Ok(());
        };
        Writer { output: self, date, head_only, persistence }.live(server, number, from)
    }

    /// Adds `100 Continue`.
    pub(crate) fn go_ahead(&mut self) -> Result<(), TryReserveError> {
        self.bytes.try_reserve(MAX_OWN_HEAD)?;
        self.bytes.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        Ok(())
    }

    /// Adds an answer. Must not be called when it is complete.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub(crate) fn answer(
        &mut self,
        server: &Server,
        date: &Date,
        answer: &Answer,
        head_only: bool,
        persistence: Persistence,
    ) -> Result<(), TryReserveError> {
        let mut writer = Writer { output: self, date, head_only, persistence };
        match answer {
            Answer::Whole(number) => writer.whole(server.site().page(*number)),
            Answer::Part(number, range) => writer.part(server.site().page(*number), range.clone()),
            Answer::NotModified(number) => {
                let page = server.site().page(*number);
                writer.page(page, format_args!("304 Not Modified\r\n"), &[])
            }
            Answer::Unsatisfiable(number) => {
                let length = server.site().page(*number).data.len();
                let field = format_args!("Content-Range: bytes */{length}\r\n");
                writer.plain(Status::RangeNotSatisfiable.text(), field)
            }
            Answer::MovedToDirectory(number) => {
                let directory = &server.site().page(*number).directory;
                writer.output.bytes.try_reserve(directory.len() + 2 * MAX_OWN_HEAD)?;
                writer.plain("301 Moved Permanently", format_args!("Location: {directory}\r\n"))
            }
            Answer::Live(number, from) => {
                self.pending = Some(Pending { number: *number, from: *from, head_only, persistence });
                Ok(())
            }
            Answer::Plain(Status::NotFound) if let Some(page) = server.site().not_found() => {
                let length = page.data.len();
                writer.page(page, format_args!("404 Not Found\r\nContent-Length: {length}\r\n"), page.data)
            }
            Answer::Plain(Status::MethodNotAllowed) => {
                writer.plain(Status::MethodNotAllowed.text(), format_args!("Allow: GET, HEAD\r\n"))
            }
            Answer::Plain(status) => writer.plain(status.text(), format_args!("")),
        }
    }
}

struct Writer<'a> {
    output: &'a mut Output,
    date: &'a Date,
    head_only: bool,
    persistence: Persistence,
}

impl Writer<'_> {
    fn whole(&mut self, page: &Page) -> Result<(), TryReserveError> {
        self.output.bytes.try_reserve(page.whole.len() + MAX_OWN_HEAD)?;
        self.output.bytes.extend_from_slice(page.whole.as_bytes());
        self.end_head();
        self.body(page.data)
    }

    fn part(&mut self, page: &Page, range: Range<usize>) -> Result<(), TryReserveError> {
        let part = &page.data[range.clone()];
        let (first, last, all, length) = (range.start, range.end - 1, page.data.len(), part.len());
        self.page(
            page,
            format_args!(
                "206 Partial Content\r\nContent-Length: {length}\r\nContent-Range: bytes {first}-{last}/{all}\r\n"
            ),
            part,
        )
    }

    /// An answer about a page: the status and fields of `start`, those of the page, and this body.
    fn page(
        &mut self,
        page: &Page,
        start: core::fmt::Arguments<'_>,
        body: &'static [u8],
    ) -> Result<(), TryReserveError> {
        self.output.bytes.try_reserve(page.fields.len() + MAX_OWN_HEAD)?;
        self.text(format_args!("HTTP/1.1 {start}"));
        self.output.bytes.extend_from_slice(page.fields.as_bytes());
        self.end_head();
        self.body(body)
    }

    /// An answer whose body is its status.
    fn plain(&mut self, status: &str, field: core::fmt::Arguments<'_>) -> Result<(), TryReserveError> {
        self.output.bytes.try_reserve(MAX_OWN_HEAD)?;
        let length = status.len() + 1;
        self.text(format_args!(
            "HTTP/1.1 {status}\r\n{field}Content-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\
             Server: Quicksilver\r\nDate: "
        ));
        self.end_head();
        if !self.head_only {
            self.text(format_args!("{status}\n"));
        }
        Ok(())
    }

    fn live(&mut self, server: &Server, number: usize, from: u64) -> Result<(), TryReserveError> {
        if Vec::<u8>::new().try_reserve_exact(LIVE_ROOM).is_err() {
            return self.plain(Status::Unavailable.text(), format_args!(""));
        }
        let live = server.live(number);
        let (body, media_type) = ((live.make)(server, from), live.media_type);
        let length = body.len();
        self.output.bytes.try_reserve(length + MAX_OWN_HEAD)?;
        self.text(format_args!(
            "HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\nCache-Control: \
             no-store\r\nX-Content-Type-Options: nosniff\r\nServer: Quicksilver\r\nDate: "
        ));
        self.end_head();
        if !self.head_only {
            self.output.bytes.extend_from_slice(body.as_bytes());
        }
        Ok(())
    }

    /// The date's value, the connection field, and the empty line.
    fn end_head(&mut self) {
        let bytes = &mut self.output.bytes;
        bytes.extend_from_slice(self.date.text());
        bytes.extend_from_slice(match self.persistence {
            Persistence::Keep => b"\r\n\r\n",
            Persistence::KeepAndSay => b"\r\nConnection: keep-alive\r\n\r\n",
            Persistence::Close => b"\r\nConnection: close\r\n\r\n",
        });
    }

    fn body(&mut self, body: &'static [u8]) -> Result<(), TryReserveError> {
        if self.head_only {
            return Ok(());
        }
        if body.len() <= MAX_COPIED {
            self.output.bytes.try_reserve(body.len())?;
            self.output.bytes.extend_from_slice(body);
        } else {
            self.output.body = body;
        }
        Ok(())
    }

    /// Room for it has been reserved.
    fn text(&mut self, text: core::fmt::Arguments<'_>) {
        Text(&mut self.output.bytes).write_fmt(text).expect("writing to memory does not fail");
    }
}

struct Text<'a>(&'a mut Vec<u8>);

impl core::fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}
