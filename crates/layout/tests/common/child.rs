//! Other processes for tests: this test binary once more, running one test that obeys what it is told over a socket.
//!
//! A test file that uses it has a test of its own named [`CHILD`], which calls [`obey_parent`].
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::collections::HashMap;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use pinfold_layout::{
    Access, Area, AreaError, AreaOptions, BreakError, Effect, Extent, Holder, Invitation, Layout, LayoutToken, Pin,
    PinError, PinSpec, Policy, Until,
};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType,
};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

/// The test that is run in the other process.
pub const CHILD: &str = "the_other_process";
const ROLE: &str = "PINFOLD_TEST_CHILD";

/// One end of the socket between two processes: messages of text, and descriptors with them.
pub struct Line(OwnedFd);

impl Line {
    pub fn say(&self, text: &str, fds: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
        }
        let text = [IoSlice::new(text.as_bytes())];
        // A process that is gone hears nothing; the test notices by other means.
        let _ = rustix::net::sendmsg(&self.0, &text, &mut control, SendFlags::NOSIGNAL);
    }

    /// The next message; an empty one when the other end is gone.
    pub fn hear(&self) -> (String, Vec<OwnedFd>) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut text = vec![0; 4096];
        let got = loop {
            let mut into = [IoSliceMut::new(&mut text)];
            match rustix::net::recvmsg(&self.0, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return Default::default(),
                Ok(got) => break got.bytes,
            }
        };
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                fds.extend(received);
            }
        }
        text.truncate(got);
        (String::from_utf8(text).expect("messages are text"), fds)
    }
}

/// The other process, as the test sees it. It is killed when this is dropped.
pub struct Child {
    process: std::process::Child,
    line: Line,
}

impl Child {
    pub fn start() -> Self {
        let flags = SocketFlags::CLOEXEC;
        let (here, there) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", CHILD, "--nocapture", "--test-threads=1"])
            .env(ROLE, "1")
            .stdin(Stdio::from(there))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, line: Line(here) }
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Tells it to do something, without waiting for the answer.
    pub fn tell(&self, order: &str) {
        self.line.say(order, &[]);
    }

    pub fn answer(&self) -> String {
        self.line.hear().0
    }

    /// Tells it to do something; what it answers.
    pub fn ask(&self, order: &str) -> String {
        self.tell(order);
        self.answer()
    }

    /// As `ask`, for what must not fail.
    #[track_caller]
    pub fn must(&self, order: &str) -> String {
        let answer = self.ask(order);
        assert!(!answer.is_empty() && !answer.starts_with("error"), "{order}: {answer}");
        answer
    }

    /// Has it join an area.
    pub fn join(&self, area: &Area) -> String {
        self.use_invitation(&area.invite(self.pid()).expect("an invitation"))
    }

    pub fn use_invitation(&self, invitation: &Invitation) -> String {
        self.line.say("join", &invitation.as_fds());
        self.answer()
    }

    /// Has it invite a process to its area.
    pub fn invite(&self, pid: u32) -> [OwnedFd; 2] {
        self.tell(&format!("invite {pid}"));
        let (answer, fds) = self.line.hear();
        fds.try_into().unwrap_or_else(|_| panic!("no invitation: {answer}"))
    }

    /// Passes descriptors on.
    pub fn join_with(&self, fds: &[OwnedFd; 2]) -> String {
        self.line.say("join", &[fds[0].as_fd(), fds[1].as_fd()]);
        self.answer()
    }

