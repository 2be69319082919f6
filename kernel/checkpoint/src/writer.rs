//! A checkpoint as a stream of bytes: the manifest at once, then pages as they come.

use alloc::vec::Vec;
use core::convert::Infallible;
use core::fmt;

use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};

use crate::chunk::{Head, Kind, MAX_RAW};
use crate::frames::{Frames, Progress, RANGE, encode_run};
use crate::manifest::CPU_RECORD;
use crate::pages::{PAGES, ZERO};
use crate::seal::Seal;
use crate::{Error, Key, MAX_CPU_STATE, MAX_FRAME, MAX_REGIONS, Manifest, PAGE, Totals};

/// Raw bytes of a chunk that a writer has to be allowed at least: no part that can't be divided is larger.
pub const MIN_CHUNK: usize = 32 * 1024;

const _: () = assert!(MAX_REGIONS * 24 <= MIN_CHUNK && CPU_RECORD + MAX_CPU_STATE <= MIN_CHUNK);

/// Runs that are gathered for one chunk.
const RUNS: usize = 1024;

/// Where a checkpoint goes.
pub trait Sink {
    /// Why it does not take any more.
    type Error;
    /// Takes all bytes, in order.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;
}

/// Into memory, which has to be there.
impl Sink for Vec<u8> {
    type Error = Infallible;

    fn write(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        self.extend_from_slice(bytes);
        Ok(())
    }
}

/// Why a checkpoint is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteError<E> {
    /// What is to be written makes no sense, or there is no memory.
    Format(Error),
    /// The sink's.
    Sink(E),
}

impl<E> From<Error> for WriteError<E> {
    fn from(error: Error) -> Self {
        Self::Format(error)
    }
}

