//! The key that this user's images and this user's `qs` share: `quicksilver/control.key` in the user's data directory.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, process};

use control::Key;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Neither variable leads to a directory.
    #[error("no place for the control key: neither XDG_DATA_HOME nor HOME is an absolute path")]
    NoHome,
    /// The file has something else in it.
    #[error(
        "{0} holds no key of 64 hexadecimal digits; remove it to have a new one made, then build images anew"
    )]
    Malformed(PathBuf),
    /// The file can't be read or made.
    #[error("control key {path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// Where this user's key is: `$XDG_DATA_HOME/quicksilver/control.key`, by default below `~/.local/share`.
pub fn key_path() -> Result<PathBuf, KeyError> {
    path_from(env::var_os("XDG_DATA_HOME").map(PathBuf::from), env::var_os("HOME").map(PathBuf::from))
}

fn path_from(data: Option<PathBuf>, home: Option<PathBuf>) -> Result<PathBuf, KeyError> {
    let home = home.filter(|path| path.is_absolute()).map(|home| home.join(".local/share"));
    // The XDG base directory specification has relative paths ignored.
    let data = data.filter(|path| path.is_absolute()).or(home).ok_or(KeyError::NoHome)?;
    Ok(data.join("quicksilver/control.key"))
}

/// This user's key, made if there is none yet.
pub fn key() -> Result<Key, KeyError> {
    let path = key_path()?;
    if let Some(key) = key_at(&path)? { Ok(key) } else { create(&path) }
}

/// The key in a file; `None` where there is no such file.
pub fn key_at(path: &Path) -> Result<Option<Key>, KeyError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            return Err(KeyError::Malformed(path.to_owned()));
        }
        Err(error) => return Err(KeyError::Io { path: path.to_owned(), error }),
    };
    // To a machine, zeros are no key.
    let key = control::parse_key(&text).ok().filter(|key| *key != [0; 32]);
    key.map(Some).ok_or_else(|| KeyError::Malformed(path.to_owned()))
}

/// Makes the file, unless somebody else is quicker: then that one's key counts.
fn create(path: &Path) -> Result<Key, KeyError> {
    write(path).map_err(|error| KeyError::Io { path: path.to_owned(), error })?;
    let gone = || KeyError::Io { path: path.to_owned(), error: ErrorKind::NotFound.into() };
    key_at(path)?.ok_or_else(gone)
}

fn write(path: &Path) -> io::Result<()> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    if let Some(directory) = path.parent() {
        // The directories above are made for everybody, as usual; ours is for us.
        fs::create_dir_all(directory.parent().unwrap_or(directory))?;
        match DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let new = path.with_added_extension(format!("{}-{number}.new", process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    let text = control::format_key(&random()?) + "\n";
    let linked = file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| {
        // Unlike a renamed file, a link never takes the place of one that is there.
        match fs::hard_link(&new, path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    });
    fs::remove_file(&new).and(linked)
}

/// 32 bytes that nobody can guess.
pub(super) fn random() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    struct Place(PathBuf);

    impl Place {
        fn new(test: &str) -> Self {
            let root = env::temp_dir().join(format!("qs-key-{test}-{}", process::id()));
            fs::create_dir_all(&root).unwrap();
            Self(root)
        }

        fn file(&self) -> PathBuf {
            path_from(Some(self.0.join("data")), None).unwrap()
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn the_place_follows_the_environment() {
        let path = |data: &str, home: &str| path_from(Some(data.into()), Some(home.into()));
        assert_eq!(path("/data", "/home/a").unwrap(), Path::new("/data/quicksilver/control.key"));
        for data in ["", "relative"] {
            let expected = Path::new("/home/a/.local/share/quicksilver/control.key");
            assert_eq!(path(data, "/home/a").unwrap(), expected);
        }
        assert!(matches!(path("", ""), Err(KeyError::NoHome)));
    }

    #[test]
    fn a_new_key_is_for_its_owner_only_and_stays() {
        let place = Place::new("new");
        let path = place.file();
        assert_eq!(key_at(&path).unwrap(), None);
        let key = create(&path).unwrap();
        assert_eq!(create(&path).unwrap(), key);
        assert_eq!(key_at(&path).unwrap(), Some(key));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        let directory = path.parent().unwrap();
        assert_eq!((mode(&path), mode(directory)), (0o600, 0o700));
        assert_eq!(fs::read_dir(directory).unwrap().count(), 1, "nothing else is left");
        assert_eq!(fs::read_to_string(&path).unwrap().len(), 65);
    }

    #[test]
    fn whoever_comes_first_makes_the_key() {
        let place = Place::new("race");
        let path = place.file();
        let keys: Vec<Key> = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..8).map(|_| scope.spawn(|| create(&path).unwrap())).collect();
            makers.into_iter().map(|maker| maker.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
    }

    #[test]
    fn a_file_with_something_else_is_named() {
        let place = Place::new("bad");
        let path = place.0.join("control.key");
        for content in [&b""[..], b"secret\n", &[0xff; 64], &[b'0'; 64]] {
            fs::write(&path, content).unwrap();
            assert!(matches!(key_at(&path), Err(KeyError::Malformed(_))));
        }
    }
}
