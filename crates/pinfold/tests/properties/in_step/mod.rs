//! A pool and its model, in step: each step is taken by both, and then they are compared.

mod check;
mod files;
mod pins;
mod reservations;

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pinfold::{ChangeError, File, FileId, LongTermPinned, Pinned, Policy, Pool, PoolOptions, Redeemed, Region};
use pinfold::{Reservation, Token, Until};
use rustix::io::Errno;

use crate::model::{Model, ModelToken, Verdict};
use crate::steps::{Form, Op, Step};

/// Blocks of the pool: fewer than files would like to have.
const BLOCKS: u64 = 40;
/// A wait that the model says is none ends at last where the model is wrong.
const WAIT_MAX: Duration = Duration::from_secs(60);

pub(crate) struct InStep {
    pool: Pool,
    model: Model,
    handles: Vec<File>,
    transfers: Vec<Transfer>,
    last_transfer: usize,
    /// Transfers that were given up, and that their engines still have.
    given_up: Vec<Transfer>,
    reservations: Vec<Reservation>,
    tokens: Vec<(Token, ModelToken)>,
    redeemed: Vec<(Redeemed, ModelToken)>,
    waiting: Option<Waiting>,
    /// Changes with each write, so that no two write the same.
    stamp: usize,
}

struct Transfer {
    number: usize,
    held: Held,
}

enum Held {
    Short(Pinned),
    Long(LongTermPinned),
}

/// A change that waits, and the files that it keeps open.
struct Waiting {
    future: Pin<Box<dyn Future<Output = Result<(), ChangeError>>>>,
    files: Vec<FileId>,
}

/// How a call ended.
#[derive(Debug)]
enum Ended<T> {
    Done(T),
    Refused(i32),
    Pending,
}

impl<T> Ended<T> {
    fn of(result: Result<T, i32>) -> Self {
        result.map_or_else(Self::Refused, Self::Done)
    }
}

/// Ends a call in one of its four forms.
macro_rules! ended {
    ($call:expr, $form:expr, $verdict:expr) => {{
        let call = $call;
        match $form {
            Form::Try => Ended::of(call.try_now().map_err(|error| error.errno())),
            Form::Wait | Form::Deadline => {
                Ended::of(call.until($crate::in_step::until($form, &$verdict)).map_err(|error| error.errno()))
            }
            Form::Future => match $crate::in_step::poll_once(call.wait_async()) {
                Some(result) => Ended::of(result.map_err(|error| error.errno())),
                None => Ended::Pending,
            },
        }
    }};
}
use ended;

/// Nothing that this thread waits for would come, so where the model says that it would wait it has no time.
fn until<T>(form: Form, verdict: &Verdict<T>) -> Until {
    let waits = matches!(verdict, Verdict::Refused(Errno::TIMEDOUT) | Verdict::RefusedAsOneOf(..));
    Until::after(if waits || form == Form::Deadline { Duration::ZERO } else { WAIT_MAX })
}

fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    }
}

/// Both ended in the same way; with what, if it is done.
fn agree<M: std::fmt::Debug, T: std::fmt::Debug>(model: Verdict<M>, pool: Ended<T>) -> Option<(M, T)> {
    match (model, pool) {
        (Verdict::Done(model), Ended::Done(pool)) => Some((model, pool)),
        (Verdict::Refused(errno), Ended::Refused(raw)) if errno.raw_os_error() == raw => None,
        (Verdict::RefusedAsOneOf(one, other), Ended::Refused(raw))
            if [one, other].iter().any(|errno| errno.raw_os_error() == raw) =>
        {
            None
        }
        (Verdict::Pending, Ended::Pending) => None,
        (model, pool) => panic!("the model says {model:?}, the pool {pool:?}"),
    }
}

/// Says at which step it went wrong.
struct Running<'s>(usize, &'s Step);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in step {}: {:?}", self.0, self.1);
        }
    }
}

impl InStep {
    /// Takes all steps, and then lets go of everything: nothing may be missing.
    pub(crate) fn run(block: u64, steps: Vec<Step>) {
        let mut in_step = Self::new(block);
        for (index, step) in steps.iter().enumerate() {
            let _running = Running(index, step);
            in_step.take(step.clone());
            in_step.check();
        }
        in_step.end();
    }

