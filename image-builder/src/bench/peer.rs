//! Builds the Linux peer: Debian's cloud kernel, unpacked for a PVH boot, and an initial RAM disk of busybox, redis-server
//! and nginx, all from their packages, and the programs in `peer/`. Fetched once, into the target directory, with
//! `apt-get download` and `dpkg-deb`: nothing is installed, and root is not needed.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Display;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::program::{self, ProgramError};

use super::cpio::Archive;

const PATIENCE: Duration = Duration::from_secs(300);

/// In the order in which they have to be loaded; all below `kernel/`.
const MODULES: &[&str] = &[
    "net/core/failover",
    "drivers/net/net_failover",
    "drivers/virtio/virtio_ring",
    "drivers/virtio/virtio",
    "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci",
    "drivers/net/virtio_net",
    "drivers/block/virtio_blk",
];

/// The packages of what runs on the kernel.
const PACKAGES: &[&str] = &["busybox-static", "redis-server", "redis-tools", "nginx"];

/// What is put into the initial RAM disk of them, each with the shared libraries that it needs.
const PROGRAMS: &[(&str, &str)] =
    &[("redis-server", "usr/bin/redis-server"), ("nginx", "usr/sbin/nginx"), ("busybox", "bin/busybox")];

/// The loader of shared programs, and where their libraries are.
const LOADER: &str = "lib64/ld-linux-x86-64.so.2";
const LIBRARIES: [&str; 2] = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"];

/// Why there is no peer.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// A program of the host failed.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// A file can't be read or written.
    #[error("{path}: {error}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The peer is made of Debian's packages.
    #[error("the Linux peer needs apt-get and dpkg-deb: a Debian system")]
    NoDebian,
    /// The package names no kernel.
    #[error("no package holds Debian's cloud kernel (linux-image-cloud-amd64)")]
    NoKernel,
    /// The packages don't have this file.
    #[error("no {0} among the peer's packages")]
    NoFile(PathBuf),
    /// The kernel is packed otherwise.
    #[error("{0}: not an x86 kernel with an LZ4 payload")]
    Kernel(PathBuf),
}

/// The files that the peer boots from.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub kernel: PathBuf,
    pub initrd: PathBuf,
    /// Versions of the packages in it.
    pub versions: BTreeMap<String, String>,
}

/// Builds what is not there yet in `directory` from `sources`. `site` is what nginx serves.
pub(super) fn build(
    directory: &Path,
    sources: &Path,
    site: &Path,
    say: &dyn Fn(&dyn Display),
) -> Result<Peer, PeerError> {
    fs::create_dir_all(directory).map_err(at(directory))?;
    let unpacked = directory.join("root");
    let downloads = directory.join("download");
    let kernel = directory.join("vmlinux");
    // The kernel is written last, since it says that all is there; what an older version has fetched may lack a library.
    if !kernel.exists() || matches!(shared(&unpacked), Err(PeerError::NoFile(_))) {
        say(&"fetching Debian's kernel, busybox, redis-server and nginx (once)");
        fetch(&downloads, &unpacked)?;
        let image = first(&unpacked.join("boot"), "vmlinuz-")?;
        let content = fs::read(&image).map_err(at(&image))?;
        let content = uncompressed(&content).ok_or(PeerError::Kernel(image))?;
        fs::write(&kernel, content).map_err(at(&kernel))?;
    }
    let ours = ["stream", "latency"];
    for name in ours {
        compile(&["-static", "-pthread"], &sources.join(name), &directory.join(name))?;
    }
    let archive = initrd(directory, sources, &unpacked, &ours, site)?;
    let initrd = directory.join("initrd.cpio");
    fs::write(&initrd, archive).map_err(at(&initrd))?;
    Ok(Peer { kernel, initrd, versions: versions(&downloads)? })
}

/// Builds the plugin that counts a machine's instructions.
pub(super) fn counter(directory: &Path, sources: &Path) -> Result<PathBuf, PeerError> {
    fs::create_dir_all(directory).map_err(at(directory))?;
    let counter = directory.join("count.so");
    compile(&["-shared", "-fPIC"], &sources.join("count"), &counter)?;
    Ok(counter)
}

