//! Programs of the host: which there are, why they are needed, and how to get the missing ones.

mod install;
mod table;

pub use install::{PackageManager, Privilege};
pub use table::{TABLE, ToolInfo};

use std::env;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// A host tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    Qemu,
    QemuImg,
    Ovmf,
    Bochs,
    BochsTerm,
    BochsBios,
    VgaBios,
    GrubMkrescue,
    GrubBios,
    GrubEfi,
    Xorriso,
    Mtools,
    Linker,
    RedisTools,
    Curl,
    Wrk,
    Iproute,
    Ping,
    Ssh,
    SshKeygen,
    SshAudit,
    Sgdisk,
    Promtool,
    Chromium,
}

#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    #[error("missing: {}\ninstall with: {line}", names.join(", "))]
    Missing { names: Vec<String>, line: String },
    #[error("installing failed ({reason}); still missing: {}\ntry: {line}", names.join(", "))]
    NotInstalled { names: Vec<String>, line: String, reason: String },
    #[error("{0} is not a program")]
    NotAProgram(PathBuf),
}

/// UEFI firmware for QEMU.
#[derive(Clone, Debug)]
pub struct Firmware {
    pub code: PathBuf,
    /// A template: each machine writes to a copy.
    pub variables: PathBuf,
}

/// What machines in Bochs need, besides what [`crate::image::ISO_TOOLS`] are for.
pub const BOCHS_TOOLS: &[Tool] = &[Tool::Bochs, Tool::BochsTerm, Tool::BochsBios, Tool::VgaBios];

/// What a dashboard is looked at with, and the metrics are checked with. Heavy: only the tests of these need them.
pub const METRICS_TOOLS: &[Tool] = &[Tool::Promtool, Tool::Chromium];

/// Bochs and the firmware of its machines.
#[derive(Clone, Debug)]
pub struct Bochs {
    pub program: PathBuf,
    pub bios: PathBuf,
    pub vga_bios: PathBuf,
}

/// Where distributions keep code and variables of OVMF.
const OVMF: &[(&str, &str)] = &[
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
    ("/usr/share/edk2-ovmf/x64/OVMF_CODE.fd", "/usr/share/edk2-ovmf/x64/OVMF_VARS.fd"),
    ("/usr/share/qemu/ovmf-x86_64-code.bin", "/usr/share/qemu/ovmf-x86_64-vars.bin"),
];

impl Tool {
    pub fn info(self) -> &'static ToolInfo {
        TABLE.iter().find(|info| info.tool == self).expect("each tool has its row")
    }

    /// Where the tool is, if it is there.
    pub fn find(self) -> Option<PathBuf> {
        let info = self.info();
        let program = info.programs.iter().find_map(|name| in_path(name));
        let file = || info.files.iter().map(PathBuf::from).find(|path| path.exists());
        program.or_else(file)
    }
}

/// Makes sure that tools are there: installs what is missing where that is possible without asking anybody.
pub fn require(tools: &[Tool]) -> Result<(), ToolError> {
    // Tests run side by side; one installs, the others then find it done.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    if missing(tools).is_empty() {
        return Ok(());
    }
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    until_present(|| missing(tools), install::install)
}

/// Installing one package may remove another, which was there before: what is missing is looked at again.
fn until_present(
    missing: impl Fn() -> Vec<Tool>,
    install: impl Fn(&[Tool]) -> Result<(), ToolError>,
) -> Result<(), ToolError> {
    const ROUNDS: usize = 3;
    for _ in 0..ROUNDS {
        let absent = missing();
        if absent.is_empty() {
            return Ok(());
        }
        install(&absent)?;
    }
    let absent = missing();
    if absent.is_empty() { Ok(()) } else { Err(install::not_installed(&absent)) }
}

/// Those of `tools` that are not there.
pub fn missing(tools: &[Tool]) -> Vec<Tool> {
    tools.iter().copied().filter(|tool| tool.find().is_none()).collect()
}

