//! `qs disk`: disks for machines.

use std::path::PathBuf;

use clap::Subcommand;

use crate::output;
use image_builder::disk::{CheckpointsSize, DiskSize};
use image_builder::{Error, ExitCode, disk};

/// The size of a disk unless another is asked for.
const DEFAULT: DiskSize = DiskSize::mebibytes(64);

#[derive(Debug, Subcommand)]
pub enum DiskCommand {
    /// Make a raw disk image with a GPT and a partition where its machine keeps what is to last, such as its host key
    Create {
        /// The image; one that is there is left alone
        file: PathBuf,
        /// Whole mebibytes, at least 3M [default: 64M, or with checkpoints what they take]
        #[arg(long)]
        size: Option<DiskSize>,
        /// Add a partition of this size for the machine's checkpoints: whole mebibytes. What two of them take is needed at least
        #[arg(long, value_name = "SIZE")]
        checkpoints: Option<CheckpointsSize>,
    },
}

pub fn disk(command: &DiskCommand) -> Result<ExitCode, Error> {
    match command {
        DiskCommand::Create { file, size, checkpoints } => {
            let usual = checkpoints.map_or(DEFAULT, CheckpointsSize::disk);
            let size = size.unwrap_or(usual);
            disk::create(file, size, *checkpoints)?;
            let more =
                checkpoints.map_or_else(String::new, |size| format!(", and one of {size} for checkpoints"));
            output::progress(format_args!(
                "a disk of {size} with a partition for the state of its machine{more}"
            ));
            output::data(file.display());
        }
    }
    Ok(ExitCode::Done)
}
