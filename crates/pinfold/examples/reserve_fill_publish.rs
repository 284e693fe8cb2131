//! A file that nobody sees before it is whole: reserve, let devices fill it, publish.
//!
//!     cargo run --release -p pinfold --example reserve_fill_publish
//!
//! A reservation has blocks and no name. Devices write into it, each when it comes to it; what their completions say was
//! written counts, the rest becomes zeros. Then the file gets its name in one step. A reader finds the old version or the
//! new one, and no half of either; a reservation that is dropped was never there.

use std::error::Error;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use pinfold::{Pinned, Pool, Publish, Region, Reservation, Until};

const LEN: u64 = 4 << 20;
const QUEUES: u64 = 4;

/// A request, as an engine takes it: with the pin, which comes back with the completion.
struct Request {
    pinned: Pinned,
    fill: u8,
    /// How much the device will manage to write.
    bytes: u64,
}

/// Stands for a device with a queue: it writes when it gets to it, and completes.
fn device(requests: Receiver<Request>, completions: Sender<Pinned>) {
    for Request { pinned, fill, bytes } in requests {
        // A device would write to `pinned.segments()`; the CPU has no other way than this.
        let written = pinned.copy_in(0, &vec![fill; bytes as usize]);
        written.expect("the host reaches this memory");
        // The engine says what the device says. (`copy_in` said so already: for a device it would not have.)
        pinned.written(bytes);
        if completions.send(pinned).is_err() {
            return; // Nobody waits any more; the pin is gone with the completion.
        }
    }
}

/// Has the device fill a reservation, in parts that are in flight at the same time.
fn fill(reservation: &Reservation, requests: &Sender<Request>, fill: u8, short: u64) -> Result<(), Box<dyn Error>> {
    let part = LEN / QUEUES;
    for queue in 0..QUEUES {
        let range = queue * part..(queue + 1) * part;
        let mut pinned = reservation.pin(range).labelled("dma 0", &format!("queue {queue}"))?.wait()?;
        // From here on it leaves by the device's hand: a wait of this thread for it is no deadlock.
        pinned.hand_over();
        let bytes = if queue == QUEUES - 1 { part - short } else { part };
        requests.send(Request { pinned, fill, bytes }).map_err(|_| "the device is gone")?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let pool = Pool::new(Region::memfd(32 << 20)?)?;
    let (requests, queue) = channel();
    let (completions, completed) = channel();
    thread::spawn(move || device(queue, completions));

    // The first version. It is published when its last transfer is over, however long that takes.
    let first = pool.reserve(LEN).wait()?;
    fill(&first, &requests, 1, 0)?;
    assert!(pool.open("/weights").is_err(), "nobody sees it yet");
    (0..QUEUES).try_for_each(|_| completed.recv().map(drop))?;
    let old = first.publish("/weights", Publish::New)?;
    println!("published {old:?}: {:?}", pool.metadata("/weights")?);

    // The second takes its place. The device fell short by 100 bytes: they read as zeros, and never as what the blocks
    // held before.
    let second = pool.reserve(LEN).wait()?;
    fill(&second, &requests, 2, 100)?;
    let drain = thread::spawn(move || (0..QUEUES).try_for_each(|_| completed.recv().map(drop)).map(|()| completed));
    let new = second.publish_until("/weights", Publish::Replace, Until::done())?;
    let completed = drain.join().expect("it only waits")?;

    let mut bytes = vec![0xFF; LEN as usize];
    pool.open("/weights")?.read_at(0, &mut bytes)?;
    let (filled, short) = bytes.split_at(LEN as usize - 100);
    assert!(filled.iter().all(|byte| *byte == 2) && short.iter().all(|byte| *byte == 0));
    old.read_at(0, &mut bytes)?;
    assert!(bytes.iter().all(|byte| *byte == 1), "who has the old version open keeps it");
    println!("replaced {old:?} by {new:?}");

    // The third is given up half-way: it was never there. What is in flight is parked until its completion comes.
    let third = pool.reserve(LEN).wait()?;
    fill(&third, &requests, 3, 0)?;
    drop(third);
    (0..QUEUES).try_for_each(|_| completed.recv().map(drop))?;
    assert_eq!((pool.stats().parked, pool.stats().in_files), (0, 2 * LEN));
    println!("{:?}", pool.stats());
    Ok(())
}
