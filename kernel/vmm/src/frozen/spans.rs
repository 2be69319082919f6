//! Ranges of memory that the system has named.

/// Whole pages of physical memory, `start` inclusive, `end` exclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "described above")]
pub struct Span {
    pub start: u64,
    pub end: u64,
}

/// Why a span is not taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanError {
    /// There are as many as there can be.
    Full,
    /// It overlaps one that is there.
    Overlap,
}

/// Spans that don't overlap, in ascending order.
#[derive(Debug)]
pub struct Spans {
    list: &'static mut [Span],
    count: usize,
}

impl Spans {
    /// None yet, with room for as many as `list` has.
    pub const fn new(list: &'static mut [Span]) -> Self {
        Self { list, count: 0 }
    }

    /// The first that does not lie below `address`.
    fn first_above(&self, address: u64) -> usize {
        self.as_slice().partition_point(|span| span.end <= address)
    }

    /// Adds one.
    pub fn insert(&mut self, span: Span) -> Result<(), SpanError> {
        if self.overlaps(span) {
            return Err(SpanError::Overlap);
        }
        if self.count == self.list.len() {
            return Err(SpanError::Full);
        }
        let place = self.first_above(span.start);
        self.list[self.count] = span;
        self.count += 1;
        self.list[place..self.count].rotate_right(1);
        Ok(())
    }

    /// Takes one out again, if it is there.
    pub fn remove(&mut self, span: Span) {
        if let Some(place) = self.as_slice().iter().position(|each| *each == span) {
            self.list[place..self.count].rotate_left(1);
            self.count -= 1;
        }
    }

    /// Takes the last one out.
    pub fn pop(&mut self) -> Option<Span> {
        self.count = self.count.checked_sub(1)?;
        Some(self.list[self.count])
    }

    /// Whether one of them contains all of `span`.
    pub fn contains(&self, span: Span) -> bool {
        let found = self.as_slice().get(self.first_above(span.start));
        found.is_some_and(|found| found.start <= span.start && span.end <= found.end)
    }

    /// Whether any of them reaches into `span`.
    pub fn overlaps(&self, span: Span) -> bool {
        self.as_slice().get(self.first_above(span.start)).is_some_and(|found| found.start < span.end)
    }

    /// All of them.
    pub fn as_slice(&self) -> &[Span] {
        &self.list[..self.count]
    }
}
