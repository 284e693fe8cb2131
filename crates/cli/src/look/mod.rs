//! Commands that only look. They claim nothing, and work while another process owns the pool.

mod cat;
mod chart;
mod df;
mod entry;
mod held;
mod info;
mod ls;
mod map;
mod quarantine;
mod stat;
mod tree;
mod who;

use std::path::{Path, PathBuf};

use pinfold::NameError;

pub(crate) use cat::{Cat, cat, has_unwritten};
pub(crate) use df::{Df, df};
pub(crate) use info::{Info, info, of_pool, to_json as info_json};
pub(crate) use ls::{Ls, ls};
pub(crate) use map::{Map, map};
pub(crate) use quarantine::{Quarantine, quarantine};
pub(crate) use stat::{Stat, stat};
pub(crate) use tree::{Tree, tree};
pub(crate) use who::{Who, who};

use crate::names::shown;
use crate::out::complain;
use crate::status::{CannotRun, Status};

/// A path in a pool, from its root.
fn from_root(path: &Path) -> PathBuf {
    Path::new("/").join(path)
}

/// What is said of a name in a pool.
fn about_name(pool: &Path, error: &NameError) -> CannotRun {
    CannotRun(format!("{}: {error}", shown(pool)))
}

/// Does for each path what it can, and says of each other one why not.
fn each(
    pool: &Path,
    paths: &[PathBuf],
    mut look: impl FnMut(&Path) -> Result<(), NameError>,
) -> Result<Status, CannotRun> {
    let mut status = Status::Held;
    for path in paths {
        if let Err(error) = look(path) {
            complain(about_name(pool, &error));
            status = Status::CannotRun;
        }
    }
    Ok(status)
}