    fn new(block: u64) -> Self {
        let region = Region::memfd(BLOCKS * block).unwrap();
        // What was in the memory before is nobody's to see (G10).
        region.bytes(0..region.len()).unwrap().copy_in(0, &vec![0xdb; region.len() as usize]).unwrap();
        let pool = PoolOptions::new().block_size(block).create(region).unwrap();
        pool.create_dir("/dir").unwrap();
        let mut in_step = Self {
            pool,
            model: Model::new(block, BLOCKS),
            handles: Vec::new(),
            transfers: Vec::new(),
            last_transfer: 0,
            given_up: Vec::new(),
            reservations: Vec::new(),
            tokens: Vec::new(),
            redeemed: Vec::new(),
            waiting: None,
            stamp: 0,
        };
        // Something to begin with: a file with bytes, and one of holes.
        in_step.take(Step::Create { name: "/a" });
        in_step.take(Step::Write { file: 0, at: 0, len: 12 * block + 100 });
        in_step.take(Step::Create { name: "/b" });
        let op = Op::Truncate(20 * block - 100);
        in_step.take(Step::Change { file: 1, op, policy: Policy::Wait, form: Form::Try });
        in_step
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Create { name } => self.create(name),
            Step::Open { name, or_create } => self.open(name, or_create),
            Step::Close { file } => self.close(file),
            Step::Unlink { name } => self.unlink(name),
            Step::Rename { from, to, how } => self.rename(from, to, how),
            Step::Link { from, to } => self.link(from, to),
            Step::Write { file, at, len } => self.write(file, at, len),
            Step::Append { file, len } => self.append(file, len),
            Step::Read { file, at, len } => self.read(file, at, len),
            Step::Copy { from, range, to, at } => self.copy(from, range, to, at),
            Step::Seek { file, at } => self.seek(file, at),
            Step::Allocate { file, range, keep_size, form } => self.allocate(file, range, keep_size, form),
            Step::Change { file, op, policy, form } => self.change(file, &op, policy, form),
            Step::Begin { file, op } => self.begin(file, &op),
            Step::Poll => self.poll(),
            Step::Withdraw => self.withdraw(),
            Step::Pin { wants, engine, hand_over, elsewhere, form } => {
                self.pin(&wants, engine, hand_over, elsewhere, form);
            }
            Step::PinLongTerm { file, range, access, recall, form } => {
                self.pin_long_term(file, range, access, recall, form);
            }
            Step::Extend { pin, file, range, access } => self.extend(pin, file, range, access),
            Step::CopyIn { pin, at, len } => self.copy_in(pin, at, len),
            Step::Dma { pin, at, len } => self.dma(pin, at, len),
            Step::Say { pin, what } => self.say(pin, what),
            Step::Unpin { pin } => self.unpin(pin),
            Step::GiveUp { pin } => self.give_up(pin),
            Step::CompleteLate { nth } => self.complete_late(nth),
            Step::Abandon { pin } => self.abandon(pin),
            Step::Prove { engine } => self.prove(engine),
            Step::Decide { pin, held } => self.decide(pin, held),
            Step::Token { file, range } => self.token(file, range),
            Step::Redeem { token } => self.redeem(token),
            Step::DropRedeemed { nth } => self.drop_redeemed(nth),
            Step::Reserve { len, form } => self.reserve(len, form),
            Step::Fill { nth, range, said, whole_blocks } => self.fill(nth, range, said, whole_blocks),
            Step::WrittenByPin { pin, bytes } => self.written_by_pin(pin, bytes),
            Step::Publish { nth, name, how, form } => self.publish(nth, name, how, form),
            Step::DropReservation { nth } => self.drop_reservation(nth),
            Step::LookAround => self.look_around(),
        }
    }

    /// Which handle a step means.
    fn nth_handle(&self, nth: usize) -> Option<File> {
        (!self.handles.is_empty()).then(|| self.handles[nth % self.handles.len()].clone())
    }

    /// Bytes that nobody wrote before, none of them zero.
    fn stamped(&mut self, len: u64) -> Vec<u8> {
        self.stamp += 1;
        // As long as a prime, so that bytes at a wrong place show.
        let pattern: Vec<u8> = (0..251).map(|at| ((at * 7 + self.stamp * 13) % 255 + 1) as u8).collect();
        let mut bytes = pattern.repeat(len as usize / pattern.len() + 1);
        bytes.truncate(len as usize);
        bytes
    }
}
