//! `pinfold demo`: a pool on memory, a real file brought in by DMA, and what becomes of transfers in flight when the files
//! under them are cut, punched, unlinked, or when their process is killed.
//!
//! Stays true  D1: it ends by itself, in [`ENDS_WITHIN`] at the latest.
//!             D2: it only reads the file that it is given, and leaves nothing behind but a dead ring's lock if it is killed
//!                 itself.

mod acts;
mod device;
mod expect;
mod ghost;
pub(crate) mod guest;
mod heir;
mod invited;
mod json;
mod message;
pub(crate) mod owner;
mod socket;
mod source;
mod stage;
mod story;
mod text;

use std::process;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use self::acts::{ALL, Play};
use self::source::Source;
use self::stage::Stage;
use self::story::{Act, Check, bytes};
use self::text::AsText;
use crate::cli;
use crate::out::{complain, say};
use crate::screen::{Screen, Style};
use crate::status::{CannotRun, Status};

/// The longest that it takes.
const ENDS_WITHIN: Duration = Duration::from_secs(19);

/// How often an act is played until it meets a transfer in flight.
const TRIES: usize = 4;

/// Plays it.
pub(crate) fn demo(asked: &cli::Demo) -> Result<Status, CannotRun> {
    let _in_time = in_time();
    let path = asked.file.clone().map_or_else(source::of_this_machine, Ok)?;
    let mut show = Show::new(Stage::set(Source::open(&path)?)?, asked.json);
    show.tell_stage()?;
    for play in ALL {
        show.play(play)?;
    }
    show.end()
}

/// Ends the process if it takes too long. Not, once what it returns is dropped.
fn in_time() -> Sender<()> {
    let (ended, wait) = channel();
    std::thread::spawn(move || {
        if wait.recv_timeout(ENDS_WITHIN) == Err(RecvTimeoutError::Timeout) {
            complain(format_args!("not done in {} s: the device or the machine is too slow", ENDS_WITHIN.as_secs()));
            process::exit(Status::CannotRun.number().into());
        }
    });
    ended
}

/// The stage, and what was played on it.
struct Show {
    stage: Stage,
    acts: Vec<Act>,
    json: bool,
    screen: Screen,
    progress: ProgressBar,
}

impl Show {
    fn new(stage: Stage, json: bool) -> Self {
        let style = ProgressStyle::with_template("{spinner} {msg}").expect("the template is sound");
        let progress = ProgressBar::new_spinner().with_style(style);
        progress.enable_steady_tick(Duration::from_millis(80));
        Self { stage, acts: Vec::new(), json, screen: Screen::of_stdout(), progress }
    }

    /// Plays one act, and tells it.
    fn play(&mut self, play: Play) -> Result<(), CannotRun> {
        self.progress.set_message(format!("act {} of {}", self.acts.len() + 1, ALL.len()));
        let mut act = self.until_it_meets(play)?;
        act.stands_in.clone_from(&self.stage.stands_in);
        if !self.json {
            let text = AsText { act: &act, number: self.acts.len() + 1, screen: self.screen }.to_string();
            self.progress.suspend(|| say(text))?;
        }
        self.acts.push(act);
        Ok(())
    }

    /// Tries again where the device was too fast to be met; where it always is, another one stands in from here on.
    fn until_it_meets(&mut self, play: Play) -> Result<Act, CannotRun> {
        for _ in 0..TRIES {
            let act = play(&self.stage)?;
            if act.met || !act.held() {
                return Ok(act);
            }
        }
        let source = Source::open(&self.stage.source.path)?;
        let why = "the transfers of the machine's own device end before anything can meet them";
        let moved = std::mem::take(&mut self.stage.moved);
        self.stage = Stage { moved, ..Stage::with_stand_in(source, why.to_owned())? };
        acts::keep(&self.stage)?;
        let act = play(&self.stage)?;
        match act.met || !act.held() {
            true => Ok(act),
            false => Err(CannotRun("nothing met a transfer in flight, so nothing can be said: try again".to_owned())),
        }
    }

