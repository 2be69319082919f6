//! `qs build`: an image in a file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::process::umask;

use crate::arguments::{BuildOptions, Format};
use crate::output;
use image_builder::control::Keys;
use image_builder::image::{self, ImageError};
use image_builder::workspace::Workspace;
use image_builder::{Error, ExitCode, kernel, tools};

pub fn build(options: &BuildOptions) -> Result<ExitCode, Error> {
    let workspace = Workspace::find()?;
    workspace.check_apps(&options.app)?;
    match options.format {
        Format::Elf => {}
        Format::Iso | Format::Raw => tools::require(image::ISO_TOOLS)?,
        Format::Qcow2 => tools::require(&[image::ISO_TOOLS, &[tools::Tool::QemuImg]].concat())?,
    }
    output::progress(format_args!("building {}", options.app));
    let content = options.content.of(&options.app);
    let built = kernel::image(&workspace, &content)?;
    for below in &built.report.red_zone {
        output::progress(format_args!("red zone used by precompiled code, which is allowed: {below}"));
    }

    let (extension, command_line) = (extension(options.format), options.append.join(" "));
    let usual = || PathBuf::from(format!("{}.{extension}", content.name()));
    let output = options.output.clone().unwrap_or_else(usual);
    let at = |path: &Path| {
        let path = path.to_owned();
        |error| ImageError::Io { path, error }
    };
    // What holds a secret key is nobody else's, in whatever wrapping, and from the start: whoever writes it.
    let permissions = fs::metadata(&built.elf).map_err(at(&built.elf))?.permissions();
    umask(Mode::from_raw_mode(0o777 & !permissions.mode()));
    match options.format {
        Format::Elf => drop(fs::copy(&built.elf, &output).map_err(at(&output))?),
        Format::Iso => image::iso(&built.elf, &command_line, &output)?,
        Format::Raw => image::raw(&built.elf, &command_line, &output)?,
        Format::Qcow2 => image::qcow2(&built.elf, &command_line, &output)?,
    }
    // A file that was there before has kept its own.
    fs::set_permissions(&output, permissions).map_err(at(&output))?;
    output::progress(format_args!("kernel {}", built.report));
    if content.host_key {
        let key = Keys::of_user()?.host_key();
        output::progress(format_args!("host key {}; for known_hosts:", key.fingerprint()));
        output::progress(format_args!("[HOST]:PORT {key}"));
    }
    output::data(output.display());
    Ok(ExitCode::Done)
}

fn extension(format: Format) -> &'static str {
    match format {
        Format::Elf => "elf",
        Format::Iso => "iso",
        Format::Raw => "img",
        Format::Qcow2 => "qcow2",
    }
}
