//! "I have my own allocator and my own ring. What do I have to change?"
//!
//! Here is a block manager as a KV cache keeps one: slabs in memory that is there already, a free list, and for each
//! sequence the slabs that hold it. A device fills slabs through raw addresses, and completes when it likes. Without
//! care, a slab that is evicted goes to the next sequence while the device still writes for the last one, and the only
//! symptom is a slightly wrong answer.
//!
//! Four things change; look for their numbers below:
//!
//! 1. What the device may write is pinned first. The transfer is the engine's until the completion comes.
//! 2. Slabs leave a sequence inside a break of its layout, and nowhere else.
//! 3. The free list takes `FreeExtent`, and nothing else: no slab gets there while somebody can reach it.
//! 4. A request that is given up is abandoned, not dropped. Its slabs come back when the engine proves that its device
//!    is quiet; never because time has passed.
//!
//! ```text
//! cargo run -p pinfold-layout --example own_allocator
//! ```
//!
//! It exits with 0 if every byte of every sequence is its own.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use pinfold_layout::{
    Access, Area, AreaOptions, BreakError, CommitId, Effect, Extent, FreeExtent, Holder, Layout, LayoutBreak, PinInfo,
    PinRequest, PinSpec, Policy, Quiescent, Transfer, Until,
};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let area = Area::embedded(AreaOptions::default())?;
    let mut cache = BlockManager::new(&area, 16);
    let mut ring = Ring::start(area.holder()?)?;

    println!("A pool of 16 slabs. Sequences 1 and 2 take eight each.");
    for id in [1, 2] {
        cache.grow(id, 8)?;
        let fill = ring.submit(&cache, id, 0..8)?;
        ring.complete(fill);
    }

    println!("\nSequence 3 needs room. Sequence 1 is the coldest, but a transfer into it is in flight.");
    let refill = ring.submit(&cache, 1, 0..8)?;
    println!("  evicted: sequence {}", cache.evict_coldest()?);
    cache.grow(3, 8)?;
    let fill = ring.submit(&cache, 3, 0..8)?;
    ring.complete(fill);
    ring.complete(refill);
    cache.check_every_byte()?;

    println!("\nSequence 1 is cut to four slabs, and waits for a transfer into its tail.");
    let tail = ring.submit(&cache, 1, 6..8)?;
    thread::scope(|scope| -> Outcome<()> {
        let cutting = scope.spawn(|| cache.truncate(1, 4));
        println!("  deferred: {}", wait_for(|| area.breaks().into_iter().find_map(|running| running.behind)));
        ring.complete(tail);
        cutting.join().expect("it does not panic")
    })?;
    println!("  the completion came, and it was done: {} slabs are free", cache.free.len());

    println!("\nSequence 3 is dropped, and does not wait for a transfer that is in flight.");
    let late = ring.submit(&cache, 3, 2..5)?;
    cache.drop_now(3)?;
    println!("  {} slabs are free, {} are parked", cache.free.len(), cache.parked());
    cache.grow(4, 9)?;
    let fill = ring.submit(&cache, 4, 0..9)?;
    ring.complete(fill);
    ring.complete(late);
    cache.check_every_byte()?;
    println!("  the late write has hit nobody; {} slabs came back", cache.reap());

    println!("\nA transfer into sequence 4 is given up, and the sequence is dropped.");
    let stuck = ring.submit(&cache, 4, 0..2)?;
    ring.give_up(stuck);
    cache.drop_now(4)?;
    println!("  {} slabs are free, {} are parked: {}", cache.free.len(), cache.parked(), area.quarantine()[0]);
    cache.grow(5, 10)?;
    let fill = ring.submit(&cache, 5, 0..10)?;
    ring.complete(fill);
    let proof = ring.shut_down();
    cache.check_every_byte()?;
    println!("  the ring was drained, its last write has hit nobody; that proves {} pin quiet", area.release(&proof)?);
    println!("  {} slabs came back", cache.reap());

    assert_eq!((area.pins().len(), cache.parked(), cache.free.len()), (0, 0, 2), "nobody is left, and nothing is lost");
    println!("\nEvery byte of every sequence is its own.");
    Ok(())
}

// ----- The block manager: about what it was before, but for (2) and (3) ----------------------------------------------

struct BlockManager<'a> {
    area: &'a Area,
    memory: Memory,
    free: Vec<u64>,
    /// Coldest first, since ids grow with time.
    sequences: BTreeMap<u64, Sequence>,
}

struct Sequence {
    slabs: Vec<u64>,
    /// Guards `slabs`: position n of the layout is the nth slab.
    layout: Layout,
}

impl<'a> BlockManager<'a> {
    fn new(area: &'a Area, slabs: u64) -> Self {
        Self { area, memory: Memory::new(slabs), free: (0..slabs).collect(), sequences: BTreeMap::new() }
    }