    fn tell_stage(&self) -> Result<(), CannotRun> {
        if self.json {
            return Ok(());
        }
        let Stage { pool, source, load, .. } = &self.stage;
        let title = self.screen.paint(Style::Title, "Files in a pool of memory, and devices that write into them");
        let lines = [
            title,
            String::new(),
            format!("   source   {}, {} bytes; {}", source.path.display(), source.len(), self.part()),
            format!("   pool     {} of memfd in blocks of {}", bytes(pool.region().len()), bytes(pool.block_size())),
            format!("   device   {}", self.device()),
            format!("   moved    {} at once, in transfers of at most {}", bytes(*load), bytes(source::PIECE)),
            String::new(),
        ];
        self.progress.suspend(|| say(lines.join("\n")))
    }

    fn part(&self) -> &'static str {
        let Stage { source, load, .. } = &self.stage;
        match source.len().cmp(load) {
            std::cmp::Ordering::Less => "small, so it is brought in repeatedly",
            std::cmp::Ordering::Equal => "all of it",
            std::cmp::Ordering::Greater => "its first part",
        }
    }

    fn device(&self) -> String {
        let name = self.stage.device.name();
        match &self.stage.stands_in {
            None => format!("{name}, O_DIRECT: from the source straight into the files' blocks"),
            Some(why) => format!("{name}, made of a thread, stands in: {why}"),
        }
    }

    /// The last check, and what came of all.
    fn end(self) -> Result<Status, CannotRun> {
        let (what, right) = acts::kept(&self.stage)?;
        let held = right && self.acts.iter().all(Act::held);
        if !held && self.stage.source.was_changed()? {
            let path = self.stage.source.path.display();
            return Err(CannotRun(format!(
                "{path} was changed meanwhile, so nothing can be said: give a file that rests"
            )));
        }
        self.progress.finish_and_clear();
        let last = Check { guarantee: "G1", what, held: right };
        match self.json {
            true => say(format_args!("{:#}", self.document(&last, held)))?,
            false => say(self.summary(&last, held))?,
        }
        Ok(Status::of(held))
    }

    fn summary(&self, last: &Check, held: bool) -> String {
        let checks = self.acts.iter().flat_map(|act| &act.checks).chain([last]);
        let (good, broken): (Vec<_>, Vec<_>) = checks.partition(|check| check.held);
        let paint = |held, text: &str| self.screen.paint(if held { Style::Good } else { Style::Bad }, text);
        let verdict = match held {
            true => format!("All {} checks held.", good.len()),
            false => format!("{} of {} checks are BROKEN.", broken.len(), good.len() + broken.len()),
        };
        // The first act only brings what the others leave alone.
        let operations = &self.acts[1..];
        let met = operations.iter().filter(|act| act.met).count();
        let of = operations.len();
        let Stage { moved, .. } = &self.stage;
        let (transfers, moved) = (moved.transfers(), bytes(moved.bytes()));
        let lines = [
            paint(last.held, &last.what),
            paint(held, &verdict),
            format!("{transfers} transfers moved {moved}; {met} of {of} operations met transfers in flight."),
            String::new(),
            self.screen.wrap("", story::GUARANTEES),
        ];
        lines.join("\n")
    }

    /// `held`, and what it is made of.
    fn document(&self, last: &Check, held: bool) -> Value {
        let Stage { pool, source, load, device, stands_in, moved, .. } = &self.stage;
        json!({
            "source": { "path": source.path.display().to_string(), "bytes": source.len() },
            "pool": { "bytes": pool.region().len(), "block": pool.block_size() },
            "device": { "name": device.name(), "stand_in": stands_in },
            "load": load,
            "moved": { "transfers": moved.transfers(), "bytes": moved.bytes() },
            "acts": self.acts.iter().map(json::act).collect::<Vec<_>>(),
            "bystander": json::check(last),
            "held": held,
        })
    }
}
