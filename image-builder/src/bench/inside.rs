//! Suites that run inside the machine: the image `bench` of ours, and the program in `peer/latency` on Linux. Both
//! print figures on the serial line and end the machine.

use std::fs::File;
use std::time::Duration;

use crate::figures::{self, Figure};
use crate::machine::{End, Machine};

use super::record::{LINUX, QUICKSILVER, Record, Taken};
use super::system::LINUX_AT_ITS_BEST;
use super::{Bench, BenchError, Suite};

/// How long a suite may take.
const PATIENCE: Duration = Duration::from_secs(900);

/// Settings of a machine that counts instructions: nothing comes from outside at moments of the host's.
pub(super) const COUNTED: &str = "bench.unit=instructions ip=off ip6=off metrics.port=off";

/// Bytes of the disk that suite `storage` reads and writes.
const DISK: u64 = 64 << 20;

pub(super) fn measure(bench: &Bench<'_>, suite: Suite, record: &mut Record) -> Result<(), BenchError> {
    // The machine repeats its measurements itself: rounds are for taking turns.
    let rounds = if bench.peer.is_some() { bench.rounds } else { 1 };
    for round in 0..rounds {
        let mut take = |system: &str, machine: Machine| -> Result<(), BenchError> {
            let (figures, judged) = finish(&machine)?;
            record.figures.extend(figures.into_iter().map(|figure| Taken {
                system: system.to_owned(),
                suite: suite.to_string(),
                round,
                figure,
            }));
            judged.map_err(|what| BenchError::Inside(format!("{system}: {what}")))
        };
        take(QUICKSILVER, ours(bench, suite)?)?;
        // Linux has nothing like a switch.
        if suite != Suite::Switch
            && let Some(machine) = linux(bench, suite)?
        {
            take(LINUX, machine)?;
        }
    }
    Ok(())
}

/// Waits until a machine has measured, and judges it.
pub(super) fn finish(machine: &Machine) -> Result<(Vec<Figure>, Result<(), String>), BenchError> {
    let end = machine.wait_exit(PATIENCE)?;
    let text = machine.serial_text();
    Ok((figures::parse(&text), judge(&end, &text)))
}

/// Whether a machine measured all that it should, by how it ended and what it printed. What is wrong is an error of its own,
/// beside the figures that are there all the same.
fn judge(end: &End, text: &str) -> Result<(), String> {
    if let Some(line) = text.lines().find(|line| line.contains("ERROR")) {
        return Err(line.trim().to_owned());
    }
    match figures::parse(text).len() {
        _ if !end.is_good() => Err(end.to_string()),
        0 => Err(format!("{end}, and no figures")),
        _ => Ok(()),
    }
}

fn ours(bench: &Bench<'_>, suite: Suite) -> Result<Machine, BenchError> {
    let mut builder = builder(bench, suite)?.elf(bench.image("bench")).append(&format!("bench={suite}"));
    if suite == Suite::Storage {
        builder = builder.append("bench.disk=disk0");
    }
    if bench.plan.quick {
        builder = builder.append("bench.quick=on");
    }
    if bench.plan.icount {
        builder = builder.append(COUNTED);
    }
    Ok(builder.spawn()?)
}

fn linux(bench: &Bench<'_>, suite: Suite) -> Result<Option<Machine>, BenchError> {
    let Some(peer) = &bench.peer else { return Ok(None) };
    let unit = if bench.plan.icount { "instructions" } else { "tsc" };
    let pace = if bench.plan.quick { "quick" } else { "full" };
    let settings = format!("peer=latency suite={suite} pace={pace} unit={unit}");
    let builder = builder(bench, suite)?
        .elf(&peer.kernel)
        .qemu_arg("-initrd")
        .qemu_arg(&peer.initrd.to_string_lossy())
        .append(&format!("console=ttyS0 quiet panic=-1 {LINUX_AT_ITS_BEST} {settings}"));
    Ok(Some(builder.spawn()?))
}

/// The machine that both run on.
fn builder(bench: &Bench<'_>, suite: Suite) -> Result<crate::Builder, BenchError> {
    let mut builder = bench.named(Machine::builder())?.cpus(bench.plan.cpus);
    if suite == Suite::Storage {
        let disk = bench.machine_directory()?.join("disk");
        File::create(&disk)?.set_len(DISK)?;
        builder = builder.disk(&disk);
    }
    Ok(match (bench.plan.icount, bench.plan.cpus) {
        (false, _) => builder,
        (true, 1) => builder.icount_alone(),
        // Of several CPUs, one that waits for another's spinning starves where idle ones don't sleep.
        (true, _) => builder.icount(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIGURE: &str =
        r#"{"name":"a.b","mode":"native","cpus":1,"unit":"tsc","n":1,"min":1,"p50":1,"p99":1,"max":1}"#;

    #[test]
    fn a_machine_that_fails_is_told() {
        assert_eq!(judge(&End::Shutdown, FIGURE), Ok(()));
        let failed = judge(&End::Shutdown, &format!("{FIGURE}\n[ 0.1] ERROR bench: lost\n"));
        assert_eq!(failed, Err("[ 0.1] ERROR bench: lost".to_owned()));
        assert!(judge(&End::Shutdown, "").unwrap_err().ends_with("no figures"));
        assert!(judge(&End::Panic, FIGURE).is_err());
    }
}
