//! `mount`: a pool as an ordinary file system, until it is unmounted or a signal ends it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, value_parser};
use pinfold::{Pool, PoolOptions, live_dir_of};
use pinfold_control::serve;
use pinfold_mount::{MountOptions, Owner, Unmounted, Unmounter};

use crate::names::shown;
use crate::out::{complain, say};
use crate::pool::{about, check_live_dir};
use crate::signals::Signals;
use crate::status::{self, CannotRun, Status, doing};

/// Shows a pool as an ordinary file system, as its owner, until it is unmounted (`umount`, `fusermount3 -u`) or gets SIGINT or SIGTERM.
///
/// Everything is durable when it ends. Where a file shrinks while a device writes into it, the blocks stay the device's until it is done:
/// no program waits. Other pinfold commands ask this process for what they change.
#[derive(Args, Debug)]
#[command(after_help = status::HELP)]
pub(crate) struct Mount {
    /// The pool.
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pool: PathBuf,
    /// Where: a directory.
    #[arg(value_hint = clap::ValueHint::DirPath)]
    dir: PathBuf,
    /// Refuses whatever would change anything.
    #[arg(long)]
    read_only: bool,
    /// Lets other users in, as far as modes and owners of files allow.
    #[arg(long)]
    allow_other: bool,
    /// How many requests are answered at a time; as many as there are processors if it is not said.
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// For how many milliseconds the kernel believes what it was told of names and attributes. What others than programs in the mount
    /// change is seen as late.
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    cache: u64,
    /// How often what nobody syncs is made durable, in milliseconds; 0 is never.
    #[arg(long, value_name = "MS", default_value_t = 5000)]
    commit_interval: u64,
    /// Says that it is mounted as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn mount(asked: &Mount) -> Result<Status, CannotRun> {
    let (path, dir) = (&asked.pool, &asked.dir);
    check_dir(dir)?;
    check_live_dir(path)?;
    // Before there are other threads: they are blocked in all of them.
    let signals = Signals::block()?;
    let interval = (asked.commit_interval > 0).then(|| Duration::from_millis(asked.commit_interval));
    let pool = PoolOptions::new().commit_every(interval).open(path).map_err(|error| about(path, &error))?;
    let serving = serve(&pool, live_dir_of(path)).map_err(doing(shown(path)))?;
    let mount = asked.options().mount(&pool, dir).map_err(doing(format!("{}: could not be mounted", shown(dir))))?;
    let pid = std::process::id();
    match asked.json {
        true => say(serde_json::json!({ "mounted": true, "pid": pid, "dir": dir.display().to_string() }))?,
        false => say(format_args!("{}: mounted on {}, by process {pid}", shown(path), shown(dir)))?,
    }
    let (unmounter, used) = (mount.unmounter(), pool.clone());
    let said = shown(dir).to_string();
    std::thread::spawn(move || end_on_signal(signals, &unmounter, &used, &said));
    mount.wait().map_err(doing(shown(dir)))?;
    drop(serving);
    pool.close().map_err(doing(shown(path)))?;
    Ok(Status::Held)
}

/// Unmounts at the first signal. While programs use the mount that ends nothing: then all that they did is made durable, and they see it
/// end with this process.
fn end_on_signal(signals: Signals, unmounter: &Unmounter, pool: &Pool, dir: &str) {
    let ended = signals.wait().and_then(|()| unmounter.unmount().map_err(doing(dir)));
    match ended {
        Ok(Unmounted::Idle) => {}
        Ok(Unmounted::InUse) => {
            let status = match pool.sync() {
                Ok(()) => Status::Held,
                Err(error) => {
                    complain(format_args!("{dir}: not all of it could be made durable: {error}"));
                    Status::CannotRun
                }
            };
            complain(format_args!("{dir}: ended while programs used it"));
            std::process::exit(i32::from(status.number()));
        }
        Err(why) => complain(why),
    }
}

impl Mount {
    fn options(&self) -> MountOptions {
        let options = MountOptions::new()
            .owner(owner_of(&self.pool))
            .believed_for(Duration::from_millis(self.cache))
            .read_only(self.read_only)
            .allow_other(self.allow_other)
            .named(self.pool.display().to_string());
        match self.threads {
            Some(threads) => options.threads(usize::from(threads)),
            None => options,
        }
    }
}

/// Who owns the file that the pool lies in.
fn owner_of(pool: &Path) -> Owner {
    let known = std::fs::metadata(pool).map(|known| Owner { uid: known.uid(), gid: known.gid() });
    known.unwrap_or_else(|_| Owner::this_process())
}

/// Before the pool is opened, which the wrong place has no need of.
fn check_dir(dir: &Path) -> Result<(), CannotRun> {
    let said = shown(dir);
    if !Path::new("/dev/fuse").exists() {
        return Err(CannotRun(String::from(
            "there is no /dev/fuse here: load the kernel's module `fuse`, or give it to the container",
        )));
    }
    match std::fs::metadata(dir) {
        Ok(known) if known.is_dir() => Ok(()),
        Ok(_) => Err(CannotRun(format!("{said}: is no directory; give one to mount on"))),
        Err(error) => Err(CannotRun(format!("{said}: {error}; give a directory to mount on"))),
    }
}
