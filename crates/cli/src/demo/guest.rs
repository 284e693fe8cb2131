//! The second process: it joins the pool of the first one, and has a ring of its own write into it.
//!
//! It has no map of the pool. So it pins first, and asks the owner where the blocks are once the pin is in: the answer
//! stays true until the pin is gone. Then it is killed, or, if it is not, lets go when its transfers have ended.

use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::ptr::NonNull;

use pinfold::layout::{Holder, LayoutToken, PinSpec};
use pinfold::{Access, Pinned, Pool, Region, Reservation, Until};
use pinfold_dma::{InFlight, Request, Uring, UringOptions};
use rustix::mm::{MapFlags, ProtFlags, mmap};

use super::message::{ENDED, Engine, Order, places_of_text, refusal};
use super::socket::Socket;
use super::source::{Piece, Source};
use crate::status::{CannotRun, Status, doing};

/// What this program is started with as the second process. It stands for no command, and nobody completes it.
pub(super) const ARGUMENT: &str = "demo-guest";

/// Whether this is the second process.
pub(crate) fn is_asked_for() -> bool {
    std::env::args_os().nth(1).is_some_and(|argument| argument == ARGUMENT)
}

/// What the second process does. What keeps it from that it tells the owner.
pub(crate) fn guest() -> Result<Status, CannotRun> {
    let socket = std::io::stdin().as_fd().try_clone_to_owned().map(Socket::of);
    let socket = socket.map_err(doing("this is started by the demo"))?;
    match join_and_bring(&socket) {
        Ok(()) => Ok(Status::Held),
        Err(why) => socket.send(&refusal(&why), &[]).map(|()| Status::CannotRun),
    }
}

fn join_and_bring(socket: &Socket) -> Result<(), CannotRun> {
    let (order, fds) = socket.receive()?;
    let order = Order::of_text(&order)?;
    let [header, segment, region, source] = <[OwnedFd; 4]>::try_from(fds).map_err(|_| missing())?;
    let source = Source::open(Path::new(&format!("/proc/self/fd/{}", source.as_raw_fd())))?;
    let holder = Holder::join(header, segment)?;
    let layout = holder.layout(LayoutToken { object: order.object, cell: order.cell })?;
    let ring = match &order.engine {
        Engine::RingWithLockIn(dir) => Some(ring(dir, order.transfers(&source))?),
        Engine::Owners(_) => None,
    };
    let engine = ring.as_ref().map_or(order.engine.name(), |ring| ring.name());
    let spec = PinSpec::device(Access::Write).labelled(holder.label(engine, "its own ring")?);
    let pin = holder.pin(&layout, order.blocks.clone(), spec, Until::done(), || ask(socket))?;
    let places = pin.resolved().as_ref().map_err(|error| CannotRun(error.to_string()))?;
    let transfers = match &ring {
        Some(ring) => start(ring, &source, &order, &Mirror::of(&region, order.region)?, places)?,
        None => Vec::new(),
    };
    socket.send(&transfers.len().to_string(), &[])?;
    transfers.into_iter().try_for_each(|transfer| transfer.wait().map(drop))?;
    if ring.is_some() {
        // In this order, so that a pin that is gone was said to be.
        socket.send(ENDED, &[])?;
        drop(pin);
    }
    // Until it is killed, or the owner is gone.
    socket.receive().map(drop)
}

fn ring(lock_dir: &Path, depth: u32) -> Result<Uring, CannotRun> {
    Ok(UringOptions::new().depth(depth).lock_dir(lock_dir).create()?)
}

fn missing() -> CannotRun {
    CannotRun("an invitation is four descriptors".to_owned())
}

/// Asks the owner where the pinned blocks are. Its answer is given outside of any break, since none passes this pin.
fn ask(socket: &Socket) -> Result<Vec<Range<u64>>, CannotRun> {
    socket.send("where", &[])?;
    places_of_text(&socket.receive()?.0)
}

/// Starts every transfer of the order.
fn start(
    ring: &Uring,
    source: &Source,
    order: &Order,
    memory: &Mirror,
    places: &[Range<u64>],
) -> Result<Vec<InFlight>, CannotRun> {
    let mut requests = Vec::new();
    for piece in (0..order.rounds).flat_map(|round| order.pieces(source, round)) {
        for (from, place) in parts(&piece, places) {
            requests.push((Request::read(&source.device, from), memory.pin(place)?));
        }
    }
    ring.submit_all(requests).into_iter().map(|one| one.map_err(|refused| CannotRun(refused.to_string()))).collect()
}

/// Where a piece of the file lies: places in the region, each with where its bytes are in the source.
fn parts(piece: &Piece, places: &[Range<u64>]) -> Vec<(u64, Range<u64>)> {
    let mut begins = 0;
    let part = |place: &Range<u64>| {
        let (start, end) = (piece.to.max(begins), (piece.to + piece.len).min(begins + place.end - place.start));
        let at = |offset: u64| place.start + (offset - begins.min(offset));
        let part = (start < end).then(|| (piece.from + (start - piece.to), at(start)..at(end)));
        begins += place.end - place.start;
        part
    };
    places.iter().filter_map(part).collect()
}

/// The owner's memory, mapped a second time.
///
/// The ring takes memory that is pinned in a pool, and this process has none: so all of the mapping is one reservation of a
/// pool of its own. A reservation is not zeroed, and this one is never published: no byte of the owner's is touched.
struct Mirror(Reservation);

impl Mirror {
    fn of(region: &OwnedFd, len: u64) -> Result<Self, CannotRun> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, where the kernel finds room for it.
        let base = unsafe { mmap(std::ptr::null_mut(), len as usize, access, MapFlags::SHARED, region, 0) };
        let base = base.map_err(doing("cannot map the pool"))?;
        let base = NonNull::new(base.cast()).ok_or_else(|| CannotRun("the pool was mapped nowhere".to_owned()))?;
        // SAFETY: the mapping lasts as long as the process, the owner's memfd is sealed against shrinking, and nobody makes
        // a reference to it.
        let region = unsafe { Region::adopt(base, len) }?;
        Ok(Self(Pool::new(region)?.reserve(len).try_now()?))
    }

    /// Makes a place in the owner's region one that the ring takes.
    fn pin(&self, place: Range<u64>) -> Result<Pinned, CannotRun> {
        let pinned = self.0.pin(place).wait()?;
        match pinned.segments().iter().all(|segment| segment.place() == segment.offset) {
            true => Ok(pinned),
            false => Err(CannotRun("the second mapping is not laid out like the first".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_over_two_extents_is_split() {
        let piece = Piece { from: 0, to: 4096, len: 8192, in_file: 8192 };
        let places = [16384..24576, 0..8192];
        assert_eq!(parts(&piece, &places), [(0, 20480..24576), (4096, 0..4096)]);
    }
}
