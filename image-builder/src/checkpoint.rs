//! Checkpoints in files, and on the disks of machines: what they say, whether they are whole, several made one. Each is read with the user's key if it was
//! made with one, unless another is named; so who reads one learns what that has proved, too.

pub mod key;

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process;

use checkpoint::{
    Event, Key, MAX_RAW, Manifest, MergeError, ReadError, Reader, Sink, Source, Stream, Totals, WriteError,
};
use slots::{Slots, Which};
use time::OffsetDateTime;

use crate::control::KeyError;
use crate::date::date;
use crate::disk::kept::{self, Kept};

/// Why nothing is said of a checkpoint, or none is made.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// It is not whole, not ours, or not made with this key.
    #[error("{path}: {error}")]
    Refused {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        error: checkpoint::Error,
    },
    /// The file with the key has something else in it.
    #[error("{0}: a key is 64 hexadecimal digits, not all of them zero")]
    Key(PathBuf),
    /// There is no place for a key.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// Nothing is replaced.
    #[error("{0} is there already, and stays as it is")]
    Exists(PathBuf),
    /// The first of those that are to be merged.
    #[error("{0} is incremental: the checkpoint that it builds on has to come before it")]
    NoBase(PathBuf),
    /// Two of those that are to be merged.
    #[error("{path} does not build on {below}")]
    Order {
        /// The one that comes later.
        path: PathBuf,
        /// The one before it.
        below: PathBuf,
    },
    /// Too many are to be merged.
    #[error("at most {} checkpoints can be merged at a time", checkpoint::MAX_LAYERS)]
    Count,
    /// A disk does not have it.
    #[error("{path}: {error}")]
    Kept {
        /// The image of the disk.
        path: PathBuf,
        /// What is wrong.
        error: slots::Error<io::Error>,
    },
    /// One of a disk is asked for.
    #[error("{0} is no image of a disk with a partition for checkpoints")]
    NoDisk(PathBuf),
    /// A file can't be read or made.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> CheckpointError + use<> {
    let path = path.to_owned();
    move |error| CheckpointError::Io { path, error }
}

enum Input {
    File(File),
    /// Kept on a disk, of which this is an image.
    Kept(slots::Reader<Kept>),
}

