//! The images of disks that are plugged in.

use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{DRIVE, PlugError, Wish, gone};
use crate::qmp::Qmp;

/// Opens an image in QEMU, made first if none is given.
pub(super) fn add(qmp: &mut Qmp, id: &str, wish: &Wish, directory: &Path) -> Result<(), PlugError> {
    let path = match &wish.file {
        // QEMU may be in another directory.
        Some(file) => fs::canonicalize(file).map_err(at(file))?,
        None => {
            let size = wish.size.map_or_else(|| usual_size(qmp), |size| Ok(size.bytes()))?;
            let path = own(id, directory);
            let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
            file.and_then(|file| file.set_len(size)).map_err(at(&path))?;
            path
        }
    };
    let file = json!({ "driver": "file", "filename": path });
    let node = json!({ "driver": format(&path), "node-name": id, "file": file });
    if let Err(error) = qmp.execute("blockdev-add", node) {
        // There may be none.
        drop(fs::remove_file(own(id, directory)));
        return Err(error.into());
    }
    Ok(())
}

/// Closes an image, and removes it if it was made for the device. Whether there was one.
pub(super) fn remove(qmp: &mut Qmp, id: &str, directory: &Path) -> Result<bool, PlugError> {
    let was_there = gone(qmp.execute("blockdev-del", json!({ "node-name": id })))?;
    if was_there {
        drop(fs::remove_file(own(id, directory)));
    }
    Ok(was_there)
}

/// The image that is made for a device.
fn own(id: &str, directory: &Path) -> PathBuf {
    directory.join(format!("{id}.img"))
}

/// The size of the disk that was there at boot.
fn usual_size(qmp: &mut Qmp) -> Result<u64, PlugError> {
    let drives = qmp.execute("query-block", Value::Null)?;
    let drive = drives.as_array().into_iter().flatten().find(|drive| drive["device"] == DRIVE);
    let size = drive.and_then(|drive| drive["inserted"]["image"]["virtual-size"].as_u64());
    size.ok_or(PlugError::NoSize)
}

/// The format of a disk image: qcow2 by its magic, everything else is raw.
pub(crate) fn format(path: &Path) -> &'static str {
    let mut magic = [0; 4];
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    if read.is_ok() && magic == *b"QFI\xfb" { "qcow2" } else { "raw" }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> PlugError {
    let path = path.to_owned();
    move |error| PlugError::Io { path, error }
}