impl<E: fmt::Display> fmt::Display for WriteError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(error) => error.fmt(f),
            Self::Sink(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for WriteError<E> {}

#[derive(Clone, Copy)]
struct Run {
    first: u64,
    count: u32,
    kind: u32,
}

/// Writes one checkpoint. It holds 2.1 times the raw bytes of a chunk, the list of frames, and 32 KiB; dropped before its end it leaves
/// something that every reader refuses. After an error there is no use in going on.
pub struct Writer<S> {
    sink: S,
    seal: Seal,
    chunk: usize,
    raw: Vec<u8>,
    stored: Vec<u8>,
    table: CompressTable,
    runs: Vec<Run>,
    frames: Frames,
    progress: Progress,
    totals: Totals,
}

fn room<T>(capacity: usize) -> Result<Vec<T>, Error> {
    let mut list = Vec::new();
    list.try_reserve_exact(capacity).map_err(|_| Error::Memory)?;
    Ok(list)
}

impl<S: Sink> Writer<S> {
    /// Writes everything but the pages. `chunk` is how many raw bytes a chunk may have, [`MIN_CHUNK`] to [`MAX_RAW`].
    pub fn begin(
        mut sink: S,
        manifest: Manifest,
        key: Option<&Key>,
        chunk: usize,
    ) -> Result<Self, WriteError<S::Error>> {
        if !(MIN_CHUNK..=MAX_RAW).contains(&chunk) {
            return Err(Error::Field("chunk length").into());
        }
        manifest.check()?;
        let Manifest { header, features, map, cpus, frames } = manifest;
        let (raw, runs, mut stored) = (room(chunk)?, room(RUNS)?, room(get_maximum_output_size(chunk))?);
        stored.resize(get_maximum_output_size(chunk), 0);
        let (bytes, seal) = header.encode(key);
        sink.write(&bytes).map_err(WriteError::Sink)?;
        let (table, progress, totals) = (CompressTable::large(), Progress::default(), Totals::default());
        let mut writer = Self { sink, seal, chunk, raw, stored, table, runs, frames, progress, totals };
        features.encode(&mut writer.raw);
        writer.put(Kind::Features)?;
        map.encode(&mut writer.raw);
        writer.put(Kind::Map)?;
        for (number, state) in cpus.iter().enumerate() {
            if writer.raw.len() + CPU_RECORD + state.len() > chunk {
                writer.put(Kind::Cpus)?;
            }
            writer.raw.extend_from_slice(&(number as u32).to_le_bytes());
            writer.raw.extend_from_slice(&(state.len() as u32).to_le_bytes());
            writer.raw.extend_from_slice(state);
        }
        writer.put(Kind::Cpus)?;
        let mut at = 0;
        loop {
            at += writer.frames.encode(at, chunk, &mut writer.raw);
            writer.put(Kind::Frames)?;
            if at == writer.frames.ranges().len() {
                return Ok(writer);
            }
        }
    }

    /// Writes the contents of frames from `first` on: whole pages. They come in the order of the list of frames, and leave out none
    /// of those whose contents are here. Those that are zero take no room.
    pub fn pages(&mut self, first: u64, contents: &[u8]) -> Result<(), WriteError<S::Error>> {
        let (pages, rest) = contents.as_chunks::<PAGE>();
        let count = u32::try_from(pages.len()).ok().filter(|_| rest.is_empty());
        self.accept(first, count.ok_or(Error::Field("pages"))?)?;
        for (frame, page) in (first..).zip(pages) {
            let (kind, page) = if is_zero(page) { (ZERO, &[][..]) } else { (PAGES, &page[..]) };
            self.add(Run { first: frame, count: 1, kind }, page)?;
        }
        Ok(())
    }

    /// Says that frames from `first` on are zero, though the list of frames has them among those whose contents are here.
    pub fn zero(&mut self, first: u64, count: u32) -> Result<(), WriteError<S::Error>> {
        self.accept(first, count)?;
        if count > 0 { self.add(Run { first, count, kind: ZERO }, &[]) } else { Ok(()) }
    }

    /// Writes the end, if all contents have come.
    pub fn end(mut self) -> Result<(S, Totals), WriteError<S::Error>> {
        self.progress.finish(&self.frames)?;
        self.put_pages()?;
        let totals = self.totals;
        self.raw.extend_from_slice(&totals.encode());
        self.put(Kind::End)?;
        Ok((self.sink, totals))
    }

    fn accept(&mut self, first: u64, count: u32) -> Result<(), Error> {
        if first.checked_add(count.into()).is_none_or(|end| end > MAX_FRAME) {
            return Err(Error::Field("first frame"));
        }
        self.progress.accept(&self.frames, first, count)
    }

    fn add(&mut self, run: Run, page: &[u8]) -> Result<(), WriteError<S::Error>> {
        let table = |runs: usize| runs * RANGE + 8;
        if self.raw.len() + page.len() + table(self.runs.len() + 1) > self.chunk || self.runs.len() == RUNS {
            self.put_pages()?;
        }
        self.raw.extend_from_slice(page);
        let total = if run.kind == ZERO { &mut self.totals.zero } else { &mut self.totals.pages };
        *total += u64::from(run.count);
        if let Some(last) = self.runs.last_mut()
            && (last.kind, last.first + u64::from(last.count)) == (run.kind, run.first)
            && let Some(count) = last.count.checked_add(run.count)
        {
            last.count = count;
        } else {
            self.runs.push(run);
        }
        Ok(())
    }

    /// Writes the chunk of what has been gathered.
    fn put_pages(&mut self) -> Result<(), WriteError<S::Error>> {
        if self.runs.is_empty() {
            return Ok(());
        }
        for run in &self.runs {
            encode_run(&mut self.raw, run.first, run.count, run.kind);
        }
        self.raw.extend_from_slice(&(self.runs.len() as u64).to_le_bytes());
        self.runs.clear();
        self.put(Kind::Pages)
    }

    /// Writes a chunk of the raw bytes.
    fn put(&mut self, kind: Kind) -> Result<(), WriteError<S::Error>> {
        let raw = &self.raw[..];
        let length = compress_into_with_table(raw, &mut self.stored, &mut self.table)
            .expect("there is room for what can't be compressed");
        let stored = if length < raw.len() { &self.stored[..length] } else { raw };
        let head = Head { number: self.totals.chunks, kind, raw: raw.len(), stored: stored.len() }.encode();
        let tag = self.seal.of_chunk(&head, stored);
        for bytes in [&head[..], tag.as_bytes(), stored] {
            self.sink.write(bytes).map_err(WriteError::Sink)?;
        }
        self.totals.chunks += 1;
        self.raw.clear();
        Ok(())
    }
}

fn is_zero(page: &[u8; PAGE]) -> bool {
    let (words, _) = page.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0)
}
