//! Host processes: told apart across reuse of their ids, started with a chosen lifetime, ended with a deadline.
#![expect(
    unsafe_code,
    reason = "what a child does between fork and exec is set through CommandExt::pre_exec"
)]

use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

/// How often a condition without an event of its own is looked at.
pub const POLL: Duration = Duration::from_millis(2);

/// A process that stays itself: a process id may be given out again, but not with the same start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub pid: u32,
    /// Clock ticks between the host's boot and the start (`/proc/PID/stat`, field 22).
    pub start_time: u64,
}

impl Identity {
    /// The identity of a process that is alive now.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (state, start_time) = parse_stat(&stat)?;
        (!matches!(state, 'Z' | 'X')).then_some(Self { pid, start_time })
    }

    pub fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Ends the process: SIGTERM, then SIGINT, which is what Bochs listens to, and SIGKILL where that has not helped within
    /// `patience`.
    pub fn end(self, patience: Duration) -> io::Result<()> {
        let soon = patience.min(Duration::from_millis(500));
        for (signal, patience) in [(Signal::TERM, soon), (Signal::INT, patience), (Signal::KILL, patience)] {
            self.signal(signal)?;
            if self.wait_gone(patience) {
                return Ok(());
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("process {} outlives SIGKILL", self.pid)))
    }

    /// Waits until the process is gone; false when `patience` ends first.
    pub fn wait_gone(self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while self.is_alive() {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(POLL);
        }
        true
    }

    fn signal(self, signal: Signal) -> io::Result<()> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        match pid {
            Some(pid) if self.is_alive() => match rustix::process::kill_process(pid, signal) {
                Err(rustix::io::Errno::SRCH) => Ok(()),
                other => Ok(other?),
            },
            _ => Ok(()),
        }
    }
}

/// State and start time. The program's name, in parentheses, may itself hold spaces and parentheses.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// How long a child lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Killed by the kernel when this process ends, however that happens.
    WithParent,
    /// Outlives this process and its terminal.
    Detached,
}

/// Starts a child.
///
/// The parent whose death kills a child is, to Linux, the thread that started it. So one thread that lives as long as
/// the process starts them all.
pub fn spawn(mut command: Command, lifetime: Lifetime) -> io::Result<Child> {
    type Order = (Command, mpsc::Sender<io::Result<Child>>);
    static SPAWNER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();

    let prepare = move || match lifetime {
        Lifetime::WithParent => {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from)
        }
        Lifetime::Detached => rustix::process::setsid().map(drop).map_err(io::Error::from),
    };
    // SAFETY: between fork and exec the closure makes one raw system call, touches no memory but its own stack, takes
    // no lock and does not allocate, so the state of the parent's other threads does not matter.
    unsafe { command.pre_exec(prepare) };

    let spawner = SPAWNER.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, reply) in inbox {
                // The one who asked waits for the reply, unless its thread has died; then nobody misses it.
                drop(reply.send(command.spawn()));
            }
        });
        orders
    });
    let (reply, answer) = mpsc::channel();
    spawner.send((command, reply)).expect("the spawner lives as long as the process");
    answer.recv().expect("the spawner answers each order")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_past_odd_names() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 1 2 3";
        assert_eq!(parse_stat(stat), Some(('S', 987654)));
        assert_eq!(parse_stat("42 (qemu"), None);
    }

    #[test]
    fn a_process_id_given_out_again_is_another_process() {
        let me = Identity::of(std::process::id()).unwrap();
        assert!(me.is_alive());
        assert!(!Identity { start_time: me.start_time + 1, ..me }.is_alive());
    }

    #[test]
    fn a_child_is_ended() {
        let mut command = Command::new("sleep");
        command.arg("600");
        let mut child = spawn(command, Lifetime::WithParent).unwrap();
        let identity = Identity::of(child.id()).unwrap();
        identity.end(Duration::from_secs(5)).unwrap();
        assert!(!identity.is_alive());
        child.wait().unwrap();
    }
}
