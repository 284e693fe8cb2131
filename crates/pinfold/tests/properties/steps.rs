//! The steps: every operation on files, and all that devices and holders do between them.
//!
//! Files, pins, reservations and tokens are named by number, modulo how many there are. (Strategies are boxed: trees of
//! all alternatives side by side are large for a stack.)

use std::ops::Range;

use pinfold::{Access, FILE_BYTES_MAX, Policy, Publish, Rename};
use proptest::prelude::*;

/// Few, so that they meet often.
pub(crate) const NAMES: [&str; 4] = ["/a", "/b", "/dir/c", "/dir/d"];
pub(crate) const ENGINES: [&str; 2] = ["nic 0", "disk 1"];

/// How many blocks of a file most steps touch.
const NEAR: u64 = 20;

type Name = &'static str;

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Create {
        name: Name,
    },
    Open {
        name: Name,
        or_create: bool,
    },
    Close {
        file: usize,
    },
    Unlink {
        name: Name,
    },
    Rename {
        from: Name,
        to: Name,
        how: Rename,
    },
    Link {
        from: Name,
        to: Name,
    },

    Write {
        file: usize,
        at: u64,
        len: u64,
    },
    Append {
        file: usize,
        len: u64,
    },
    Read {
        file: usize,
        at: u64,
        len: u64,
    },
    Copy {
        from: usize,
        range: Range<u64>,
        to: usize,
        at: u64,
    },
    Seek {
        file: usize,
        at: u64,
    },

    Allocate {
        file: usize,
        range: Range<u64>,
        keep_size: bool,
        form: Form,
    },
    Change {
        file: usize,
        op: Op<usize>,
        policy: Policy,
        form: Form,
    },
    /// A change that waits as a future, while other steps go on.
    Begin {
        file: usize,
        op: Op<usize>,
    },
    /// Looks whether it is done.
    Poll,
    /// Drops it.
    Withdraw,

    Pin {
        wants: Vec<Want>,
        engine: Option<usize>,
        hand_over: bool,
        /// Another thread makes it, by a try, and gives it to this one.
        elsewhere: bool,
        form: Form,
    },
    PinLongTerm {
        file: usize,
        range: Range<u64>,
        access: Access,
        recall: bool,
        form: Form,
    },
    Extend {
        pin: usize,
        file: usize,
        range: Range<u64>,
        access: Access,
    },
    CopyIn {
        pin: usize,
        at: u64,
        len: u64,
    },
    /// The device writes, whether or not anybody waits for it, and nobody records it.
    Dma {
        pin: usize,
        at: u64,
        len: u64,
    },
    Say {
        pin: usize,
        what: Saying,
    },
    Unpin {
        pin: usize,
    },
    /// The engine keeps the transfer, and nobody waits for it any more.
    GiveUp {
        pin: usize,
    },
    /// The completion of one that was given up comes after all, released meanwhile or not.
    CompleteLate {
        nth: usize,
    },
    Abandon {
        pin: usize,
    },
    /// A proof that one engine is quiet, or all are.
    Prove {
        engine: Option<usize>,
    },
    /// A person decides on a pin; sometimes on one that has a holder.
    Decide {
        pin: usize,
        held: bool,
    },

    Token {
        file: usize,
        range: Range<u64>,
    },
    Redeem {
        token: usize,
    },
    DropRedeemed {
        nth: usize,
    },

    Reserve {
        len: u64,
        form: Form,
    },
    /// A device writes a range of a reservation. Its engine says so, or does not; what it says may reach past the end in
    /// whole blocks.
    Fill {
        nth: usize,
        range: Range<u64>,
        said: bool,
        whole_blocks: bool,
    },
    WrittenByPin {
        pin: usize,
        bytes: u64,
    },
    Publish {
        nth: usize,
        name: Name,
        how: Publish,
        form: Form,
    },
    DropReservation {
        nth: usize,
    },

    /// Asks for every block of the pool what it is.
    LookAround,
}

