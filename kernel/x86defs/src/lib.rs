//! Hardware formats of x86-64 as plain data: names and layouts from the manuals, no unsafe, no privilege.
//!
//! | module | what |
//! |---|---|
//! | [`cpuid`] | leaves that tell what a CPU can virtualize |
//! | [`registers`] | control register bits and model-specific register numbers |
//! | [`segment`] | segments, descriptors, descriptor-table registers |
//! | [`state`] | [`state::CpuState`]: all architectural state of one CPU |
//! | [`event`] | an interrupt or exception on its way into a system |
//! | [`svm`] | AMD's control block, intercepts, exit codes, permission maps |
//! | [`vmx`] | Intel's control structure, controls, capabilities, exit reasons |
#![no_std]
#![forbid(unsafe_code)]

pub mod cpuid;
pub mod event;
pub mod registers;
pub mod segment;
pub mod state;
pub mod svm;
pub mod vmx;
