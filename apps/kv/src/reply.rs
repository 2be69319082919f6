//! Replies, in version 2 or 3 of the protocol, appended to a connection's output.
use crate::failure::Failure;
use crate::number::{format_f64, write_i64, write_u64};
use alloc::vec::Vec;

/// Where a reply goes.
#[derive(Debug)]
pub(crate) struct Reply<'a> {
    pub buffer: &'a mut Vec<u8>,
    pub resp3: bool,
    /// The length the buffer may reach.
    limit: usize,
    /// The limit was reached, or memory ran out: the output is incomplete and the connection must end.
    pub overflow: bool,
    /// Error replies written.
    pub errors: u64,
}

impl<'a> Reply<'a> {
    pub fn new(buffer: &'a mut Vec<u8>, resp3: bool, limit: usize) -> Self {
        Self { buffer, resp3, limit, overflow: false, errors: 0 }
    }

    /// Makes room for `bytes` more, or marks the overflow.
    #[inline]
    fn room(&mut self, bytes: usize) -> bool {
        if self.buffer.capacity() - self.buffer.len() >= bytes && self.buffer.len() + bytes <= self.limit {
            return !self.overflow;
        }
        let over = self.buffer.len() + bytes > self.limit || self.buffer.try_reserve(bytes).is_err();
        self.overflow |= over;
        !self.overflow
    }

    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        if self.room(bytes.len()) {
            self.buffer.extend_from_slice(bytes);
        }
    }

    #[inline]
    fn header(&mut self, kind: u8, count: usize) {
        if count < 10 {
            self.raw(&[kind, b'0' + count as u8, b'\r', b'\n']);
        } else if self.room(23) {
            self.buffer.push(kind);
            write_u64(self.buffer, count as u64);
            self.buffer.extend_from_slice(b"\r\n");
        }
    }

    pub fn ok(&mut self) {
        self.raw(b"+OK\r\n");
    }

    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        if self.room(text.len() + 3) {
            self.buffer.push(kind);
            // A line end inside would be taken for the end of the reply.
            self.buffer
                .extend(text.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }));
            self.buffer.extend_from_slice(b"\r\n");
        }
    }

    pub fn error(&mut self, text: &[u8]) {
        self.errors += 1;
        self.line(b'-', text);
    }

    pub fn failure(&mut self, failure: &Failure) {
        self.error(failure.text().as_bytes());
    }

    pub fn int(&mut self, value: i64) {
        if (0..10).contains(&value) {
            self.raw(&[b':', b'0' + value as u8, b'\r', b'\n']);
        } else if self.room(23) {
            self.buffer.push(b':');
            write_i64(self.buffer, value);
            self.buffer.extend_from_slice(b"\r\n");
        }
    }

    pub fn len(&mut self, value: usize) {
        self.int(value as i64);
    }

    pub fn truth(&mut self, value: bool) {
        self.raw(if value { b":1\r\n" } else { b":0\r\n" });
    }

    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        if self.room(bytes.len() + 25) {
            if bytes.len() < 10 {
                self.buffer.extend_from_slice(&[b'$', b'0' + bytes.len() as u8, b'\r', b'\n']);
            } else {
                self.buffer.push(b'$');
                write_u64(self.buffer, bytes.len() as u64);
                self.buffer.extend_from_slice(b"\r\n");
            }
            self.buffer.extend_from_slice(bytes);
            self.buffer.extend_from_slice(b"\r\n");
        }
    }

    /// The bytes, or null.
    pub fn optional(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    pub fn null(&mut self) {
        self.raw(if self.resp3 { b"_\r\n" } else { b"$-1\r\n" });
    }

    pub fn null_array(&mut self) {
        self.raw(if self.resp3 { b"_\r\n" } else { b"*-1\r\n" });
    }

    pub fn array(&mut self, count: usize) {
        self.header(b'*', count);
    }

    /// Pairs: a map, or an array of twice as many elements.
    pub fn map(&mut self, pairs: usize) {
        if self.resp3 { self.header(b'%', pairs) } else { self.header(b'*', pairs * 2) }
    }

    pub fn set(&mut self, count: usize) {
        self.header(if self.resp3 { b'~' } else { b'*' }, count);
    }

    pub fn push(&mut self, count: usize) {
        self.header(if self.resp3 { b'>' } else { b'*' }, count);
    }

    pub fn double(&mut self, value: f64) {
        let text = format_f64(value);
        if self.resp3 { self.line(b',', text.as_bytes()) } else { self.bulk(text.as_bytes()) }
    }

    /// Text for people.
    pub fn verbatim(&mut self, text: &[u8]) {
        if !self.resp3 {
            return self.bulk(text);
        }
        self.header(b'=', text.len() + 4);
        self.raw(b"txt:");
        self.raw(text);
        self.raw(b"\r\n");
    }
}
