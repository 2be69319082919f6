//! Memory as arithmetic: the map, the VMM's reserve, page frames, the heap. Nothing here needs a privilege.

pub mod frames;
pub mod heap;
pub mod map;
pub mod reserve;
