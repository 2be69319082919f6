//! What is said of devices.

use super::{DEADLINE, Swap, UsageError, Verb, Words, milliseconds, time};
use alloc::borrow::ToOwned;
use alloc::string::String;
use core::time::Duration;

/// The longest name or place.
const MAX_DEVICE: usize = 32;

const DEVICE: &str = "a device is named by its name or place, as device list has them";
const TO: &str = "--to takes the name or place of a device, or 'next'";

/// A name or place, or something like it: `net0`, `pci:0000:00:05.0`.
fn name(word: Option<&str>, what: &'static str) -> Result<String, UsageError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b":.".contains(&byte);
    let is_name = |word: &&str| (1..=MAX_DEVICE).contains(&word.len()) && word.bytes().all(fits);
    word.filter(is_name).map(ToOwned::to_owned).ok_or(UsageError::Value(what))
}

pub(super) fn device(words: &mut Words<'_>) -> Result<Verb, UsageError> {
    match words.word() {
        None | Some("list") => Ok(Verb::DeviceList),
        Some("swap") => {
            let new = name(words.value("--to"), TO)?;
            let (dry_run, detach) = (words.flag("--dry-run"), words.flag("--detach"));
            let old = name(words.word(), DEVICE)?;
            Ok(Verb::DeviceSwap(Swap { old, new: (new != "next").then_some(new), dry_run, detach }))
        }
        Some("detach") => {
            let asked = milliseconds(words, "--timeout", "--timeout takes milliseconds, 0 to 60000")?;
            let device = name(words.word(), DEVICE)?;
            Ok(Verb::DeviceDetach { device, timeout: asked.unwrap_or(DEADLINE) })
        }
        Some("attach") => {
            let device = words.word().map(|word| name(Some(word), DEVICE)).transpose()?;
            Ok(Verb::DeviceAttach { device })
        }
        Some(other) => Err(UsageError::Unexpected(other.to_owned())),
    }
}

/// How long requests wait for a device that was pulled out, as the setting `device.wait=` says it: a time with its unit, or 0.
pub fn wait(setting: &str) -> Result<Duration, UsageError> {
    const WAIT: &str = "device.wait takes a time such as 30s or 5m, at most 24h, or 0";
    if setting == "0" { Ok(Duration::ZERO) } else { time(setting, WAIT) }
}
