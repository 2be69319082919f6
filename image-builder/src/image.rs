//! Bootable media: a hybrid ISO that starts under BIOS and UEFI, from a CD, a disk or a USB stick, made without root.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Error;
use crate::tools::{self, Tool};

/// What [`iso`] needs.
pub const ISO_TOOLS: &[Tool] =
    &[Tool::GrubMkrescue, Tool::GrubBios, Tool::GrubEfi, Tool::Xorriso, Tool::Mtools];

/// A fixed moment for all time stamps, so that equal inputs give equal images: 2020-01-01T00:00:00Z.
const EPOCH: &str = "1577836800";
const VOLUME_DATE: &str = "2020010100000000";

#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error(
        "command line '{0}': GRUB takes neither quotes, line breaks nor any of \\ $ ; & | < > {{ }} in it"
    )]
    CommandLine(String),
    #[error("{tool} failed:\n{messages}")]
    Tool { tool: String, messages: String },
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: io::Error },
}

/// Writes an ISO that boots `elf` with a kernel command line.
pub fn iso(elf: &Path, command_line: &str, output: &Path) -> Result<(), Error> {
    let configuration = grub_configuration(command_line)?;
    tools::require(ISO_TOOLS)?;
    let tree = output.with_added_extension("tree");
    let result = lay_out(elf, &configuration, &tree).and_then(|()| make(&tree, output));
    drop(fs::remove_dir_all(&tree));
    Ok(result?)
}

/// Writes a raw disk image: the ISO's own partition tables (MBR and GPT) make it a disk for BIOS and UEFI. Disks come in
/// whole mebibytes.
pub fn raw(elf: &Path, command_line: &str, output: &Path) -> Result<(), Error> {
    iso(elf, command_line, output)?;
    let pad = || {
        let file = fs::File::options().write(true).open(output)?;
        file.set_len(file.metadata()?.len().next_multiple_of(1 << 20))
    };
    Ok(pad().map_err(at(output))?)
}

/// Writes a qcow2 disk image with the content of [`raw`].
pub fn qcow2(elf: &Path, command_line: &str, output: &Path) -> Result<(), Error> {
    let qemu_img = tools::program(Tool::QemuImg)?;
    let disk = output.with_added_extension("raw");
    raw(elf, command_line, &disk)?;
    let mut command = Command::new(&qemu_img);
    command.args(["convert", "-q", "-f", "raw", "-O", "qcow2"]).arg(&disk).arg(output);
    let result = run(command);
    drop(fs::remove_file(&disk));
    Ok(result?)
}

fn grub_configuration(command_line: &str) -> Result<String, ImageError> {
    if command_line.contains(|c: char| c.is_control() || "'\"\\$;&|<>{}".contains(c)) {
        return Err(ImageError::CommandLine(command_line.to_owned()));
    }
    Ok(format!(
        "set timeout=0\n\
         serial --unit=0 --speed=115200\n\
         terminal_input serial console\n\
         terminal_output serial console\n\
         multiboot2 /boot/quicksilver.elf {command_line}\n\
         boot\n"
    ))
}

fn lay_out(elf: &Path, configuration: &str, tree: &Path) -> Result<(), ImageError> {
    // A tree may be left from a build that was killed.
    drop(fs::remove_dir_all(tree));
    let boot = tree.join("boot");
    fs::create_dir_all(boot.join("grub")).map_err(at(&boot))?;
    fs::copy(elf, boot.join("quicksilver.elf")).map_err(at(elf))?;
    let path = boot.join("grub/grub.cfg");
    fs::write(&path, configuration).map_err(at(&path))
}

fn make(tree: &Path, output: &Path) -> Result<(), ImageError> {
    let program = Tool::GrubMkrescue.find().expect("required before");
    let new = output.with_added_extension("new");
    let mut command = Command::new(program);
    command.env("SOURCE_DATE_EPOCH", EPOCH);
    command.arg("-o").arg(&new);
    // Only what the configuration uses, so that the loader starts fast and the image stays small.
    command.args(["--compress=no", "--locales=", "--fonts=", "--themes="]);
    command.arg(
        "--install-modules=normal multiboot2 serial terminal echo boot search iso9660 part_gpt part_msdos",
    );
    command.arg(tree);
    command.args(["--", "-volid", "QUICKSILVER", "-volume_date", "uuid", VOLUME_DATE]);
    command.args(["-volume_date", "all_file_dates", VOLUME_DATE]);
    let result = run(command)
        .and_then(|()| settle_serial_number(&new).map_err(at(&new)))
        .and_then(|()| fs::rename(&new, output).map_err(at(output)));
    drop(fs::remove_file(&new));
    result
}

/// Gives the EFI system partition a fixed serial number: mformat takes the time of day. The partition's boot sector is the
/// one with FAT's extended boot signature (0x29 at offset 38) and name.
fn settle_serial_number(iso: &Path) -> io::Result<()> {
    let mut bytes = fs::read(iso)?;
    for sector in bytes.chunks_exact_mut(2048) {
        if sector[38] == 0x29 && sector[54..].starts_with(b"FAT1") && sector[510..512] == [0x55, 0xaa] {
            sector[39..43].copy_from_slice(b"QSVR");
        }
    }
    fs::write(iso, bytes)
}

fn run(mut command: Command) -> Result<(), ImageError> {
    let tool = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(at(Path::new(&tool)))?;
    if output.status.success() {
        return Ok(());
    }
    Err(ImageError::Tool { tool, messages: String::from_utf8_lossy(&output.stderr).into_owned() })
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ImageError + use<> {
    let path = path.to_owned();
    move |error| ImageError::Io { path, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_cannot_leave_its_line() {
        let configuration = grub_configuration("log=debug ip=10.0.0.2/24,gw=10.0.0.1").unwrap();
        assert!(
            configuration
                .contains("multiboot2 /boot/quicksilver.elf log=debug ip=10.0.0.2/24,gw=10.0.0.1\nboot\n")
        );
        for evil in ["a\nhalt", "a;halt", "a'b", "$root", "a b }"] {
            assert!(matches!(grub_configuration(evil), Err(ImageError::CommandLine(_))), "{evil}");
        }
    }
}
