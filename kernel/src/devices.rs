//! Finding the devices and giving them to those who use them.

/// Nothing yet.
pub fn start(_machine: &machine::start::Machine, _command_line: &'static str) {}