/// Downloads the packages and unpacks them over each other.
fn fetch(downloads: &Path, unpacked: &Path) -> Result<(), PeerError> {
    if program::find("apt-get").and(program::find("dpkg-deb")).is_none() {
        return Err(PeerError::NoDebian);
    }
    let depends = |package: &[&str]| {
        let needed = ["recommends", "suggests", "conflicts", "breaks", "replaces", "enhances"];
        let options = needed.map(|relation| format!("--no-{relation}"));
        let words = ["depends", "--recurse"].into_iter().chain(options.iter().map(String::as_str));
        program::run("apt-cache", PATIENCE, words.chain(package.iter().copied()))
    };
    let kernels = depends(&["linux-image-cloud-amd64"])?;
    let kernel = kernels.lines().find(|line| line.starts_with("linux-image-6"));
    let closure = depends(PACKAGES)?;
    // A package begins its line, what it depends on is indented. Programs are ours to choose, libraries are what these need.
    let libraries = closure.lines().filter(|line| line.starts_with("lib") || line.starts_with("zlib"));
    let packages =
        [kernel.ok_or(PeerError::NoKernel)?].into_iter().chain(libraries).chain(PACKAGES.iter().copied());
    fs::create_dir_all(downloads).map_err(at(downloads))?;
    // `apt-get download` writes to the working directory and has no option for another.
    let script = "cd \"$1\" && shift && apt-get --quiet=2 download \"$@\"";
    let fixed = ["-c", script, "sh"].map(OsStr::new).into_iter().chain([downloads.as_os_str()]);
    program::run("sh", PATIENCE, fixed.chain(packages.map(OsStr::new)))?;
    for archive in entries(downloads)? {
        program::run(
            "dpkg-deb",
            PATIENCE,
            ["--extract".as_ref(), archive.as_os_str(), unpacked.as_os_str()],
        )?;
    }
    Ok(())
}

/// Versions of the packages that matter, from the names of their files: `NAME_VERSION_ARCHITECTURE.deb`.
fn versions(downloads: &Path) -> Result<BTreeMap<String, String>, PeerError> {
    let mut versions = BTreeMap::new();
    for path in entries(downloads)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut parts = name.split('_');
        if let (Some(package), Some(version)) = (parts.next(), parts.next())
            && (PACKAGES.contains(&package) || package.starts_with("linux-image-"))
        {
            versions.insert(package.to_owned(), version.replace("%3a", ":"));
        }
    }
    Ok(versions)
}

/// Compiles the C files of a directory into a program.
fn compile(flags: &[&str], sources: &Path, output: &Path) -> Result<(), PeerError> {
    let files = entries(sources)?;
    let files = files.iter().filter(|path| path.extension().is_some_and(|ending| ending == "c"));
    let words = ["-O3", "-Wall", "-Werror", "-o"].map(OsStr::new).into_iter().chain([output.as_os_str()]);
    let words = words.chain(flags.iter().map(OsStr::new)).chain(files.map(|path| path.as_os_str()));
    program::run("cc", PATIENCE, words)?;
    Ok(())
}

/// The ELF kernel inside a bzImage: Linux's boot protocol, fields `setup_sects`, `payload_offset`, `payload_length`.
/// Debian packs its cloud kernel as an LZ4 legacy frame: blocks of up to 8 MiB, each after its length.
fn uncompressed(image: &[u8]) -> Option<Vec<u8>> {
    let word =
        |bytes: &[u8], at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize);
    let start = (usize::from(*image.get(0x1f1)?) + 1) * 512 + word(image, 0x248)?;
    let payload = image.get(start..start + word(image, 0x24c)?)?;
    let mut rest = payload.strip_prefix(b"\x02\x21\x4c\x18")?;
    let mut kernel = Vec::new();
    // The build appends the uncompressed length, which ends the blocks.
    while rest.len() > 4 {
        let length = word(rest, 0)?;
        kernel.extend(lz4_flex::block::decompress(rest.get(4..4 + length)?, 8 << 20).ok()?);
        rest = &rest[4 + length..];
    }
    kernel.starts_with(b"\x7fELF").then_some(kernel)
}