impl Source for Input {
    type Error = io::Error;

    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let file = match self {
            Self::File(file) => file,
            Self::Kept(reader) => return reader.read(bytes),
        };
        loop {
            match file.read(bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

impl Input {
    /// Opens a file with a checkpoint, or one on the image of a disk; tells its bytes, too.
    fn open(path: &Path, which: Which) -> Result<(Self, u64), CheckpointError> {
        let refused = |error| CheckpointError::Kept { path: path.to_owned(), error };
        match kept::open(path).map_err(refused)? {
            Some(slots) => {
                let bytes = slots.find(which).map_or(0, |record| record.bytes);
                Ok((Self::Kept(slots.read(which).map_err(refused)?), bytes))
            }
            None if which == Which::Latest => {
                let file = File::open(path).map_err(at(path))?;
                let bytes = file.metadata().map_err(at(path))?.len();
                Ok((Self::File(file), bytes))
            }
            None => Err(CheckpointError::NoDisk(path.to_owned())),
        }
    }
}

fn unread(path: &Path, error: ReadError<io::Error>) -> CheckpointError {
    match error {
        ReadError::Format(error) => CheckpointError::Refused { path: path.to_owned(), error },
        ReadError::Source(error) => at(path)(error),
    }
}

/// Which checkpoints are kept on the image of a disk, and which records do not count.
pub fn list(path: &Path) -> Result<Slots<Kept>, CheckpointError> {
    let slots = kept::open(path).map_err(|error| CheckpointError::Kept { path: path.to_owned(), error })?;
    slots.ok_or_else(|| CheckpointError::NoDisk(path.to_owned()))
}

fn open(path: &Path, which: Which, reader: Reader) -> Result<(Stream<Input>, u64), CheckpointError> {
    let (input, bytes) = Input::open(path, which)?;
    let stream = Stream::new(input, reader).map_err(|error| unread(path, error.into()))?;
    Ok((stream, bytes))
}

/// What a checkpoint's tags prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Who made it had the key: the one that is named, else the user's.
    Key,
    /// It was made without a key, and nothing has happened to it by accident.
    Checksums,
    /// Nothing: it was made with a key that is not there.
    Nothing,
}

/// What a checkpoint says before its pages.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// All of it.
    pub manifest: Manifest,
    /// Whether that is to be believed.
    pub trust: Trust,
    /// Its bytes.
    pub bytes: u64,
}

impl Inspection {
    /// When the checkpoint was taken, if the machine knew the date.
    pub fn date(&self) -> Option<String> {
        date_of(self.manifest.header.wall)
    }
}

/// The date of so many nanoseconds since 1970; none of those that mean that it was not known.
pub fn date_of(wall: u64) -> Option<String> {
    let seconds = i64::try_from(wall / 1_000_000_000).ok().filter(|now| *now > 0)?;
    OffsetDateTime::from_unix_timestamp(seconds).ok().map(date)
}

/// Reads with the key that is named. Where none is, what was made with a key is read with the user's, and all else without.
fn trusted<T>(
    named: Option<&Key>,
    read: impl Fn(Option<&Key>) -> Result<T, CheckpointError>,
) -> Result<(T, Trust), CheckpointError> {
    if named.is_some() {
        return Ok((read(named)?, Trust::Key));
    }
    match read(None) {
        Err(CheckpointError::Refused { path, error: error @ checkpoint::Error::KeyMissing }) => {
            let key = key::found()?.ok_or(CheckpointError::Refused { path, error })?;
            Ok((read(Some(&key))?, Trust::Key))
        }
        other => Ok((other?, Trust::Checksums)),
    }
}

/// Reads what a checkpoint says before its pages: that in a file, or the latest on the image of a disk. Without its key nothing proves it.
pub fn inspect(path: &Path, named: Option<&Key>) -> Result<Inspection, CheckpointError> {
    inspect_one(path, Which::Latest, named)
}

/// The same for one of those on the image of a disk.
pub fn inspect_one(path: &Path, which: Which, named: Option<&Key>) -> Result<Inspection, CheckpointError> {
    let manifest = |reader| {
        let (mut stream, bytes) = open(path, which, reader)?;
        let event = stream.event().map_err(|error| unread(path, error))?;
        let Some(Event::Manifest(manifest)) = event else { unreachable!("the manifest comes first") };
        Ok((manifest.clone(), bytes))
    };
    let ((manifest, bytes), trust) = match trusted(named, |key| manifest(Reader::new(key.cloned()))) {
        Err(CheckpointError::Refused {
            error: checkpoint::Error::KeyMissing | checkpoint::Error::KeyOther,
            ..
        }) if named.is_none() => (manifest(Reader::unchecked())?, Trust::Nothing),
        other => other?,
    };
    Ok(Inspection { manifest, trust, bytes })
}

/// Reads all of a checkpoint, that in a file or the latest on the image of a disk, and checks everything.
pub fn verify(path: &Path, named: Option<&Key>) -> Result<(Totals, Trust), CheckpointError> {
    verify_one(path, Which::Latest, named)
}

/// The same for one of those on the image of a disk.
pub fn verify_one(
    path: &Path,
    which: Which,
    named: Option<&Key>,
) -> Result<(Totals, Trust), CheckpointError> {
    trusted(named, |key| {
        let (mut stream, _) = open(path, which, Reader::new(key.cloned()))?;
        while stream.event().map_err(|error| unread(path, error))?.is_some() {}
        stream.reader().finish().map_err(|error| unread(path, error.into()))
    })
}

/// A file that has another name until it is whole, and goes where it is not made so.
struct Part {
    file: File,
    path: PathBuf,
}

impl Part {
    /// Of a file that nobody else can read: what is in memory is secret.
    fn create(output: &Path) -> io::Result<Self> {
        let path = output.with_added_extension(format!("{}.part", process::id()));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { file, path })
    }

    /// Puts it in its place. A link, unlike a renamed file, never takes the place of another.
    fn place(self, output: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        fs::hard_link(&self.path, output)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Where this fails, something went wrong before, and is told.
        drop(fs::remove_file(&self.path));
    }
}

impl Sink for Part {
    type Error = io::Error;

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }
}

/// Makes one of a full checkpoint and incremental ones that build on it, in their order, all made with one key or without, as it is itself then. A
/// file that is there is left alone; where something is wrong, none is made.
pub fn merge(
    inputs: &[PathBuf],
    output: &Path,
    named: Option<&Key>,
) -> Result<(Totals, Trust), CheckpointError> {
    trusted(named, |key| merge_with(inputs, output, key))
}

fn merge_with(inputs: &[PathBuf], output: &Path, key: Option<&Key>) -> Result<Totals, CheckpointError> {
    let exists = || CheckpointError::Exists(output.to_owned());
    if output.symlink_metadata().is_ok() {
        return Err(exists());
    }
    let sources = { inputs.iter() }
        .map(|path| Ok(Input::open(path, Which::Latest)?.0))
        .collect::<Result<Vec<_>, CheckpointError>>()?;
    let part = Part::create(output).map_err(at(output))?;
    let merged = checkpoint::merge(sources, part, key, MAX_RAW);
    let (part, totals) = merged.map_err(|error| match error {
        MergeError::Count => CheckpointError::Count,
        MergeError::NoBase => CheckpointError::NoBase(inputs[0].clone()),
        MergeError::Order(later) => {
            CheckpointError::Order { path: inputs[later].clone(), below: inputs[later - 1].clone() }
        }
        MergeError::Input(which, error) => unread(&inputs[which], error),
        MergeError::Output(WriteError::Sink(error)) => at(output)(error),
        MergeError::Output(WriteError::Format(error)) => {
            CheckpointError::Refused { path: output.to_owned(), error }
        }
    })?;
    part.place(output).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => exists(),
        _ => at(output)(error),
    })?;
    Ok(totals)
}
