//! Starts Bochs.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{Started, failed, io_error};
use crate::Error;
use crate::bochs;
use crate::config;
use crate::machine::builder::Builder;
use crate::machine::control::Control;
use crate::ports::Granted;
use crate::process::{Identity, POLL};
use crate::tools;

/// How long Bochs may take until its devices stand.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bochs and the directory of a machine in it.
pub(super) struct Bochs {
    program: PathBuf,
    directory: PathBuf,
}

impl Bochs {
    /// Writes the configuration, and puts the boot image where that looks for it.
    pub(super) fn lay_out(
        builder: &Builder,
        chosen: &config::Bochs,
        found: &tools::Bochs,
        image: &Path,
        directory: &Path,
    ) -> Result<Self, Error> {
        let lay_out = || -> io::Result<()> {
            let rc = bochs::bochsrc(&builder.config, chosen, &found.bios, &found.vga_bios);
            fs::write(directory.join(bochs::RC), rc)?;
            fs::write(directory.join(bochs::DEBUGGER), bochs::DEBUGGER_COMMANDS)?;
            let link = directory.join(bochs::IMAGE);
            if image != link { symlink(fs::canonicalize(image)?, link) } else { Ok(()) }
        };
        lay_out().map_err(io_error("Bochs's files"))?;
        Ok(Self { program: found.program.clone(), directory: directory.to_owned() })
    }

    /// Starts it. It keeps the boot image's file, which it may open again.
    pub(super) fn launch(&self, builder: &Builder, ports: &[Granted]) -> Result<Started, Error> {
        let at = |name: &str| self.directory.join(name);
        fs::write(at(bochs::SLIRP), bochs::slirp(ports)).map_err(io_error("Bochs's network"))?;
        let stderr = File::create(at(bochs::STDERR)).map_err(io_error("Bochs's messages"))?;
        // The log of an earlier try would be taken for this one's.
        drop(fs::remove_file(at(bochs::LOG)));
        let mut command = Command::new(&self.program);
        command.args(bochs::ARGUMENTS).current_dir(&self.directory).env("TERM", "vt100");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let mut child = crate::process::spawn(command, builder.lifetime)
            .map_err(io_error(&self.program.display().to_string()))?;
        let identity = Identity::of(child.id());

        let deadline = Instant::now() + PATIENCE;
        let failure = loop {
            // Looked at before the log: what an ended Bochs has written is then all there.
            let status = child.try_wait();
            let log = read(&at(bochs::LOG));
            if let Some(line) = bochs::lost_port(&log) {
                break line.to_owned();
            }
            match status {
                // A machine that stood and has ended has its own story to tell.
                Ok(_) if bochs::stands(&log) => {
                    let control = Control::BochsLog(at(bochs::LOG));
                    return Ok(Started { child, identity, control });
                }
                Ok(None) if Instant::now() >= deadline => break "its devices do not stand".to_owned(),
                Ok(None) => thread::sleep(POLL),
                Ok(Some(status)) => {
                    break bochs::complaint(&log, &read(&at(bochs::STDERR)))
                        .unwrap_or_else(|| status.to_string());
                }
                Err(error) => break error.to_string(),
            }
        };
        drop(child.kill().and_then(|()| child.wait()));
        Err(failed(builder, failure))
    }
}

/// What is in a file that may not be there yet.
fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}