fn initrd(
    directory: &Path,
    sources: &Path,
    unpacked: &Path,
    ours: &[&str],
    site: &Path,
) -> Result<Vec<u8>, PeerError> {
    let mut archive = Archive::default();
    for directory in ["bin", "modules", "etc", "www"] {
        archive.directory(directory);
    }
    archive.device("dev/console", 5, 1);
    let mut files: BTreeMap<String, PathBuf> = BTreeMap::new();
    for name in ours {
        files.insert(format!("bin/{name}"), directory.join(name));
    }
    files.insert("nginx.conf".to_owned(), sources.join("nginx.conf"));
    files.insert("init".to_owned(), sources.join("init.sh"));
    let modules = first(&unpacked.join("lib/modules"), "")?;
    for module in MODULES {
        let name = module.rsplit('/').next().expect("a path has a last part");
        files.insert(format!("modules/{name}.ko"), modules.join(format!("kernel/{module}.ko")));
    }
    for (name, place) in PROGRAMS {
        files.insert(format!("bin/{name}"), unpacked.join(place));
    }
    for library in shared(unpacked)? {
        let name = library.file_name().expect("a library has a name").to_string_lossy().into_owned();
        files.insert(format!("{}/{name}", LIBRARIES[0]), library);
    }
    files.insert(LOADER.to_owned(), loader(unpacked)?);
    for path in entries(site)?.into_iter().filter(|path| path.is_file()) {
        let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
        files.insert(format!("www/{name}"), path);
    }
    for (name, path) in &files {
        let mode = fs::metadata(path).map_err(at(path))?.permissions().mode() & 0o777;
        let mode = if name == "init" { 0o755 } else { mode };
        archive.file(name, mode, &fs::read(path).map_err(at(path))?);
    }
    archive.file("etc/passwd", 0o644, b"root:x:0:0:root:/:/bin/sh\n");
    archive.file("etc/group", 0o644, b"root:x:0:\n");
    Ok(archive.finish())
}

/// The packages' own loader. Its name in the packages is a link from the root of the system, which is not ours.
fn loader(unpacked: &Path) -> Result<PathBuf, PeerError> {
    let name = Path::new(LOADER).file_name().expect("the loader has a name");
    let places = LIBRARIES.iter().map(|place| unpacked.join(place).join(name));
    places.into_iter().find(|path| path.is_file()).ok_or_else(|| PeerError::NoFile(LOADER.into()))
}

/// The shared libraries of all programs.
fn shared(unpacked: &Path) -> Result<Vec<PathBuf>, PeerError> {
    let of_each = PROGRAMS.iter().map(|(_, place)| libraries(unpacked, &unpacked.join(place)));
    Ok(of_each.collect::<Result<Vec<_>, _>>()?.concat())
}

/// The shared libraries of a program, all of them from the packages: their loader finds them without running the program.
fn libraries(unpacked: &Path, program: &Path) -> Result<Vec<PathBuf>, PeerError> {
    let path = LIBRARIES
        .iter()
        .map(|place| unpacked.join(place).display().to_string())
        .collect::<Vec<_>>()
        .join(":");
    let loader = loader(unpacked)?;
    let words = ["--library-path".as_ref(), OsStr::new(&path), "--list".as_ref(), program.as_os_str()];
    let output = program::output(&loader.to_string_lossy(), PATIENCE, words)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        // A static program has none; it says so with a status of its own.
        return Ok(Vec::new());
    }
    // Where the packages lack one, the loader takes the host's.
    let found = text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from);
    let found = found.filter(|path| !path.ends_with(LOADER));
    found
        .map(|path| if path.starts_with(unpacked) { Ok(path) } else { Err(PeerError::NoFile(path)) })
        .collect()
}

/// What is in a directory, in the order of the names.
fn entries(directory: &Path) -> Result<Vec<PathBuf>, PeerError> {
    let entries = fs::read_dir(directory).map_err(at(directory))?;
    let paths = entries.map(|entry| Ok(entry.map_err(at(directory))?.path()));
    let mut paths = paths.collect::<Result<Vec<_>, PeerError>>()?;
    paths.sort();
    Ok(paths)
}

/// The first entry of a directory whose name begins like this.
fn first(directory: &Path, beginning: &str) -> Result<PathBuf, PeerError> {
    let begins =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(beginning));
    entries(directory)?.into_iter().find(begins).ok_or_else(|| PeerError::NoFile(directory.join(beginning)))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> PeerError + use<> {
    let path = path.to_owned();
    move |error| PeerError::Io { path, error }
}
