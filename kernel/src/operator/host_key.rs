//! The machine's host key: the image's, else the one on its disk, else a new one.

use alloc::format;
use alloc::string::{String, ToString};
use drivers::entropy;
use state::{HostKeyError, Keeping};

use crate::devices::StateDisk;

/// The seed, and where the key is from. Where there is none, says why in the log.
pub fn find(image: Option<[u8; 32]>, disk: Option<StateDisk>) -> Option<([u8; 32], String)> {
    if let Some(seed) = image {
        return Some((seed, "from the image".to_string()));
    }
    match kept_or_made(disk) {
        Ok(found) => Some(found),
        Err((place, error)) => {
            log::error!("control: no host key{place}: {error}; entropy: {}", entropy::health());
            None
        }
    }
}

/// The key with its origin, or why there is none and where it was looked for.
fn kept_or_made(disk: Option<StateDisk>) -> Result<([u8; 32], String), (String, HostKeyError)> {
    let name = disk.as_ref().map_or_else(String::new, |disk| disk.name().to_string());
    let place = if name.is_empty() { String::new() } else { format!(" on {name}") };
    let mut locked = disk.as_ref().map(StateDisk::lock);
    let opened = disk.as_ref().zip(locked.as_deref_mut()).map(|(disk, locked)| disk.open(locked)).transpose();
    let mut store = opened.map_err(|error| (place.clone(), HostKeyError::Kept(error)))?;
    let found = state::host_key(store.as_mut(), entropy::health().is_good(), entropy::fill);
    let (key, keeping) = found.map_err(|error| (place, error))?;
    if let Some(store) = &mut store
        && let Some(fault) = store.fault()
    {
        match store.mend() {
            Ok(()) => log::warn!("control: a slot on {name} was {fault}; it is written again"),
            Err(error) => log::warn!("control: a slot on {name} is {fault}, and can't be mended: {error}"),
        }
    }
    let origin = match keeping {
        Keeping::Kept => format!("kept on {name}"),
        Keeping::Made => format!("made now, kept on {name}"),
        Keeping::NotKept(error) => {
            log::warn!(
                "control: {name} does not keep the host key: {error}; it is lost when the machine ends"
            );
            "made now, not kept".to_string()
        }
        Keeping::Nowhere => {
            log::warn!("control: no disk keeps the host key: it is lost when the machine ends");
            "made now, not kept".to_string()
        }
    };
    Ok((key.0, origin))
}
