//! `qs plug` and `qs unplug`: devices that come and go while a machine runs.

use std::time::Duration;

use crate::arguments::{PlugOptions, UnplugOptions};
use crate::output;
use image_builder::plug::{Leave, PlugError, Plugged, Port, Site};
use image_builder::qmp::Qmp;
use image_builder::state::Registry;
use image_builder::{Error, ExitCode};

/// How long another one may take who is at it. QEMU listens to one at a time.
const TURN: Duration = Duration::from_secs(60);

pub fn plug(options: &PlugOptions) -> Result<ExitCode, Error> {
    let (site, mut qmp) = reach(&options.name)?;
    let Some(wish) = options.wish() else {
        list(&site.ports(&mut qmp)?, options.json);
        return Ok(ExitCode::Done);
    };
    let plugged = site.plug(&mut qmp, &wish)?;
    if options.json {
        output::data(serde_json::json!(plugged));
        return Ok(ExitCode::Done);
    }
    let Plugged { device, model, port, place } = plugged;
    let place = place.map_or_else(String::new, |place| format!(" ({place})"));
    output::data(format_args!("{device}: {model} in port {port}{place}"));
    if !model.is_disk() {
        let name = &options.name;
        output::progress(format_args!(
            "to let it serve: qs ssh {name} device swap net0 --to next; which is which: qs ssh {name} device list"
        ));
    }
    Ok(ExitCode::Done)
}

pub fn unplug(options: &UnplugOptions) -> Result<ExitCode, Error> {
    let (site, mut qmp) = reach(&options.name)?;
    let how = if options.surprise { Leave::Surprise } else { Leave::Asked };
    site.unplug(&mut qmp, &options.device, how, Duration::from_secs(options.timeout))?;
    output::progress(format_args!("{} has left machine '{}'", options.device, options.name));
    Ok(ExitCode::Done)
}

/// The machine of this name, and the line to it.
fn reach(name: &str) -> Result<(Site, Qmp), Error> {
    let state = Registry::of_user()?.find(name)?;
    if !state.running {
        return Err(PlugError::Building(state.name).into());
    }
    let site = state.site.ok_or_else(|| PlugError::NoPci(name.to_owned()))?;
    Ok((site, Qmp::connect(&state.qmp, TURN)?))
}

fn list(ports: &[Port], is_json: bool) {
    if is_json {
        output::data(serde_json::json!(ports));
        return;
    }
    let row = |port: &Port| {
        let model = port.model.map_or_else(String::new, |model| model.to_string());
        let place = port.place.clone().unwrap_or_default();
        vec![port.number.to_string(), place, port.device.clone().unwrap_or_default(), model]
    };
    let rows: Vec<Vec<String>> = ports.iter().map(row).collect();
    output::table(&["PORT", "PLACE", "DEVICE", "MODEL"], &rows);
}
