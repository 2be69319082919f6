//! Keys in the user's data directory: the one that lets us into our machines, and the machines' own.
//!
//! | file in `quicksilver/` | |
//! |---|---|
//! | `id_ed25519`, `id_ed25519.pub` | our key pair, as OpenSSH's ssh-keygen makes it |
//! | `host.key` | the seed of the host key of the machines built here, 64 hexadecimal digits |
//! | `known_hosts` | that host key, as OpenSSH's ssh wants to know it |
//! | `checkpoint.key` | the key of our machines' checkpoints: see [`crate::checkpoint::key`] |
//!
//! A machine that we have started tells its key on its serial line. That one is in a `known_hosts` beside the line's log.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, process};

use control::access::{Access, AccessError, Operator, PublicKey, Role};
use control::host;
use ed25519_dalek::SigningKey;

use super::Target;
use crate::random;
use crate::tools::{self, Tool, ToolError};

/// The name under which the host key is known: machines change their addresses and ports.
pub const HOST_ALIAS: &str = "quicksilver";

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Neither variable leads to a directory.
    #[error("no place for keys: neither XDG_DATA_HOME nor HOME is an absolute path")]
    NoHome,
    /// The file has something else in it.
    #[error("{0} holds no Ed25519 key; remove it to have a new one made, then build images anew")]
    Malformed(PathBuf),
    /// A file with keys of operators is refused.
    #[error("{path}: {error}")]
    Operators {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: AccessError,
    },
    /// ssh-keygen is missing.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// ssh-keygen failed.
    #[error("ssh-keygen: {0}")]
    Keygen(String),
    /// A file can't be read or made.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> KeyError {
    let path = path.to_owned();
    move |error| KeyError::Io { path, error }
}

/// A user's keys, in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    directory: PathBuf,
    public: PublicKey,
    host: [u8; 32],
}

impl Keys {
    /// This user's, made as far as there are none yet.
    pub fn of_user() -> Result<Self, KeyError> {
        Self::in_directory(&directory_of_user()?)
    }

    /// Those in a directory, made as far as there are none yet.
    pub fn in_directory(directory: &Path) -> Result<Self, KeyError> {
        make(directory).map_err(at(directory))?;
        let public = public_key(directory)?;
        let host = host_key(&directory.join("host.key"))?;
        let keys = Self { directory: directory.to_owned(), public, host };
        write_known_hosts(&keys.known_hosts(), keys.host_key())?;
        Ok(keys)
    }

    /// Our private key, for ssh.
    pub fn identity(&self) -> PathBuf {
        self.directory.join("id_ed25519")
    }

    /// What ssh knows of the machines whose images are built here.
    pub fn known_hosts(&self) -> PathBuf {
        self.directory.join("known_hosts")
    }

    /// What ssh knows of a machine: the key that it has told on its serial line and no other; where we don't see that line, or
    /// it has told none, the key of the images that are built here.
    pub fn known_hosts_of(&self, target: &Target) -> Result<PathBuf, KeyError> {
        let Some(serial) = &target.serial else { return Ok(self.known_hosts()) };
        let log = fs::read(serial).map_err(at(serial))?;
        let Some(key) = host::announced(&String::from_utf8_lossy(&log)) else {
            return Ok(self.known_hosts());
        };
        let path = serial.with_file_name("known_hosts");
        write_known_hosts(&path, key)?;
        Ok(path)
    }

    /// The public half of the machines' key.
    pub fn host_key(&self) -> PublicKey {
        PublicKey(SigningKey::from_bytes(&self.host).verifying_key().to_bytes())
    }

    /// What goes into images: the machines' key, and ourselves as who may do all.
    pub fn access(&self) -> Access {
        let us = Operator { role: Role::Admin, key: self.public, comment: String::from("the builder") };
        Access { host_key: Some(self.host), operators: vec![us] }
    }
}

/// The operators in a file like OpenSSH's authorized_keys.
pub fn operators(path: &Path) -> Result<Vec<Operator>, KeyError> {
    let text = fs::read_to_string(path).map_err(at(path))?;
    let access = text.parse::<Access>();
    Ok(access.map_err(|error| KeyError::Operators { path: path.to_owned(), error })?.operators)
}

