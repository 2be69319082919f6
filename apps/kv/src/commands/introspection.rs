//! COMMAND: what commands there are, for clients that ask when they start.
use super::table::{COMMANDS, find};
use super::{
    ADMIN, BLOCKING, Command, Context, Done, FAST, GROWS, MOVABLE, NO_AUTH, PUBSUB, READ, WRITE,
    unknown_subcommand,
};
use crate::failure::Failure;
use crate::reply::Reply;
use crate::resp::Args;
use alloc::string::String;
use alloc::vec::Vec;

const FLAGS: [(u16, &str); 9] = [
    (WRITE, "write"),
    (READ, "readonly"),
    (GROWS, "denyoom"),
    (ADMIN, "admin"),
    (PUBSUB, "pubsub"),
    (NO_AUTH, "no_auth"),
    (BLOCKING, "blocking"),
    (FAST, "fast"),
    (MOVABLE, "movablekeys"),
];

fn describe(out: &mut Reply<'_>, command: &Command) {
    out.array(10);
    out.bulk(command.name.as_bytes());
    out.int(i64::from(command.arity));
    let flags: Vec<&str> =
        FLAGS.iter().filter(|(flag, _)| command.has(*flag)).map(|(_, name)| *name).collect();
    out.set(flags.len());
    flags.iter().for_each(|flag| out.simple(flag));
    for number in [command.keys.0, command.keys.1, command.keys.2] {
        out.int(i64::from(number));
    }
    out.set(1);
    out.simple(&alloc::format!("@{}", command.group));
    (0..3).for_each(|_| out.array(0));
}

fn document(out: &mut Reply<'_>, command: &Command) {
    out.bulk(command.name.as_bytes());
    out.map(3);
    let summary = alloc::format!("See https://redis.io/commands/{}", command.name);
    for (field, value) in [("summary", summary.as_str()), ("since", "1.0.0"), ("group", command.group)] {
        out.bulk(field.as_bytes());
        out.bulk(value.as_bytes());
    }
}

/// The keys of a request whose keys are not in fixed places.
pub(crate) fn movable_keys(args: Args<'_>) -> Vec<&[u8]> {
    let (target, at) = match args.at(0).to_ascii_lowercase().as_slice() {
        b"zunionstore" | b"zinterstore" | b"zdiffstore" => (Some(1), 2),
        b"blmpop" | b"bzmpop" => (None, 2),
        _ => (None, 1),
    };
    let number = super::count(args.at(at)).unwrap_or(0);
    target.map(|target| args.at(target)).into_iter().chain(args.from(at + 1).first(number).iter()).collect()
}

pub(crate) fn command(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    if args.len() == 1 {
        context.out.array(COMMANDS.len());
        COMMANDS.iter().for_each(|command| describe(context.out, command));
        return Ok(());
    }
    let named = || args.from(2).iter().map(find);
    match args.at(1).to_ascii_lowercase().as_slice() {
        b"count" if args.len() == 2 => context.out.len(COMMANDS.len()),
        b"list" => {
            context.out.array(COMMANDS.len());
            COMMANDS.iter().for_each(|command| context.out.bulk(command.name.as_bytes()));
        }
        b"info" if args.len() == 2 => {
            context.out.array(COMMANDS.len());
            COMMANDS.iter().for_each(|command| describe(context.out, command));
        }
        b"info" => {
            context.out.array(args.len() - 2);
            for command in named() {
                match command {
                    Some(command) => describe(context.out, command),
                    None => context.out.null(),
                }
            }
        }
        b"docs" if args.len() == 2 => {
            context.out.map(COMMANDS.len());
            COMMANDS.iter().for_each(|command| document(context.out, command));
        }
        b"docs" => {
            context.out.map(named().flatten().count());
            named().flatten().for_each(|command| document(context.out, command));
        }
        b"getkeys" if args.len() >= 4 => {
            let inner = args.from(2);
            let command = find(inner.at(0)).ok_or(Failure::Text("ERR Invalid command specified"))?;
            if !command.takes(inner.len()) {
                return Err(Failure::Text("ERR Invalid number of arguments specified for command"));
            }
            let keys: Vec<&[u8]> = if command.has(MOVABLE) {
                movable_keys(inner)
            } else {
                command.key_places(inner).map(|at| inner.at(at)).collect()
            };
            if keys.is_empty() {
                return Err(Failure::Text("ERR The command has no key arguments"));
            }
            context.out.array(keys.len());
            keys.iter().for_each(|key| context.out.bulk(key));
        }
        b"help" => return super::server::help(context, &["COUNT", "DOCS", "GETKEYS", "INFO", "LIST"]),
        b"count" | b"getkeys" => {
            let sub = String::from_utf8_lossy(args.at(1)).to_ascii_lowercase();
            return Err(super::sets::sub_arity("command", &sub));
        }
        _ => return Err(unknown_subcommand(args)),
    }
    Ok(())
}
