//! The virtual machine monitor's room. There is no monitor yet: what stands is what the rest of the system has to know
//! beforehand, whether this CPU could carry one ([`availability`]), and how the reserve will be divided ([`plan`]).
#![no_std]
#![forbid(unsafe_code)]

mod availability;
mod plan;

pub use availability::{Unavailable, Vendor, availability, is_nested};
pub use plan::{Plan, PlanError, Section, plan};