    fn grow(&mut self, id: u64, count: usize) -> Outcome<()> {
        let left = self.free.len().checked_sub(count).ok_or("no slab is free")?;
        let slabs = self.free.split_off(left);
        self.sequences.insert(id, Sequence { slabs, layout: self.area.layout(id)? });
        Ok(())
    }

    /// Waits until no transfer is in what goes.
    fn truncate(&mut self, id: u64, keep: usize) -> Outcome<()> {
        let mut brk = self.break_from(id, keep, Policy::Wait)?;
        brk.drain(Until::done())?.commit(|| self.take_out(id, keep));
        self.reap();
        Ok(())
    }

    /// Waits for no transfer: those that are in keep what they reach, parked.
    fn drop_now(&mut self, id: u64) -> Outcome<()> {
        let mut brk = self.break_from(id, 0, Policy::Detach)?;
        brk.drain(Until::done())?.commit(|| self.take_out(id, 0));
        self.reap();
        Ok(())
    }

    /// Drops the coldest sequence that no transfer is in.
    fn evict_coldest(&mut self) -> Outcome<u64> {
        for id in Vec::from_iter(self.sequences.keys().copied()) {
            match self.break_from(id, 0, Policy::Wait)?.try_drain() {
                Ok(idle) => idle.commit(|| self.take_out(id, 0)),
                Err(BreakError::Busy(pin)) => {
                    println!("  not evicted: {pin}");
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            self.reap();
            return Ok(id);
        }
        Err("a transfer is in every sequence".into())
    }

    fn break_from(&self, id: u64, start: usize, policy: Policy) -> Outcome<LayoutBreak> {
        let sequence = self.sequences.get(&id).ok_or("no such sequence")?;
        Ok(self.area.break_layout(&[(&sequence.layout, start as u64..u64::MAX)], policy, Effect::Frees)?)
    }

    /// (2) Called inside a break only. What it returns is parked; it is not free yet.
    fn take_out(&mut self, id: u64, keep: usize) -> Vec<Extent> {
        let left = self.sequences.get_mut(&id).map_or_else(Vec::new, |sequence| sequence.slabs.split_off(keep));
        if keep == 0 {
            self.sequences.remove(&id);
        }
        let extent = |(start, block)| Extent { object: id, start, end: start + 1, block };
        (keep as u64..).zip(left).map(extent).collect()
    }

    /// Takes back what nobody reaches; how many slabs that was. (This memory has no medium: all is durable at once.)
    fn reap(&mut self) -> usize {
        let busy = self.area.busy_extents();
        busy.reap(CommitId::ALL, |free| free.into_iter().map(|extent| self.give_back(extent)).sum())
    }

    /// (3) The one way into the free list.
    fn give_back(&mut self, free: FreeExtent) -> usize {
        let extent = free.into_extent();
        self.free.extend(extent.block..extent.block + extent.len());
        extent.len() as usize
    }
}

// ----- The ring: requests go out, completions come back, and a transfer lives in between -----------------------------

/// The driver's side of a device. It alone can say when its device is quiet.
struct Ring {
    name: String,
    holder: Arc<Holder>,
    spec: PinSpec,
    /// (1) Who is in this table may be written to by the device.
    in_flight: HashMap<u64, Transfer>,
    last: u64,
    completions: Receiver<u64>,
    /// Gone once the ring is shut down.
    device: Option<(Sender<Order>, JoinHandle<()>)>,
}

impl Ring {
    fn start(holder: Arc<Holder>) -> Outcome<Self> {
        let name = "ring 0".to_owned();
        let spec = PinSpec::device(Access::Write).labelled(holder.label(&name, "filling a sequence")?);
        let (orders, device_gets) = channel();
        let (device_says, completions) = channel();
        let device = thread::spawn(move || Device::default().run(&device_gets, &device_says));
        let device = Some((orders, device));
        Ok(Self { name, holder, spec, in_flight: HashMap::new(), last: 0, completions, device })
    }

    /// (1) Pins, looks the addresses up while the pin holds them in place, and keeps the transfer until it is over.
    fn submit(&mut self, cache: &BlockManager<'_>, id: u64, range: Range<u64>) -> Outcome<u64> {
        let sequence = cache.sequences.get(&id).ok_or("no such sequence")?;
        let request = PinRequest { layout: &sequence.layout, range: range.clone(), spec: self.spec };
        let slabs = || &sequence.slabs[range.start as usize..range.end as usize];
        let resolve = |_| slabs().iter().map(|slab| cache.memory.address(*slab)).collect();
        let (mut transfer, mut resolved) = self.holder.transfer(&[request], Until::done(), resolve)?;
        transfer.hand_over();
        self.last += 1;
        self.in_flight.insert(self.last, transfer);
        let addresses = resolved.pop().expect("one request");
        self.order(Order::Accept(self.last, Write { addresses, stamp: id }));
        Ok(self.last)
    }

    /// Lets the device get round to a request, and takes its completion. In a real ring the device chooses when.
    fn complete(&mut self, request: u64) {
        self.order(Order::Finish(request));
        let completed = self.completions.recv().expect("the device runs");
        // The completion was seen: dropping the transfer unpins.
        drop(self.in_flight.remove(&completed));
    }

    /// (4) Nobody will wait for this request. The device still has it, so its pins stay.
    fn give_up(&mut self, request: u64) {
        if let Some(transfer) = self.in_flight.remove(&request) {
            transfer.abandon();
        }
    }

    /// (4) Ends the device, with all that it was asked to do, and says so.
    fn shut_down(mut self) -> RingIsQuiet {
        self.drain();
        RingIsQuiet { name: self.name.clone() }
    }

    fn order(&self, order: Order) {
        let (orders, _) = self.device.as_ref().expect("not shut down yet");
        orders.send(order).expect("the device runs");
    }

    fn drain(&mut self) {
        if let Some((orders, device)) = self.device.take() {
            drop(orders);
            device.join().expect("the device does not panic");
        }
    }
}

impl Drop for Ring {
    /// The device ends before the transfers do.
    fn drop(&mut self) {
        self.drain();
    }
}

/// The proof that a ring's device touches no memory any more. Only [`Ring::shut_down`] makes one.
struct RingIsQuiet {
    name: String,
}

// SAFETY: a value exists only after the thread that is the device has ended, and the pins that it covers carry the name
// of its ring, which no other ring has.
unsafe impl Quiescent for RingIsQuiet {
    fn covers(&self, pin: &PinInfo) -> bool {
        pin.engine == self.name
    }
}

// ----- The device: it knows addresses, and neither sequences nor pins ------------------------------------------------

enum Order {
    Accept(u64, Write),
    Finish(u64),
}

struct Write {
    addresses: Vec<Address>,
    stamp: u64,
}

#[derive(Default)]
struct Device {
    accepted: BTreeMap<u64, Write>,
}

impl Device {
    fn run(mut self, orders: &Receiver<Order>, completions: &Sender<u64>) {
        for order in orders {
            match order {
                Order::Accept(request, write) => drop(self.accepted.insert(request, write)),
                Order::Finish(request) => {
                    self.accepted.remove(&request).into_iter().for_each(Write::carry_out);
                    // Nobody listens any more when the ring is being shut down.
                    let _ = completions.send(request);
                }
            }
        }
        // The queue is torn down: what was accepted is still written.
        self.accepted.into_values().for_each(Write::carry_out);
    }
}

impl Write {
    fn carry_out(self) {
        for Address(slab) in self.addresses {
            for word in 0..WORDS {
                // SAFETY: the slab is inside the pool's memory, which is never given back; by G1 nobody else uses the
                // slab while the transfer is pinned, and that is until this write has been seen to be over.
                unsafe { slab.add(word).write_volatile(self.stamp) };
            }
        }
    }
}

// ----- The memory: the caller's, and there before anything else ------------------------------------------------------

/// Words of a slab.
const WORDS: usize = 512;

/// Where a slab lies, as a device is told.
struct Address(*mut u64);

// SAFETY: an address is a number; what may be done with it is said where it is used.
unsafe impl Send for Address {}

struct Memory {
    base: *mut u64,
    slabs: u64,
}

// SAFETY: all access is through raw addresses, under pins.
unsafe impl Send for Memory {}

impl Memory {
    /// Memory that a device may reach is never given back here: the process ends first.
    fn new(slabs: u64) -> Self {
        Self { base: vec![0; slabs as usize * WORDS].leak().as_mut_ptr(), slabs }
    }

    fn address(&self, slab: u64) -> Address {
        assert!(slab < self.slabs);
        // SAFETY: the slab is inside the memory (checked above).
        Address(unsafe { self.base.add(slab as usize * WORDS) })
    }
}

// ----- What the story needs ------------------------------------------------------------------------------------------

impl BlockManager<'_> {
    /// Each slab carries the number of its sequence in every word.
    fn check_every_byte(&self) -> Outcome<()> {
        for (id, sequence) in &self.sequences {
            for slab in &sequence.slabs {
                let Address(base) = self.memory.address(*slab);
                // SAFETY: inside the memory; the story looks only when no transfer into a sequence is in flight.
                let foreign = (0..WORDS).map(|word| unsafe { base.add(word).read_volatile() }).find(|word| word != id);
                if let Some(foreign) = foreign {
                    return Err(format!("CORRUPTED: slab {slab} of sequence {id} holds data of {foreign}").into());
                }
            }
        }
        Ok(())
    }

    fn parked(&self) -> u64 {
        let stats = self.area.busy_extents().stats();
        stats.pinned + stats.quarantined
    }
}

fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    loop {
        match look() {
            Some(found) => return found,
            None => thread::yield_now(),
        }
    }
}
