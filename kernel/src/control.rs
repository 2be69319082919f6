//! The machine's operators: what their commands do and answer. The transport is `net::control`.

#[cfg(feature = "vmm")]
mod modes;
#[cfg(not(feature = "vmm"))]
#[path = "control/native.rs"]
mod modes;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use machine::start::Machine;
use net::control::protocol::{Answer, Command, Key, Target};
use net::control::{Operator, Setting, serve};

/// The secret shared with the operators. The image builder writes it here; zeros are no key.
#[unsafe(no_mangle)]
static CONTROL_KEY: Key = [0; 32];

/// Where the server listens unless `control.port=` says otherwise.
const PORT: u16 = 4022;

/// Exit statuses.
const DONE: u8 = 0;
const USAGE_ERROR: u8 = 2;
const REFUSED: u8 = 3;
#[cfg(feature = "vmm")]
const TIMED_OUT: u8 = 6;

/// Starts the server, if the image has a key.
pub fn start(machine: &Machine) {
    // SAFETY: a plain static of this image; volatile, because the builder changes it behind the compiler's back.
    let key = unsafe { (&raw const CONTROL_KEY).read_volatile() };
    if key == [0; 32] {
        log::info!("control: the image has no key, nobody can operate this machine");
        return;
    }
    let text = machine::bootinfo::setting(machine.command_line.as_str(), "control.port");
    let port = match text.map(str::parse) {
        None => PORT,
        Some(Ok(port)) => port,
        Some(Err(_)) => {
            log::error!("control.port is not a port; the control server stays off");
            return;
        }
    };
    // The copy: what is read from the static itself the compiler may take for the zeros that it knows.
    let setting =
        Setting { port, key: Box::leak(Box::new(key)), random: drivers::entropy::fill, operator: &Modes };
    match serve(setting) {
        Ok(()) => log::info!("control: listening on tcp port {port}"),
        Err(error) => log::error!("the control server stays off: {error}"),
    }
}

struct Modes;

impl Operator for Modes {
    fn execute(&self, command: &str) -> Answer {
        match command.parse() {
            Ok(Command::Status) => answer(DONE, modes::status()),
            Ok(Command::Trace) => answer(DONE, modes::trace()),
            Ok(Command::Switch(target, deadline)) => modes::switch(command, target, deadline),
            Err(error) => answer(USAGE_ERROR, format!(r#"{{"error":"{error}"}}"#)),
        }
    }
}

/// For the state: how much memory nobody has, and how much the heap has handed out, in bytes; how many came to operate the
/// machine who may not.
fn resources() -> String {
    let free = machine::frames::statistics().free * machine::paging::PAGE;
    let used = machine::heap::statistics().used;
    format!(r#""memory":{{"free":{free},"heap":{used}}},"control":{{"refused":{}}}"#, net::control::refused())
}

fn answer(status: u8, body: String) -> Answer {
    Answer { status, body }
}
