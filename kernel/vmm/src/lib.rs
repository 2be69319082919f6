//! The virtual machine monitor: built at boot, asleep until the machine switches to guest mode.
//!
//! | module | what |
//! |---|---|
//! | [`availability`] | whether a CPU can carry it |
//! | [`plan`] | how the reserve is divided |
//! | [`nested`] | nested page tables, and the VMM's own |
//! | [`vcpu`] | what is needed of a vendor: [`Vcpu`](vcpu::Vcpu), [`Exit`](vcpu::Exit) |
//! | [`svm`] | AMD |
//! | [`vmx`] | Intel |
//! | [`exits`] | what happens at each exit, vendor-neutral |
//! | [`call`] | hypercalls |
//! | [`memory`] | the system's memory: nested tables, and a snapshot over them |
//! | [`frozen`] | what pages held at a freeze |
//! | [`takeover`] | how a received system takes the place of the running one |
//! | [`meeting`] | where CPUs stand still |
//! | [`shared`] | what the handlers of all CPUs share |
//! | [`monitor`] | the whole, on the machine: build, prepare, launch, leave |
//!
//! All but [`monitor`] is logic without privilege, and tested on the host.
#![no_std]
#![deny(unsafe_code)]

pub mod availability;
pub mod call;
pub mod exits;
pub mod frozen;
pub mod meeting;
pub mod memory;
#[cfg(bare_metal)]
pub mod monitor;
pub mod nested;
pub mod plan;
pub mod shared;
pub mod svm;
pub mod takeover;
pub mod vcpu;
pub mod vmx;

pub use availability::{
    Unavailable, Vendor, availability, feature_control_to_set, firmware_allows, is_nested, vmx_availability,
};
pub use plan::{Needs, Plan, PlanError, Section, plan};
