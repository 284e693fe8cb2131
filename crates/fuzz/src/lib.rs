//! Any bytes at all, where a pool reads what may have been damaged: superblocks, checkpoint, log, layout area.
//!
//! Each [target](TARGETS) takes bytes, makes a medium of them, with right checksums where that lets them get further, and
//! looks at it in every way there is: the check, the dump, who only looks, who opens it. Nobody may panic, take memory
//! without measure or go on for ever; where one refuses, all who read refuse, and the check has told an error; and where
//! they do not, the two ways of reading a pool, as a whole and a directory at a time, see the same.
//!
//! ```
//! for target in pinfold_fuzz::TARGETS {
//!     (target.run)(b"whatever");
//! }
//! ```
//!
//! `cargo test -p pinfold-fuzz` runs the corpus and about a thousand inputs made of it; the crate in `fuzz/` at the root runs
//! for as long as one likes, and looks for inputs that reach new code.

mod area;
#[path = "../../pinfold/tests/damaged/format.rs"]
mod format;
#[path = "../../pinfold/tests/damaged/look.rs"]
mod look;
mod media;
#[path = "../../pinfold/tests/damaged/sample.rs"]
mod sample;

/// What bytes are put in the place of.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Target {
    /// As its corpus is called.
    pub name: &'static str,
    /// Takes bytes, whatever they are.
    ///
    /// # Panics
    /// If pinfold is wrong.
    pub run: fn(&[u8]),
    /// Inputs that say what was really there.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: [Target; 7] = [
    Target { name: "superblock", run: media::superblock, seeds: media::superblock_seeds },
    Target { name: "checkpoint", run: media::checkpoint, seeds: media::checkpoint_seeds },
    Target { name: "chunk", run: media::chunk, seeds: media::chunk_seeds },
    Target { name: "log", run: media::log, seeds: media::log_seeds },
    Target { name: "records", run: media::records, seeds: media::records_seeds },
    Target { name: "pool", run: media::pool, seeds: media::pool_seeds },
    Target { name: "layout_area", run: area::layout_area, seeds: area::seeds },
];

/// Runs one of them.
///
/// # Panics
/// If there is none of that name, or pinfold is wrong.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of that name");
    (target.run)(data);
}