    pub fn name(&self, layout: &Layout) {
        let LayoutToken { object, cell } = layout.token();
        self.must(&format!("token {object} {cell}"));
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid() as i32).unwrap(), signal).unwrap();
    }

    /// `kill -9`, and waits until it is dead. It must have lived until then.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        let ended = self.process.wait().unwrap();
        assert_eq!(ended.signal(), Some(9), "it ended by itself");
    }

    /// Waits until it ends by itself, and how.
    pub fn end(mut self) -> std::process::ExitStatus {
        self.process.wait().unwrap()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What the test named [`CHILD`] does: nothing, unless it runs in a child. Then it obeys until it is told to exit, and
/// ends the process without running any more of it.
pub fn obey_parent() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let line = Line(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    let mut hands = Hands::default();
    loop {
        let (order, fds) = line.hear();
        if order.is_empty() {
            std::process::exit(0);
        }
        match hands.obey(&order, fds) {
            Ok((answer, fds)) => line.say(&answer, &fds.iter().map(|fd| fd.as_fd()).collect::<Vec<_>>()),
            Err(error) => line.say(&format!("error {error}"), &[]),
        }
    }
}

type Answer = Result<(String, Vec<OwnedFd>), Box<dyn std::error::Error>>;

/// What a child has.
#[derive(Default)]
struct Hands {
    pins: Vec<Option<Pin<Arc<Holder>>>>,
    holder: Option<Arc<Holder>>,
    area: Option<Area>,
    layouts: HashMap<u64, Layout>,
    /// The segment, to write garbage into.
    segment: Option<OwnedFd>,
    heard: Vec<OwnedFd>,
}

impl Hands {
    fn obey(&mut self, order: &str, fds: Vec<OwnedFd>) -> Answer {
        let words: Vec<&str> = order.split(' ').collect();
        let number = |index: usize| words[index].parse::<u64>().expect("a number");
        let plain = |text: &str| Ok((text.to_owned(), Vec::new()));
        match words[0] {
            "join" => {
                let [header, segment]: [OwnedFd; 2] = fds.try_into().map_err(|_| "two descriptors")?;
                self.segment = Some(segment.try_clone()?);
                self.holder = Some(Holder::join(header, segment).map_err(said)?);
                plain("joined")
            }
            "shared" => {
                self.area = Some(Area::shared(AreaOptions::default())?);
                plain("shared")
            }
            "open" => {
                self.area = Some(Area::open(&PathBuf::from(words[1]), AreaOptions::default())?);
                plain("open")
            }
            "close" => {
                self.layouts.clear();
                self.area = None;
                plain("closed")
            }
            "own" => {
                self.holder = Some(self.area()?.holder()?);
                plain("own")
            }
            "invite" => {
                let invitation = self.area()?.invite(number(1) as u32)?;
                Ok(("invited".to_owned(), invitation.into_fds().into()))
            }
            "layout" => {
                let layout = self.area()?.layout(number(1))?;
                let cell = layout.token().cell;
                self.layouts.insert(number(1), layout);
                plain(&cell.to_string())
            }
            "token" => {
                let token = LayoutToken { object: number(1), cell: number(2) as u32 };
                self.layouts.insert(number(1), self.holder()?.layout(token)?);
                plain("named")
            }
            "pin" | "try-pin" => {
                let spec = match words[1] {
                    "device" => PinSpec::device(Access::Write),
                    _ => PinSpec::cpu(Access::Write),
                };
                let layout = self.layouts.get(&number(2)).ok_or("no such layout")?;
                let until = if words[0] == "pin" { Until::done() } else { Until::after(std::time::Duration::ZERO) };
                let pin = self.holder()?.pin_owned(layout, number(3)..number(4), spec, until, || ()).map_err(said)?;
                self.pins.push(Some(pin));
                plain(&(self.pins.len() - 1).to_string())
            }
            "unpin" => {
                self.pins[number(1) as usize] = None;
                plain("unpinned")
            }
            "goodbye" => {
                self.pins.clear();
                self.holder = None;
                plain("gone")
            }
            // break detach|wait OBJECT START END BLOCK
            "break" => {
                let policy = if words[1] == "wait" { Policy::Wait } else { Policy::Detach };
                let layout = self.layouts.get(&number(2)).ok_or("no such layout")?;
                let (start, end, block) = (number(3), number(4), number(5));
                let mut brk = self.area()?.break_layout(&[(layout, start..end)], policy, Effect::Frees)?;
                let left = Extent { object: number(2), start, end, block };
                brk.drain(Until::done()).map_err(said)?.commit(|| vec![left]);
                plain("broken")
            }
            // Pins and unpins until it is killed.
            "churn" => self.churn(number(1)),
            // Breaks and parks and gives nothing back, with pins of its own, until it is killed.
            "park-churn" => self.park_churn(number(1), number(2)),
            // A child of this child, which waits to be killed, and keeps what it inherited.
            "fork" => {
                // SAFETY: what is forked does nothing but wait.
                match unsafe { libc::fork() } {
                    0 => loop {
                        // SAFETY: it waits for a signal.
                        unsafe { libc::pause() };
                    },
                    pid => plain(&pid.to_string()),
                }
            }
            "scribble" => {
                self.scribble(number(1));
                plain("scribbled")
            }
            "limit" => {
                let maximum = getrlimit(Resource::Nofile).maximum;
                setrlimit(Resource::Nofile, Rlimit { current: Some(number(1)), maximum })?;
                plain("limited")
            }
            "fds" => plain(&descriptors().to_string()),
            "exit" => std::process::exit(0),
            other => panic!("what is {other}?"),
        }
    }

    fn area(&self) -> Result<&Area, &'static str> {
        self.area.as_ref().ok_or("no area")
    }

    fn holder(&self) -> Result<&Arc<Holder>, &'static str> {
        self.holder.as_ref().ok_or("no holder")
    }

    /// Holds up to four pins at random places, for a moment each.
    fn churn(&self, seed: u64) -> Answer {
        let holder = self.holder()?;
        let layout = self.layouts.values().next().ok_or("no layout")?;
        let mut random = Random(seed);
        let mut held: [Option<Pin<Arc<Holder>>>; 4] = Default::default();
        loop {
            let start = random.below(16);
            let spec = if random.below(2) == 0 { PinSpec::device(Access::Write) } else { PinSpec::cpu(Access::Read) };
            let place = random.below(4) as usize;
            held[place] = None;
            // A break may be in its way, also one that waits for a pin of this very thread: then it gives back all.
            match holder.pin_owned(layout, start..start + 1 + random.below(4), spec, Until::done(), || ()) {
                Ok(pin) => held[place] = Some(pin),
                Err(PinError::Deadlock(_)) => held = Default::default(),
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn park_churn(&self, seed: u64, first_block: u64) -> Answer {
        let (area, holder) = (self.area()?, self.holder()?);
        let layout = self.layouts.values().next().ok_or("no layout")?;
        let mut random = Random(seed);
        let busy = area.busy_extents();
        let mut held: [Option<Pin<Arc<Holder>>>; 3] = Default::default();
        for round in 0.. {
            let start = random.below(16);
            let mut pin =
                holder.pin_owned(layout, start..start + 2, PinSpec::device(Access::Write), Until::done(), || ())?;
            pin.hand_over();
            held[random.below(3) as usize] = Some(pin);
            let start = random.below(16);
            let mut brk = area.break_layout(&[(layout, start..start + 4)], Policy::Detach, Effect::Frees)?;
            let left = Extent { object: layout.object(), start, end: start + 4, block: first_block + round * 4 };
            brk.drain(Until::done()).map_err(said)?.commit(|| vec![left]);
            drop(busy.reap(pinfold_layout::CommitId::ALL, |free| free));
        }
        unreachable!("it is killed before")
    }

    /// Writes random words all over the segment, and rings that lead nowhere.
    fn scribble(&self, seed: u64) {
        let segment = self.segment.as_ref().expect("a segment");
        let length = rustix::fs::fstat(segment).unwrap().st_size as u64;
        let mut random = Random(seed);
        let write = |at: u64, word: u64| {
            rustix::io::pwrite(segment, &word.to_ne_bytes(), at / 8 * 8).unwrap();
        };
        // The head, whole; then everything in small steps, with words that look like indices as often as not.
        for at in (0..length.min(1 << 16)).step_by(8) {
            let word = random.next();
            write(at, if word & 1 == 0 { word } else { word >> 60 });
        }
        for _ in 0..2000 {
            let (at, word) = (random.below(length), random.next());
            write(at, if word & 1 == 0 { word } else { word >> 60 });
        }
    }
}

/// Error texts with the `errno` before them.
fn said(error: impl Said) -> String {
    error.say()
}

trait Said {
    fn say(&self) -> String;
}

impl Said for AreaError {
    fn say(&self) -> String {
        format!("{} {self}", self.errno())
    }
}

impl Said for PinError {
    fn say(&self) -> String {
        format!("{} {self}", self.errno())
    }
}

impl Said for BreakError {
    fn say(&self) -> String {
        format!("{} {self}", self.errno())
    }
}

/// How many descriptors this process has.
pub fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("proc is mounted").count()
}

/// The checksum of a header's first 17 words, as the format has it.
pub fn header_checksum(bytes: &[u8]) -> u64 {
    let words = bytes[..17 * 8].chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap()));
    words.fold(0xcbf2_9ce4_8422_2325, |sum: u64, word| {
        (sum.rotate_left(23) ^ word).wrapping_mul(0x0000_0100_0000_01b3) ^ (word >> 32)
    })
}

/// A plain generator: the same numbers for the same seed (xorshift64*).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 |= 1;
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
