//! The checkpoint's container format, as far as it stands: the header that names what is inside. The snapshot engine is not
//! built yet.
#![no_std]
#![forbid(unsafe_code)]

mod header;

pub use header::{HEADER_BYTES, Header, HeaderError, MAGIC, VERSION};
