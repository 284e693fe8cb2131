//! What happens to a file while it is synced: the medium calls back in the middle of the flush.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use pinfold::region::{Durability, Persist, SharedBytes};
use pinfold::{Pool, PoolOptions, Region};

use crate::common::MIB;

/// What is done in the middle of the next flush.
type Act = Box<dyn FnOnce() + Send>;

/// A medium that forgets nothing, and does something while it is flushed.
#[derive(Clone, Default)]
struct Door {
    act: Arc<Mutex<Option<Act>>>,
}

impl Persist for Door {
    fn durability(&self) -> Durability {
        Durability::PageCache
    }

    fn write_back(&self, _: SharedBytes<'_>) -> io::Result<()> {
        let act = self.act.lock().unwrap().take();
        act.into_iter().for_each(|act| act());
        Ok(())
    }

    fn drain(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Door {
    fn at_the_next_flush(&self, act: impl FnOnce() + Send + 'static) {
        *self.act.lock().unwrap() = Some(Box::new(act));
    }
}

/// A pool that syncs only when it is told to, and its door.
fn pool() -> (Pool, Door) {
    let door = Door::default();
    let region = Region::memfd(16 * MIB).unwrap().with_flusher(door.clone());
    (PoolOptions::new().commit_every(None).format_region(region, 16 * MIB, None).unwrap(), door)
}

/// The pool as it is opened when its process was killed now.
fn killed(pool: &Pool) -> Pool {
    let mut bytes = vec![0; 16 << 20];
    pool.region().bytes(0..16 * MIB).unwrap().copy_out(0, &mut bytes).unwrap();
    let region = Region::memfd(16 * MIB).unwrap().with_flusher(Door::default());
    region.bytes(0..16 * MIB).unwrap().copy_in(0, &bytes).unwrap();
    PoolOptions::new().commit_every(None).no_dma_in_flight(true).open_region(region, None).unwrap()
}

#[test]
fn g9_a_file_that_ends_while_it_is_synced_leaves_a_pool_that_opens() {
    for checkpoint in [false, true] {
        let (pool, door) = pool();
        let file = pool.create("/a").unwrap();
        file.write_at(0, &[7; 5000]).unwrap();
        let handles = Arc::new(Mutex::new(Some((pool.clone(), file))));
        door.at_the_next_flush(move || {
            let (pool, file) = handles.lock().unwrap().take().unwrap();
            pool.unlink("/a").unwrap();
            drop(file);
            if checkpoint {
                pool.checkpoint().unwrap();
            }
        });
        pool.sync().unwrap();
        let after = killed(&pool);
        assert!(after.open("/a").is_err());
        assert_eq!(after.stats().in_files, 0, "checkpoint: {checkpoint}");
    }
}

/// A sync that should wait for another one: whether it has returned while that one was in its flush. It is given a moment in
/// which it would, if it did not wait.
fn returns_early(syncs: impl FnOnce() + Send + 'static) -> (bool, Receiver<()>) {
    let (done, is_done) = channel();
    thread::spawn(move || {
        syncs();
        let _ = done.send(());
    });
    (is_done.recv_timeout(Duration::from_millis(200)) != Err(RecvTimeoutError::Timeout), is_done)
}

/// What a second sync does in the middle of the first one's flush.
fn second_sync_returns_early(first: impl FnOnce(&Pool), second: impl FnOnce(&Pool) + Send + 'static) -> bool {
    let (pool, door) = pool();
    let file = pool.create("/a").unwrap();
    file.write_at(0, &[7; 5000]).unwrap();
    pool.sync().unwrap();
    file.write_at(0, &[8; 5000]).unwrap();
    let early = Arc::new(Mutex::new(None));
    let (seen, handle) = (Arc::clone(&early), pool.clone());
    door.at_the_next_flush(move || *seen.lock().unwrap() = Some(returns_early(move || second(&handle))));
    first(&pool);
    let (early, is_done) = early.lock().unwrap().take().expect("the first one flushes");
    if !early {
        is_done.recv().expect("it returns when the other one has");
    }
    early
}

#[test]
fn g9_a_sync_of_the_pool_waits_for_another_one_that_has_its_files() {
    assert!(!second_sync_returns_early(|pool| pool.sync().unwrap(), |pool| pool.sync().unwrap()));
}

#[test]
fn g9_a_sync_of_a_file_waits_for_another_one_that_flushes_its_bytes() {
    let sync_file = |pool: &Pool| pool.open("/a").unwrap().sync().unwrap();
    assert!(!second_sync_returns_early(|pool| pool.sync().unwrap(), sync_file));
    assert!(!second_sync_returns_early(sync_file, sync_file));
}

#[test]
fn g9_bytes_that_move_to_another_file_while_the_pool_is_synced_are_synced() {
    let (pool, door) = pool();
    let (one, two) = (pool.create("/one").unwrap(), pool.create("/two").unwrap());
    one.write_at(0, &[1; 4096]).unwrap();
    two.write_at(0, &[2; 4096]).unwrap();
    // In the flush of whichever comes second: the other one was synced.
    let again = door.clone();
    door.at_the_next_flush(move || {
        again.at_the_next_flush(move || one.exchange(0..4096, &two, 0).wait().unwrap());
    });
    pool.sync().unwrap();
    let after = killed(&pool);
    assert_eq!(crate::contents(&after, "/one"), [2; 4096]);
    assert_eq!(crate::contents(&after, "/two"), [1; 4096]);
}

#[test]
fn g9_a_first_write_beside_a_sync_is_not_lost_to_the_next_sync() {
    const FILES: usize = 1000;
    let (pool, _door) = pool();
    let names: Vec<_> = (0..FILES).map(|i| format!("/{i}")).collect();
    let files: Vec<_> = names.iter().map(|name| pool.create(name).unwrap()).collect();
    let (written, is_written) = (AtomicBool::new(false), |flag: &AtomicBool| flag.load(Ordering::Acquire));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_written(&written) {
                pool.sync().unwrap();
            }
        });
        files.iter().for_each(|file| file.write_at(0, &[7; 4096]).unwrap());
        written.store(true, Ordering::Release);
    });
    pool.sync().unwrap();
    let after = killed(&pool);
    let lost = names.iter().filter(|name| crate::contents(&after, name) != [7; 4096]);
    assert_eq!(lost.collect::<Vec<_>>(), Vec::<&String>::new());
}
