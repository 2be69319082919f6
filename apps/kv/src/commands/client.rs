//! Commands on the connection itself: HELLO, AUTH, SELECT, CLIENT, RESET, QUIT.
use super::{Context, Done, integer, transactions, unknown_subcommand};
use crate::client::{Client, ReplyMode};
use crate::failure::Failure;
use crate::number::parse_i64;
use crate::store::{DATABASES, Store};
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;

/// The version that INFO and HELLO name: clients choose by it what they may send.
pub(crate) const VERSION: &str = "7.0.15";

const WRONG_PASSWORD: Failure =
    Failure::Text("WRONGPASS invalid username-password pair or user is disabled.");

fn check_password(context: &Context<'_, '_>, user: &[u8], password: &[u8]) -> Done {
    let right = &context.store.config.password;
    // Compared in full, so that the time tells nothing about the place of the first difference.
    let same =
        right.len() == password.len() && right.iter().zip(password).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0;
    if user != b"default" || !(same || right.is_empty()) {
        return Err(WRONG_PASSWORD);
    }
    context.client.trusted.set(true);
    Ok(())
}

pub(crate) fn auth(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    match args.len() {
        2 if context.store.config.password.is_empty() => {
            return Err(Failure::Text(
                "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?",
            ));
        }
        2 => check_password(context, b"default", args.at(1))?,
        3 => check_password(context, args.at(1), args.at(2))?,
        _ => return Err(Failure::Syntax),
    }
    context.out.ok();
    Ok(())
}

/// A name that CLIENT LIST can show in one word.
fn check_name(name: &[u8], what: &'static str) -> Done {
    if name.iter().all(|byte| (b'!'..=b'~').contains(byte)) { Ok(()) } else { Err(Failure::Text(what)) }
}

const BAD_NAME: &str = "ERR Client names cannot contain spaces, newlines or special characters.";

pub(crate) fn hello(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    let mut version = None;
    let mut at = 1;
    if args.len() > 1 {
        let number = parse_i64(args.at(1))
            .ok_or(Failure::Text("ERR Protocol version is not an integer or out of range"))?;
        if !(2..=3).contains(&number) {
            return Err(Failure::Text("NOPROTO unsupported protocol version"));
        }
        version = Some(number);
        at = 2;
    }
    let mut name = None;
    while at < args.len() {
        let left = args.len() - at - 1;
        if args.is(at, "auth") && left >= 2 {
            check_password(context, args.at(at + 1), args.at(at + 2))?;
            at += 3;
        } else if args.is(at, "setname") && left >= 1 {
            check_name(args.at(at + 1), BAD_NAME)?;
            name = Some(args.at(at + 1));
            at += 2;
        } else {
            let option = String::from_utf8_lossy(args.at(at));
            return Err(Failure::Message(alloc::format!("ERR Syntax error in HELLO option '{option}'")));
        }
    }
    if !context.client.trusted.get() {
        return Err(Failure::Text(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
        ));
    }
    if let Some(name) = name {
        *context.client.name.borrow_mut() = name.to_vec();
    }
    if let Some(version) = version {
        context.client.resp3.set(version == 3);
        context.out.resp3 = version == 3;
    }
    context.out.map(7);
    for (field, value) in [("server", "redis"), ("version", VERSION)] {
        context.out.bulk(field.as_bytes());
        context.out.bulk(value.as_bytes());
    }
    context.out.bulk(b"proto");
    context.out.int(if context.out.resp3 { 3 } else { 2 });
    context.out.bulk(b"id");
    context.out.int(context.client.id as i64);
    for (field, value) in [("mode", "standalone"), ("role", "master")] {
        context.out.bulk(field.as_bytes());
        context.out.bulk(value.as_bytes());
    }
    context.out.bulk(b"modules");
    context.out.array(0);
    Ok(())
}

pub(crate) fn select(context: &mut Context<'_, '_>) -> Done {
    let number = integer(context.args.at(1))?;
    let number = usize::try_from(number).ok().filter(|number| *number < DATABASES);
    context.client.db.set(number.ok_or(Failure::Text("ERR DB index is out of range"))?);
    context.out.ok();
    Ok(())
}

pub(crate) fn quit(context: &mut Context<'_, '_>) -> Done {
    context.close = true;
    context.out.ok();
    Ok(())
}

pub(crate) fn reset(context: &mut Context<'_, '_>) -> Done {
    transactions::reset(context);
    super::pubsub::leave(context.store, context.client);
    let client = context.client;
    client.db.set(0);
    client.resp3.set(false);
    context.out.resp3 = false;
    client.name.borrow_mut().clear();
    client.reply.set(ReplyMode::On);
    client.trusted.set(context.store.config.password.is_empty());
    context.out.simple("RESET");
    Ok(())
}

/// One line of CLIENT LIST.
fn line(client: &Client, now: u64) -> String {
    let name = client.name.borrow();
    let library = client.library.borrow();
    let mut flags = String::new();
    for (flag, set) in [
        ('x', client.queued.get() >= 0),
        ('b', client.blocked.borrow().is_some()),
        ('P', client.subscriptions() > 0),
        ('d', client.stale.get()),
        ('e', client.no_evict.get()),
    ] {
        if set {
            flags.push(flag);
        }
    }
    if flags.is_empty() {
        flags.push('N');
    }
    alloc::format!(
        "id={} addr={} laddr=0.0.0.0:6379 fd=0 name={} age={} idle={} flags={flags} db={} sub={} psub={} ssub=0 multi={} qbuf={} qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem={} events=r cmd={} user=default redir=-1 resp={} lib-name={} lib-ver={}",
        client.id,
        client.address,
        String::from_utf8_lossy(&name),
        now.saturating_sub(client.created) / 1000,
        now.saturating_sub(client.active.get()) / 1000,
        client.db.get(),
        client.channels.borrow().len(),
        client.patterns.borrow().len(),
        client.queued.get(),
        client.buffered.get(),
        client.buffered.get() + size_of::<Client>(),
        client.command.get(),
        if client.resp3.get() { 3 } else { 2 },
        String::from_utf8_lossy(&library.0),
        String::from_utf8_lossy(&library.1),
    )
}

