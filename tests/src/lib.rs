//! What the end-to-end tests share.
//!
//! | module | what it is for |
//! |---|---|
//! | [`apart`] | tests in a network namespace of their own |
//! | [`checkpoints`] | checkpoints of a machine that never was |
//! | [`clock`] | the ticks of `bench=ticks` |
//! | [`operator`] | commands to a machine over the control protocol |
//! | [`peer`] | echo, discard and chargen on the host |
//! | [`program`] | host programs with a deadline, and what they print |
//! | [`remote`] | commands that read or write files, over SSH |
//! | [`disks`] | images of disks, and what a machine says of its disks |
//! | [`guest`] | machines of this project, and what is said to them |
//! | [`late`] | what is seen of a machine that does not answer |
//! | [`load`] | `redis-benchmark` and `wrk`, and the figures they report |
//! | [`namespace`] | a network namespace of one's own, with tap devices |
//! | [`noise`] | reproducible random bytes, and mutations of valid input |
//! | [`rig`] | machines whose devices are changed while they run |
//! | [`schema`] | JSON schemas |
//! | [`slots`] | how many machines run at a time |
//! | [`stamps`] | pages that all CPUs stamp in step, in checkpoints |
//! | [`targets`] | the fuzz targets: one for each parser |

pub mod apart;
pub mod checkpoints;
pub mod clock;
pub mod disks;
pub mod guest;
pub mod late;
pub mod noise;
pub mod operator;
pub mod peer;
pub mod remote;
pub mod rig;
pub mod schema;
pub mod slots;
pub mod stamps;
pub mod store;
pub mod targets;

pub use image_builder::bench::{load, namespace};
pub use image_builder::program;

/// Whether the long versions of tests are wanted: `QS_SOAK=1`.
pub fn soaks() -> bool {
    std::env::var("QS_SOAK").is_ok_and(|value| !matches!(&*value, "" | "0"))
}
