//! A pin in one process stops a break in another, and what becomes of it when that process is killed.
//!
//! ```text
//! cargo run -p pinfold-layout --example two_processes
//! ```
//!
//! This process owns the memory. It starts a second one, invites it, and tries to take blocks away that the other has
//! pinned: first under a copy, then under a device. The "device" is a thread of this process: like a real one it goes on
//! writing when the process is dead that told it to.
//!
//! Exits with 0 only if all happened as it should.

use std::error::Error;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pinfold_layout::{
    Access, Area, AreaOptions, BreakError, CommitId, Effect, Holder, Layout, LayoutToken, PinInfo, PinSpec, Policy,
    Quarantined, Quiescent, Until,
};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The engine's name in the labels of its pins.
const ENGINE: &str = "toy-device 0";

fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("guest") => guest(),
        _ => owner(),
    }
}

fn owner() -> Result<()> {
    let area = Area::shared(AreaOptions::default())?;
    let layout = area.layout(7)?;

    println!("1. A pin in another process stops a break here.");
    let mut guest = Guest::invite(&area, &layout)?;
    guest.ask("pin cpu")?;
    let error = try_to_free(&area, &layout).expect_err("a break went through a pin");
    println!("   not yet: {error}");

    println!("2. That process is killed. Its copy died with it, so the break goes on by itself.");
    guest.kill()?;
    free(&area, &layout)?;
    println!("   freed");

    println!("3. The next one pins for a device, starts it, and is killed.");
    let mut guest = Guest::invite(&area, &layout)?;
    guest.ask("pin device")?;
    let device = Device::start();
    guest.kill()?;
    let written = device.written();
    let error = try_to_free(&area, &layout).expect_err("a break went through a device's pin");
    println!("   not yet: {error}");
    let BreakError::TimedOut(Some(pin)) = &error else { return Err(error.into()) };
    assert_eq!(pin.quarantine, Some(Quarantined::HolderGone));
    while device.written() == written {
        thread::yield_now();
    }
    println!("   and rightly so: the device has written {} times since the kill", device.written() - written);

    println!("4. The device is stopped and drained. Its proof lets the pin go, and the waiting break with it.");
    thread::scope(|scope| {
        let freeing = scope.spawn(|| free(&area, &layout).map_err(|error| error.to_string()));
        while area.breaks().is_empty() {
            thread::yield_now();
        }
        let proof = device.drain();
        assert_eq!(area.release(&proof)?, 1);
        freeing.join().expect("the break does not panic")?;
        println!("   freed");
        Ok::<(), Box<dyn Error>>(())
    })?;
    assert!(area.pins().is_empty() && area.holders() == 0, "nothing is left of the dead");
    println!("All as it should be.");
    Ok(())
}

/// Takes the blocks of 0..8 away, waiting at most a moment.
fn try_to_free(area: &Area, layout: &Layout) -> std::result::Result<CommitId, BreakError> {
    let mut brk = area.break_layout(&[(layout, 0..8)], Policy::Wait, Effect::Frees)?;
    Ok(brk.drain(Until::after(Duration::from_millis(100)))?.commit(Vec::new))
}

/// Takes them away, waiting for as long as it takes.
fn free(area: &Area, layout: &Layout) -> std::result::Result<CommitId, BreakError> {
    let mut brk = area.break_layout(&[(layout, 0..8)], Policy::Wait, Effect::Frees)?;
    Ok(brk.drain(Until::done())?.commit(Vec::new))
}

/// A device: once started it writes until it is stopped, whoever lives or dies.
struct Device {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

/// The proof that the device is stopped and has nothing in flight. Only [`Device::drain`] makes it.
struct Drained(());

// SAFETY: `Drained` comes from `Device::drain`, which has waited for the end of the one thread that writes through pins
// of this engine; it is never started again.
unsafe impl Quiescent for Drained {
    fn covers(&self, pin: &PinInfo) -> bool {
        pin.device && pin.engine == ENGINE
    }
}

impl Device {
    fn start() -> Self {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, writes) = (Arc::clone(&stop), Arc::clone(&written));
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                writes.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_micros(50));
            }
        });
        Self { stop, written, thread }
    }

    fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    fn drain(self) -> Drained {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the device does not panic");
        Drained(())
    }
}

/// The second process, as the first one sees it.
struct Guest {
    process: Child,
    socket: OwnedFd,
}

impl Guest {
    fn invite(area: &Area, layout: &Layout) -> Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let (socket, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let process = Command::new(std::env::current_exe()?).arg("guest").stdin(Stdio::from(theirs)).spawn()?;
        let guest = Self { process, socket };
        let invitation = area.invite(guest.process.id())?;
        let LayoutToken { object, cell } = layout.token();
        send(&guest.socket, &format!("{object} {cell}"), &invitation.as_fds())?;
        receive(&guest.socket)?;
        Ok(guest)
    }

    fn ask(&self, order: &str) -> Result<()> {
        send(&self.socket, order, &[])?;
        receive(&self.socket).map(drop)
    }

    fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The second process: joins, and pins what it is told.
fn guest() -> Result<()> {
    let socket = std::io::stdin().as_fd().try_clone_to_owned()?;
    let (token, fds) = receive(&socket)?;
    let [header, segment]: [OwnedFd; 2] = fds.try_into().map_err(|_| "an invitation is two descriptors")?;
    let (object, cell) = token.split_once(' ').ok_or("a token is two numbers")?;
    let token = LayoutToken { object: object.parse()?, cell: cell.parse()? };

    let holder = Holder::join(header, segment)?;
    let layout = holder.layout(token)?;
    send(&socket, "joined", &[])?;
    let mut pins = Vec::new();
    loop {
        let (order, _) = receive(&socket)?;
        let spec = match order.as_str() {
            "pin cpu" => PinSpec::cpu(Access::Read),
            _ => PinSpec::device(Access::Write).labelled(holder.label(ENGINE, "loading a model")?),
        };
        pins.push(holder.pin(&layout, 2..4, spec, Until::done(), || ())?);
        send(&socket, "pinned", &[])?;
    }
}

fn send(socket: &OwnedFd, text: &str, fds: &[BorrowedFd<'_>]) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(text.as_bytes())], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn receive(socket: &OwnedFd) -> Result<(String, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut text = vec![0; 256];
    let got = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    text.truncate(got.bytes);
    match text.is_empty() {
        true => Err("the other process is gone".into()),
        false => Ok((String::from_utf8(text)?, fds)),
    }
}
