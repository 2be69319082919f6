//! Compiles the kernel for the bare machine and finishes the ELF image.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ::checkpoint::Key;
use ::control::access::Access;

use crate::control::Keys;
use crate::elf::{self, Inserts, Report};
use crate::tools::{self, Tool};
use crate::workspace::{self, Workspace};
use crate::{Error, checkpoint, control, process};

/// The host's own triple serves for the bare machine, too: its precompiled `core` is there without any set-up.
pub const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Compiler flags of everything in the image. `--target` keeps them away from build scripts and procedural macros.
const FLAGS: &[&str] = &[
    "--cfg",
    "bare_metal",
    "-Crelocation-model=static",
    // Interrupts come in on the stack of what they interrupt; see the check of the finished image.
    "-Cno-redzone=yes",
    // SSE is the baseline. Wider vectors would make a single stream twice as fast at best, and on emulators they are several
    // times slower.
    "--cfg",
    "chacha20_backend=\"sse2\"",
    "--cfg",
    "poly1305_backend=\"soft\"",
    // For the backtrace of last words.
    "-Cforce-frame-pointers=yes",
];

/// Modes of files: one with the machines' host key or that of their checkpoints is nobody else's.
const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;

#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    #[error("the image for {0} was not compiled: see cargo's messages above")]
    Compile(String),
    #[error("files to pack: {0} is not a directory")]
    Files(PathBuf),
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: io::Error },
}

/// An image on disk.
#[derive(Clone, Debug)]
pub struct Image {
    /// Stripped and checked: what boots.
    pub elf: PathBuf,
    /// With all symbols, for debuggers.
    pub unstripped: PathBuf,
    pub report: Report,
}

/// What an image is made of.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// The application, or several with commas between.
    pub apps: &'a str,
    /// A directory whose files are packed; by default the web server has its own.
    pub files: Option<&'a Path>,
    /// Debug assertions and checks of overflow: among them the VMRUN rules before each entry into guest mode. Slower.
    pub checked: bool,
    /// The VMM; an image without it runs natively and nothing else.
    pub vmm: bool,
    /// The benchmarks, for operators to run.
    pub bench: bool,
    /// A file like OpenSSH's authorized_keys with those who may operate its machines; by default the user who builds.
    pub operators: Option<&'a Path>,
    /// This user's host key; without one a machine makes its own at each boot.
    pub host_key: bool,
    /// What the checkpoints of its machines are made with, and have to have been made with.
    pub checkpoint_key: CheckpointKey<'a>,
}

/// Which key the checkpoints of an image's machines have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointKey<'a> {
    /// The user's who builds, made on first use.
    OfUser,
    /// One in a file.
    Of(&'a Path),
    /// None: whoever can write a checkpoint can forge it.
    None,
}

impl<'a> Content<'a> {
    /// Applications, and what they usually have.
    pub const fn of(apps: &'a str) -> Self {
        Self {
            apps,
            files: None,
            checked: false,
            vmm: true,
            bench: true,
            operators: None,
            host_key: true,
            checkpoint_key: CheckpointKey::OfUser,
        }
    }

    /// Name of a file with this image, without an ending: the applications and what is unusual, such as `kv-web-checked`.
    pub fn name(&self) -> String {
        let mut name = self.apps.replace(',', "-");
        let unusual =
            [(self.checked, "-checked"), (!self.vmm, "-without-vmm"), (!self.bench, "-without-bench")];
        for (is_so, word) in unusual {
            if is_so {
                name.push_str(word);
            }
        }
        name
    }

    /// The cargo profile.
    const fn profile(&self) -> &'static str {
        if self.checked { "image-checked" } else { "image" }
    }
}

/// Builds an image. Images of the same content share their place: builds of the whole host take turns.
pub fn image(workspace: &Workspace, content: &Content<'_>) -> Result<Image, Error> {
    let names = workspace.check_apps(content.apps)?;
    tools::require(&[Tool::Linker])?;
    let files = match content.files {
        Some(directory) => {
            Some(fs::canonicalize(directory).map_err(|_| KernelError::Files(directory.to_owned()))?)
        }
        None => Some(workspace.root.join("apps/web/files"))
            .filter(|directory| names.contains(&"web") && directory.is_dir()),
    };
    if let Some(directory) = files.as_ref().filter(|directory| !directory.is_dir()) {
        return Err(KernelError::Files(directory.clone()).into());
    }

    let target = workspace.target.join("bare");
    let images = target.join("images");
    fs::create_dir_all(&images).map_err(at(&images))?;
    let lock_path = target.join(".qs-lock");
    let lock = File::create(&lock_path).map_err(at(&lock_path))?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
        .map_err(|error| at(&lock_path)(error.into()))?;

    let (access, key) = (access(content)?, checkpoint_key(content)?);
    compile(workspace, content, &names, files.as_deref(), &target)?;
    let built = target.join(TARGET).join(content.profile()).join("kernel");
    let stem = stem(content, files.as_deref(), &access, key.as_ref());
    let input = fs::read(&built).map_err(at(&built))?;
    let inserts = Inserts { access: Some(&access), checkpoint_key: key.as_ref() };
    let finished = elf::finish_with(&input, &inserts)?;
    let mode = if finished.is_secret { PRIVATE } else { PUBLIC };
    let unstripped = replace(&images.join(format!("{stem}.debug")), &input, PUBLIC)?;
    let elf = replace(&images.join(format!("{stem}.elf")), &finished.bytes, mode)?;
    Ok(Image { elf, unstripped, report: finished.report })
}

