//! Other processes for tests: this test binary once more, running one test that obeys what it is told over a socket.
//!
//! A test file that uses it has a test of its own named [`CHILD`], which calls [`obey_parent`].

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

use pinfold::{Access, File, Pool, Until};
use pinfold_layout::{Holder, Layout, LayoutToken, Pin, PinSpec};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType,
};

use super::churn::Churn;

/// The test that is run in the other process.
pub(crate) const CHILD: &str = "the_other_process";
const ROLE: &str = "PINFOLD_TEST_CHILD";

/// One end of the socket between two processes: messages of text, and descriptors with them.
struct Line(OwnedFd);

impl Line {
    fn say(&self, text: &str, fds: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
        }
        // A process that is gone hears nothing; the test notices by other means.
        let _ = rustix::net::sendmsg(&self.0, &[IoSlice::new(text.as_bytes())], &mut control, SendFlags::NOSIGNAL);
    }

    /// The next message; an empty one when the other end is gone.
    fn hear(&self) -> (String, Vec<OwnedFd>) {
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
pub(crate) struct Child {
    process: std::process::Child,
    line: Line,
}

impl Child {
    pub(crate) fn start() -> Self {
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

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Tells it to do something, with descriptors for it; what it answers.
    #[track_caller]
    pub(crate) fn ask(&self, order: &str, fds: &[BorrowedFd<'_>]) -> String {
        self.line.say(order, fds);
        let answer = self.line.hear().0;
        assert!(!answer.is_empty() && !answer.starts_with("error"), "{order}: {answer}");
        answer
    }

    /// Has it join the pool's area, and pin a range of a file there.
    pub(crate) fn join_and_pin(&self, pool: &Pool, file: &File, bytes: std::ops::Range<u64>) {
        let invitation = pool.area().invite(self.pid()).expect("an invitation");
        self.ask("join", &invitation.as_fds());
        let LayoutToken { object, cell } = pool.area().layout(file.id().number()).unwrap().token();
        let block = pool.block_size();
        self.ask(&format!("pin {object} {cell} {} {}", bytes.start / block, bytes.end.div_ceil(block)), &[]);
    }

    /// `kill -9`, and waits until it is dead.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What the test named [`CHILD`] does: nothing, unless it runs in a child. Then it obeys until it is told no more, and
/// ends the process without running any more of it.
pub(crate) fn obey_parent() {
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
            Ok(answer) => line.say(&answer, &[]),
            Err(error) => line.say(&format!("error {error}"), &[]),
        }
    }
}

/// What a child has.
#[derive(Default)]
struct Hands {
    pins: Vec<Pin<Arc<Holder>>>,
    layouts: Vec<Layout>,
    holder: Option<Arc<Holder>>,
    region: Option<std::fs::File>,
    kept: String,
    /// A lasting pool that the child owns, and what it has of it.
    pool: Option<Pool>,
    files: Vec<File>,
    pinned: Vec<pinfold::Pinned>,
    reservations: Vec<pinfold::Reservation>,
}

impl Hands {
    fn obey(&mut self, order: &str, fds: Vec<OwnedFd>) -> Result<String, Box<dyn std::error::Error>> {
        let words: Vec<&str> = order.split(' ').collect();
        let number = |index: usize| words[index].parse::<u64>().expect("a number");
        match words[0] {
            "join" => {
                let [header, segment]: [OwnedFd; 2] = fds.try_into().map_err(|_| "two descriptors")?;
                self.holder = Some(Holder::join(header, segment)?);
            }
            // pin OBJECT CELL START END, in blocks
            "pin" => {
                let holder = self.holder.as_ref().ok_or("no holder")?;
                let layout = holder.layout(LayoutToken { object: number(1), cell: number(2) as u32 })?;
                let spec = PinSpec::device(Access::Write);
                self.pins.push(holder.pin_owned(&layout, number(3)..number(4), spec, Until::done(), || ())?);
                self.layouts.push(layout);
            }
            // A word to keep, and the memory that it will speak of.
            "keep" => {
                self.kept = words[1].to_owned();
                let [region]: [OwnedFd; 1] = fds.try_into().map_err(|_| "one descriptor")?;
                self.region = Some(region.into());
            }
            "what" => return Ok(self.kept.clone()),
            // read PLACE LEN, of the region: the sum of the bytes
            "read" => {
                let mut bytes = vec![0; number(2) as usize];
                self.region.as_ref().ok_or("no region")?.read_exact_at(&mut bytes, number(1))?;
                return Ok(bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>().to_string());
            }
            "own" => self.pool = Some(Pool::load(words[1])?),
            _ => return self.obey_as_owner(&words),
        }
        Ok("done".to_owned())
    }

    /// What is done with a lasting pool.
    fn obey_as_owner(&mut self, words: &[&str]) -> Result<String, Box<dyn std::error::Error>> {
        let pool = self.pool.as_ref().ok_or("no pool")?;
        let number = |index: usize| words[index].parse::<u64>().expect("a number");
        match words[0] {
            // write PATH LEN BYTE
            "write" => pool.open_or_create(words[1])?.write_at(0, &vec![number(3) as u8; number(2) as usize])?,
            "sync" => pool.sync()?,
            "sync-file" => pool.open(words[1])?.sync()?,
            // device-pin PATH START END, and the file stays open
            "device-pin" => {
                let file = pool.open(words[1])?;
                self.pinned.push(file.pin(number(2)..number(3), Access::Write).wait()?);
                self.files.push(file);
            }
            "reserve-and-pin" => {
                let reservation = pool.reserve(number(1)).try_now()?;
                self.pinned.push(reservation.pin(0..number(1)).wait()?);
                self.reservations.push(reservation);
            }
            "unlink" => pool.unlink(words[1])?,
            // Changes of all kinds, until it is killed.
            "churn" => {
                let (pool, mut churn) = (pool.clone(), Churn::new(number(1)));
                std::thread::spawn(move || {
                    loop {
                        churn.step(&pool);
                    }
                });
            }
            "cut-detached" => pool.open(words[1])?.truncate(number(2)).detach().wait()?,
            other => panic!("what is {other}?"),
        }
        Ok("done".to_owned())
    }
}
