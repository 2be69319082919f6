//! Device memory that is taken away: its pages lead to a page of ones. A read finds ones, as from a device that is not there; what is
//! written stays in that page, reaches no device, and is lost when the memory is given back. Nothing has to be decoded.

use super::{Memory, PAGE};
use crate::frozen::{Pages, Span, Stage};
use crate::nested::{ADDRESS_END, Format, MapError, MemoryType, Rights, Size, Tables};
use core::ops::Range;

/// The most ranges that are away at a time; there is a page of ones for each.
pub const MOST_ABSORBED: usize = 8;
/// The most bytes of a range: all CPUs stand still while it goes.
const LONGEST: u64 = 16 << 20;
/// Where interrupt messages are sent to, and where local APICs are (SDM vol. 3, 12.4.1; APM vol. 2, 16.3.1). That of the CPUs may have been
/// moved: then the VMM's own tables tell.
const APIC: u64 = 0xfee0_0000;

/// Why device memory is not taken away, or not given back. Nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbsorbError {
    /// A snapshot is held, or being undone.
    Busy,
    /// It does not begin or end with a page.
    Unaligned,
    /// It is nothing.
    Empty,
    /// It is too long, or ends where there are no addresses.
    Beyond,
    /// A page of it is memory, no device's.
    Memory,
    /// A page of it is the VMM's.
    Reserve,
    /// A page of it is the local APIC's.
    Apic,
    /// A page of it is away already.
    Overlap,
    /// As many ranges are away as may be.
    Full,
    /// Not all of it is passed through, and as memory of one type.
    Mixed,
    /// Tables are used up.
    Dry,
    /// Nothing is away that begins and ends there.
    Present,
}

impl From<MapError> for AbsorbError {
    fn from(error: MapError) -> Self {
        match error {
            MapError::Dry => Self::Dry,
            MapError::Range => Self::Beyond,
        }
    }
}

/// A range that is away.
#[derive(Clone, Copy, Debug)]
pub(super) struct Absorbed {
    span: Span,
    /// What its memory type was.
    kind: MemoryType,
}

impl Span {
    /// The addresses of its pages.
    fn pages(self) -> impl Iterator<Item = u64> {
        (self.start..self.end).step_by(PAGE as usize)
    }
}

impl<F: Format, T: Tables + Pages> Memory<F, T> {
    /// Takes device memory away until [`Memory::release`], which names the same span, or guest mode's end. All CPUs stand still in the VMM, and flush
    /// before they go on. `reserve`: what is the VMM's.
    ///
    /// # Errors
    /// See [`AbsorbError`].
    pub fn absorb(&mut self, reserve: &Range<u64>, span: Span) -> Result<(), AbsorbError> {
        self.look_at(reserve, span)?;
        let place = self.absorbed.iter().position(Option::is_none).ok_or(AbsorbError::Full)?;
        self.unsettled = true;
        let kind = self.type_of(span)?;
        let ones = self.ones + place as u64 * PAGE;
        self.tables.fill(ones, u64::MAX);
        for page in span.pages() {
            let mapped =
                self.tree.map_to(&mut self.tables, page, ones, Rights::READ_WRITE, MemoryType::WriteBack);
            if let Err(error) = mapped {
                self.pass_through(span.start..page, kind);
                return Err(error.into());
            }
        }
        self.absorbed[place] = Some(Absorbed { span, kind });
        Ok(())
    }

    /// Gives back what was taken away. All CPUs stand still in the VMM, and flush before they go on.
    ///
    /// # Errors
    /// [`AbsorbError::Present`].
    pub fn release(&mut self, span: Span) -> Result<(), AbsorbError> {
        let is_it = |place: &&mut Option<Absorbed>| place.is_some_and(|absorbed| absorbed.span == span);
        let absorbed = self.absorbed.iter_mut().find(is_it).and_then(Option::take);
        let Absorbed { span, kind } = absorbed.ok_or(AbsorbError::Present)?;
        self.pass_through(span.start..span.end, kind);
        Ok(())
    }

    /// Gives everything back.
    pub(super) fn release_all(&mut self) {
        for place in 0..MOST_ABSORBED {
            if let Some(Absorbed { span, kind }) = self.absorbed[place].take() {
                self.pass_through(span.start..span.end, kind);
            }
        }
    }

    /// Whether anything is away.
    pub fn is_absorbing(&self) -> bool {
        self.absorbed.iter().any(Option::is_some)
    }

    fn pass_through(&mut self, range: Range<u64>, kind: MemoryType) {
        // Pages that were mapped alone need no table to be mapped otherwise.
        let _ = self.tree.map(&mut self.tables, range, Rights::ALL, kind);
    }

    /// Whether all of it may be taken away at all.
    fn look_at(&self, reserve: &Range<u64>, span: Span) -> Result<(), AbsorbError> {
        let Span { start, end } = span;
        if !(start | end).is_multiple_of(PAGE) {
            return Err(AbsorbError::Unaligned);
        }
        if start == end {
            return Err(AbsorbError::Empty);
        }
        if start > end || end > ADDRESS_END || end - start > LONGEST {
            return Err(AbsorbError::Beyond);
        }
        if self.frozen.stage() != Stage::Idle {
            return Err(AbsorbError::Busy);
        }
        if start < reserve.end && reserve.start < end {
            return Err(AbsorbError::Reserve);
        }
        let overlaps = |absorbed: &Absorbed| start < absorbed.span.end && absorbed.span.start < end;
        if self.absorbed.iter().flatten().any(overlaps) {
            return Err(AbsorbError::Overlap);
        }
        for page in span.pages() {
            match self.host.translate(&self.tables, page) {
                Some(leaf) if leaf.kind == MemoryType::WriteBack => return Err(AbsorbError::Memory),
                Some(_) => return Err(AbsorbError::Apic),
                None if page == APIC => return Err(AbsorbError::Apic),
                None => {}
            }
        }
        Ok(())
    }

    /// The memory type of what is passed through, all of it, as the same. What nobody has touched is mapped first.
    fn type_of(&mut self, span: Span) -> Result<MemoryType, AbsorbError> {
        let mut kind = None;
        for page in span.pages() {
            if self.tree.hole(&self.tables, page) == Some(Size::Huge) {
                let start = page & !(Size::Huge.bytes() - 1);
                self.map_device(start..start + Size::Huge.bytes())?;
            }
            let leaf = self.tree.translate(&self.tables, page).ok_or(AbsorbError::Mixed)?;
            let is_itself = leaf.address + (page & (leaf.size.bytes() - 1)) == page;
            let is_free = leaf.rights.execute && (leaf.rights.write || leaf.watched);
            if !is_itself || !is_free || kind.is_some_and(|kind| kind != leaf.kind) {
                return Err(AbsorbError::Mixed);
            }
            kind = Some(leaf.kind);
        }
        kind.ok_or(AbsorbError::Empty)
    }
}