/// A change of a file's layout; `F` is how another file is named.
#[derive(Clone, Debug)]
pub(crate) enum Op<F> {
    Truncate(u64),
    Punch(Range<u64>),
    Zero { range: Range<u64>, keep_size: bool },
    Collapse(Range<u64>),
    Insert { at: u64, len: u64 },
    Exchange { range: Range<u64>, other: F, at: u64 },
}

/// What is said of a transfer that is held.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Saying {
    /// An engine has it.
    HandOver,
    /// It is the process's again.
    TakeBack,
    /// This thread has it, whichever made it.
    Claim,
    /// Through which engine.
    Relabel(usize),
}

/// Which of the four forms is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    Try,
    Wait,
    /// A deadline that has passed.
    Deadline,
    /// A future that is polled once.
    Future,
}

/// What is to be pinned.
#[derive(Clone, Debug)]
pub(crate) enum Want {
    File { file: usize, range: Range<u64>, access: Access },
    Reserved { nth: usize, range: Range<u64> },
    Redeemed { nth: usize, access: Access },
}

impl<F> Op<F> {
    /// The same with the other file named in another way.
    pub(crate) fn named<G>(&self, name: impl Fn(&F) -> G) -> Op<G> {
        match self {
            Self::Truncate(len) => Op::Truncate(*len),
            Self::Punch(range) => Op::Punch(range.clone()),
            Self::Zero { range, keep_size } => Op::Zero { range: range.clone(), keep_size: *keep_size },
            Self::Collapse(range) => Op::Collapse(range.clone()),
            Self::Insert { at, len } => Op::Insert { at: *at, len: *len },
            Self::Exchange { range, other, at } => Op::Exchange { range: range.clone(), other: name(other), at: *at },
        }
    }
}

/// Steps over a pool with blocks of `block` bytes.
pub(crate) fn steps(block: u64) -> impl Strategy<Value = Vec<Step>> {
    let step =
        prop_oneof![8 => names(), 24 => bytes(block), 30 => changes(block), 34 => pins(block), 18 => others(block)];
    prop::collection::vec(step, 1..120)
}

fn nth() -> impl Strategy<Value = usize> {
    0..6_usize
}

fn name() -> impl Strategy<Value = Name> {
    prop::sample::select(&NAMES[..])
}

fn form() -> impl Strategy<Value = Form> {
    prop_oneof![4 => Just(Form::Try), 2 => Just(Form::Wait), 1 => Just(Form::Deadline), 1 => Just(Form::Future)]
}

fn access() -> impl Strategy<Value = Access> {
    prop_oneof![Just(Access::Read), Just(Access::Write)]
}

fn policy() -> impl Strategy<Value = Policy> {
    prop_oneof![Just(Policy::Wait), Just(Policy::Detach)]
}

/// What lies inside of most files.
fn inside(block: u64) -> BoxedStrategy<Range<u64>> {
    let rest = move || prop::sample::select(vec![0, 0, 1, 100, block / 2, block - 1]);
    let near = (0..NEAR / 2, rest(), 0..NEAR / 4, rest()).prop_map(move |(at, skip, len, more)| {
        let start = at * block + skip;
        start..start + (len * block + more).max(512)
    });
    prop_oneof![5 => near, 1 => range(block)].boxed()
}

/// Where something begins: at a block, inside one, or where files end.
fn offset(block: u64) -> BoxedStrategy<u64> {
    let inside = prop::sample::select(vec![1, 100, 512, block / 2, block - 100, block - 1]);
    prop_oneof![
        12 => (0..NEAR).prop_map(move |at| at * block),
        10 => (0..NEAR, inside).prop_map(move |(at, rest)| at * block + rest),
        1 => (0..3_u64, 0..2_u64).prop_map(move |(at, rest)| FILE_BYTES_MAX - at * block + rest),
        1 => Just(u64::MAX),
    ]
    .boxed()
}

