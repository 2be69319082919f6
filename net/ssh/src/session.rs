//! One connection, from the greeting to its end.

use crate::output::{Output, Pipes};
use crate::{AtEnd, Caller, Identities, Line, Operator, PACKET, Phase, Random, TRIES, exit};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use alloc::{format, vec};
use control::Role;
use control::request::{MAX_COMMAND, Request, UsageError};
use core::cell::{Cell, RefCell};
use core::convert::Infallible;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use embedded_io_async::{Read, Write};
use rand_core::{TryCryptoRng, TryRng};
use zssh::{AuthMethod, Behavior, PublicKey, SecretKey, Transport};

/// What the server calls itself. No version of anything: strangers read it.
const IDENTIFICATION: &str = "SSH-2.0-Quicksilver";

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It came to no command: a stranger.
    Stranger,
    /// After so many commands of an operator.
    Operator(u64),
}

/// A future over blocking streams: it never waits by itself.
pub(crate) fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("blocking streams are always ready"),
    }
}

/// What the transport asks its server.
pub(crate) struct Server<'a, S> {
    stream: S,
    phase: &'a Cell<Phase>,
    host: SecretKey,
    identities: &'a Identities,
    random: Source,
    tries: u32,
}

pub(crate) struct Source(Random);

impl TryRng for Source {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        (self.0)(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        (self.0)(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        (self.0)(bytes);
        Ok(())
    }
}

impl TryCryptoRng for Source {}

/// A user name says as what somebody logs in.
fn role_of(user: &str) -> Option<Role> {
    match user {
        "observe" => Some(Role::Observe),
        "operate" => Some(Role::Operate),
        "admin" => Some(Role::Admin),
        _ => None,
    }
}

impl<S: Read + Write> Behavior for Server<'_, S> {
    type Stream = S;
    type Random = Source;
    type User = Caller;
    type Command = String;

    fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    fn random(&mut self) -> &mut Source {
        &mut self.random
    }

    fn host_secret_key(&self) -> &SecretKey {
        &self.host
    }

    fn server_id(&self) -> &'static str {
        IDENTIFICATION
    }

    /// Asked twice about a key: when it is offered, and with the proof. Only proofs of known keys get as far as the second.
    fn allow_user(&mut self, user: &str, method: &AuthMethod) -> Option<Caller> {
        let caller = match (role_of(user), method) {
            (Some(role), AuthMethod::PublicKey(PublicKey::Ed25519 { public_key })) => {
                let known = |key: &&crate::Key| key.public == public_key.to_bytes();
                let key = self.identities.keys.iter().find(known);
                key.map(|key| Caller { role: role.min(key.role), name: key.name.clone() })
            }
            _ => None,
        };
        self.tries += 1;
        if self.tries > TRIES {
            self.phase.set(Phase::Over);
            return None;
        }
        caller
    }

    /// Who gives no command is told what there is.
    fn allow_shell(&self) -> bool {
        true
    }

    fn parse_command(&mut self, command: &str) -> String {
        // One byte too many is told from a command that is as long as allowed.
        command.chars().take(MAX_COMMAND + 1).collect()
    }
}

/// Serves a connection until its end.
pub fn serve<S: Read + Write>(
    line: Line<'_, S>,
    identities: &Identities,
    random: Random,
    operator: &dyn Operator,
) -> End {
    let Line { stream, phase, is_gone } = line;
    let at_end: RefCell<Vec<AtEnd>> = RefCell::default();
    let mut buffer = vec![0; PACKET];
    let host = identities.host();
    let server = Server { stream, phase, host, identities, random: Source(random), tries: 0 };
    let mut transport = Transport::new(&mut buffer, server);
    let mut commands = 0;
    phase.set(Phase::Login);
    while let Ok(channel) = now(transport.accept()) {
        phase.set(Phase::Command);
        commands += 1;
        let (caller, said) = (channel.user(), channel.request());
        let mut pipes = Pipes { channel, gone: false, peer_is_gone: is_gone, at_end: &at_end };
        let status = match said {
            zssh::Request::Exec(command) => command_line(&caller, &command, operator, &mut pipes),
            zssh::Request::Shell => welcome(&caller, operator, &mut pipes),
        };
        if now(pipes.channel.exit(u32::from(status))).is_err() {
            break;
        }
        phase.set(Phase::Idle);
    }
    at_end.take().into_iter().for_each(|f| f());
    if commands == 0 { End::Stranger } else { End::Operator(commands) }
}

fn command_line(caller: &Caller, line: &str, operator: &dyn Operator, output: &mut dyn Output) -> u8 {
    let request = match line.parse::<Request>() {
        Ok(request) => request,
        Err(error) => return complain(&error, line, output),
    };
    if request.verb.role() > caller.role {
        let why = format!("this takes the role {}: you have {}", request.verb.role(), caller.role);
        log::warn!("control: '{line}' refused to {}: role {}", caller.name, caller.role);
        // Whether anybody reads it: the status says the same.
        let _ = say(&why, request.json, output);
        return exit::REFUSED;
    }
    operator.execute(caller, &request, output)
}

fn complain(error: &UsageError, line: &str, output: &mut dyn Output) -> u8 {
    let json = line.split(' ').any(|word| word == "--json");
    let _ = say(&error.to_string(), json, output);
    exit::USAGE
}

/// An error, as people or programs read it.
fn say(why: &str, json: bool, output: &mut dyn Output) -> Result<(), crate::Gone> {
    if json {
        output.out(&format!("{}\n", serde_json::json!({ "error": why })))
    } else {
        output.err(&format!("{why}\n"))
    }
}

/// Without a command: help and state. A terminal's lines end with a carriage return, and there is none here to add it.
fn welcome(caller: &Caller, operator: &dyn Operator, output: &mut dyn Output) -> u8 {
    let told = ["help", "status"].map(|verb| command_line(caller, verb, operator, output));
    told.into_iter().max().unwrap_or(exit::DONE)
}
