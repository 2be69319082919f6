//! AMD SVM: the virtual machine control block and what goes into it.
//!
//! Source: AMD64 APM vol. 2, revision 3.42, chapter 15 and appendices B and C.

pub mod exit_code;
pub mod intercept;
pub mod permission;
pub mod vmcb;

pub use vmcb::{Control, Save, Vmcb};