fn len(block: u64) -> BoxedStrategy<u64> {
    let inside = prop::sample::select(vec![1, 100, 512, block / 2, block - 1]);
    prop_oneof![
        6 => (1..NEAR / 2).prop_map(move |len| len * block),
        8 => (0..NEAR / 3, inside).prop_map(move |(len, rest)| len * block + rest),
    ]
    .boxed()
}

fn range(block: u64) -> BoxedStrategy<Range<u64>> {
    prop_oneof![
        40 => (offset(block), len(block)).prop_map(|(start, len)| start..start.saturating_add(len)),
        8 => whole_blocks(block),
        // Reversed, empty, and nearly all there is.
        2 => (offset(block), offset(block)).prop_map(|(start, end)| start..end),
    ]
    .boxed()
}

/// A range of a file, or all of it, as for a clone.
fn whole_or(block: u64) -> BoxedStrategy<Range<u64>> {
    prop_oneof![1 => Just(0..u64::MAX), 3 => range(block)].boxed()
}

fn whole_blocks(block: u64) -> impl Strategy<Value = Range<u64>> {
    (0..NEAR, 1..NEAR / 3).prop_map(move |(start, len)| start * block..(start + len) * block)
}

fn names() -> BoxedStrategy<Step> {
    let how = prop_oneof![3 => Just(Rename::Replace), 1 => Just(Rename::NoReplace), 1 => Just(Rename::Exchange)];
    prop_oneof![
        3 => name().prop_map(|name| Step::Create { name }),
        4 => (name(), any::<bool>()).prop_map(|(name, or_create)| Step::Open { name, or_create }),
        5 => nth().prop_map(|file| Step::Close { file }),
        3 => name().prop_map(|name| Step::Unlink { name }),
        3 => (name(), name(), how).prop_map(|(from, to, how)| Step::Rename { from, to, how }),
        1 => (name(), name()).prop_map(|(from, to)| Step::Link { from, to }),
    ]
    .boxed()
}

fn bytes(block: u64) -> BoxedStrategy<Step> {
    prop_oneof![
        12 => (nth(), offset(block), len(block)).prop_map(|(file, at, len)| Step::Write { file, at, len }),
        3 => (nth(), len(block)).prop_map(|(file, len)| Step::Append { file, len }),
        2 => (nth(), offset(block), len(block)).prop_map(|(file, at, len)| Step::Read { file, at, len }),
        3 => (nth(), whole_or(block), nth(), prop_oneof![1 => Just(0), 3 => offset(block)])
            .prop_map(|(from, range, to, at)| Step::Copy { from, range, to, at }),
        2 => (nth(), offset(block)).prop_map(|(file, at)| Step::Seek { file, at }),
        3 => (nth(), range(block), any::<bool>(), form())
            .prop_map(|(file, range, keep_size, form)| Step::Allocate { file, range, keep_size, form }),
    ]
    .boxed()
}

fn op(block: u64) -> BoxedStrategy<Op<usize>> {
    let blocks = move || prop_oneof![12 => whole_blocks(block), 1 => range(block)];
    let low = move || {
        let low = (0..NEAR / 2, 1..4_u64).prop_map(move |(start, len)| start * block..(start + len) * block);
        prop_oneof![12 => low, 1 => range(block)]
    };
    prop_oneof![
        6 => offset(block).prop_map(Op::Truncate),
        2 => (NEAR / 2..NEAR, 0..block).prop_map(move |(at, rest)| Op::Truncate(at * block + rest)),
        6 => range(block).prop_map(Op::Punch),
        6 => (range(block), any::<bool>()).prop_map(|(range, keep_size)| Op::Zero { range, keep_size }),
        3 => blocks().prop_map(Op::Collapse),
        3 => blocks().prop_map(|range| Op::Insert { at: range.start, len: range.end.saturating_sub(range.start) }),
        5 => (low(), nth(), low())
            .prop_map(|(range, other, at)| Op::Exchange { range, other, at: at.start }),
    ]
    .boxed()
}

