//! What goes through the socket.
//!
//! A Unix stream socket. Each message is its length (four bytes, the lowest first), and that many bytes of JSON. The client says
//! [`Hello`], the owner answers with [`Greeting`]; then each [`Request`](crate::Request) is answered by any number of
//! [`Reply::Progress`] and [`Reply::Part`], and one [`Reply::Done`] or [`Reply::Refused`]. A descriptor (`SCM_RIGHTS`) comes with
//! the first bytes of its request. Who hangs up, or shuts his side down, withdraws what he asked for.
//!
//! Stays true  W1: no message is longer than [`REQUEST_MAX`] or [`REPLY_MAX`]; a longer one ends the connection.
//!             W2: once a message has begun, it comes or goes within the time set for it; what stops in the middle is hung up on.
//! Who calls   one thread for each end. A dead peer is the end of the stream.

mod frame;

use serde::{Deserialize, Serialize};

pub(crate) use frame::{Wire, WireError};

use crate::answer::Answer;
use crate::refusal::Refusal;

/// The version of all this. Owner and client have to have the same one.
pub(crate) const VERSION: u32 = 2;

/// Bytes of a request: two paths of the longest kind, each byte as three, fit.
pub(crate) const REQUEST_MAX: usize = 64 << 10;

/// Bytes of a part of an answer.
pub(crate) const REPLY_MAX: usize = 16 << 20;

/// What a client says first.
#[derive(Serialize, Deserialize, Debug)]
pub(crate) struct Hello {
    pub(crate) pinfold_control: u32,
}

/// What the owner says first.
#[derive(Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Greeting {
    /// Go on.
    Welcome { pinfold_control: u32, pid: u32 },
    /// And hang up.
    Refused(Refusal),
}

/// What the owner says of a request.
#[derive(Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    /// So many bytes of so many are there. What comes too fast for the client is left out.
    Progress { done: u64, of: u64 },
    /// A part of a list; more comes.
    Part(Answer),
    /// The answer, or its last part.
    Done(Answer),
    /// It is not carried out.
    Refused(Refusal),
}