/// Ends the connections that `chosen` says, and returns how many.
fn kill(store: &Store, chosen: impl Fn(&Client) -> bool) -> usize {
    let victims: Vec<&Rc<Client>> = store.clients.values().filter(|client| chosen(client)).collect();
    for client in &victims {
        client.killed.set(true);
        client.wake();
    }
    victims.len()
}

fn kill_by_filter(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    let (mut id, mut address, mut skip_me) = (None, None, true);
    for at in (2..args.len()).step_by(2) {
        if at + 1 >= args.len() {
            return Err(Failure::Syntax);
        }
        let value = args.at(at + 1);
        match args.at(at).to_ascii_lowercase().as_slice() {
            b"id" => {
                let number = parse_i64(value).filter(|number| *number > 0);
                id = Some(number.ok_or(Failure::Text("ERR client-id should be greater than 0"))? as u64);
            }
            b"addr" => address = Some(value),
            b"skipme" if value.eq_ignore_ascii_case(b"yes") => skip_me = true,
            b"skipme" if value.eq_ignore_ascii_case(b"no") => skip_me = false,
            b"type" | b"user" | b"laddr" => {}
            _ => return Err(Failure::Syntax),
        }
    }
    let me = context.client.id;
    let number = kill(context.store, |client| {
        id.is_none_or(|id| client.id == id)
            && address.is_none_or(|address| client.address.as_bytes() == address)
            && !(skip_me && client.id == me)
    });
    context.out.len(number);
    Ok(())
}

pub(crate) fn client(context: &mut Context<'_, '_>) -> Done {
    let args = context.args;
    let sub = args.at(1).to_ascii_lowercase();
    let text = String::from_utf8_lossy(&sub);
    let arity = match sub.as_slice() {
        b"id" | b"getname" | b"info" => args.len() == 2,
        b"setname" | b"no-evict" | b"no-touch" | b"reply" => args.len() == 3,
        b"setinfo" => args.len() == 4,
        b"kill" => args.len() >= 3,
        _ => true,
    };
    if !arity {
        return Err(super::sets::sub_arity("client", &text));
    }
    let now = context.store.now;
    match sub.as_slice() {
        b"id" => context.out.int(context.client.id as i64),
        b"getname" => {
            let name = context.client.name.borrow();
            context.out.optional(Some(name.as_slice()).filter(|name| !name.is_empty()));
        }
        b"setname" => {
            check_name(args.at(2), BAD_NAME)?;
            *context.client.name.borrow_mut() = args.at(2).to_vec();
            context.out.ok();
        }
        b"setinfo" => {
            let mut library = context.client.library.borrow_mut();
            if args.is(2, "lib-name") {
                check_name(
                    args.at(3),
                    "ERR lib-name cannot contain spaces, newlines or special characters.",
                )?;
                library.0 = args.at(3).to_vec();
            } else if args.is(2, "lib-ver") {
                check_name(args.at(3), "ERR lib-ver cannot contain spaces, newlines or special characters.")?;
                library.1 = args.at(3).to_vec();
            } else {
                let option = String::from_utf8_lossy(args.at(2));
                return Err(Failure::Message(alloc::format!("ERR Unrecognized option '{option}'")));
            }
            context.out.ok();
        }
        b"info" => context.out.verbatim(alloc::format!("{}\n", line(context.client, now)).as_bytes()),
        b"list" => {
            let lines: Vec<String> =
                context.store.clients.values().map(|client| line(client, now) + "\n").collect();
            context.out.verbatim(lines.concat().as_bytes());
        }
        b"no-evict" | b"no-touch" => {
            let on = args.is(2, "on");
            if !on && !args.is(2, "off") {
                return Err(Failure::Syntax);
            }
            if sub == b"no-evict" {
                context.client.no_evict.set(on);
            }
            context.out.ok();
        }
        b"reply" => {
            if args.is(2, "on") {
                context.client.reply.set(ReplyMode::On);
                context.out.ok();
            } else if args.is(2, "off") {
                context.client.reply.set(ReplyMode::Off);
            } else if args.is(2, "skip") {
                if context.client.reply.get() == ReplyMode::On {
                    context.client.reply.set(ReplyMode::SkipNext);
                }
            } else {
                return Err(Failure::Syntax);
            }
        }
        b"kill" if args.len() == 3 => {
            if kill(context.store, |client| client.address.as_bytes() == args.at(2)) == 0 {
                return Err(Failure::Text("ERR No such client"));
            }
            context.out.ok();
        }
        b"kill" => kill_by_filter(context)?,
        b"unblock" if args.len() == 3 => {
            let id = integer(args.at(2))?;
            let client = context.store.clients.get(&(id as u64)).cloned();
            let waiting = client.filter(|client| client.blocked.borrow().is_some());
            if let Some(client) = &waiting {
                let mut reply = Vec::new();
                super::blocking::give_up(context.store, client, &mut reply);
                client.deliver(&reply, usize::MAX);
            }
            context.out.truth(waiting.is_some());
        }
        _ => return Err(unknown_subcommand(args)),
    }
    Ok(())
}
