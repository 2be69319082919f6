//! A checkpoint and incremental ones that build on it, one on the other, made one that stands alone.
//!
//! All of them are read side by side, once, and nothing is kept but a chunk and the manifest of each, and a plan: which of them has
//! what goes where. The plan takes 16 bytes for each range of frames.

use alloc::vec::Vec;
use core::fmt;

use crate::pages::Position;
use crate::{
    Content, Error, Event, FrameFault, FrameKind, Frames, Key, Manifest, PAGE, Range, ReadError, Reader,
    Sink, Source, Stream, Totals, WriteError, Writer, fields,
};

/// Checkpoints that are merged at a time at most.
pub const MAX_LAYERS: usize = 64;

/// Why checkpoints are not merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeError<R, W> {
    /// There are more than [`MAX_LAYERS`], or none.
    Count,
    /// The first is incremental itself.
    NoBase,
    /// This one, counted from 0, does not build on the one before.
    Order(usize),
    /// This one, counted from 0, is not read.
    Input(usize, ReadError<R>),
    /// The merged one is not written.
    Output(WriteError<W>),
}

impl<R: fmt::Display, W: fmt::Display> fmt::Display for MergeError<R, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count => write!(f, "between 1 and {MAX_LAYERS} checkpoints can be merged"),
            Self::NoBase => f.write_str("the first checkpoint is incremental, and its base is not given"),
            Self::Order(layer) => write!(f, "checkpoint {layer} does not build on the one before"),
            Self::Input(layer, error) => write!(f, "checkpoint {layer}: {error}"),
            Self::Output(error) => error.fmt(f),
        }
    }
}

impl<R: fmt::Debug + fmt::Display, W: fmt::Debug + fmt::Display> core::error::Error for MergeError<R, W> {}

/// Frames, and which checkpoint has their contents.
#[derive(Clone, Copy)]
struct Step {
    first: u64,
    count: u32,
    kind: FrameKind,
    layer: u8,
}

impl Step {
    fn end(&self) -> u64 {
        self.first + u64::from(self.count)
    }
}

/// Lays the frames of a checkpoint over what is below.
fn lay(below: &[Step], frames: &Frames, layer: u8) -> Result<Vec<Step>, Error> {
    let (mut plan, mut below) = (Vec::new(), below.iter().peekable());
    for range in frames.ranges() {
        let Range { first, count, kind } = *range;
        if kind != FrameKind::Base {
            fields::push(&mut plan, Step { first, count, kind, layer })?;
            continue;
        }
        let mut at = first;
        while at < range.end() {
            while below.next_if(|step| step.end() <= at).is_some() {}
            let step = below.peek().filter(|step| step.first <= at);
            let step = step.ok_or(Error::Frame(at, FrameFault::NotInBase))?;
            let end = range.end().min(step.end());
            fields::push(&mut plan, Step { first: at, count: (end - at) as u32, ..**step })?;
            at = end;
        }
    }
    Ok(plan)
}

/// A checkpoint that is merged, and how far its pages are passed.
struct Layer<S> {
    stream: Stream<S>,
    position: Position,
}

impl<S: Source> Layer<S> {
    fn manifest(&self) -> &Manifest {
        self.stream.reader().manifest().expect("the manifest is read first")
    }

    /// Gives the contents of frames to the writer. Those before are passed.
    fn copy<W: Sink>(
        &mut self,
        step: &Step,
        writer: &mut Writer<W>,
    ) -> Result<(), CopyError<S::Error, W::Error>> {
        let (mut first, mut count) = (step.first, step.count);
        while count > 0 {
            let pages = self.stream.reader().pages();
            let Some(piece) = pages.and_then(|pages| pages.at(&self.position)) else {
                self.position = Position::default();
                match self.stream.event().map_err(CopyError::Input)? {
                    Some(Event::Pages(_)) => continue,
                    _ => return Err(CopyError::Input(Error::Frame(first, FrameFault::Missing).into())),
                }
            };
            let before = first.saturating_sub(piece.first).min(piece.count().into()) as u32;
            if before > 0 {
                self.position.pass(&piece, before);
                continue;
            }
            let now = count.min(piece.count());
            match piece.content {
                Content::Pages(bytes) => writer.pages(piece.first, &bytes[..now as usize * PAGE]),
                Content::Zero(_) => writer.zero(piece.first, now),
            }
            .map_err(CopyError::Output)?;
            self.position.pass(&piece, now);
            (first, count) = (first + u64::from(now), count - now);
        }
        Ok(())
    }
}

enum CopyError<R, W> {
    Input(ReadError<R>),
    Output(WriteError<W>),
}

/// Merges checkpoints, a full one first, each of the others building on the one before, all made with the same key. What comes out
/// is made with that key too, is what the last would have been had it been full, and has its ID: others can build on it. It is whole
/// only where this succeeds.
pub fn merge<R: Source, W: Sink>(
    sources: impl IntoIterator<Item = R>,
    sink: W,
    key: Option<&Key>,
    chunk: usize,
) -> Result<(W, Totals), MergeError<R::Error, W::Error>> {
    let (mut layers, mut plan) = (Vec::<Layer<R>>::new(), Vec::new());
    for (number, source) in sources.into_iter().enumerate() {
        let failed = |error: ReadError<R::Error>| MergeError::Input(number, error);
        let layer = u8::try_from(number).ok().filter(|_| number < MAX_LAYERS).ok_or(MergeError::Count)?;
        let mut stream =
            Stream::new(source, Reader::new(key.cloned())).map_err(|error| failed(error.into()))?;
        // Its first event, or it is refused.
        stream.event().map_err(failed)?;
        let next = Layer { stream, position: Position::default() };
        let Manifest { header, frames, .. } = next.manifest();
        let below = layers.last().map(|layer| layer.manifest().header.id);
        if header.base != below {
            return Err(if number == 0 { MergeError::NoBase } else { MergeError::Order(number) });
        }
        plan = lay(&plan, frames, layer).map_err(|error| failed(error.into()))?;
        fields::push(&mut layers, next).map_err(|error| failed(error.into()))?;
    }
    let mut manifest = layers.last().ok_or(MergeError::Count)?.manifest().clone();
    manifest.header.base = None;
    manifest.frames = Frames::new();
    for Step { first, count, kind, .. } in &plan {
        let pushed = manifest.frames.push(Range { first: *first, count: *count, kind: *kind });
        pushed.map_err(|error| MergeError::Output(error.into()))?;
    }
    let mut writer = Writer::begin(sink, manifest, key, chunk).map_err(MergeError::Output)?;
    for step in plan.iter().filter(|step| step.kind == FrameKind::Here) {
        let layer = usize::from(step.layer);
        layers[layer].copy(step, &mut writer).map_err(|error| match error {
            CopyError::Input(error) => MergeError::Input(layer, error),
            CopyError::Output(error) => MergeError::Output(error),
        })?;
    }
    for (number, layer) in layers.iter_mut().enumerate() {
        while layer.stream.event().map_err(|error| MergeError::Input(number, error))?.is_some() {}
    }
    writer.end().map_err(MergeError::Output)
}
