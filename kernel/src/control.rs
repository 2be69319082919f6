//! The machine's operators: what their commands do and answer. The transport is `net::control`.

#[cfg(feature = "vmm")]
mod modes;
#[cfg(not(feature = "vmm"))]
#[path = "control/native.rs"]
mod modes;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use core::time::Duration;
use machine::start::Machine;
use net::control::protocol::{Answer, Key};
use net::control::{Operator, Setting, serve};

/// The secret shared with the operators. The image builder writes it here; zeros are no key.
#[unsafe(no_mangle)]
static CONTROL_KEY: Key = [0; 32];

/// Where the server listens unless `control.port=` says otherwise.
const PORT: u16 = 4022;

/// How long a switch may wait for CPUs and pins, unless the command says otherwise.
const DEADLINE: Duration = Duration::from_secs(1);
/// The longest a command may ask for.
const LONGEST: Duration = Duration::from_secs(60);

const USAGE: &str = "mode native|guest|toggle [deadline=MS], mode status, mode trace";

/// Exit statuses.
const DONE: u8 = 0;
const USAGE_ERROR: u8 = 2;
const REFUSED: u8 = 3;
#[cfg(feature = "vmm")]
const TIMED_OUT: u8 = 6;

/// Which mode a switch leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Native,
    Guest,
    /// The other one.
    Toggle,
}

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
        let mut words = command.split_ascii_whitespace();
        match (words.next(), words.next()) {
            (Some("mode"), Some("status") | None) => answer(DONE, modes::status()),
            (Some("mode"), Some("trace")) => answer(DONE, modes::trace()),
            (Some("mode"), Some(target)) => match parse(target, words) {
                Some((target, deadline)) => modes::switch(command, target, deadline),
                None => usage(),
            },
            _ => usage(),
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

fn usage() -> Answer {
    let mut body = String::from(r#"{"error":"usage: "#);
    body.push_str(USAGE);
    body.push_str("\"}");
    answer(USAGE_ERROR, body)
}

fn parse<'a>(target: &str, mut words: impl Iterator<Item = &'a str>) -> Option<(Target, Duration)> {
    let target = match target {
        "native" => Target::Native,
        "guest" => Target::Guest,
        "toggle" => Target::Toggle,
        _ => return None,
    };
    let deadline = match words.next() {
        None => DEADLINE,
        Some(word) => Duration::from_millis(word.strip_prefix("deadline=")?.parse().ok()?),
    };
    (words.next().is_none() && deadline <= LONGEST).then_some((target, deadline))
}
