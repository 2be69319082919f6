//! Keys of checkpoints, in files. A user's own is `checkpoint.key`, among the [keys](crate::control::Keys) of this user: images that are built here
//! have it, so whoever has made a checkpoint of one of their machines had it, too.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use checkpoint::Key;

use super::{CheckpointError, at};
use crate::control::keys;
use crate::random;

/// Its name in the user's directory.
const FILE: &str = "checkpoint.key";

/// The key in a file: 64 hexadecimal digits, perhaps with white space around.
pub fn read(path: &Path) -> Result<Key, CheckpointError> {
    let digits = fs::read(path).map_err(at(path))?;
    let digits = str::from_utf8(&digits).ok().and_then(|digits| Key::from_hex(digits.trim()));
    digits.ok_or_else(|| CheckpointError::Key(path.to_owned()))
}

/// This user's, made if there is none yet.
pub fn of_user() -> Result<Key, CheckpointError> {
    in_directory(&keys::directory_of_user()?)
}

/// This user's, if there is one.
pub fn found() -> Result<Option<Key>, CheckpointError> {
    // Who has no place for keys has none.
    keys::directory_of_user().map_or(Ok(None), |directory| found_in(&directory))
}

fn in_directory(directory: &Path) -> Result<Key, CheckpointError> {
    if let Some(key) = found_in(directory)? {
        return Ok(key);
    }
    keys::make(directory).map_err(at(directory))?;
    let path = place(directory);
    let bytes: [u8; 32] = random::bytes().map_err(at(&path))?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    keys::place(&path, format!("{digits}\n").as_bytes(), keys::link).map_err(at(&path))?;
    // Somebody may have been quicker.
    read(&path)
}

fn found_in(directory: &Path) -> Result<Option<Key>, CheckpointError> {
    match read(&place(directory)) {
        Err(CheckpointError::Io { error, .. }) if error.kind() == ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

fn place(directory: &Path) -> PathBuf {
    directory.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_made_once_for_all_who_come_and_no_file_is_overwritten() {
        let root = std::env::temp_dir().join(format!("qs-checkpoint-key-{}", std::process::id()));
        let directory = root.join("quicksilver");
        assert_eq!(found_in(&directory).unwrap(), None);
        let all: Vec<Key> = std::thread::scope(|scope| {
            let running: Vec<_> = (0..8).map(|_| scope.spawn(|| in_directory(&directory).unwrap())).collect();
            running.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(all.iter().all(|key| *key == all[0]));
        assert_eq!(found_in(&directory).unwrap().as_ref(), Some(&all[0]));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&directory), mode(&place(&directory))), (0o700, 0o600));
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        for junk in ["mine", &"0".repeat(64)] {
            fs::write(place(&directory), junk).unwrap();
            assert!(
                matches!(in_directory(&directory), Err(CheckpointError::Key(path)) if path.ends_with(FILE))
            );
            assert_eq!(fs::read_to_string(place(&directory)).unwrap(), junk);
        }
        fs::remove_dir_all(root).unwrap();
    }
}
