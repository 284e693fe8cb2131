//! One client: greetings, then one request after another.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use rustix::io::Errno;

use super::Shared;
use crate::answer::Answer;
use crate::asker::Asker;
use crate::carry_out::Task;
use crate::refusal::Refusal;
use crate::request::Request;
use crate::wire::{Greeting, Hello, REPLY_MAX, REQUEST_MAX, Reply, VERSION, Wire, WireError};

type Line = Wire<Arc<OwnedFd>>;

/// Serves one client until it goes, or has to.
pub(super) fn serve(shared: &Shared, socket: Arc<OwnedFd>) {
    let wire = Wire::new(socket, shared.options.message_time);
    if greet(shared, &wire).is_err() {
        return;
    }
    while !shared.is_stopping() {
        let begin_by = Instant::now().checked_add(shared.options.idle_time);
        let goes_on = match wire.receive(begin_by, REQUEST_MAX) {
            Ok(None) => return,
            Ok(Some(message)) => match message.read() {
                Ok(request) => answer(shared, &wire, &request, message.file),
                Err(error) => refuse(&wire, error),
            },
            Err(error) => refuse(&wire, error),
        };
        if goes_on.is_err() {
            return;
        }
    }
}

/// The client has to go.
struct Ends;

impl From<WireError> for Ends {
    fn from(_: WireError) -> Self {
        Self
    }
}

fn greet(shared: &Shared, wire: &Line) -> Result<(), Ends> {
    let begin_by = Instant::now().checked_add(shared.options.message_time);
    let hello = match wire.receive(begin_by, REQUEST_MAX) {
        Ok(Some(message)) => message.read::<Hello>(),
        Ok(None) => return Err(Ends),
        Err(error) => Err(error),
    };
    let refusal = match hello {
        Ok(Hello { pinfold_control: VERSION }) => {
            let welcome = Greeting::Welcome { pinfold_control: VERSION, pid: std::process::id() };
            return Ok(wire.send(&welcome, None, REPLY_MAX)?);
        }
        Ok(Hello { pinfold_control: other }) => Refusal::of(
            Errno::PROTONOSUPPORT,
            format!(
                "the owner speaks version {VERSION}, and was asked for {other}: use the program of the owner's version"
            ),
        ),
        Err(error) => Refusal::of(error.errno(), error),
    };
    let _ = wire.send(&Greeting::Refused(refusal), None, REPLY_MAX);
    Err(Ends)
}

/// Says what is wrong with a message. What comes after it cannot be told apart from it.
fn refuse(wire: &Line, error: WireError) -> Result<(), Ends> {
    let _ = wire.send(&Reply::Refused(Refusal::of(error.errno(), error)), None, REPLY_MAX);
    Err(Ends)
}

fn answer(shared: &Shared, wire: &Line, request: &Request, file: Option<OwnedFd>) -> Result<(), Ends> {
    let task = Task { pool: &shared.pool, live_dir: &shared.live_dir, asker: Asker::behind(wire.as_fd()) };
    let carried_out = match (request, file) {
        (Request::Put(put), Some(file)) => task.put(file.as_fd(), put, &mut |done, of| {
            // Who has gone is noticed by the task.
            let _ = wire.try_send(&Reply::Progress { done, of }, REPLY_MAX);
        }),
        _ => task.carry_out(request),
    };
    match carried_out {
        Ok(answer) => send_in_parts(wire, answer),
        Err(refusal) => Ok(wire.send(&Reply::Refused(refusal), None, REPLY_MAX)?),
    }
}

fn send_in_parts(wire: &Line, answer: Answer) -> Result<(), Ends> {
    let mut parts = answer.into_parts();
    let last = parts.pop().unwrap_or(Answer::Done);
    for part in parts {
        wire.send(&Reply::Part(part), None, REPLY_MAX)?;
    }
    Ok(wire.send(&Reply::Done(last), None, REPLY_MAX)?)
}
