//! A checkpoint from a stream of bytes, in pieces as they come. What is handed out has been checked.

use alloc::vec::Vec;

use lz4_flex::block::decompress_into;

use crate::chunk::{CHUNK_HEADER, FIELDS, Head, Kind};
use crate::frames::{Frames, Progress};
use crate::header::{HEADER, Header, PREFIX};
use crate::manifest::{Manifest, Totals, decode_cpus};
use crate::pages::Pages;
use crate::seal::Seal;
use crate::{Content, Error, Features, Key, Map};

/// Said by the order of the kinds.
const MANIFEST_FIRST: &str = "the manifest comes before the pages";

/// What a reader has found.
#[derive(Clone, Copy, Debug)]
pub enum Event<'r> {
    /// All that comes before the pages. Comes once, first.
    Manifest(&'r Manifest),
    /// What is in some of the frames that the manifest lists.
    Pages(Pages<'r>),
    /// The end: all has come that was announced. Comes once, last.
    End(Totals),
}

/// What the bytes that are awaited are.
#[derive(Clone, Copy)]
enum Phase {
    Prefix,
    Header,
    ChunkHeader,
    Stored(Head),
    End,
}

/// What has come of a manifest.
#[derive(Default)]
struct Draft {
    features: Features,
    map: Map,
    cpus: Vec<Vec<u8>>,
    frames: Frames,
    /// Ranges of frames that are still to come, once the first have.
    left: Option<u64>,
}

/// Reads one checkpoint.
pub struct Reader {
    /// The key that the checkpoint has to be made with; none where tags are not looked at.
    trust: Option<Option<Key>>,
    phase: Phase,
    /// How many bytes are awaited.
    wanted: usize,
    buffer: Vec<u8>,
    /// The latest chunk, uncompressed.
    raw: Vec<u8>,
    /// Bytes that have come.
    taken: u64,
    header: Option<Header>,
    keyed: bool,
    seal: Option<Seal>,
    /// The latest chunk's kind.
    last: Option<Kind>,
    /// The kind of what the latest push has found.
    news: Option<Kind>,
    draft: Draft,
    manifest: Option<Manifest>,
    progress: Progress,
    totals: Totals,
    refused: Option<Error>,
}

impl Reader {
    /// Of a checkpoint that was made with this key; without one, of one that was made without, whose tags find accidents only.
    pub fn new(key: Option<Key>) -> Self {
        Self::of(Some(key))
    }

    /// Of a checkpoint whose tags are not looked at. Nothing that it says may be relied upon; all else is checked.
    pub fn unchecked() -> Self {
        Self::of(None)
    }

    fn of(trust: Option<Option<Key>>) -> Self {
        Self {
            trust,
            phase: Phase::Prefix,
            wanted: PREFIX,
            buffer: Vec::new(),
            raw: Vec::new(),
            taken: 0,
            header: None,
            keyed: false,
            seal: None,
            last: None,
            news: None,
            draft: Draft::default(),
            manifest: None,
            progress: Progress::default(),
            totals: Totals::default(),
            refused: None,
        }
    }

    /// Takes bytes until there is news, or none are left. Once it has refused something it refuses everything. Behind the end it takes
    /// nothing, and refuses bytes that are there.
    pub fn push(&mut self, bytes: &mut &[u8]) -> Result<Option<Event<'_>>, Error> {
        if let Some(error) = self.refused {
            return Err(error);
        }
        self.news = match self.advance(bytes) {
            Ok(news) => news,
            Err(error) => {
                self.refused = Some(error);
                return Err(error);
            }
        };
        Ok(self.news())
    }

    /// What the latest push has found.
    pub(crate) fn news(&self) -> Option<Event<'_>> {
        match self.news? {
            Kind::End => Some(Event::End(self.totals)),
            Kind::Pages => self.pages().map(Event::Pages),
            _ => self.manifest().map(Event::Manifest),
        }
    }

    /// Says that no more bytes come.
    pub fn finish(&self) -> Result<Totals, Error> {
        match (self.refused, self.phase) {
            (Some(error), _) => Err(error),
            (None, Phase::End) => Ok(self.totals),
            (None, _) => Err(Error::Truncated(self.taken)),
        }
    }

    /// Whether the checkpoint was made with a key, as soon as its header has come.
    pub fn is_keyed(&self) -> bool {
        self.keyed
    }

    /// What came before the pages, as soon as it has.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// The latest chunk, if it is one of pages.
    pub(crate) fn pages(&self) -> Option<Pages<'_>> {
        if self.last == Some(Kind::Pages) { Pages::split(&self.raw) } else { None }
    }

    fn advance(&mut self, bytes: &mut &[u8]) -> Result<Option<Kind>, Error> {
        loop {
            if matches!(self.phase, Phase::End) {
                return if bytes.is_empty() { Ok(None) } else { Err(Error::Trailing) };
            }
            let (now, later) = bytes.split_at(bytes.len().min(self.wanted - self.buffer.len()));
            // Within what was reserved, or a few bytes.
            self.buffer.extend_from_slice(now);
            *bytes = later;
            self.taken += now.len() as u64;
            if self.buffer.len() < self.wanted {
                return Ok(None);
            }
            if let Some(kind) = self.complete()? {
                return Ok(Some(kind));
            }
        }
    }

    /// Waits for so many bytes more.
    fn want(&mut self, phase: Phase, count: usize) -> Result<(), Error> {
        self.buffer.clear();
        self.buffer.try_reserve_exact(count).map_err(|_| Error::Memory)?;
        (self.phase, self.wanted) = (phase, count);
        Ok(())
    }

    /// What was awaited is there.
    fn complete(&mut self) -> Result<Option<Kind>, Error> {
        match self.phase {
            Phase::Prefix => {
                let prefix = self.buffer.first_chunk().expect("as many as were awaited");
                Header::check_prefix(prefix)?;
                (self.phase, self.wanted) = (Phase::Header, HEADER);
            }
            Phase::Header => {
                let trust = self.trust.as_ref().map(|key| key.as_ref());
                let bytes = self.buffer.first_chunk().expect("as many as were awaited");
                let (header, keyed, seal) = Header::decode(bytes, trust)?;
                (self.header, self.keyed, self.seal) = (Some(header), keyed, seal);
                self.want(Phase::ChunkHeader, CHUNK_HEADER)?;
            }
            Phase::ChunkHeader => {
                let head = Head::decode(&self.buffer, self.totals.chunks, self.expected())?;
                // The chunk's tag and fields stay in front of its bytes.
                self.buffer.try_reserve_exact(head.stored).map_err(|_| Error::Memory)?;
                (self.phase, self.wanted) = (Phase::Stored(head), CHUNK_HEADER + head.stored);
            }
            Phase::Stored(head) => {
                self.open(head)?;
                let news = self.take(head.kind).map_err(|error| error.in_chunk(head.number, head.kind))?;
                self.last = Some(head.kind);
                if head.kind == Kind::End {
                    self.phase = Phase::End;
                    return Ok(Some(Kind::End));
                }
                self.totals.chunks += 1;
                self.want(Phase::ChunkHeader, CHUNK_HEADER)?;
                return Ok(news.then_some(head.kind));
            }
            Phase::End => {}
        }
        Ok(None)
    }

    /// The kinds that the next chunk may have.
    fn expected(&self) -> &'static [Kind] {
        match self.last {
            None => &[Kind::Features],
            Some(Kind::Features) => &[Kind::Map],
            Some(Kind::Map) => &[Kind::Cpus],
            Some(Kind::Cpus) => &[Kind::Cpus, Kind::Frames],
            Some(Kind::Frames) if self.manifest.is_none() => &[Kind::Frames],
            Some(Kind::Frames | Kind::Pages) => &[Kind::Pages, Kind::End],
            Some(Kind::End) => &[],
        }
    }

    /// Checks a chunk's tag and uncompresses it.
    fn open(&mut self, head: Head) -> Result<(), Error> {
        let wrong = |field| Error::Chunk { number: head.number, kind: Some(head.kind), field };
        let (header, stored) = self.buffer.split_at(CHUNK_HEADER);
        let (fields, tag) = header.split_at(FIELDS);
        if let Some(seal) = &self.seal
            // Compared in constant time.
            && seal.of_chunk(fields, stored) != *tag
        {
            return Err(wrong("tag"));
        }
        self.raw.clear();
        self.raw.try_reserve_exact(head.raw).map_err(|_| Error::Memory)?;
        if head.stored == head.raw {
            self.raw.extend_from_slice(stored);
            return Ok(());
        }
        self.raw.resize(head.raw, 0);
        match decompress_into(stored, &mut self.raw) {
            Ok(length) if length == head.raw => Ok(()),
            _ => Err(wrong("stored bytes")),
        }
    }

    /// Takes what a chunk brings; whether that is news.
    fn take(&mut self, kind: Kind) -> Result<bool, Error> {
        let (draft, raw) = (&mut self.draft, &self.raw[..]);
        match kind {
            Kind::Features => draft.features = Features::decode(raw)?,
            Kind::Map => draft.map = Map::decode(raw)?,
            Kind::Cpus => {
                let header = self.header.expect("the header comes first");
                decode_cpus(raw, &mut draft.cpus, header.cpus)?;
            }
            Kind::Frames => {
                let left = draft.frames.decode(raw, draft.left)?;
                draft.left = Some(left);
                if left == 0 {
                    let header = self.header.expect("the header comes first");
                    let Draft { features, map, cpus, frames, .. } = core::mem::take(draft);
                    let manifest = Manifest { header, features, map, cpus, frames };
                    manifest.check()?;
                    self.manifest = Some(manifest);
                    return Ok(true);
                }
            }
            Kind::Pages => {
                let frames = &self.manifest.as_ref().expect(MANIFEST_FIRST).frames;
                for piece in Pages::decode(raw)?.pieces() {
                    self.progress.accept(frames, piece.first, piece.count())?;
                    match piece.content {
                        Content::Pages(_) => self.totals.pages += u64::from(piece.count()),
                        Content::Zero(count) => self.totals.zero += u64::from(count),
                    }
                }
                return Ok(true);
            }
            Kind::End => {
                let frames = &self.manifest.as_ref().expect(MANIFEST_FIRST).frames;
                self.progress.finish(frames)?;
                if *raw != self.totals.encode() {
                    return Err(Error::Field("totals"));
                }
                return Ok(true);
            }
        }
        Ok(false)
    }
}
