//! The packed files, as answers that only lack the date.
use crate::mime;
use alloc::collections::TryReserveError;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use app::File;

const INDEX: &str = "index.html";

/// What a path stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The page with this number.
    Page(usize),
    /// The directory that holds the page with this number: its path lacks the last slash.
    Directory(usize),
}

/// A file with its prepared header.
#[derive(Debug)]
pub struct Page {
    /// The content.
    pub data: &'static [u8],
    /// The fields that every answer about this file has, the last of them `Date: ` without its value.
    pub fields: String,
    /// Status line, `Content-Length` and `fields` of the whole file's answer.
    pub whole: String,
    /// The entity tag, with its quotes.
    pub etag: String,
    /// The path of its directory as a header may hold it, with both slashes.
    pub directory: String,
}

/// All pages, and the paths that lead to them.
#[derive(Debug)]
pub struct Site {
    pages: Vec<Page>,
    /// Sorted by path. Of an `index.html`, its directory's path is here three times: with the name, with a slash, and
    /// without.
    paths: Vec<(&'static str, Target)>,
    not_found: Option<usize>,
}

impl Site {
    /// Prepares these files. Answers about them have further header `fields`, each with its line end.
    ///
    /// # Errors
    /// When there is no memory for the tables.
    pub fn new(files: &'static [File], fields: &str) -> Result<Self, TryReserveError> {
        let mut site = Self { pages: Vec::new(), paths: Vec::new(), not_found: None };
        site.pages.try_reserve_exact(files.len())?;
        site.paths.try_reserve_exact(3 * files.len())?;
        for file in files {
            let number = site.pages.len();
            site.pages.push(Page::new(file, fields));
            site.paths.push((file.path, Target::Page(number)));
            if file.path == "404.html" {
                site.not_found = Some(number);
            }
            let Some(directory) = file.path.strip_suffix(INDEX) else { continue };
            if let Some(bare) = directory.strip_suffix('/') {
                site.paths.push((directory, Target::Page(number)));
                site.paths.push((bare, Target::Directory(number)));
            } else if directory.is_empty() {
                site.paths.push((directory, Target::Page(number)));
            }
        }
        site.paths.sort_unstable_by_key(|(path, _)| *path);
        Ok(site)
    }

    /// What this path, without its first slash, stands for.
    pub fn find(&self, path: &[u8]) -> Option<Target> {
        let at = self.paths.binary_search_by(|(known, _)| known.as_bytes().cmp(path)).ok()?;
        Some(self.paths[at].1)
    }

    /// The page with this number.
    pub fn page(&self, number: usize) -> &Page {
        &self.pages[number]
    }

    /// The page for what isn't there (`404.html`).
    pub fn not_found(&self) -> Option<&Page> {
        self.not_found.map(|number| self.page(number))
    }
}

impl Page {
    fn new(file: &File, further: &str) -> Self {
        let etag = format!("\"{:016x}-{:x}\"", hash(file.data), file.data.len());
        let media_type = mime::of(file.path);
        let fields = format!(
            "Content-Type: {media_type}\r\nETag: {etag}\r\nAccept-Ranges: bytes\r\nCache-Control: no-cache\r\n\
             {further}Server: Quicksilver\r\nDate: "
        );
        let whole = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{fields}", file.data.len());
        let directory = file.path.strip_suffix(INDEX).unwrap_or(file.path);
        Self { data: file.data, fields, whole, etag, directory: escape(directory) }
    }
}

/// The path with a slash in front, and escapes for what a URI can't hold (RFC 3986, 3.3).
fn escape(path: &str) -> String {
    let mut escaped = String::from("/");
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/!$&'()*+,;=:@".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// FNV-1a on words of eight bytes: tells versions of a file apart, no more.
fn hash(data: &[u8]) -> u64 {
    let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    let (words, rest) = data.as_chunks::<8>();
    let hash = words.iter().fold(0xcbf2_9ce4_8422_2325, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    let hash = rest.iter().fold(hash, |hash, byte| mix(hash, u64::from(*byte)));
    mix(hash, data.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    static FILES: [File; 5] = [
        File { path: "404.html", data: b"no" },
        File { path: "a b/index.html", data: b"ab" },
        File { path: "a/b.txt", data: b"b" },
        File { path: "index.html", data: b"root" },
        File { path: "myindex.html", data: b"mine" },
    ];

    #[test]
    fn paths_lead_to_pages() {
        let site = Site::new(&FILES, "").unwrap();
        let page = |path: &str| match site.find(path.as_bytes()) {
            Some(Target::Page(number)) => Some(site.page(number).data),
            _ => None,
        };
        assert_eq!(page(""), Some(&b"root"[..]));
        assert_eq!(page("index.html"), Some(&b"root"[..]));
        assert_eq!(page("a b/"), Some(&b"ab"[..]));
        assert_eq!(page("a b/index.html"), Some(&b"ab"[..]));
        assert_eq!(page("a/b.txt"), Some(&b"b"[..]));
        assert_eq!(page("a/"), None);
        assert_eq!(page("my"), None);
        assert_eq!(site.find(b"a b"), Some(Target::Directory(1)));
        assert_eq!(site.page(1).directory, "/a%20b/");
        assert_eq!(site.not_found().map(|page| page.data), Some(&b"no"[..]));
    }

    #[test]
    fn a_changed_file_has_another_tag() {
        let tag = |data: &'static [u8]| Page::new(&File { path: "x", data }, "").etag;
        assert_eq!(tag(b"0123456789"), tag(b"0123456789"));
        assert_ne!(tag(b"0123456789"), tag(b"1023456789"));
        assert_ne!(tag(b"0123456789"), tag(b"0123456798"));
        assert_ne!(tag(b"0"), tag(b"0\0"));
    }
}
