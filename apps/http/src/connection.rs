//! One connection, without its socket: bytes in, answers out.
use crate::body::{BodyError, Skip};
use crate::conditions::{Wanted, names, wanted};
use crate::date::Date;
use crate::path;
use crate::request::{self, MAX_HEAD, Persistence, Refused, Request};
use crate::response::{Answer, Output, Status};
use crate::server::Server;
use crate::site::Target;
use alloc::vec::Vec;
use core::mem;

/// Answers pile up to this size, in bytes, before they have to be sent.
const MAX_OUTPUT: usize = 32 << 10;

/// The longest head that is remembered, in bytes.
const MAX_REMEMBERED: usize = 512;

/// The state of a connection. What it does depends on the bytes alone, not on how they are split.
#[derive(Debug, Default)]
pub struct Connection {
    state: State,
    /// A head that has not arrived completely. Empty for most clients: they send a request in one piece.
    partial: Vec<u8>,
    line: Line,
    /// The last head, and what it asked for: many a client repeats itself, and need not be parsed again.
    last: Option<(Vec<u8>, Due)>,
    /// Requests answered since they were last asked for.
    answered: u64,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Head,
    Body(Skip, Due),
    Closed,
}

/// An answer that is due after the request's body.
#[derive(Clone, Debug)]
struct Due {
    answer: Answer,
    head_only: bool,
    persistence: Persistence,
}

/// Where in a line of the partial head its last byte is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Line {
    #[default]
    Inside,
    Start,
    StartReturn,
}

impl Connection {
    /// No more requests are read; what is left of the output is sent, and then the connection is closed.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// How many requests were answered since this was last asked.
    pub fn take_answered(&mut self) -> u64 {
        mem::take(&mut self.answered)
    }

    /// Takes bytes that have arrived, and adds answers to `output`. Returns how many bytes were taken; if that is not
    /// all, the output must be finished and sent before the rest is given again.
    pub fn receive(&mut self, input: &[u8], server: &Server, date: &Date, output: &mut Output) -> usize {
        let mut at = 0;
        while at < input.len() && !output.is_complete() && output.bytes.len() < MAX_OUTPUT {
            let rest = &input[at..];
            at += match &mut self.state {
                State::Closed => return input.len(),
                State::Head => self.head(rest, server, date, output),
                State::Body(skip, due) => match skip.skip(rest) {
                    Ok(taken) => {
                        if skip.is_done() {
                            let due = mem::replace(due, Due::refusal(Status::BadRequest));
                            self.answer(due, server, date, output);
                        }
                        taken
                    }
                    Err(error) => {
                        let status = match error {
                            BodyError::Malformed => Status::BadRequest,
                            BodyError::TooLong => Status::ContentTooLarge,
                        };
                        self.answer(Due::refusal(status), server, date, output);
                        rest.len()
                    }
                },
            };
        }
        at
    }

    /// Takes bytes of a head, and returns how many.
    fn head(&mut self, input: &[u8], server: &Server, date: &Date, output: &mut Output) -> usize {
        if self.partial.is_empty() {
            if let Some((head, due)) = &self.last
                && input.starts_with(head)
            {
                let (length, due) = (head.len(), due.clone());
                self.answer(due, server, date, output);
                return length;
            }
            // Empty lines before a request are allowed (RFC 9112, 2.2).
            let blank = input.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            if blank > 0 {
                return blank;
            }
            if let Ok(Some((length, request))) = request::read(input)
                && length <= MAX_HEAD
            {
                self.request(&input[..length], &request, server, date, output);
                return length;
            }
        }
        // Incomplete or wrong. Which of both is only told when its end is there, so that it doesn't depend on the split.
        let (taken, complete) = self.collect(input);
        if complete {
            let head = mem::take(&mut self.partial);
            match request::read(&head) {
                Ok(Some((_, request))) => self.request(&head, &request, server, date, output),
                Ok(None) => self.refuse(Status::BadRequest.into(), server, date, output),
                Err(refused) => self.refuse(refused, server, date, output),
            }
        } else if self.partial.len() == MAX_HEAD {
            let in_first_line = !mem::take(&mut self.partial).contains(&b'\n');
            let status = if in_first_line { Status::UriTooLong } else { Status::HeaderFieldsTooLarge };
            self.refuse(status.into(), server, date, output);
        }
        taken
    }

