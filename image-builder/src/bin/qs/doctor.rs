//! `qs doctor`: the host tools.

use serde_json::{Value, json};

use crate::arguments::Output;
use crate::output;
use image_builder::tools::{self, PackageManager, TABLE, Tool};
use image_builder::{Error, ExitCode};

/// Lists all tools; 69 when one is missing.
pub fn doctor(install: bool, format: Output) -> Result<ExitCode, Error> {
    let all: Vec<Tool> = TABLE.iter().map(|info| info.tool).collect();
    // The list is given in any case: it says what is still missing.
    let installed = if install { tools::require(&all) } else { Ok(()) };
    let found: Vec<Option<String>> =
        all.iter().map(|tool| tool.find().map(|path| path.display().to_string())).collect();
    match format {
        Output::Json => {
            let rows = TABLE.iter().zip(&found).map(|(info, path)| {
                json!({
                    "tool": info.name,
                    "found": path.is_some(),
                    "path": path,
                    "why": info.why,
                    "needed_for": info.needed_for,
                    "packages": {
                        "debian": info.debian, "fedora": info.fedora, "arch": info.arch, "suse": info.suse,
                    },
                })
            });
            output::data(Value::Array(rows.collect()));
        }
        Output::Table => {
            let rows: Vec<Vec<String>> = TABLE
                .iter()
                .zip(&found)
                .map(|(info, path)| {
                    let path = path.clone().unwrap_or_else(|| "MISSING".to_owned());
                    vec![info.name.to_owned(), path, info.why.to_owned(), info.needed_for.to_owned()]
                })
                .collect();
            output::table(&["TOOL", "FOUND", "WHY", "NEEDED FOR"], &rows);
        }
    }
    installed?;
    let absent = tools::missing(&all);
    if absent.is_empty() {
        return Ok(ExitCode::Done);
    }
    if let Some(manager) = PackageManager::detect() {
        output::progress(format_args!("install what is missing with: {}", manager.line(&absent)));
    }
    Ok(ExitCode::Missing)
}
