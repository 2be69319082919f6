//! The table of verbs.

use crate::Role;

/// Each verb with what may follow it, who may say it and what it does; for `help`, and for whoever says something else.
pub const VERBS: &[(&str, &str, Role, &str)] = &[
    ("help", "", Role::Observe, "what may be said"),
    ("status", "", Role::Observe, "mode, CPUs, memory, network, the last switch"),
    (
        "mode",
        "[native|guest|toggle] [--dry-run] [--deadline MS] [--op ID] [--expect GENERATION] [--times N [--every MS]]",
        Role::Operate,
        "switch; alone, tell the mode; toggle --times: so often, as a job that ends with its client",
    ),
    ("trace", "", Role::Observe, "when each CPU did what in the last switches"),
    ("stats", "", Role::Observe, "counters"),
    ("events", "[--follow]", Role::Observe, "what has happened to the machine"),
    ("log", "[--follow]", Role::Observe, "the log"),
    ("top", "[--once]", Role::Observe, "a live view, each second"),
    (
        "bench",
        "[NAME…] [--quick] [--detach] [--list]",
        Role::Operate,
        "measure in both modes, as a job; it ends with its client unless detached",
    ),
    (
        "checkpoint",
        "[--room MIB] [--base ID] [--track] | --to disk [--room MIB] [--keep N] [--every TIME] [--detach]",
        Role::Operate,
        "write a checkpoint of the running machine to standard output or its own disk, as a job that ends with its client unless detached; --base: only what was written since that one; --track: record what is written from then on, for the next one's --base",
    ),
    (
        "restore",
        "[--new-identity] [--from disk[:latest|:NUMBER|:ID]]",
        Role::Admin,
        "read a checkpoint from standard input, or from the machine's own disk, and go on as the machine that was frozen, which ends all that this one does",
    ),
    ("checkpoint list", "", Role::Observe, "the checkpoints on the machine's own disk"),
    ("job list", "", Role::Observe, "what runs in the background"),
    ("job watch", "ID", Role::Observe, "a job's progress and results, until its end"),
    ("job cancel", "ID", Role::Operate, "end a job"),
    ("device list", "", Role::Observe, "devices, where they are, and who has them"),
    (
        "device swap",
        "NAME --to PLACE|NAME|next [--dry-run] [--detach]",
        Role::Operate,
        "put an idle network card in the place of one that a network has, whose connections go on; or a disk in that of the one with the checkpoints, while they are written",
    ),
    (
        "device detach",
        "NAME [--timeout MS]",
        Role::Operate,
        "take a network's card away; its connections wait for another",
    ),
    ("device attach", "[PLACE|NAME]", Role::Operate, "give an idle network card to a network that has none"),
    ("doctor", "", Role::Observe, "what the machine can do, and what would refuse a switch"),
    ("version", "", Role::Observe, "what runs here"),
];
