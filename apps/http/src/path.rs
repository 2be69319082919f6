//! From a request target to a file's path (RFC 9112, 3.2; RFC 3986, 5.2.4).
use alloc::borrow::Cow;
use alloc::vec::Vec;

/// The target names nothing a server could have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadTarget;

/// The path of a request target: decoded, without dot segments, empty segments, query and the first slash. It keeps a
/// last slash, and so is `""` for the root. The common case, where there is nothing to decode, allocates nothing.
///
/// # Errors
/// `BadTarget` for a target that is neither in origin form nor in absolute form, climbs above the root, or holds a bad
/// escape or a control character.
pub fn resolve(target: &[u8]) -> Result<Cow<'_, [u8]>, BadTarget> {
    let path = origin_form(target)?;
    let path = &path[..path.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(path.len())];
    let relative = path.strip_prefix(b"/").ok_or(BadTarget)?;
    let mut at_start = true;
    let plain = relative.iter().all(|&byte| {
        let first = core::mem::replace(&mut at_start, byte == b'/');
        byte != b'%' && byte > b' ' && byte != 0x7f && !(first && matches!(byte, b'.' | b'/'))
    });
    if plain { Ok(Cow::Borrowed(relative)) } else { normalize(&decode(relative)?).map(Cow::Owned) }
}

/// The number that a request target's query names as `from=NUMBER`; 0 where it names none.
pub fn number_from(target: &[u8]) -> u64 {
    let query = target.iter().position(|&byte| byte == b'?').map_or(&[][..], |at| &target[at + 1..]);
    let number = query.split(|&byte| byte == b'&').find_map(|field| field.strip_prefix(b"from="));
    number.and_then(|digits| str::from_utf8(digits).ok()?.parse().ok()).unwrap_or(0)
}

/// The part of an absolute form (`http://host/path`) from the path on.
fn origin_form(target: &[u8]) -> Result<&[u8], BadTarget> {
    if target.first() == Some(&b'/') {
        return Ok(target);
    }
    let scheme = target.iter().position(|&byte| byte == b':').ok_or(BadTarget)?;
    let (scheme, rest) = target.split_at(scheme);
    if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
        return Err(BadTarget);
    }
    let rest = rest.strip_prefix(b"://").ok_or(BadTarget)?;
    match rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')) {
        Some(0) => Err(BadTarget),
        Some(at) if rest[at] == b'/' => Ok(&rest[at..]),
        _ if rest.is_empty() => Err(BadTarget),
        _ => Ok(b"/"),
    }
}

fn decode(path: &[u8]) -> Result<Vec<u8>, BadTarget> {
    let mut decoded = Vec::new();
    decoded.try_reserve_exact(path.len()).map_err(|_| BadTarget)?;
    let mut bytes = path.iter();
    while let Some(&byte) = bytes.next() {
        let byte = if byte == b'%' { hex(bytes.next())? << 4 | hex(bytes.next())? } else { byte };
        if byte < b' ' || byte == 0x7f {
            return Err(BadTarget);
        }
        decoded.push(byte);
    }
    Ok(decoded)
}

fn hex(digit: Option<&u8>) -> Result<u8, BadTarget> {
    let digit = digit.and_then(|&digit| char::from(digit).to_digit(16)).ok_or(BadTarget)?;
    Ok(digit as u8)
}

/// Resolves dot segments and leaves out empty ones.
fn normalize(path: &[u8]) -> Result<Vec<u8>, BadTarget> {
    let mut normal = Vec::new();
    normal.try_reserve_exact(path.len() + 1).map_err(|_| BadTarget)?;
    let mut segments = path.split(|&byte| byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"" | b"." => {}
            b".." => {
                normal.pop().ok_or(BadTarget)?;
                let parent = normal.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
                normal.truncate(parent);
            }
            name => {
                normal.extend_from_slice(name);
                if !last {
                    normal.push(b'/');
                }
            }
        }
    }
    Ok(normal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_may_name_a_number() {
        let cases: [(&[u8], u64); 6] = [
            (b"/h?from=7", 7),
            (b"/h?a&from=8&from=9", 8),
            (b"/h", 0),
            (b"/h?from=-1", 0),
            (b"/h?from=", 0),
            (b"/from=3", 0),
        ];
        for (target, number) in cases {
            assert_eq!(number_from(target), number, "{}", target.escape_ascii());
        }
    }
    use proptest::prelude::*;

    fn resolved(target: &str) -> Option<std::string::String> {
        let path = resolve(target.as_bytes()).ok()?;
        Some(std::string::String::from_utf8(path.into_owned()).unwrap())
    }

    #[test]
    fn targets_become_paths() {
        let cases = [
            ("/", Some("")),
            ("/index.html", Some("index.html")),
            ("/a/b/?q=/../x", Some("a/b/")),
            ("/a%20b", Some("a b")),
            ("/a/./b", Some("a/b")),
            ("/a/../b", Some("b")),
            ("/a/b/..", Some("a/")),
            ("/a/b/.", Some("a/b/")),
            ("//a///b", Some("a/b")),
            ("/a..b/...c", Some("a..b/...c")),
            ("/..", None),
            ("/%2e%2e/etc/passwd", None),
            ("/a/..%2f..%2fetc", None),
            ("/%", None),
            ("/%4", None),
            ("/%zz", None),
            ("/%00", None),
            ("/a%0d%0ab", None),
            ("http://example.org/x?y", Some("x")),
            ("HTTPS://example.org", Some("")),
            ("http://example.org?x", Some("")),
            ("http:///x", None),
            ("ftp://example.org/x", None),
            ("*", None),
            ("", None),
            ("x", None),
        ];
        for (target, path) in cases {
            assert_eq!(resolved(target).as_deref(), path, "{target}");
        }
    }

    proptest! {
        #[test]
        fn no_path_leaves_the_root(target in proptest::collection::vec(
            prop_oneof![Just(b'/'), Just(b'.'), Just(b'%'), Just(b'2'), Just(b'e'), Just(b'f'), any::<u8>()], 0..40)) {
            if let Ok(path) = resolve(&target) {
                prop_assert!(path.first() != Some(&b'/'));
                prop_assert!(!path.split(|&byte| byte == b'/').any(|segment| segment == b".." || segment == b"."));
            }
        }
    }
}
