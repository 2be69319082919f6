//! A checkpoint from where bytes can be had.

use alloc::vec::Vec;
use core::convert::Infallible;
use core::fmt;
use core::ops::Range;

use crate::{Error, Event, Reader};

/// Bytes that are asked for at a time.
const INPUT: usize = 64 * 1024;

/// Where a checkpoint comes from.
pub trait Source {
    /// Why it gives nothing.
    type Error;
    /// Reads some bytes; none only at its end.
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Self::Error>;
}

/// From memory.
impl Source for &[u8] {
    type Error = Infallible;

    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Infallible> {
        let count = self.len().min(bytes.len());
        let (now, later) = self.split_at(count);
        bytes[..count].copy_from_slice(now);
        *self = later;
        Ok(count)
    }
}

/// Why a checkpoint is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError<E> {
    /// It is refused.
    Format(Error),
    /// The source's.
    Source(E),
}

impl<E> From<Error> for ReadError<E> {
    fn from(error: Error) -> Self {
        Self::Format(error)
    }
}

impl<E: fmt::Display> fmt::Display for ReadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(error) => error.fmt(f),
            Self::Source(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for ReadError<E> {}

/// Feeds a reader. Its end is that of the source: what follows a checkpoint is refused.
pub struct Stream<S> {
    source: S,
    reader: Reader,
    input: Vec<u8>,
    /// Where in `input` bytes are that the reader has not taken.
    left: Range<usize>,
}

impl<S: Source> Stream<S> {
    /// Reads nothing yet.
    pub fn new(source: S, reader: Reader) -> Result<Self, Error> {
        let mut input = Vec::new();
        input.try_reserve_exact(INPUT).map_err(|_| Error::Memory)?;
        input.resize(INPUT, 0);
        Ok(Self { source, reader, input, left: 0..0 })
    }

    /// Reads until there is news; none when all has been read, to the end, and is whole.
    pub fn event(&mut self) -> Result<Option<Event<'_>>, ReadError<S::Error>> {
        while !self.advance()? {
            let count = self.source.read(&mut self.input).map_err(ReadError::Source)?;
            if count == 0 {
                self.reader.finish()?;
                return Ok(None);
            }
            self.left = 0..count;
        }
        Ok(self.reader.news())
    }

    /// Lets the reader take what is there; whether there is news.
    fn advance(&mut self) -> Result<bool, Error> {
        let mut bytes = &self.input[self.left.clone()];
        let news = self.reader.push(&mut bytes)?.is_some();
        self.left.start = self.left.end - bytes.len();
        Ok(news)
    }

    /// What has been read, and is being read.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }
}
