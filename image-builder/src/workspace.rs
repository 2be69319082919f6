//! The project's own sources: where they are, and which applications can be built in.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, io};

use serde_json::Value;

#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    #[error("no Quicksilver sources found: run qs inside the project's directory")]
    NotFound,
    #[error("cargo metadata: {0}")]
    Io(#[from] io::Error),
    #[error("cargo metadata failed:\n{0}")]
    Metadata(String),
    #[error("no application named '{name}'; there are: {}", known.join(", "))]
    UnknownApp { name: String, known: Vec<String> },
}

/// The project.
#[derive(Clone, Debug)]
pub struct Workspace {
    pub root: PathBuf,
    /// Cargo's target directory for the host.
    pub target: PathBuf,
    apps: Vec<String>,
}

impl Workspace {
    /// The project around the working directory; else the one this program was built from.
    pub fn find() -> Result<Self, WorkspaceError> {
        let here = env::current_dir()?;
        let built_from = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = here
            .ancestors()
            .chain(built_from.ancestors())
            .find(|directory| {
                directory.join("kernel/linker.ld").is_file() && directory.join("Cargo.toml").is_file()
            })
            .ok_or(WorkspaceError::NotFound)?;
        Self::open(root)
    }

    fn open(root: &Path) -> Result<Self, WorkspaceError> {
        let output =
            cargo().current_dir(root).args(["metadata", "--no-deps", "--format-version=1"]).output()?;
        if !output.status.success() {
            return Err(WorkspaceError::Metadata(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        let metadata: Value = serde_json::from_slice(&output.stdout)
            .map_err(|error| WorkspaceError::Metadata(format!("not JSON: {error}")))?;
        let target = metadata["target_directory"].as_str().ok_or(WorkspaceError::NotFound)?.into();
        Ok(Self { root: root.to_owned(), target, apps: apps(&metadata) })
    }

    /// The applications: the features of package `kernel` that begin with `app-`, without that.
    pub fn apps(&self) -> &[String] {
        &self.apps
    }

    /// Checks a comma-separated list of applications.
    pub fn check_apps<'a>(&self, list: &'a str) -> Result<Vec<&'a str>, WorkspaceError> {
        let names: Vec<&str> = list.split(',').collect();
        match names.iter().find(|name| !self.apps.iter().any(|app| app == *name)) {
            None => Ok(names),
            Some(name) => {
                Err(WorkspaceError::UnknownApp { name: (*name).to_owned(), known: self.apps.clone() })
            }
        }
    }
}

/// The cargo that runs us, else the one in `PATH`.
pub fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn apps(metadata: &Value) -> Vec<String> {
    let packages = metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
    let kernel = packages.iter().find(|package| package["name"] == "kernel");
    let features = kernel.and_then(|package| package["features"].as_object());
    let names = features.into_iter().flatten().filter_map(|(name, _)| name.strip_prefix("app-"));
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_and_its_apps_are_found() {
        let workspace = Workspace::find().unwrap();
        assert!(workspace.apps().iter().any(|app| app == "kv"), "{:?}", workspace.apps());
        assert_eq!(workspace.check_apps("kv,web").unwrap(), ["kv", "web"]);
        let error = workspace.check_apps("kv,nosuch").unwrap_err().to_string();
        assert!(error.starts_with("no application named 'nosuch'; there are: "), "{error}");
    }
}
