//! Hardware formats of x86-64 as plain data: names and layouts from the manuals, no unsafe, no privilege.
//!
//! Today this is what telling the virtualization features and saving segments needs; control blocks and nested tables
//! follow with the monitor.
#![no_std]
#![forbid(unsafe_code)]

pub mod cpuid;
pub mod segment;
