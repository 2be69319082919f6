//! `qs checkpoint`: looks into checkpoints, checks and merges them.

use std::path::{Path, PathBuf};

use checkpoint::{FrameKind, Key, PAGE, Region, RegionKind, VERSION};
use clap::Subcommand;
use serde_json::{Value, json};
use slots::{Record, Which};

use crate::output;
use image_builder::checkpoint::{CheckpointError, Inspection, Trust};
use image_builder::{Error, ExitCode, checkpoint as files};

#[derive(Debug, Subcommand)]
pub enum CheckpointCommand {
    /// Show what a checkpoint says of itself, before its pages
    Inspect {
        /// A checkpoint, or the raw image of a disk on which a machine keeps some
        file: PathBuf,
        /// Which one of those on the disk: latest, its number, or its ID
        #[arg(long, value_name = "WHICH", default_value = "latest")]
        checkpoint: Which,
        /// The key that it has to be made with, 64 hexadecimal digits [default: yours, if it is made with one; where that is another, what
        /// is shown is not checked]
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Read all of a checkpoint, and tell whether it is whole
    Verify {
        /// A checkpoint, or the raw image of a disk on which a machine keeps some
        file: PathBuf,
        /// Which one of those on the disk: latest, its number, or its ID
        #[arg(long, value_name = "WHICH", default_value = "latest")]
        checkpoint: Which,
        /// The key that it has to be made with, 64 hexadecimal digits [default: yours, if it is made with one]
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
    /// List the checkpoints that a machine keeps on its disk
    List {
        /// The raw image of the disk
        disk: PathBuf,
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Make one of a checkpoint and incremental ones that build on it
    Merge {
        base: PathBuf,
        /// Incremental checkpoints, each building on the one before
        #[arg(required = true, value_name = "INCREMENT")]
        increments: Vec<PathBuf>,
        /// Where to put it; a file that is there is left alone
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// The key that all of them have to be made with, 64 hexadecimal digits [default: yours, if they are made with one]
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
}

pub fn checkpoint(command: &CheckpointCommand) -> Result<ExitCode, Error> {
    match command {
        CheckpointCommand::Inspect { file, checkpoint, key, json } => {
            let inspection = files::inspect_one(file, *checkpoint, named(key.as_deref())?.as_ref())?;
            if inspection.trust == Trust::Nothing {
                tell(inspection.trust, key.as_deref());
            }
            if *json { output::data(object(&inspection)) } else { show(&inspection) }
        }
        CheckpointCommand::Verify { file, checkpoint, key } => {
            let (totals, trust) = files::verify_one(file, *checkpoint, named(key.as_deref())?.as_ref())?;
            tell(trust, key.as_deref());
            let (chunks, pages, zero) = (totals.chunks, totals.pages, totals.zero);
            output::data(format_args!(
                "{}: whole: {chunks} chunks, {pages} pages, {zero} zero",
                file.display()
            ));
        }
        CheckpointCommand::List { disk, json } => list(disk, *json)?,
        CheckpointCommand::Merge { base, increments, output: to, key } => {
            let inputs = [std::slice::from_ref(base), increments].concat();
            let (totals, trust) = files::merge(&inputs, to, named(key.as_deref())?.as_ref())?;
            tell(trust, key.as_deref());
            let (count, pages, zero) = (inputs.len(), totals.pages, totals.zero);
            output::progress(format_args!("{count} checkpoints are one: {pages} pages, {zero} zero"));
            output::data(to.display());
        }
    }
    Ok(ExitCode::Done)
}

fn list(disk: &Path, json: bool) -> Result<(), CheckpointError> {
    let slots = files::list(disk)?;
    for Record { number, bytes, wall, id, .. } in slots.whole() {
        if json {
            let wall = if *wall == 0 { Value::Null } else { (*wall).into() };
            output::data(
                json!({ "checkpoint": number, "id": hex(id), "wall_ns": wall, "bytes": bytes, "whole": true }),
            );
        } else {
            let date = files::date_of(*wall).unwrap_or_else(|| "date unknown".to_owned());
            output::data(format_args!("{number:>6}  {}  {date}  {bytes} bytes", hex(id)));
        }
    }
    for (record, fault) in slots.faults() {
        output::progress(format_args!("record {record} does not count: {fault}"));
    }
    Ok(())
}

fn named(key: Option<&Path>) -> Result<Option<Key>, CheckpointError> {
    key.map(files::key::read).transpose()
}

/// Says what the tags have proved.
fn tell(trust: Trust, named: Option<&Path>) {
    match (trust, named) {
        (Trust::Key, Some(path)) => {
            output::progress(format_args!(
                "made with the key in {}: neither damaged nor forged",
                path.display()
            ));
        }
        (Trust::Key, None) => output::progress("made with your key: neither damaged nor forged"),
        (Trust::Checksums, _) => {
            output::progress("made without a key: damage would be noticed, forgery would not");
        }
        (Trust::Nothing, _) => {
            output::progress("made with a key that is not yours: nothing of this is checked")
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn kind(region: &Region) -> &'static str {
    match region.kind {
        RegionKind::Memory => "memory",
        RegionKind::Image => "image",
        RegionKind::Reserve => "reserve",
        RegionKind::Other => "other",
    }
}

fn features(inspection: &Inspection) -> Vec<String> {
    let names = inspection.manifest.features.to_string();
    names.split(", ").filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn object(inspection: &Inspection) -> Value {
    let Inspection { manifest, trust, bytes } = inspection;
    let (header, frames) = (&manifest.header, &manifest.frames);
    let regions = manifest.map.regions().iter();
    let regions =
        regions.map(|region| json!({ "start": region.start, "end": region.end, "kind": kind(region) }));
    json!({
        "version": VERSION,
        "bytes": bytes,
        "keyed": *trust != Trust::Checksums,
        "checked": *trust != Trust::Nothing,
        "id": hex(&header.id),
        "base": header.base.map(|base| hex(&base)),
        "generation": header.generation,
        "image": hex(&header.image),
        "monotonic_ns": header.monotonic,
        "wall_ns": if header.wall == 0 { Value::Null } else { header.wall.into() },
        "vendor": header.vendor.to_string(),
        "cpus": header.cpus,
        "cpu_state_bytes": manifest.cpus.iter().map(Vec::len).sum::<usize>(),
        "features": features(inspection),
        "memory_end": header.memory_end,
        "regions": regions.collect::<Vec<_>>(),
        "frames": {
            "here": frames.count(FrameKind::Here),
            "zero": frames.count(FrameKind::Zero),
            "base": frames.count(FrameKind::Base),
            "ranges": frames.ranges().len(),
        },
    })
}

fn show(inspection: &Inspection) {
    let Inspection { manifest, trust, bytes } = inspection;
    let (header, frames) = (&manifest.header, &manifest.frames);
    let kib = |frames: u64| frames * PAGE as u64 / 1024;
    let trust = match trust {
        Trust::Key => "made with the key",
        Trust::Checksums => "made without a key",
        Trust::Nothing => "not checked",
    };
    let when = inspection.date().map_or_else(String::new, |date| format!("{date}, "));
    let state: usize = manifest.cpus.iter().map(Vec::len).sum();
    let here = frames.count(FrameKind::Here);
    let [zero, base] = [FrameKind::Zero, FrameKind::Base].map(|kind| frames.count(kind));
    let mut rows = vec![
        ("checkpoint", format!("{}, version {VERSION}, {bytes} bytes, {trust}", hex(&header.id))),
        ("image", hex(&header.image)),
        ("generation", header.generation.to_string()),
        ("taken", format!("{when}{:.3} s after the start", header.monotonic as f64 / 1e9)),
        ("CPUs", format!("{} of {}, {state} bytes of state", header.cpus, header.vendor)),
        ("features", features(inspection).join(" ")),
        ("frames", format!("{here} here ({} KiB), {zero} zero, {base} as in the base", kib(here))),
    ];
    if let Some(base) = header.base {
        rows.insert(1, ("builds on", hex(&base)));
    }
    let region = |region: &Region| format!("{:#x}-{:#x} {}", region.start, region.end, kind(region));
    rows.extend(manifest.map.regions().iter().map(|one| ("memory", region(one))));
    for (name, value) in rows {
        output::data(format_args!("{name:12}{value}").to_string().trim_end());
    }
}
