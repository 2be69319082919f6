//! `qs disk`: disks for machines.

use std::path::PathBuf;

use clap::Subcommand;

use crate::output;
use image_builder::disk::DiskSize;
use image_builder::{Error, ExitCode, disk};

#[derive(Debug, Subcommand)]
pub enum DiskCommand {
    /// Make a raw disk image with a GPT and a partition where its machine keeps what is to last, such as its host key
    Create {
        /// The image; one that is there is left alone
        file: PathBuf,
        /// Whole mebibytes, at least 3M
        #[arg(long, default_value = "64M")]
        size: DiskSize,
    },
}

pub fn disk(command: &DiskCommand) -> Result<ExitCode, Error> {
    match command {
        DiskCommand::Create { file, size } => {
            disk::create(file, *size)?;
            output::progress(format_args!("a disk of {size} with a partition for the state of its machine"));
            output::data(file.display());
        }
    }
    Ok(ExitCode::Done)
}
