//! What an image with `stamps=on` stamps, read from its checkpoints: whether each is of one instant. Made for tests: what goes wrong is a
//! panic.

use std::collections::BTreeMap;
use std::path::Path;

use checkpoint::{Header, Key, PAGE};

use crate::checkpoints::pages;

/// What a stamped page says behind its first stamp (`selftest::stamps`).
const MARK: &[u8; 8] = b"QS stamp";

/// The stamps of all pages, as the latest checkpoint of a chain has them.
#[derive(Debug, Default)]
pub struct Stamps {
    /// By CPU and number: the first stamp of a page, and the last one.
    pages: BTreeMap<(u64, u64), [u64; 2]>,
    /// CPUs, and pages of each.
    all: (u64, u64),
}

impl Stamps {
    /// Reads one, which builds on the one that was read before, if it builds on any. Returns its header, and how many stamped pages are in it.
    ///
    /// # Panics
    /// When it is none.
    pub fn read(&mut self, path: &Path, key: &Key) -> (Header, usize) {
        let mut found = Self::default();
        let manifest = pages(path, key, |frame, page| found.look(page, frame));
        let count = found.pages.len();
        if manifest.header.base.is_none() {
            self.pages.clear();
        }
        self.pages.append(&mut found.pages);
        if count > 0 {
            self.all = found.all;
        }
        (manifest.header, count)
    }

    /// Looks at a page, which may be a stamped one, and no copy of one, which is in another frame.
    fn look(&mut self, page: &[u8], frame: u64) {
        let word = |at: usize| {
            u64::from_le_bytes(page[at..at + 8].try_into().unwrap_or_else(|_| unreachable!("eight bytes")))
        };
        if &page[8..16] != MARK || word(16) != frame * PAGE as u64 {
            return;
        }
        self.pages.insert((word(24), word(32)), [word(0), word(PAGE - 8)]);
        self.all = (word(40), word(48));
    }

    /// Asserts that all stamps are there and of one instant: those of a CPU fall once and by one in the order in which it writes them, and all
    /// CPUs' are of one step or the one before. Returns that step, and whether it was under way.
    ///
    /// # Panics
    /// When they are not.
    pub fn assert_one_instant(&self) -> (u64, bool) {
        let (cpus, pages) = self.all;
        assert!(
            cpus > 0 && self.pages.len() as u64 == cpus * pages,
            "{} of {:?} pages",
            self.pages.len(),
            self.all
        );
        let all = || self.pages.values().flatten().copied();
        let (least, most) = (all().min().unwrap_or(0), all().max().unwrap_or(0));
        for cpu in 0..cpus {
            let of_cpu = self.pages.range((cpu, 0)..(cpu, pages)).flat_map(|(_, stamps)| stamps);
            assert!(most - least <= 1 && of_cpu.is_sorted_by(|one, next| one >= next), "{}", self.runs());
        }
        (most, least < most)
    }

    /// All stamps, each with the first page of each CPU that has it and not the one before.
    fn runs(&self) -> String {
        let mut last = None;
        let runs = self
            .pages
            .iter()
            .filter(|((cpu, _), stamps)| last.replace((*cpu, **stamps)) != Some((*cpu, **stamps)));
        runs.map(|((cpu, page), stamps)| format!("CPU {cpu}, page {page}: {stamps:?}\n")).collect()
    }
}