/// Where this user's keys are, or will be.
pub(crate) fn directory_of_user() -> Result<PathBuf, KeyError> {
    directory(env::var_os("XDG_DATA_HOME"), env::var_os("HOME"))
}

fn directory(
    data: Option<std::ffi::OsString>,
    home: Option<std::ffi::OsString>,
) -> Result<PathBuf, KeyError> {
    // The XDG base directory specification has relative paths ignored.
    let absolute =
        |path: Option<std::ffi::OsString>| path.map(PathBuf::from).filter(|path| path.is_absolute());
    let home = absolute(home).map(|home| home.join(".local/share"));
    Ok(absolute(data).or(home).ok_or(KeyError::NoHome)?.join("quicksilver"))
}

/// The directories above are made for everybody, as usual; ours is for us.
pub(crate) fn make(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory.parent().unwrap_or(directory))?;
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// A name that nobody else uses.
fn unique(path: &Path) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    path.with_added_extension(format!("{}-{}.new", process::id(), COUNT.fetch_add(1, Ordering::Relaxed)))
}

/// Writes a file under another name and puts it in its place by `put`.
pub(crate) fn place(
    path: &Path,
    content: &[u8],
    put: impl FnOnce(&Path, &Path) -> io::Result<()>,
) -> io::Result<()> {
    let new = unique(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    let placed = file.write_all(content).and_then(|()| file.sync_all()).and_then(|()| put(&new, path));
    match fs::remove_file(&new) {
        // Renamed.
        Err(error) if error.kind() == ErrorKind::NotFound => placed,
        removed => removed.and(placed),
    }
}

/// Puts a file in its place, unless somebody was quicker: unlike a renamed file, a link never takes the place of another.
pub(crate) fn link(new: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(new, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn write_known_hosts(path: &Path, key: PublicKey) -> Result<(), KeyError> {
    let known = format!("{HOST_ALIAS} {key}\n");
    if fs::read_to_string(path).ok().as_deref() == Some(&known) {
        return Ok(());
    }
    place(path, known.as_bytes(), |new, path| fs::rename(new, path)).map_err(at(path))
}

fn host_key(path: &Path) -> Result<[u8; 32], KeyError> {
    if !path.exists() {
        let seed = random::bytes().map_err(at(path))?;
        let text = Access { host_key: Some(seed), operators: Vec::new() }.to_string();
        let digits = text.trim_start_matches("host-key ").to_owned();
        place(path, digits.as_bytes(), link).map_err(at(path))?;
    }
    let text = fs::read_to_string(path).map_err(at(path))?;
    let access = format!("host-key {text}").parse::<Access>().ok();
    access.and_then(|access| access.host_key).ok_or_else(|| KeyError::Malformed(path.to_owned()))
}

fn public_key(directory: &Path) -> Result<PublicKey, KeyError> {
    let private = directory.join("id_ed25519");
    let public = directory.join("id_ed25519.pub");
    if !private.exists() {
        tools::require(&[Tool::SshKeygen])?;
        let new = unique(&private);
        let mut keygen = Command::new("ssh-keygen");
        keygen
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "quicksilver", "-f"])
            .arg(&new)
            .stdin(Stdio::null());
        let made = keygen.output().map_err(at(&new))?;
        if !made.status.success() {
            return Err(KeyError::Keygen(String::from_utf8_lossy(&made.stderr).trim().to_owned()));
        }
        // Whoever comes first with the private key has both.
        link(&new, &private).map_err(at(&private))?;
        fs::remove_file(&new).map_err(at(&new))?;
        fs::remove_file(new.with_added_extension("pub")).map_err(at(&new))?;
    }
    // From the private key: the file beside it is for people, and may be another's.
    let told = Command::new("ssh-keygen").arg("-y").arg("-f").arg(&private).stdin(Stdio::null()).output();
    let told = told.map_err(at(&private))?;
    let text = String::from_utf8_lossy(&told.stdout).trim().to_owned();
    let access = text.parse::<Access>().ok().filter(|_| told.status.success());
    let [operator] = &access.map(|access| access.operators).unwrap_or_default()[..] else {
        return Err(KeyError::Malformed(private));
    };
    if fs::read_to_string(&public).ok().as_deref().map(str::trim) != Some(&text) {
        place(&public, format!("{text}\n").as_bytes(), |new, path| fs::rename(new, path))
            .map_err(at(&public))?;
    }
    Ok(operator.key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    struct Place(PathBuf);

    impl Place {
        fn new(test: &str) -> Self {
            let root = env::temp_dir().join(format!("qs-keys-{test}-{}", process::id()));
            drop(fs::remove_dir_all(&root));
            Self(root)
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn keys_are_made_once_for_us_alone() {
        let place = Place::new("made");
        let directory = place.0.join("data/quicksilver");
        let keys = Keys::in_directory(&directory).unwrap();
        assert_eq!(Keys::in_directory(&directory).unwrap(), keys);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(
            (mode(&directory), mode(&keys.identity()), mode(&directory.join("host.key"))),
            (0o700, 0o600, 0o600)
        );
        let known = fs::read_to_string(keys.known_hosts()).unwrap();
        assert_eq!(known, format!("quicksilver {}\n", keys.host_key()));
        let access = keys.access();
        assert_eq!((access.operators.len(), access.operators[0].role), (1, Role::Admin));
        let public = fs::read_to_string(directory.join("id_ed25519.pub")).unwrap();
        assert_eq!(public.parse::<Access>().unwrap().operators[0].key, access.operators[0].key);
        let left: Vec<_> =
            fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 4, "{left:?}");
    }

    #[test]
    fn all_who_come_at_once_get_the_same_keys() {
        let place = Place::new("race");
        let directory = &place.0;
        let all: Vec<Keys> = std::thread::scope(|scope| {
            let each = || scope.spawn(|| Keys::in_directory(directory).unwrap());
            let running: Vec<_> = (0..8).map(|_| each()).collect();
            running.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(all.iter().all(|keys| *keys == all[0]));
    }

    #[test]
    fn a_machine_is_known_by_what_it_has_told() {
        let place = Place::new("told");
        let keys = Keys::in_directory(&place.0).unwrap();
        let serial = place.0.join("serial.log");
        let target = Target { address: String::new(), serial: Some(serial.clone()) };
        assert!(matches!(keys.known_hosts_of(&target), Err(KeyError::Io { path, .. }) if path == serial));
        fs::create_dir(place.0.join("machine")).unwrap();
        let serial = place.0.join("machine/serial.log");
        let target = Target { serial: Some(serial.clone()), ..target };
        fs::write(&serial, "boot\n").unwrap();
        assert_eq!(keys.known_hosts_of(&target).unwrap(), keys.known_hosts());
        let (told, later) = (PublicKey([1; 32]), PublicKey([2; 32]));
        for key in [told, later] {
            let line = format!("[    0.100000] INFO  kernel: {}\r\n", host::announce(22, key));
            OpenOptions::new().append(true).open(&serial).unwrap().write_all(line.as_bytes()).unwrap();
            let path = keys.known_hosts_of(&target).unwrap();
            assert_eq!(path, place.0.join("machine/known_hosts"));
            assert_eq!(fs::read_to_string(path).unwrap(), format!("quicksilver {told}\n"));
        }
        let elsewhere = Target { serial: None, ..target };
        assert_eq!(keys.known_hosts_of(&elsewhere).unwrap(), keys.known_hosts());
    }

    #[test]
    fn what_is_no_key_is_not_overwritten() {
        let place = Place::new("bad");
        make(&place.0).unwrap();
        fs::write(place.0.join("host.key"), "mine").unwrap();
        assert!(
            matches!(Keys::in_directory(&place.0), Err(KeyError::Malformed(path)) if path.ends_with("host.key"))
        );
        fs::remove_file(place.0.join("host.key")).unwrap();
        fs::write(place.0.join("id_ed25519"), "mine").unwrap();
        assert!(
            matches!(Keys::in_directory(&place.0), Err(KeyError::Malformed(path)) if path.ends_with("id_ed25519"))
        );
        assert_eq!(fs::read_to_string(place.0.join("id_ed25519")).unwrap(), "mine");
    }

    #[test]
    fn the_place_follows_the_environment() {
        let of = |data: &str, home: &str| directory(Some(data.into()), Some(home.into())).ok();
        assert_eq!(of("/d", "/h"), Some("/d/quicksilver".into()));
        assert_eq!(of("relative", "/h"), Some("/h/.local/share/quicksilver".into()));
        assert!(matches!(directory(None, Some("h".into())), Err(KeyError::NoHome)));
    }
}