    /// Adds to the partial head, up to its end or the limit. Returns the bytes taken, and whether it is complete.
    fn collect(&mut self, input: &[u8]) -> (usize, bool) {
        let limit = input.len().min(MAX_HEAD - self.partial.len());
        let mut taken = 0;
        let mut complete = false;
        while taken < limit && !complete {
            let byte = input[taken];
            taken += 1;
            complete = byte == b'\n' && self.line != Line::Inside;
            self.line = match (self.line, byte) {
                _ if complete => Line::Inside,
                (_, b'\n') => Line::Start,
                (Line::Start, b'\r') => Line::StartReturn,
                _ => Line::Inside,
            };
        }
        if self.partial.try_reserve(taken).is_err() {
            self.state = State::Closed;
            return (input.len(), false);
        }
        self.partial.extend_from_slice(&input[..taken]);
        (taken, complete)
    }

    fn request(
        &mut self,
        head: &[u8],
        request: &Request<'_>,
        server: &Server,
        date: &Date,
        output: &mut Output,
    ) {
        let due = Due {
            answer: decide(request, server),
            head_only: request.head_only,
            persistence: request.persistence,
        };
        if request.expects_continue && output.go_ahead().is_err() {
            self.state = State::Closed;
        } else if request.body.is_done() {
            self.remember(head, &due);
            self.answer(due, server, date, output);
        } else {
            self.state = State::Body(request.body, due);
        }
    }

    fn remember(&mut self, head: &[u8], due: &Due) {
        if head.len() > MAX_REMEMBERED {
            return;
        }
        let mut copy = self.last.take().map_or(Vec::new(), |(head, _)| head);
        copy.clear();
        if copy.try_reserve_exact(head.len()).is_ok() {
            copy.extend_from_slice(head);
            self.last = Some((copy, due.clone()));
        }
    }

    fn refuse(&mut self, refused: Refused, server: &Server, date: &Date, output: &mut Output) {
        let answer = Answer::Plain(refused.status);
        match refused.go_on {
            None => self.answer(Due::refusal(refused.status), server, date, output),
            Some((persistence, body)) if body.is_done() => {
                self.answer(Due { answer, head_only: false, persistence }, server, date, output);
            }
            Some((persistence, body)) => {
                self.state = State::Body(body, Due { answer, head_only: false, persistence });
            }
        }
    }

    fn answer(&mut self, due: Due, server: &Server, date: &Date, output: &mut Output) {
        server.count_request();
        self.answered += 1;
        let written = output.answer(server, date, &due.answer, due.head_only, due.persistence);
        let close = written.is_err() || due.persistence == Persistence::Close;
        self.state = if close { State::Closed } else { State::Head };
    }
}

impl Due {
    /// An answer after which nothing more can be understood.
    fn refusal(status: Status) -> Self {
        Self { answer: Answer::Plain(status), head_only: false, persistence: Persistence::Close }
    }
}

fn decide(request: &Request<'_>, server: &Server) -> Answer {
    let Ok(path) = path::resolve(request.target) else { return Answer::Plain(Status::BadRequest) };
    if let Some(number) = server.find_live(&path) {
        return Answer::Live(number, path::number_from(request.target));
    }
    let number = match server.site().find(&path) {
        None => return Answer::Plain(Status::NotFound),
        Some(Target::Directory(number)) => return Answer::MovedToDirectory(number),
        Some(Target::Page(number)) => number,
    };
    let page = server.site().page(number);
    let etag = page.etag.as_bytes();
    if request.if_none_match.is_some_and(|field| names(field, etag)) {
        return Answer::NotModified(number);
    }
    // A range is for GET, and with `If-Range` only for the version the client has part of.
    let range =
        request.range.filter(|_| !request.head_only && request.if_range.is_none_or(|tag| tag == etag));
    match range.map_or(Wanted::Whole, |field| wanted(field, page.data.len())) {
        Wanted::Whole => Answer::Whole(number),
        Wanted::Part(range) => Answer::Part(number, range),
        Wanted::Nothing => Answer::Unsatisfiable(number),
    }
}
