//! What is seen of a machine that does not answer, while it does not: afterwards the connections are gone.

use std::process::Command;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::guest::Guest;

/// Does `work`. If it takes longer than `patience`, tells how both ends see their connections, and how far the network cards' rings are.
pub fn told<T>(guest: &Guest, patience: Duration, work: impl FnOnce() -> T) -> T {
    let (working, over) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            if over.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
                eprintln!("late: {}\n{}", rings(guest), sockets());
            }
        });
        let result = work();
        drop(working);
        result
    })
}

/// Our ends of all connections, with their timers.
fn sockets() -> String {
    let told = Command::new("ss").args(["--tcp", "--info", "--timers", "--numeric"]).output();
    told.map_or_else(|error| error.to_string(), |told| String::from_utf8_lossy(&told.stdout).into_owned())
}

/// What QEMU knows of the rings of the machine's virtio cards, and of its first CPU's interrupts.
fn rings(guest: &Guest) -> String {
    let ask = |command: &str, arguments: Value| {
        guest.qmp(command, arguments).unwrap_or_else(|error| error.to_string().into())
    };
    let devices = ask("x-query-virtio", Value::Null);
    let cards = devices.as_array().into_iter().flatten().filter(|device| device["name"] == "virtio-net");
    let queue = |path: &Value, queue| {
        ask("x-query-virtio-queue-status", json!({ "path": path, "queue": queue })).to_string()
    };
    let mut told: Vec<_> = cards.flat_map(|card| [0, 1].map(|number| queue(&card["path"], number))).collect();
    for line in ["info lapic", "info registers"] {
        let said = ask("human-monitor-command", json!({ "command-line": line }));
        told.push(said.as_str().unwrap_or_default().to_owned());
    }
    told.join("\n")
}
