//! What is run.

use std::path::PathBuf;
use std::time::Duration;

use pinfold::Policy;

use crate::error::TortureError;

/// What is done with transfers that are in the way of an operation that frees. What moves blocks always waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Policies {
    /// Every operation waits for them.
    Wait,
    /// Every operation leaves them what they reach, parked.
    Detach,
    /// Each operation does one or the other.
    #[default]
    Both,
}

impl Policies {
    /// In a word, as a command takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Detach => "detach",
            Self::Both => "both",
        }
    }

    pub(crate) fn pick(self, choices: &mut fastrand::Rng) -> Policy {
        let waits = match self {
            Self::Wait => true,
            Self::Detach => false,
            Self::Both => choices.bool(),
        };
        if waits { Policy::Wait } else { Policy::Detach }
    }
}

/// Which device moves the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Engine {
    /// A real one where there is one, or else the late one.
    #[default]
    Auto,
    /// io_uring, with direct I/O to a scratch file. An error where there is none.
    Real,
    /// A test device that completes late.
    Late,
}

/// What is run, for how long, by how many.
#[derive(Clone, Debug)]
pub struct Options {
    /// For how long. Ends a little later, when everybody has come back.
    pub time: Duration,
    /// How many threads make operations. The device has its own.
    pub threads: usize,
    /// The choices of every thread follow from it. How the threads meet does not.
    pub seed: u64,
    /// Whether operations wait.
    pub policies: Policies,
    /// Which device.
    pub engine: Engine,
    /// Where the scratch file is made; it loses its name at once. If `None`, in the current directory or in `/var/tmp`.
    pub scratch: Option<PathBuf>,
    /// Tortures a plain store that frees without looking, instead of pinfold.
    pub baseline: bool,
    /// What takes longer than this counts as hanging.
    pub patience: Duration,
}

impl Default for Options {
    /// A minute, as many threads as cores, a seed from the clock, both policies, pinfold.
    fn default() -> Self {
        Self {
            time: Duration::from_secs(60),
            threads: std::thread::available_parallelism().map_or(2, usize::from),
            seed: fastrand::u64(..),
            policies: Policies::default(),
            engine: Engine::default(),
            scratch: None,
            baseline: false,
            patience: Duration::from_secs(30),
        }
    }
}

/// The most threads: a file number for each of their files has to find a place in a stamp.
const THREADS_MAX: usize = 256;

impl Options {
    pub(crate) fn check(&self) -> Result<(), TortureError> {
        if self.threads == 0 || self.threads > THREADS_MAX {
            let bounds = "1 to 256";
            return Err(TortureError::BadOption { what: "a number of threads", given: self.threads as u64, bounds });
        }
        if self.time.is_zero() || self.time > Duration::from_secs(86_400 * 30) {
            let bounds = "a second to 30 days";
            return Err(TortureError::BadOption { what: "a run in seconds", given: self.time.as_secs(), bounds });
        }
        Ok(())
    }
}
