//! What the VMM needs of the machine: memory of its own, a world of its own on each CPU, and the instructions of the
//! vendors. What to do with them is decided in the room `vmm`.

mod arena;
mod copy;
mod float;
pub mod hooks;
mod host;
mod jump;
pub mod svm;
pub mod vmx;

pub use arena::{Arena, TablePool};
pub use copy::{copy_page, fill_page};
pub use float::FloatControls;
pub use host::{HostCpu, HostIdt};
pub use jump::{Next, landing};