/// QEMU's program: the one given, else the one in `PATH`, installed if need be.
pub fn qemu(given: Option<&Path>) -> Result<PathBuf, ToolError> {
    match given {
        Some(path) if is_program(path) => Ok(path.to_owned()),
        Some(path) => path
            .to_str()
            .filter(|name| !name.contains('/'))
            .and_then(in_path)
            .ok_or_else(|| ToolError::NotAProgram(path.to_owned())),
        None => program(Tool::Qemu),
    }
}

/// A tool's program, installed if need be.
pub fn program(tool: Tool) -> Result<PathBuf, ToolError> {
    require(&[tool])?;
    Ok(tool.find().expect("required just now"))
}

/// UEFI firmware, installed if need be.
pub fn ovmf() -> Result<Firmware, ToolError> {
    require(&[Tool::Ovmf])?;
    let pair =
        OVMF.iter().find(|(code, variables)| Path::new(code).exists() && Path::new(variables).exists());
    let (code, variables) = pair.ok_or_else(|| ToolError::Missing {
        names: vec!["OVMF variables".to_owned()],
        line: PackageManager::detect().map_or_else(String::new, |manager| manager.line(&[Tool::Ovmf])),
    })?;
    Ok(Firmware { code: code.into(), variables: variables.into() })
}

/// Bochs, installed if need be.
pub fn bochs() -> Result<Bochs, ToolError> {
    require(BOCHS_TOOLS)?;
    let found = |tool: Tool| tool.find().expect("required just now");
    Ok(Bochs { program: found(Tool::Bochs), bios: found(Tool::BochsBios), vga_bios: found(Tool::VgaBios) })
}

/// A program in one of the directories of `PATH`.
fn in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|directory| directory.join(name)).find(|program| is_program(program))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tool_has_one_row_that_says_everything() {
        for info in TABLE {
            assert_eq!(TABLE.iter().filter(|other| other.tool == info.tool).count(), 1, "{}", info.name);
            assert!(!info.programs.is_empty() || !info.files.is_empty(), "{}", info.name);
            assert!(!info.why.is_empty() && !info.needed_for.is_empty());
            for manager in PackageManager::ALL {
                assert!(!manager.package(info).is_empty(), "{}", info.name);
            }
        }
    }

    #[test]
    fn lines_to_type_name_each_package_once() {
        let line = PackageManager::Apt.line(&[Tool::GrubMkrescue, Tool::Qemu, Tool::Qemu]);
        assert_eq!(line, "sudo apt-get install -y --no-install-recommends grub-common qemu-system-x86");
        let line = PackageManager::Pacman.line(&[Tool::GrubMkrescue, Tool::GrubBios, Tool::GrubEfi]);
        assert_eq!(line, "sudo pacman -S --noconfirm --needed grub");
    }

    /// Debian's QEMU removes a newer `qemu-img` when it is installed.
    #[test]
    fn what_an_installation_removed_is_installed_then() {
        use std::cell::RefCell;
        let present = RefCell::new(vec![Tool::QemuImg]);
        let absent = || {
            let wanted = [Tool::Qemu, Tool::QemuImg].into_iter();
            wanted.filter(|tool| !present.borrow().contains(tool)).collect::<Vec<_>>()
        };
        let first_removes_the_other = |tools: &[Tool]| {
            let mut present = present.borrow_mut();
            if tools.contains(&Tool::Qemu) {
                present.clear();
            }
            present.extend(tools);
            Ok(())
        };
        until_present(absent, first_removes_the_other).unwrap();
        assert_eq!(absent(), []);
        // Two that can't stand each other: no for ever.
        let never = until_present(|| vec![Tool::Qemu], |_| Ok(()));
        assert!(matches!(never, Err(ToolError::NotInstalled { .. })), "{never:?}");
    }

    #[test]
    fn a_given_qemu_must_be_a_program() {
        assert!(qemu(Some(Path::new("/bin/sh"))).is_ok());
        assert!(qemu(Some(Path::new("sh"))).is_ok());
        assert!(matches!(qemu(Some(Path::new("/nonexistent/qemu"))), Err(ToolError::NotAProgram(_))));
        assert!(matches!(qemu(Some(Path::new("/"))), Err(ToolError::NotAProgram(_))));
    }
}
