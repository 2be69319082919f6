//! CONFIG and HELP.
use super::{Context, Done, unknown_subcommand};
use crate::failure::Failure;
use crate::glob;
use alloc::string::String;
use alloc::vec::Vec;

/// The reply to a HELP subcommand.
pub(crate) fn help(context: &mut Context<'_, '_>, lines: &[&str]) -> Done {
    let name = String::from_utf8_lossy(context.args.at(0)).to_ascii_uppercase();
    context.out.array(lines.len() + 1);
    context.out.simple(&alloc::format!("{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    lines.iter().for_each(|line| context.out.simple(line));
    Ok(())
}

pub(crate) fn config(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    match args.at(1).to_ascii_lowercase().as_slice() {
        b"get" if args.len() >= 3 => {
            let wanted = |name: &str| {
                args.from(2)
                    .iter()
                    .any(|pattern| glob::matches(&pattern.to_ascii_lowercase(), name.as_bytes()))
            };
            let found: Vec<_> = context.store.config.entries().filter(|(name, _)| wanted(name)).collect();
            context.out.map(found.len());
            for (name, value) in &found {
                context.out.bulk(name.as_bytes());
                context.out.bulk(value);
            }
        }
        b"set" if args.len() >= 4 && args.len().is_multiple_of(2) => {
            for at in (2..args.len()).step_by(2) {
                set(context, args.at(at), args.at(at + 1))?;
            }
            context.out.ok();
        }
        b"resetstat" if args.len() == 2 => {
            let stats = &mut context.store.stats;
            *stats = crate::store::Stats { started: stats.started, ..Default::default() };
            context.out.ok();
        }
        b"rewrite" if args.len() == 2 => {
            return Err(Failure::Text("ERR The server is running without a config file"));
        }
        b"help" => return help(context, &["GET <pattern>", "SET <directive> <value>", "RESETSTAT"]),
        b"get" | b"set" | b"resetstat" | b"rewrite" => {
            let sub = String::from_utf8_lossy(args.at(1)).to_ascii_lowercase();
            return Err(super::sets::sub_arity("config", &sub));
        }
        _ => return Err(unknown_subcommand(args)),
    }
    Ok(())
}

fn set(context: &mut Context<'_, '_>, name: &[u8], value: &[u8]) -> Done {
    context.store.config.set(name, value).map_err(|reason| {
        let name = String::from_utf8_lossy(name);
        Failure::Message(match reason {
            Some(reason) => {
                alloc::format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}")
            }
            None => {
                alloc::format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'")
            }
        })
    })
}