fn compile(
    workspace: &Workspace,
    content: &Content<'_>,
    names: &[&str],
    files: Option<&Path>,
    target: &Path,
) -> Result<(), KernelError> {
    let apps = names.iter().map(|name| format!("app-{name}"));
    let parts = [(content.vmm, "vmm"), (content.bench, "bench")].into_iter().filter(|(is_in, _)| *is_in);
    let features: Vec<String> = apps.chain(parts.map(|(_, part)| part.to_owned())).collect();
    let mut cargo = workspace::cargo();
    cargo.current_dir(&workspace.root);
    cargo.args(["build", "--package", "kernel", "--profile", content.profile(), "--target", TARGET]);
    cargo.args(["--no-default-features", "--features", &features.join(",")]);
    // A directory of its own: other flags must not throw away what is built for the host.
    cargo.env("CARGO_TARGET_DIR", target);
    cargo.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
    match files {
        Some(directory) => cargo.env("QS_FILES_DIR", directory),
        None => cargo.env_remove("QS_FILES_DIR"),
    };
    cargo.stdin(std::process::Stdio::null());
    let mut child = process::spawn(cargo, process::Lifetime::WithParent).map_err(at(Path::new("cargo")))?;
    let status = child.wait().map_err(at(Path::new("cargo")))?;
    if status.success() { Ok(()) } else { Err(KernelError::Compile(names.join(","))) }
}

/// Who may operate the machines of an image, and how those prove who they are.
fn access(content: &Content<'_>) -> Result<Access, Error> {
    let mut access = Keys::of_user()?.access();
    if let Some(path) = content.operators {
        access.operators = control::operators(path)?;
    }
    access.host_key = access.host_key.filter(|_| content.host_key);
    Ok(access)
}

/// What the checkpoints of its machines are made with.
fn checkpoint_key(content: &Content<'_>) -> Result<Option<Key>, Error> {
    Ok(match content.checkpoint_key {
        _ if !content.vmm => None,
        CheckpointKey::OfUser => Some(checkpoint::key::of_user()?),
        CheckpointKey::Of(path) => Some(checkpoint::key::read(path)?),
        CheckpointKey::None => None,
    })
}

/// File name of an image here, with a mark of the directory of its files, and of its operators and keys if it has unusual ones.
fn stem(content: &Content<'_>, files: Option<&Path>, access: &Access, key: Option<&Key>) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut stem = content.name();
    let is_usual = content.operators.is_none()
        && content.host_key
        && (!content.vmm || content.checkpoint_key == CheckpointKey::OfUser);
    if !is_usual {
        let mut hasher = DefaultHasher::new();
        access.to_string().hash(&mut hasher);
        key.map(Key::bytes).hash(&mut hasher);
        stem.push_str(&format!("-access-{:08x}", hasher.finish() as u32));
    }
    if let Some(directory) = files {
        let mut hasher = DefaultHasher::new();
        directory.hash(&mut hasher);
        stem.push_str(&format!("-{:08x}", hasher.finish() as u32));
    }
    stem
}

/// Writes a file in one step, unless it is there already with the same content: a machine may be starting from it. The
/// file has the mode from the start.
fn replace(path: &Path, content: &[u8], mode: u32) -> Result<PathBuf, KernelError> {
    let write = || {
        if fs::read(path).is_ok_and(|old| old == content) {
            return fs::set_permissions(path, Permissions::from_mode(mode));
        }
        let new = path.with_added_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&new)?;
        // What an earlier build has left behind keeps its mode, and the process's mask may have cut ours.
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(content)?;
        fs::rename(&new, path)
    };
    write().map_err(at(path))?;
    Ok(path.to_owned())
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> KernelError + use<> {
    let path = path.to_owned();
    move |error| KernelError::Io { path, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_kinds_of_image_share_a_file() {
        let usual = Content::of("kv,web");
        let checked = Content { checked: true, ..usual };
        let without = Content { vmm: false, ..usual };
        let all = Content { vmm: false, bench: false, ..checked };
        assert_eq!(
            [usual, checked, without, all].map(|content| content.name()),
            ["kv-web", "kv-web-checked", "kv-web-without-vmm", "kv-web-checked-without-vmm-without-bench"]
        );
        let access = Access::default();
        let key = Key::new([1; 32]);
        let stem = |content: &Content<'_>, files, access: &Access| stem(content, files, access, Some(&key));
        assert_eq!(stem(&checked, None, &access), "kv-web-checked");
        let [here, there] = ["/here", "/there"].map(|place| stem(&checked, Some(Path::new(place)), &access));
        let others = Content { operators: Some(Path::new("keys")), ..usual };
        let known = Access { host_key: Some([1; 32]), ..Access::default() };
        assert!(stem(&others, None, &access).starts_with("kv-web-access-"));
        assert_ne!(stem(&others, None, &access), stem(&others, None, &known));
        let keyed = Content { checkpoint_key: CheckpointKey::Of(Path::new("key")), ..usual };
        let other = Key::new([2; 32]);
        let names = [None, Some(&key), Some(&other)].map(|key| super::stem(&keyed, None, &access, key));
        assert!(names[0] != names[1] && names[1] != names[2] && names[0].starts_with("kv-web-access-"));
        assert_eq!(super::stem(&Content { vmm: false, ..keyed }, None, &access, None), "kv-web-without-vmm");
        assert!(here.starts_with("kv-web-checked-") && there.starts_with("kv-web-checked-") && here != there);
    }
}
