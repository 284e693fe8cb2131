//! "I have my own allocator and my own ring. What do I have to change?"
//!
//! A block manager as a KV cache keeps one: slabs of fixed size in memory that is there already, a free list, and for
//! each sequence the slabs that hold it. A device fills slabs through raw addresses, and completes when it likes. Without
//! care, an evicted slab goes to the next sequence while the device still writes for the last one.
//!
//! Four things change, and they are marked (1) to (4) below:
//!
//! 1. What the device may write is pinned first, and the transfer travels with the request.
//! 2. Slabs leave a sequence only inside a break of its layout.
//! 3. The free list takes [`FreeExtent`] and nothing else, so a slab cannot get there while somebody reaches it.
//! 4. A request that is given up is abandoned, not dropped: its slabs are free once the device proves that it is quiet.
//!
//! ```text
//! cargo run -p pinfold-layout --example own_allocator
//! ```

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use pinfold_layout::{
    Access, Area, AreaOptions, BreakError, BusyExtents, CommitId, Effect, FreeExtent, Holder, Layout, PinInfo,
    PinRequest, PinSpec, Policy, Quiescent, Transfer, Until,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let area = Area::embedded(AreaOptions::default())?;
    let mut cache = BlockManager::new(&area, 16);
    let mut ring = Ring::start(area.holder()?)?;

    println!("Eight slabs each for sequences 1 and 2: the pool of 16 is full.");
    for sequence in [1, 2] {
        let filling = ring.fill(&cache.grow(sequence, 8)?)?;
        ring.complete(filling);
        cache.check(sequence)?;
    }

    println!("\nSequence 3 needs room. Sequence 1 is the coldest, but a refill of it is in flight.");
    let refill = ring.fill(&cache.slabs(1, 0..8))?;
    let evicted = cache.evict_coldest()?;
    println!("  try_drain looked at both, and evicted sequence {evicted}.");
    let filling = ring.fill(&cache.grow(3, 8)?)?;
    ring.complete(filling);
    ring.complete(refill);

    println!("\nSequence 1 is cut to four slabs while a transfer into its tail is in flight.");
    let tail = ring.fill(&cache.slabs(1, 6..8))?;
    thread::scope(|scope| -> Outcome<()> {
        let cutting = scope.spawn(|| cache.truncate(1, 4).map_err(|error| error.to_string()));
        let behind = wait_for(|| area.breaks().into_iter().find_map(|running| running.behind));
        println!("  deferred: {behind}");
        ring.complete(tail);
        cutting.join().expect("it does not panic")?;
        Ok(())
    })?;
    println!("  the completion came, and it was done: {} slabs are free.", cache.free.len());

    println!("\nSequence 3 is dropped without waiting, in the middle of a transfer.");
    let late = ring.fill(&cache.slabs(3, 2..5))?;
    cache.drop_now(3)?;
    println!("  {} slabs are free, {} are parked.", cache.free.len(), cache.busy.stats().pinned);
    let filling = ring.fill(&cache.grow(4, 9)?)?;
    ring.complete(filling);
    ring.complete(late);
    cache.check(4)?;
    println!("  the late write hit nobody. Reaped since: {}.", cache.reap());

    println!("\nA transfer into sequence 4 is given up: nobody waits for its completion any more.");
    let stuck = ring.fill(&cache.slabs(4, 0..2))?;
    ring.give_up(stuck);
    cache.drop_now(4)?;
    println!("  {} slabs stay in quarantine: {}", cache.busy.stats().quarantined, area.quarantine()[0]);
    let filling = ring.fill(&cache.grow(5, cache.free.len() as u64)?)?;
    ring.complete(filling);
    let proof = ring.shut_down();
    println!("  the ring was shut down and drained, which proves {} pin quiet.", area.release(&proof)?);
    println!("  reaped: {}.", cache.reap());

    println!("\nEvery byte of every sequence:");
    for sequence in [1, 5] {
        cache.check(sequence)?;
        println!("  sequence {sequence}: all of it is its own.");
    }
    assert_eq!(area.pins().len() + cache.parked(), 0, "nobody is left, nothing is lost");
    Ok(())
}

// ---------------------------------------------------------------------------------------------------------------------
// The block manager. Everything that a cache without DMA safety would have, too, but for the lines marked (2) and (3).
// ---------------------------------------------------------------------------------------------------------------------

/// Bytes of a slab.
const SLAB: usize = 4096;

struct BlockManager<'a> {
    area: &'a Area,
    memory: Vec<Slab>,
    free: Vec<u64>,
    /// Coldest first: ids grow with time.
    sequences: BTreeMap<u64, Sequence>,
    busy: BusyExtents,
}

struct Sequence {
    layout: Layout,
    slabs: Vec<u64>,
}
