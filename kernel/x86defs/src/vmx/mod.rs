//! Intel VMX: the fields of the virtual-machine control structure, and what goes into them.
//!
//! | module | what |
//! |---|---|
//! | [`field`] | VMCS fields, typed by width and access; [`field::Vmcs`], whatever holds them |
//! | [`control`] | bits of the five control words |
//! | [`capability`] | [`capability::Capabilities`]: what the `IA32_VMX_*` registers allow |
//! | [`exit_reason`] | why a guest stopped, and exit qualifications |
//! | [`interruption`] | events in VM-entry and IDT-vectoring fields; interruptibility and activity |
//! | [`access_rights`] | segment attributes as the VMCS packs them |
//! | [`instruction_error`] | what a failed VMX instruction leaves behind |
//! | [`ept`] | the EPT pointer |
//! | [`permission`] | the MSR bitmap |
//!
//! Source: Intel SDM vol. 3, chapters 24 to 33 and appendices A, B and C; section numbers are those of the edition that counts
//! "VMCS" as chapter 25.

pub mod access_rights;
pub mod capability;
pub mod control;
pub mod ept;
pub mod exit_reason;
pub mod field;
pub mod instruction_error;
pub mod interruption;
pub mod permission;