fn changes(block: u64) -> BoxedStrategy<Step> {
    prop_oneof![
        24 => (nth(), op(block), policy(), form())
            .prop_map(|(file, op, policy, form)| Step::Change { file, op, policy, form }),
        2 => (nth(), op(block)).prop_map(|(file, op)| Step::Begin { file, op }),
        3 => Just(Step::Poll),
        1 => Just(Step::Withdraw),
    ]
    .boxed()
}

fn want(block: u64) -> impl Strategy<Value = Want> {
    prop_oneof![
        8 => (nth(), inside(block), access()).prop_map(|(file, range, access)| Want::File { file, range, access }),
        2 => (nth(), inside(block)).prop_map(|(nth, range)| Want::Reserved { nth, range }),
        1 => (nth(), access()).prop_map(|(nth, access)| Want::Redeemed { nth, access }),
    ]
}

fn saying() -> impl Strategy<Value = Saying> {
    let relabel = (0..ENGINES.len()).prop_map(Saying::Relabel);
    prop_oneof![2 => Just(Saying::HandOver), 2 => Just(Saying::TakeBack), 4 => Just(Saying::Claim), 1 => relabel]
}

fn pins(block: u64) -> BoxedStrategy<Step> {
    let engine = || prop::option::of(0..ENGINES.len());
    let wants = prop_oneof![3 => prop::collection::vec(want(block), 1), 1 => prop::collection::vec(want(block), 2..4)];
    prop_oneof![
        14 => (wants, engine(), prop::bool::weighted(0.4), prop::bool::weighted(0.3), form()).prop_map(
            |(wants, engine, hand_over, elsewhere, form)| Step::Pin { wants, engine, hand_over, elsewhere, form }
        ),
        1 => (nth(), inside(block), access(), prop::bool::weighted(0.9), form()).prop_map(
            |(file, range, access, recall, form)| Step::PinLongTerm { file, range, access, recall, form }
        ),
        3 => (nth(), nth(), inside(block), access())
            .prop_map(|(pin, file, range, access)| Step::Extend { pin, file, range, access }),
        5 => (nth(), offset(block), len(block)).prop_map(|(pin, at, len)| Step::CopyIn { pin, at, len }),
        4 => (nth(), offset(block), len(block)).prop_map(|(pin, at, len)| Step::Dma { pin, at, len }),
        4 => (nth(), saying()).prop_map(|(pin, what)| Step::Say { pin, what }),
        5 => nth().prop_map(|pin| Step::Unpin { pin }),
        2 => nth().prop_map(|pin| Step::Abandon { pin }),
        1 => nth().prop_map(|pin| Step::GiveUp { pin }),
        1 => nth().prop_map(|nth| Step::CompleteLate { nth }),
        1 => engine().prop_map(|engine| Step::Prove { engine }),
        1 => (nth(), prop::bool::weighted(0.2)).prop_map(|(pin, held)| Step::Decide { pin, held }),
    ]
    .boxed()
}

fn others(block: u64) -> BoxedStrategy<Step> {
    let how = prop_oneof![Just(Publish::New), Just(Publish::Replace)];
    prop_oneof![
        4 => (nth(), inside(block)).prop_map(|(file, range)| Step::Token { file, range }),
        5 => nth().prop_map(|token| Step::Redeem { token }),
        2 => nth().prop_map(|nth| Step::DropRedeemed { nth }),
        4 => (len(block), form()).prop_map(|(len, form)| Step::Reserve { len, form }),
        4 => (nth(), range(block), any::<bool>(), any::<bool>())
            .prop_map(|(nth, range, said, whole_blocks)| Step::Fill { nth, range, said, whole_blocks }),
        2 => (nth(), len(block)).prop_map(|(pin, bytes)| Step::WrittenByPin { pin, bytes }),
        5 => (nth(), name(), how, form()).prop_map(|(nth, name, how, form)| Step::Publish { nth, name, how, form }),
        1 => nth().prop_map(|nth| Step::DropReservation { nth }),
        3 => Just(Step::LookAround),
    ]
    .boxed()
}
