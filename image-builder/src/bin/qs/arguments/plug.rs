//! The options of `qs plug` and `qs unplug`.

use std::path::PathBuf;

use clap::Args;

use super::choice;
use image_builder::Model;
use image_builder::disk::DiskSize;
use image_builder::plug::Wish;

#[derive(Debug, Args)]
pub struct PlugOptions {
    /// The machine
    pub name: String,
    /// What is plugged in: a card on the machine's network, or a disk
    #[arg(value_parser = choice(Model::ALL))]
    model: Option<Model>,
    /// The port of q35, or the slot of a pc [default: the first that is free]
    #[arg(long, value_name = "N", requires = "model", value_parser = clap::value_parser!(u8).range(1..=31))]
    port: Option<u8>,
    /// The tap device of a card, of the same bridge, where the machine is on one
    #[arg(long, value_name = "IFNAME", requires = "model")]
    tap: Option<String>,
    /// The image of a disk, raw or qcow2 [default: an empty one, gone when it is unplugged or the machine ends]
    #[arg(long, value_name = "FILE", requires = "model")]
    file: Option<PathBuf>,
    /// The size of an empty disk [default: that of the machine's disk]
    #[arg(long, requires = "model")]
    size: Option<DiskSize>,
    /// Print JSON: an object with device, model, port and place, or an array of ports
    #[arg(long)]
    pub json: bool,
}

impl PlugOptions {
    /// What is to be plugged in; nothing, where the ports are asked for.
    pub fn wish(&self) -> Option<Wish> {
        let Self { port, tap, file, size, .. } = self;
        self.model.map(|model| Wish { model, port: *port, tap: tap.clone(), file: file.clone(), size: *size })
    }
}

#[derive(Debug, Args)]
pub struct UnplugOptions {
    /// The machine
    pub name: String,
    /// The device, as qs plug names it
    pub device: String,
    /// Ask nobody: pull it out
    #[arg(long)]
    pub surprise: bool,
    /// How long the machine may take to let it go, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,
}
