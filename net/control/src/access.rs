//! Who may do what with a machine: the text that the image builder puts into an image.
//!
//! ```text
//! host-key 9d61…                             the seed of the machine's Ed25519 key (RFC 8032), 64 hexadecimal digits
//! role="observe" ssh-ed25519 AAAA… monitor   as in OpenSSH's authorized_keys; without a role: admin
//! # a comment
//! ```

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use base64ct::{Base64, Base64Unpadded, Encoding};
use core::fmt;
use core::str::FromStr;
use sha2::{Digest, Sha256};

/// Bytes of the longest text.
pub const MAX_TEXT: usize = 16 * 1024;
/// The most operators.
pub const MAX_OPERATORS: usize = 64;

/// The only type of key.
const ALGORITHM: &str = "ssh-ed25519";

/// What somebody may do; each may do what those before may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look.
    Observe,
    /// Change the machine's mode and end jobs.
    Operate,
    /// All.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Observe => "observe",
            Self::Operate => "operate",
            Self::Admin => "admin",
        })
    }
}

impl FromStr for Role {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "observe" => Ok(Self::Observe),
            "operate" => Ok(Self::Operate),
            "admin" => Ok(Self::Admin),
            _ => Err(()),
        }
    }
}

/// An Ed25519 key that may log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// As SSH sends it (RFC 8709, 4): two strings with their lengths.
    fn blob(self) -> [u8; 51] {
        let mut blob = [0; 51];
        blob[3] = ALGORITHM.len() as u8;
        blob[4..15].copy_from_slice(ALGORITHM.as_bytes());
        blob[18] = 32;
        blob[19..].copy_from_slice(&self.0);
        blob
    }

    fn from_blob(blob: &[u8; 51]) -> Option<Self> {
        let key = Self(*blob.last_chunk()?);
        (key.blob() == *blob).then_some(key)
    }

    /// As OpenSSH shows it: `SHA256:` and 43 characters.
    pub fn fingerprint(self) -> String {
        format!("SHA256:{}", Base64Unpadded::encode_string(&Sha256::digest(self.blob())))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ALGORITHM} {}", Base64::encode_string(&self.blob()))
    }
}

/// Somebody with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// What they may do.
    pub role: Role,
    /// How they prove who they are.
    pub key: PublicKey,
    /// What the key's owner calls it; may be empty.
    pub comment: String,
}

/// The machine and its operators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// The seed of the machine's key, where it was given one.
    pub host_key: Option<[u8; 32]>,
    /// Who may log in.
    pub operators: Vec<Operator>,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Keys of another type are not taken.
    Algorithm(String),
    /// The key is not in base64, or not an Ed25519 key.
    Key,
    /// An option other than a role, or a role that there is not.
    Option(String),
    /// The key has a line already.
    Twice,
    /// There are more than [`MAX_OPERATORS`].
    TooMany,
    /// Not 64 hexadecimal digits, or not the first line.
    HostKey,
    /// Not text, or over [`MAX_TEXT`].
    Text,
}

/// A text that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessError {
    /// Counts from 1.
    pub line: usize,
    /// What is wrong with it.
    pub fault: Fault,
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        match &self.fault {
            Fault::Algorithm(name) => write!(f, "a key of type {name}: only {ALGORITHM} is taken"),
            Fault::Key => f.write_str("this is no Ed25519 key in base64"),
            Fault::Option(option) => {
                write!(f, "'{option}' is none of role=\"observe\", role=\"operate\", role=\"admin\"")
            }
            Fault::Twice => f.write_str("this key has a line already"),
            Fault::TooMany => write!(f, "more than {MAX_OPERATORS} keys"),
            Fault::HostKey => f.write_str("a host key is 64 hexadecimal digits, and comes first"),
            Fault::Text => write!(f, "more than {MAX_TEXT} bytes, or control characters"),
        }
    }
}

impl core::error::Error for AccessError {}

fn host_key(digits: &str) -> Option<[u8; 32]> {
    Some(*blake3::Hash::from_hex(digits).ok()?.as_bytes())
}

fn operator(line: &str) -> Result<Operator, Fault> {
    let mut words = line.split_ascii_whitespace();
    let mut first = words.next().unwrap_or_default();
    let mut role = Role::Admin;
    if let Some(option) = first.strip_prefix("role=") {
        let quoted = option.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        role = quoted.and_then(|name| name.parse().ok()).ok_or_else(|| Fault::Option(first.to_owned()))?;
        first = words.next().unwrap_or_default();
    }
    if first != ALGORITHM {
        // What is no type of key is an option of OpenSSH's.
        let is_type = ["ssh-", "ecdsa-", "sk-"].iter().any(|prefix| first.starts_with(prefix));
        let word = first.to_owned();
        return Err(if is_type { Fault::Algorithm(word) } else { Fault::Option(word) });
    }
    let mut blob = [0; 51];
    let decoded = Base64::decode(words.next().unwrap_or_default(), &mut blob).map(<[u8]>::len);
    let key = decoded.ok().filter(|length| *length == blob.len()).and_then(|_| PublicKey::from_blob(&blob));
    let comment = words.collect::<Vec<_>>().join(" ");
    Ok(Operator { role, key: key.ok_or(Fault::Key)?, comment })
}

