//! The command line.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, value_parser};

use crate::copy::{Get, Put};
use crate::dump::Dump;
use crate::fsck::Fsck;
use crate::look::{Cat, Df, Info, Ls, Map, Quarantine, Stat, Tree, Who};
use crate::make::Mkfs;
use crate::mount::Mount;
use crate::shell::{Completions, Man};
use crate::{size, status};

/// Files in a pool of memory, into which devices may DMA, and that can be truncated under them.
///
/// A pool is a file or a device-DAX device. A pool and a path in it are two arguments, as in `pinfold ls POOL /kv/17`: a shell
/// completes the pool as any file, and no name needs to be taken apart. Paths begin at the pool's root, with a slash or
/// without. Commands that only look claim nothing, and work while another process owns the pool.
#[derive(Parser, Debug)]
#[command(name = "pinfold", version, after_help = status::HELP, after_long_help = long_help(), arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What is true of all sizes on the command line.
pub(crate) const SIZES: &str = "Sizes are bytes, or K, M, G, T as in 64M or 1.5G (powers of 1024).";

/// What is done most.
pub(crate) const EXAMPLES: [(&str, &str); 6] = [
    ("pinfold mkfs /dev/shm/pool --size 64M", "makes a pool in memory"),
    ("pinfold put /dev/shm/pool model.bin /", "copies a file in, as /model.bin"),
    ("pinfold put -r /dev/shm/pool data /", "copies a directory in, as /data"),
    ("pinfold ls -l /dev/shm/pool /data", "lists it"),
    ("pinfold get /dev/shm/pool /model.bin .", "copies it out"),
    ("pinfold who /dev/shm/pool", "shows who holds what"),
];

fn long_help() -> String {
    let examples = EXAMPLES.map(|(command, does)| format!("  {command:<42} {does}\n"));
    format!("{SIZES}\n\nExamples:\n{}\n{}", examples.concat(), status::HELP)
}

#[derive(Subcommand, Debug)]
#[command(disable_help_subcommand = true)]
pub(crate) enum Command {
    Mkfs(Mkfs),
    Info(Info),
    Df(Df),
    Ls(Ls),
    Tree(Tree),
    Stat(Stat),
    Cat(Cat),
    Map(Map),
    Who(Who),
    Quarantine(Quarantine),
    Put(Put),
    Get(Get),
    Mount(Mount),
    /// Brings a real file in by DMA, and truncates, punches, unlinks and kills while transfers are in flight.
    Demo(Demo),
    /// Devices against every operation that frees or moves blocks, for a while: nothing may be found.
    Torture(Torture),
    /// Measures the speed table: each row a ratio to what a user would have instead, in the same run.
    Bench(Bench),
    #[command(flatten)]
    Change(crate::change::Command),
    Fsck(Fsck),
    Dump(Dump),
    Completions(Completions),
    Man(Man),
}

/// What the demo starts as the owner of a pool in a file.
#[derive(Parser, Debug)]
pub(crate) struct DemoOwner {
    /// The pool.
    pub(crate) pool: PathBuf,
    /// What it brings in.
    pub(crate) source: PathBuf,
    /// How much, in bytes.
    pub(crate) load: u64,
    /// How often it brings more.
    pub(crate) rounds: u64,
}

// How sizes are shown. `-h` is for that here, as in `ls` and `df`.
#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
pub(crate) struct Human {
    /// Sizes as 1.5K, 64M: powers of 1024.
    #[arg(short = 'h', long)]
    pub(crate) human_readable: bool,
    /// Shows this help.
    #[arg(long, action = ArgAction::HelpLong)]
    help: Option<bool>,
}

impl Human {
    /// A size as it was asked for.
    pub(crate) fn size(&self, bytes: u64) -> String {
        if self.human_readable { size::human(bytes) } else { bytes.to_string() }
    }
}

#[derive(Args, Debug)]
#[command(after_help = status::HELP)]
pub(crate) struct Demo {
    /// The file to bring in; a large one of this machine if none is given.
    ///
    /// A small file is brought in repeatedly, of a large one its first part. It is only read.
    pub(crate) file: Option<PathBuf>,
    /// Tells the same as one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = status::HELP)]
pub(crate) struct Torture {
    /// For how long.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = value_parser!(u64).range(1..=86_400 * 30))]
    pub(crate) seconds: u64,
    /// Kills owners of pools instead, on a disk and in memory, with transfers in flight, and judges what they leave.
    #[arg(long, conflicts_with_all = ["seconds", "policy", "baseline", "scratch"])]
    pub(crate) crash: bool,
    /// With --crash: how often a pool is judged. Before each time one to three owners are killed.
    #[arg(long, value_name = "N", default_value_t = 500, requires = "crash", value_parser = value_parser!(u64).range(1..=1_000_000))]
    pub(crate) rounds: u64,
    /// With --crash: a directory on a disk, for a pool and what the device reads; the current one or /var/tmp if none is given.
    #[arg(long, value_name = "DIR", requires = "crash")]
    pub(crate) dir: Option<PathBuf>,
    /// How many threads make operations; as many as there are cores if none is given. With --crash at most 8.
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..=256))]
    pub(crate) threads: Option<u16>,
    /// What the choices of every thread follow from. How the threads meet does not.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Whether what frees blocks waits for transfers, or leaves them what they reach.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) policy: Policy,
    /// Which device moves the bytes.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) engine: Engine,
    /// Tortures a plain store that frees without looking: its corruption has to be found.
    #[arg(long)]
    pub(crate) baseline: bool,
    /// Where the scratch file is made, which loses its name at once; the current directory or /var/tmp if none is given.
    #[arg(long, value_name = "PATH")]
    pub(crate) scratch: Option<PathBuf>,
    /// The report as a JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is done with transfers in the way.
#[derive(ValueEnum, Clone, Copy, Debug, Default)]
pub(crate) enum Policy {
    /// Every operation waits for them.
    Wait,
    /// Every operation leaves them what they reach, parked.
    Detach,
    /// Each operation does one or the other.
    #[default]
    Both,
}

/// Which device.
#[derive(ValueEnum, Clone, Copy, Debug, Default)]
pub(crate) enum Engine {
    /// A real one where there is one, or else the late one.
    #[default]
    Auto,
    /// io_uring, with direct I/O to the scratch file.
    Real,
    /// One made of a thread, which completes late.
    Late,
}

#[derive(Args, Debug)]
#[command(after_help = status::HELP)]
pub(crate) struct Bench {
    /// Only these rows of the table.
    #[arg(long = "row", value_name = "N", num_args = 1.., value_delimiter = ',', value_parser = crate::bench::row)]
    pub(crate) rows: Vec<u32>,
    /// The table as a JSON document.
    #[arg(long)]
    pub(crate) json: bool,
    /// A few short rounds, to see that everything runs: the ratios say nothing then.
    #[arg(long)]
    pub(crate) smoke: bool,
    /// Where the scratch file lies from which a device reads; the directory for temporary files if none is given.
    #[arg(long, value_name = "DIR")]
    pub(crate) scratch: Option<PathBuf>,
}
