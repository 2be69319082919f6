//! Installs host tools with the system's package manager, where that needs nobody's password.

use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use super::{Tool, ToolError, ToolInfo, in_path, missing};

/// Package managers whose names for things we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackageManager {
    Apt,
    Dnf,
    Pacman,
    Zypper,
}

/// How this process may install packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    Root,
    /// `sudo` asks no password.
    Sudo,
}

impl Privilege {
    pub fn detect() -> Option<Self> {
        if rustix::process::geteuid().is_root() {
            return Some(Privilege::Root);
        }
        let sudo = in_path("sudo")?;
        let asked =
            Command::new(sudo).args(["-n", "true"]).stdin(Stdio::null()).stderr(Stdio::null()).status();
        asked.is_ok_and(|status| status.success()).then_some(Privilege::Sudo)
    }
}

impl PackageManager {
    pub const ALL: [PackageManager; 4] = [Self::Apt, Self::Dnf, Self::Pacman, Self::Zypper];

    /// The one of this system.
    pub fn detect() -> Option<Self> {
        Self::ALL.into_iter().find(|manager| in_path(manager.program()).is_some())
    }

    fn program(self) -> &'static str {
        match self {
            Self::Apt => "apt-get",
            Self::Dnf => "dnf",
            Self::Pacman => "pacman",
            Self::Zypper => "zypper",
        }
    }

    fn install_arguments(self) -> &'static [&'static str] {
        match self {
            Self::Apt => &["install", "-y", "--no-install-recommends"],
            Self::Dnf => &["install", "-y"],
            Self::Pacman => &["-S", "--noconfirm", "--needed"],
            Self::Zypper => &["--non-interactive", "install"],
        }
    }

    /// The packages, separated by spaces, that bring a tool.
    pub fn package(self, info: &ToolInfo) -> &'static str {
        match self {
            Self::Apt => info.debian,
            Self::Dnf => info.fedora,
            Self::Pacman => info.arch,
            Self::Zypper => info.suse,
        }
    }

    fn packages(self, tools: &[Tool]) -> Vec<&'static str> {
        let mut packages = Vec::new();
        for package in tools.iter().flat_map(|tool| self.package(tool.info()).split(' ')) {
            if !packages.contains(&package) {
                packages.push(package);
            }
        }
        packages
    }

    /// The line to type for installing tools.
    pub fn line(self, tools: &[Tool]) -> String {
        let arguments = self.install_arguments().join(" ");
        format!("sudo {} {arguments} {}", self.program(), self.packages(tools).join(" "))
    }
}

/// Installs tools that are missing, and makes sure that they are there then.
pub(super) fn install(absent: &[Tool]) -> Result<(), ToolError> {
    let manager = PackageManager::detect();
    let line = manager.map_or_else(by_hand_line(absent), |manager| manager.line(absent));
    let (Some(manager), Some(privilege)) = (manager, Privilege::detect()) else {
        return Err(ToolError::Missing { names: names(absent), line });
    };
    for tool in absent {
        eprintln!("qs: {} is missing ({})", tool.info().name, tool.info().why);
    }
    let packages = manager.packages(absent);
    eprintln!("qs: installing {} with {}", packages.join(" "), manager.program());
    if manager == PackageManager::Apt {
        // On a fresh system there are no package lists yet. Where they cannot be had, old ones may still do.
        drop(run(manager, privilege, &["update", "--quiet"]));
    }
    let arguments: Vec<&str> = manager.install_arguments().iter().copied().chain(packages).collect();
    let result = run(manager, privilege, &arguments);
    let still = missing(absent);
    match result {
        _ if still.is_empty() => Ok(()),
        Ok(()) => {
            let reason = format!("{} reported success, but", manager.program());
            Err(ToolError::NotInstalled { names: names(&still), line, reason })
        }
        Err(reason) => Err(ToolError::NotInstalled { names: names(&still), line, reason }),
    }
}

/// What to say of tools that each installation leaves missing.
pub(super) fn not_installed(absent: &[Tool]) -> ToolError {
    let line = PackageManager::detect().map_or_else(by_hand_line(absent), |manager| manager.line(absent));
    ToolError::NotInstalled { names: names(absent), line, reason: "other packages remove them".to_owned() }
}

fn names(tools: &[Tool]) -> Vec<String> {
    tools.iter().map(|tool| format!("{} ({})", tool.info().name, tool.info().why)).collect()
}

fn by_hand_line(tools: &[Tool]) -> impl FnOnce() -> String {
    let names: Vec<&str> = tools.iter().map(|tool| tool.info().name).collect();
    let line = format!("(no package manager known here; by hand: {})", names.join(", "));
    move || line
}

/// Runs the package manager; all it says is progress, so it goes to the standard error.
fn run(manager: PackageManager, privilege: Privilege, arguments: &[&str]) -> Result<(), String> {
    let mut command = match privilege {
        Privilege::Root => {
            let mut command = Command::new(manager.program());
            command.env("DEBIAN_FRONTEND", "noninteractive");
            command
        }
        Privilege::Sudo => {
            let mut command = Command::new("sudo");
            command.args(["-n", "env", "DEBIAN_FRONTEND=noninteractive", manager.program()]);
            command
        }
    };
    let stderr = std::io::stderr().as_fd().try_clone_to_owned().map_err(|error| error.to_string())?;
    if manager == PackageManager::Apt {
        // Somebody else may be installing right now.
        command.args(["-o", "DPkg::Lock::Timeout=300"]);
    }
    match command.args(arguments).stdin(Stdio::null()).stdout(stderr).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{} ended with {status}", manager.program())),
        Err(error) => Err(format!("{}: {error}", manager.program())),
    }
}