impl FromStr for Access {
    type Err = AccessError;

    fn from_str(text: &str) -> Result<Self, AccessError> {
        let is_text = |text: &str| !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'));
        if text.len() > MAX_TEXT || !is_text(text) {
            return Err(AccessError { line: 1, fault: Fault::Text });
        }
        let mut access = Self::default();
        for (number, line) in text.lines().map(str::trim).enumerate() {
            let fail = |fault| AccessError { line: number + 1, fault };
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(digits) = line.strip_prefix("host-key ") {
                let first = access.host_key.is_none() && access.operators.is_empty();
                let key = host_key(digits.trim()).filter(|_| first);
                access.host_key = Some(key.ok_or_else(|| fail(Fault::HostKey))?);
                continue;
            }
            let operator = operator(line).map_err(fail)?;
            if access.operators.iter().any(|known| known.key == operator.key) {
                return Err(fail(Fault::Twice));
            }
            if access.operators.len() == MAX_OPERATORS {
                return Err(fail(Fault::TooMany));
            }
            access.operators.push(operator);
        }
        Ok(access)
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(key) = self.host_key {
            writeln!(f, "host-key {}", blake3::Hash::from_bytes(key).to_hex())?;
        }
        for Operator { role, key, comment } in &self.operators {
            let gap = if comment.is_empty() { "" } else { " " };
            writeln!(f, "role=\"{role}\" {key}{gap}{comment}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    /// Made by ssh-keygen, which also told the fingerprint.
    const FINGERPRINT: &str = "SHA256:gZduLzGAMOUc8gQ601WPeoR5kiPIDaSXM7bU0QpzPZo";
    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICBkuIFoqASm255b3oyXFY8Mi0LRMvyRkSJDOP4ultb+";

    fn fault(text: &str) -> (usize, Fault) {
        let AccessError { line, fault } = text.parse::<Access>().unwrap_err();
        (line, fault)
    }

    #[test]
    fn keys_are_read_as_openssh_writes_them() {
        let text = format!("\n# mine\nrole=\"observe\"  {KEY}  a  monitor\r\n");
        let access: Access = text.parse().unwrap();
        let [operator] = &access.operators[..] else { panic!("{access:?}") };
        assert_eq!((operator.role, operator.comment.as_str()), (Role::Observe, "a monitor"));
        assert_eq!(operator.key.to_string(), KEY);
        assert_eq!(operator.key.fingerprint(), FINGERPRINT);
        assert_eq!(format!("{KEY}\n").parse::<Access>().unwrap().operators[0].role, Role::Admin);
        assert_eq!("".parse::<Access>(), Ok(Access::default()));
    }

    #[test]
    fn all_else_is_refused_with_its_line() {
        let other = |name: &str| (1, Fault::Algorithm(name.to_owned()));
        assert_eq!(fault("ssh-rsa AAAA"), other("ssh-rsa"));
        assert_eq!(fault("sk-ssh-ed25519@openssh.com AAAA"), other("sk-ssh-ed25519@openssh.com"));
        assert_eq!(fault("\nssh-ed25519 AAAA"), (2, Fault::Key));
        assert_eq!(fault("ssh-ed25519"), (1, Fault::Key));
        assert_eq!(fault(&KEY.replace("NzaC", "NzaD")), (1, Fault::Key));
        assert_eq!(fault(&format!("no-pty {KEY}")), (1, Fault::Option("no-pty".to_owned())));
        assert_eq!(fault(&format!("role=\"root\" {KEY}")), (1, Fault::Option("role=\"root\"".to_owned())));
        assert_eq!(fault(&format!("{KEY}\n{KEY} again")), (2, Fault::Twice));
        assert_eq!(fault("host-key 12"), (1, Fault::HostKey));
        assert_eq!(fault(&format!("{KEY}\nhost-key {}", "00".repeat(32))), (2, Fault::HostKey));
        assert_eq!(fault("\x07"), (1, Fault::Text));
        assert_eq!(fault(&"#".repeat(MAX_TEXT + 1)), (1, Fault::Text));
    }

    prop_compose! {
        fn operators()(
            keys in proptest::collection::hash_set(any::<[u8; 32]>(), 0..MAX_OPERATORS),
            role in 0..3,
            comment in "([a-z@.-]{1,20}( [a-z]{1,9}){0,2})?",
        ) -> Vec<Operator> {
            let role = [Role::Observe, Role::Operate, Role::Admin][role as usize];
            keys.into_iter().map(|key| Operator { role, key: PublicKey(key), comment: comment.clone() }).collect()
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(host_key in any::<Option<[u8; 32]>>(), operators in operators()) {
            let access = Access { host_key, operators };
            prop_assert_eq!(access.to_string().parse(), Ok(access));
        }

        #[test]
        fn nothing_breaks_it(text in "(role=\"|ssh-ed25519|host-key|AAAA|\\PC{0,20}| |\n){0,12}") {
            let _ = text.parse::<Access>();
        }
    }
}
