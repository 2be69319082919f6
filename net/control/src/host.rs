//! How a machine tells its host key: a line of its log, which reaches whoever watches its serial line.

use alloc::format;
use alloc::string::String;

use crate::access::{Access, PublicKey};

const WORDS: &str = "control: for known_hosts: [HOST]:";
/// What the serial line has between the time and the kernel's own words.
const KERNEL: &str = "] INFO  kernel: ";

/// The line: what OpenSSH's known_hosts is to have, with the machine's own port and a gap for its name.
pub fn announce(port: u16, key: PublicKey) -> String {
    format!("{WORDS}{port} {key}")
}

/// The key that a machine has told, by the log of its serial line. The first counts: the kernel tells it before any application
/// runs.
pub fn announced(serial: &str) -> Option<PublicKey> {
    serial.lines().find_map(|line| {
        let (time, rest) = line.strip_prefix('[')?.split_once(KERNEL)?;
        time.bytes().all(|byte| matches!(byte, b' ' | b'.' | b'0'..=b'9')).then_some(())?;
        let (port, key) = rest.strip_prefix(WORDS)?.split_once(' ')?;
        port.parse::<u16>().ok()?;
        match &key.parse::<Access>().ok()?.operators[..] {
            [only] => Some(only.key),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: PublicKey = PublicKey([3; 32]);

    #[test]
    fn what_is_announced_is_found() {
        let line = format!("[    0.123456] INFO  kernel: {}", announce(22, KEY));
        assert!(line.len() < 200 && line.contains("[HOST]:22 ssh-ed25519 AAAA"), "{line}");
        assert_eq!(announced(&format!("SeaBIOS\r\n[    0.1] INFO  net: up\r\n{line}\r\n")), Some(KEY));
        let second = format!("[    9.000000] INFO  kernel: {}", announce(22, PublicKey([4; 32])));
        assert_eq!(announced(&format!("{line}\n{second}\n")), Some(KEY));
    }

    #[test]
    fn nobody_else_s_words_count() {
        let words = announce(22, KEY);
        for line in [
            format!("[    0.123456] INFO  kv: {words}"),
            format!("[    0.123456] INFO  kv: [    0.1] INFO  kernel: {words}"),
            format!("[    0.123456] WARN  kernel: {words}"),
            format!("[    0.123456] INFO  kernel: said {words}"),
            format!("[    0.123456] INFO  kernel: {}", &words[..words.len() - 8]),
            words,
        ] {
            assert_eq!(announced(&line), None, "{line}");
        }
    }
}
