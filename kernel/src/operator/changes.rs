//! Changes of the machine's state: each once, in the generation it was meant for, and written down.

use super::mode::Mode;
use super::modes;
use super::{line, refuse};
use alloc::format;
use alloc::string::String;
use control::operations::{Answer, Begin, Operations};
use control::request::{Switch, Target};
use core::sync::atomic::{AtomicU64, Ordering};
use machine::journal::EVENTS;
use machine::sync::Mutex;
use net::ssh::{Caller, Gone, Output, exit};
use serde::Serialize;

static OPERATIONS: Mutex<Operations> = Mutex::new(Operations::new());
/// Held by the change that is being made.
static TURN: Mutex<()> = Mutex::new(());
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// Why the last change that was refused was refused. Rehearsals are none.
static REFUSAL: Mutex<Option<String>> = Mutex::new(None);

/// Why the last change that was refused was refused, be it by the machine, because another was being made, or because it was
/// meant for another generation.
pub fn refusal() -> Option<String> {
    REFUSAL.lock().clone()
}

/// Counts the changes of the machine's state since boot.
pub fn generation() -> u64 {
    GENERATION.load(Ordering::Acquire)
}

/// Counts a change.
pub fn count() {
    GENERATION.fetch_add(1, Ordering::AcqRel);
}

/// Begins to count anew, in a system that was restored: what the machine that it was before goes on to count, and what another one counts that
/// was restored from the same checkpoint, is never taken for a generation of this one. 65,536 times the second since 1970, at least.
#[cfg(feature = "vmm")]
pub fn begin_anew() {
    const EACH_SECOND: u64 = 1 << 16;
    let now = machine::time::wall_clock().as_secs() * EACH_SECOND;
    GENERATION.store(now.max(generation() + 1), Ordering::Release);
}

const BUSY: &str = "busy: another change is being made";

/// Begins what changes the state while nobody else does. A change that is being made is waited for, and then it is refused, as a
/// second change would be.
pub fn in_turn<T>(begin: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    match TURN.try_lock() {
        Some(_turn) => begin(),
        None => {
            drop(TURN.lock());
            Err(String::from(BUSY))
        }
    }
}

/// Why a change would be refused whatever it is.
pub fn busy() -> Option<String> {
    super::jobs::exclusive().map(|number| format!("busy: job {number}"))
}

/// What a switch is answered with.
#[derive(Serialize)]
struct Switched {
    #[serde(flatten)]
    mode: Mode,
    operation: String,
    #[serde(skip_serializing_if = "core::ops::Not::not")]
    dry_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Keeps what is said, for whoever asks again.
#[derive(Default)]
struct Kept {
    out: String,
    err: String,
}

impl Output for Kept {
    /// Changes answer with text alone.
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        self.out += &String::from_utf8_lossy(bytes);
        Ok(())
    }

    fn err(&mut self, text: &str) -> Result<(), Gone> {
        self.err += text;
        Ok(())
    }

    fn is_gone(&self) -> bool {
        false
    }
}

fn name(target: Target) -> &'static str {
    match target {
        Target::Native => "native",
        Target::Guest => "guest",
        Target::Toggle => "toggle",
    }
}

/// Carries out a switch, or tells what became of it when it was asked for first.
pub fn switch(caller: &Caller, switch: &Switch, json: bool, output: &mut dyn Output) -> u8 {
    let id = switch.operation.clone().unwrap_or_else(|| {
        let mut bytes = [0; 8];
        drivers::entropy::fill(&mut bytes);
        format!("{:016x}", u64::from_le_bytes(bytes))
    });
    // How long it may take, and how it is told, is no part of what is asked for.
    let what = format!("mode {}{}", name(switch.target), if switch.dry_run { " --dry-run" } else { "" });
    let wanted = format!("{what} {:?} {json}", switch.expected);
    let begun = OPERATIONS.lock().begin(&id, &wanted);
    let answer = match begun {
        Begin::New => {
            let answer = carry_out(caller, switch, &id, &what, json);
            OPERATIONS.lock().finish(&id, answer.clone());
            answer
        }
        Begin::Again(answer) => answer,
        Begin::UnderWay => return refuse(output, json, "this operation is under way"),
        Begin::Other => return refuse(output, json, "another operation has had this ID"),
        Begin::Full => return refuse(output, json, "too many operations are under way"),
    };
    let _ = output.err(&answer.err).and_then(|()| output.out(&answer.out));
    answer.status
}

fn carry_out(caller: &Caller, switch: &Switch, id: &str, what: &str, json: bool) -> Answer {
    let (status, changed, error) = match TURN.try_lock() {
        Some(_turn) => match busy() {
            Some(why) => (exit::REFUSED, false, Some(why)),
            None if switch.expected.is_none_or(|expected| expected == generation()) => {
                let done = modes::carry_out(switch);
                if done.1 {
                    count();
                }
                done
            }
            None => {
                let why = format!("stale: this is generation {}", generation());
                (exit::REFUSED, false, Some(why))
            }
        },
        None => {
            // Answered when the other change is made, so that the answer comes with the state that holds then.
            drop(TURN.lock());
            (exit::REFUSED, false, Some(String::from(BUSY)))
        }
    };
    if !switch.dry_run && error.is_some() {
        REFUSAL.lock().clone_from(&error);
    }
    let outcome = match &error {
        None if changed => "done",
        None => "nothing to do",
        Some(why) => why,
    };
    let generation = generation();
    let by = &caller.name;
    if error.is_none() {
        log::info!("control: {what} by {by}: {outcome}; operation {id}, generation {generation}");
    } else {
        log::warn!("control: {what} by {by}: {outcome}; operation {id}, generation {generation}");
    }
    EVENTS.push("operation", format_args!("{what}: {outcome} (operation {id}, generation {generation})"));
    let mut kept = Kept::default();
    let mode = modes::mode();
    // What is kept is not lost.
    let _ = match &error {
        _ if json => {
            let operation = String::from(id);
            line(&mut kept, &Switched { mode, operation, dry_run: switch.dry_run, error })
        }
        None => kept.out(&mode.text()),
        Some(why) => kept.err(&format!("refused: {why}\n")),
    };
    Answer { status, out: kept.out, err: kept.err }
}
