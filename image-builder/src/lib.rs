//! The host's side of Quicksilver: builds images and runs them on emulated machines.
//!
//! The `qs` tool is a thin front of this library; the end-to-end tests and the benchmarks use the same blocks:
//!
//! ```no_run
//! use image_builder::{Machine, Nic};
//! use std::time::Duration;
//!
//! let mut machine = Machine::builder().app("kv").cpus(2).nic(Nic::E1000e).spawn()?;
//! machine.wait_ready("kv")?;
//! let port = machine.port("kv").expect("forwarded by default");
//! machine.wait_for_line("boot: serving after", Duration::from_secs(60))?;
//! # Ok::<(), image_builder::Error>(())
//! ```
//!
//! | module | what it is for |
//! |---|---|
//! | [`workspace`], [`kernel`] | finds the project and compiles the kernel with the flags of the bare machine |
//! | [`elf`] | finishes and checks the ELF file: symbols, red zone, W^X, boot doors |
//! | [`image`] | ISO, raw disk and qcow2 images |
//! | [`disk`] | disks for what machines keep |
//! | [`checkpoint`] | looks into checkpoints, checks and merges them |
//! | [`config`], [`command`], [`bochs`] | what a machine consists of, and QEMU's command line or Bochs's configuration for it |
//! | [`machine`] | a running machine: serial line, QMP, ports, end |
//! | [`plug`](mod@plug) | plugs devices into a running machine, and takes them out |
//! | [`control`] | operates a running machine: the key that it shares with us, commands |
//! | [`trace`] | when each CPU did what in a switch |
//! | [`bench`](mod@bench), [`figures`] | measures: suites, what the image `bench` says, the report |
//! | [`state`] | the named machines of this user |
//! | [`program`] | host programs with a deadline, and what they print |
//! | [`tools`] | host programs: found, explained, installed |

pub mod bench;
pub mod bochs;
pub mod checkpoint;
pub mod command;
pub mod config;
pub mod control;
mod date;
pub mod disk;
pub mod elf;
mod error;
pub mod figures;
pub mod image;
pub mod kernel;
pub mod machine;
pub mod plug;
pub mod ports;
mod process;
pub mod program;
pub mod qmp;
mod random;
pub mod state;
pub mod tools;
pub mod trace;
pub mod workspace;

pub use config::{
    Accelerator, Boot, Config, DiskModel, Emulator, HotPlug, MachineType, Medium, Memory, Model, Network,
    Nic, Vendor,
};
pub use error::{Error, ExitCode};
pub use machine::{Builder, Machine};
