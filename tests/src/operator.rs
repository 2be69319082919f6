//! The operator of a machine: commands over SSH, and what the answers say. Made for tests: what goes wrong is a panic.
//! One connection is kept for all commands of an operator.

use std::net::SocketAddr;
use std::time::Duration;

use image_builder::control::{self, Answer, Keys, Session, Target};
use serde_json::Value;

use crate::guest::{Guest, PATIENCE, wait_until};

/// Exit statuses of commands.
pub const DONE: u8 = 0;
pub const FAILED: u8 = 1;
pub const USAGE: u8 = 2;
pub const REFUSED: u8 = 3;
pub const TIMED_OUT: u8 = 6;

/// Switches that are asked for one by one.
const ONE_BY_ONE: u64 = 200;
/// A switch on a busy host, on average.
const SLOWEST: Duration = Duration::from_millis(200);

/// Asks a machine that runs `test=pin` to switch until it was refused for the pin and has switched without.
///
/// # Panics
/// When it goes otherwise.
pub fn meets_a_pin(guest: &Guest) {
    meets_refusals(guest, REFUSED, "pinned by a test", 1, |operator, body| {
        assert_eq!(operator.status()["refusal"], body["error"]);
        // Whoever waits for longer than the pin is held gets his switch.
        operator.toggle();
    });
}

/// Asks a machine to switch until it has so many times, and was refused so many times. Each refusal has this status and this
/// in its reason, and changes nothing; `then` looks closer.
///
/// # Panics
/// When it goes otherwise.
pub fn meets_refusals(guest: &Guest, refusal: u8, why: &str, times: u32, then: impl Fn(&Operator, &Value)) {
    let operator = Operator::of(guest);
    let (mut refused, mut done) = (0, 0);
    wait_until("a refusal and a switch", || {
        let before = operator.status();
        let (status, body) = operator.ask("mode toggle --deadline 100");
        match status {
            DONE => done += 1,
            _ => {
                assert_eq!(status, refusal, "{body}");
                assert!(body["error"].as_str().is_some_and(|error| error.contains(why)), "{body}");
                assert_eq!((&body["mode"], &body["switches"]), (&before["mode"], &before["switches"]));
                then(&operator, &body);
                refused += 1;
            }
        }
        refused >= times && done >= times
    });
    assert_eq!(guest.redis_cli(&["PING"]), "PONG");
}

/// Somebody with a key to a machine, connected.
#[derive(Debug)]
pub struct Operator(Session);

impl Operator {
    /// The operator of a machine of ours.
    ///
    /// # Panics
    /// When there are no keys, or the machine lets nobody in.
    pub fn of(guest: &Guest) -> Self {
        let address = guest.at(control::SERVICE).to_string();
        Self::with(Target { address, serial: Some(guest.serial_path().to_owned()) })
    }

    /// The same where the control server is known.
    ///
    /// # Panics
    /// When there are no keys, or the machine lets nobody in.
    pub fn at(address: SocketAddr) -> Self {
        Self::with(Target { address: address.to_string(), serial: None })
    }

    fn with(target: Target) -> Self {
        let keys = Keys::of_user().unwrap_or_else(|error| panic!("{error}"));
        let session = Session::open(target, keys);
        let operator = Self(session.unwrap_or_else(|error| panic!("{error}")));
        assert_eq!(operator.tell("version").status, DONE);
        operator
    }

    /// What a machine says to a command, as it is.
    ///
    /// # Panics
    /// When it says nothing.
    pub fn tell(&self, line: &str) -> Answer {
        self.tell_for(line, PATIENCE)
    }

    fn tell_for(&self, line: &str, patience: Duration) -> Answer {
        self.0.tell(line, patience).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// A command's status and answer.
    ///
    /// # Panics
    /// When there is none.
    pub fn ask(&self, line: &str) -> (u8, Value) {
        self.ask_for(line, PATIENCE)
    }

    fn ask_for(&self, line: &str, patience: Duration) -> (u8, Value) {
        let Answer { status, out, err } = self.tell_for(&format!("{line} --json"), patience);
        let body = serde_json::from_str(&out);
        (status, body.unwrap_or_else(|error| panic!("{line}: {error}: {out}{err}")))
    }

    /// Switches to the other mode and returns the state afterwards.
    ///
    /// # Panics
    /// When it is refused.
    pub fn toggle(&self) -> Value {
        // On a busy host a CPU may be away for long.
        let (status, body) = self.ask("mode toggle --deadline 30000");
        assert_eq!(status, DONE, "{body}");
        body
    }

    /// Switches to the other mode so many times: a few for which the machine is asked one by one, then as many as are left by a job of the
    /// machine's own, which is faster.
    ///
    /// # Panics
    /// When one is refused, or counts for anything but one.
    pub fn toggle_times(&self, times: u64) {
        let before = self.status()["switches"].as_u64().unwrap_or_else(|| panic!("no count of switches"));
        let is_after = |state: &Value, number: u64| {
            assert_eq!(state["switches"], before + number);
            assert_eq!(state["mode"], if (before + number) % 2 == 1 { "guest" } else { "native" });
        };
        let asked = times.min(ONE_BY_ONE);
        for number in 1..=asked {
            is_after(&self.toggle(), number);
        }
        if asked < times {
            let line = format!("mode toggle --times {} --every 2 --deadline 30000", times - asked);
            let (status, state) = self.ask_for(&line, PATIENCE + SLOWEST * (times - asked) as u32);
            assert_eq!(status, DONE, "{state}");
            is_after(&state, times);
        }
    }

    /// Bytes that the heap has handed out.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn heap(&self) -> u64 {
        self.status()["memory"]["heap"].as_u64().unwrap_or_else(|| panic!("no figure of the heap"))
    }

    /// Waits until the heap has handed out no more than before, when closed connections are forgotten.
    ///
    /// # Panics
    /// When that takes too long.
    pub fn wait_for_heap(&self, before: u64) {
        const PAUSE: Duration = Duration::from_millis(1000);
        /// What caches keep.
        const SLACK: u64 = 64 * 1024;
        wait_until("the heap to be as it was", || {
            std::thread::sleep(PAUSE);
            self.heap() <= before + SLACK
        });
    }

    /// The state.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn status(&self) -> Value {
        let (status, body) = self.ask("status");
        assert_eq!(status, DONE, "{body}");
        body
    }
}
