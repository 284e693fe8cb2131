//! Requests: what the owner of a pool is asked to do. Plain data; a request is what it says, and nothing hangs on it.

use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use pinfold::layout::PinId;
use pinfold::{Publish, Rename};
use serde::{Deserialize, Serialize};

use crate::path_text;

/// What the owner of a pool is asked to do. Each is one step, and is made wholly or not at all.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Request {
    /// As [`Pool::create_dir`](pinfold::Pool::create_dir).
    CreateDir {
        /// The new directory.
        #[serde(with = "path_text")]
        path: PathBuf,
    },
    /// As [`Pool::unlink`](pinfold::Pool::unlink).
    Unlink {
        /// The name to be removed.
        #[serde(with = "path_text")]
        path: PathBuf,
    },
    /// As [`Pool::remove_dir`](pinfold::Pool::remove_dir).
    RemoveDir {
        /// An empty directory.
        #[serde(with = "path_text")]
        path: PathBuf,
    },
    /// As [`Pool::rename`](pinfold::Pool::rename).
    Rename {
        /// The name that it has.
        #[serde(with = "path_text")]
        from: PathBuf,
        /// The name that it gets.
        #[serde(with = "path_text")]
        to: PathBuf,
        /// What becomes of what has that name.
        #[serde(with = "RenameText")]
        how: Rename,
    },
    /// As [`Pool::link`](pinfold::Pool::link).
    Link {
        /// A name of the file.
        #[serde(with = "path_text")]
        existing: PathBuf,
        /// One more.
        #[serde(with = "path_text")]
        new: PathBuf,
    },
    /// As [`Pool::symlink`](pinfold::Pool::symlink).
    Symlink {
        /// Where it leads.
        #[serde(with = "path_text")]
        target: PathBuf,
        /// The new link.
        #[serde(with = "path_text")]
        new: PathBuf,
    },
    /// A change of a file's length or layout.
    Change {
        /// The file.
        #[serde(with = "path_text")]
        path: PathBuf,
        /// Whether it is made if it is not there.
        create: bool,
        /// What is changed.
        change: FileChange,
        /// How long transfers in the way are waited for.
        waiting: Waiting,
    },
    /// Makes what was done before durable: of one file, or of the whole pool.
    Sync {
        /// The file; the pool if there is none.
        #[serde(with = "path_text::optional")]
        path: Option<PathBuf>,
    },
    /// As [`Pool::checkpoint`](pinfold::Pool::checkpoint).
    Checkpoint,
    /// As [`Pool::grow`](pinfold::Pool::grow).
    Grow {
        /// Bytes that the pool shall have.
        len: u64,
    },
    /// As [`Pool::read_dir`](pinfold::Pool::read_dir). Answered with [`Answer::Entries`](crate::Answer::Entries).
    ReadDir {
        /// The directory.
        #[serde(with = "path_text")]
        path: PathBuf,
    },
    /// What is known of a file. Answered with [`Answer::Metadata`](crate::Answer::Metadata).
    Metadata {
        /// Which.
        #[serde(with = "path_text")]
        path: PathBuf,
        /// Whether a symbolic link at the end is followed.
        follow: bool,
    },
    /// How much is used, and by what. Answered with [`Answer::Stats`](crate::Answer::Stats).
    Stats,
    /// Every pin. Answered with [`Answer::Pins`](crate::Answer::Pins).
    Pins,
    /// Every operation that runs. Answered with [`Answer::Breaks`](crate::Answer::Breaks).
    Breaks,
    /// What has left its file and is not free. Answered with [`Answer::Parked`](crate::Answer::Parked).
    Parked,
    /// The pins without a holder. Answered with [`Answer::Pins`](crate::Answer::Pins).
    Quarantine,
    /// Looks at the locks of all rings beside the pool. What went through a ring that is gone leaves quarantine, and its lock
    /// file goes (G8). Answered with [`Answer::Released`](crate::Answer::Released).
    ReleaseByProof,
    /// A person says that no device reaches what one pin in quarantine pins (G8). The decision is written to
    /// `decisions.log` in the live directory before it counts. Answered with
    /// [`Answer::ReleasedPin`](crate::Answer::ReleasedPin).
    ReleaseByOperator {
        /// Which pin.
        #[serde(with = "crate::pin_text")]
        pin: PinId,
        /// Who decided.
        operator: String,
        /// Why.
        reason: String,
    },
    /// Copies a file of the host in. The descriptor comes beside the request: see [`Client::put`](crate::Client::put).
    /// Answered with [`Answer::Put`](crate::Answer::Put).
    Put(Put),
}

/// A change of a file's length or layout. Bytes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum FileChange {
    /// As [`File::truncate`](pinfold::File::truncate).
    Truncate {
        /// The new length.
        len: u64,
    },
    /// As [`File::punch`](pinfold::File::punch).
    Punch {
        /// The hole.
        range: Range<u64>,
    },
    /// As [`File::zero`](pinfold::File::zero).
    Zero {
        /// What shall read as zeros.
        range: Range<u64>,
        /// Whether the length stays.
        keep_size: bool,
    },
    /// As [`File::collapse`](pinfold::File::collapse).
    Collapse {
        /// What is taken out.
        range: Range<u64>,
    },
    /// As [`File::insert`](pinfold::File::insert).
    Insert {
        /// Where.
        at: u64,
        /// How much.
        len: u64,
    },
    /// As [`File::allocate`](pinfold::File::allocate). It breaks nothing; what it waits for is space that pins keep.
    Allocate {
        /// What gets blocks.
        range: Range<u64>,
        /// Whether the length stays.
        keep_size: bool,
    },
}

/// What is done with transfers in the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// They are waited for.
    #[default]
    Wait,
    /// They keep what they reach, parked. Not for what moves blocks.
    Detach,
    /// It is only looked whether there are any: then the request is refused with `EBUSY`.
    Try,
}

/// How a request waits, and how long (G6).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiting {
    /// For whom.
    pub policy: Policy,
    /// For how long at most, in milliseconds from when it is carried out; without one, as long as it takes.
    pub timeout_ms: Option<u64>,
}

impl Waiting {
    pub(crate) fn deadline(self) -> Option<Instant> {
        // A deadline that the clock cannot express never comes.
        self.timeout_ms.and_then(|ms| Instant::now().checked_add(Duration::from_millis(ms)))
    }
}

/// A file of the host that is to be copied in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Put {
    /// The name that it gets, once it is whole.
    #[serde(with = "path_text")]
    pub path: PathBuf,
    /// What becomes of a file of that name.
    #[serde(with = "PublishText")]
    pub publish: Publish,
    /// How long it may wait for space that pins keep. [`Policy::Detach`] is as [`Policy::Wait`]: nothing is detached.
    pub waiting: Waiting,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Rename", rename_all = "snake_case")]
enum RenameText {
    Replace,
    NoReplace,
    Exchange,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Publish", rename_all = "snake_case")]
enum PublishText {
    New,
    Replace,
}
