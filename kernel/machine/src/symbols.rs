//! The symbol table that the image builder puts behind the image (see linker.ld).
//!
//! Layout: `"QS_SYM1\0"`, count (u32), bytes of names (u32); per symbol its address (u32) and the offset of its name
//! (u32), sorted by address; the names, each ended by NUL. Little-endian.

unsafe extern "C" {
    static __symbols_start: u8;
}

const HEADER: usize = 16;

/// The table's length in bytes; just the header where none was put in.
pub fn table_bytes() -> usize {
    let (count, names) = sizes();
    HEADER + count * 8 + names
}

fn word(offset: usize) -> u32 {
    // SAFETY: the header is always there; beyond it, callers stay within the sizes it states.
    unsafe { (&raw const __symbols_start).add(offset).cast::<u32>().read_unaligned() }
}

fn sizes() -> (usize, usize) {
    let magic = u64::from(word(4)) << 32 | u64::from(word(0));
    if magic == u64::from_le_bytes(*b"QS_SYM1\0") { (word(8) as usize, word(12) as usize) } else { (0, 0) }
}

/// The function that contains `address`, and how far into it.
pub(crate) fn find(address: u64) -> Option<(&'static str, u64)> {
    let (count, names) = sizes();
    let address = u32::try_from(address).ok()?;
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = (low + high) / 2;
        if word(HEADER + middle * 8) <= address {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let index = low.checked_sub(1)?;
    let offset = word(HEADER + index * 8 + 4) as usize;
    if offset >= names || u64::from(address) >= crate::paging::image_bounds()[1] {
        return None;
    }
    // SAFETY: the names lie behind the entries, and the header states their length.
    let bytes = unsafe {
        core::slice::from_raw_parts(
            (&raw const __symbols_start).add(HEADER + count * 8 + offset),
            names - offset,
        )
    };
    let name = core::str::from_utf8(bytes.split(|&byte| byte == 0).next()?).ok()?;
    Some((name, u64::from(address - word(HEADER + index * 8))))
}
