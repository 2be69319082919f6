//! Builds the Linux peer: Debian's cloud kernel, unpacked for a PVH boot, and an initial RAM disk of busybox with the
//! host's own redis-server and nginx. Fetched and built once, into the target directory; nothing is installed.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tests::program::{self, ProgramError};

use crate::cpio::Archive;

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
];

#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error("{path}: {error}", path = .path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("the Linux peer needs {program}: install {package}")]
    Missing { program: &'static str, package: &'static str },
    #[error("no package holds Debian's cloud kernel (linux-image-cloud-amd64)")]
    NoKernel,
    #[error("{0}: not an x86 kernel with an LZ4 payload")]
    Kernel(PathBuf),
}

/// The files that the peer boots from, and the plugin that counts both systems' instructions.
#[derive(Clone, Debug)]
pub struct Peer {
    pub kernel: PathBuf,
    pub initrd: PathBuf,
    pub counter: PathBuf,
}

/// Builds what is not there yet in `directory`. `site` is what nginx serves.
pub fn build(directory: &Path, site: &Path) -> Result<Peer, PeerError> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/ground/peer");
    fs::create_dir_all(directory).map_err(at(directory))?;
    let peer = Peer {
        kernel: directory.join("vmlinux"),
        initrd: directory.join("initrd.cpio"),
        counter: directory.join("count.so"),
    };
    let unpacked = directory.join("debian");
    if !peer.kernel.exists() || !unpacked.exists() {
        fetch_kernel(directory, &unpacked)?;
        let image = first(&unpacked.join("boot"), "vmlinuz-")?;
        let content = fs::read(&image).map_err(at(&image))?;
        let kernel = uncompressed(&content).ok_or(PeerError::Kernel(image))?;
        fs::write(&peer.kernel, kernel).map_err(at(&peer.kernel))?;
    }
    compile(&["-shared", "-fPIC"], &sources.join("count.c"), &peer.counter)?;
    let stream = directory.join("stream");
    compile(&["-static"], &sources.join("stream.c"), &stream)?;
    let archive = initrd(&sources, &unpacked, &stream, site)?;
    fs::write(&peer.initrd, archive).map_err(at(&peer.initrd))?;
    Ok(peer)
}

/// Downloads Debian's current cloud kernel and unpacks it.
fn fetch_kernel(directory: &Path, unpacked: &Path) -> Result<(), PeerError> {
    need("apt-get", "a Debian system")?;
    let dependencies =
        program::run("apt-cache", PATIENCE, ["depends", "--important", "linux-image-cloud-amd64"])?;
    let package = dependencies.split_whitespace().find(|word| word.starts_with("linux-image-6"));
    let package = package.ok_or(PeerError::NoKernel)?;
    let downloads = directory.join("download");
    fs::create_dir_all(&downloads).map_err(at(&downloads))?;
    // `apt-get download` writes to the working directory and has no option for another.
    let script = "cd \"$1\" && apt-get --quiet=2 download \"$2\"";
    program::run("sh", PATIENCE, ["-c", script, "sh", &downloads.to_string_lossy(), package])?;
    let archive = first(&downloads, "linux-image-")?;
    program::run("dpkg-deb", PATIENCE, ["--extract".as_ref(), archive.as_os_str(), unpacked.as_os_str()])?;
    Ok(())
}

fn compile(flags: &[&str], source: &Path, output: &Path) -> Result<(), PeerError> {
    let mut arguments = vec!["-O2", "-Wall", "-Werror", "-o"].into_iter().map(OsStr::new).collect::<Vec<_>>();
    arguments.push(output.as_os_str());
    arguments.extend(flags.iter().map(OsStr::new));
    arguments.push(source.as_os_str());
    program::run("cc", PATIENCE, arguments)?;
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

fn initrd(sources: &Path, unpacked: &Path, stream: &Path, site: &Path) -> Result<Vec<u8>, PeerError> {
    let mut archive = Archive::default();
    for directory in ["bin", "modules", "etc", "www"] {
        archive.directory(directory);
    }
    archive.device("dev/console", 5, 1);
    let mut put = |name: &str, path: &Path| -> Result<(), PeerError> {
        let mode = fs::metadata(path).map_err(at(path))?.permissions().mode();
        archive.file(name, mode & 0o777, &fs::read(path).map_err(at(path))?);
        Ok(())
    };
    put("bin/stream", stream)?;
    put("nginx.conf", &sources.join("nginx.conf"))?;
    let modules = first(&unpacked.join("lib/modules"), "")?;
    for module in MODULES {
        let name = module.rsplit('/').next().expect("a path has a last part");
        put(&format!("modules/{name}.ko"), &modules.join(format!("kernel/{module}.ko")))?;
    }
    put("bin/busybox", &need("busybox", "busybox-static")?)?;
    for (name, package) in [("redis-server", "redis-server"), ("nginx", "nginx")] {
        let path = need(name, package)?;
        put(&format!("bin/{name}"), &path)?;
        for library in program::run("ldd", PATIENCE, [&path])?.split_whitespace() {
            if library.starts_with('/') {
                put(library.trim_start_matches('/'), Path::new(library))?;
            }
        }
    }
    for entry in fs::read_dir(site).map_err(at(site))? {
        let path = entry.map_err(at(site))?.path();
        if path.is_file() {
            put(&format!("www/{}", path.file_name().expect("an entry has a name").to_string_lossy()), &path)?;
        }
    }
    let init = sources.join("init.sh");
    archive.file("init", 0o755, &fs::read(&init).map_err(at(&init))?);
    archive.file("etc/passwd", 0o644, b"root:x:0:0:root:/:/bin/sh\n");
    archive.file("etc/group", 0o644, b"root:x:0:\n");
    Ok(archive.finish())
}

fn need(program: &'static str, package: &'static str) -> Result<PathBuf, PeerError> {
    program::find(program).ok_or(PeerError::Missing { program, package })
}

/// The first entry of a directory whose name begins like this.
fn first(directory: &Path, beginning: &str) -> Result<PathBuf, PeerError> {
    let entries = fs::read_dir(directory).map_err(at(directory))?;
    let mut names = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(beginning)));
    names.next().ok_or(PeerError::NoKernel)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> PeerError + use<> {
    let path = path.to_owned();
    move |error| PeerError::Io { path, error }
}
