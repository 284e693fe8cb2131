//! A cache that makes room by evicting the coldest file that nobody uses.
//!
//!     cargo run --release -p pinfold --example evict_coldest
//!
//! Which files are cold is the cache's business; which are in use is the pool's. `try_now` only looks: a file that a device
//! is reading says `EBUSY`, and the next coldest is tried. Nothing waits, nothing is torn from under a transfer, and no
//! reference count is kept by hand. (An unlink would not wait either; but what is in use is parked then, and makes room
//! only later.)

use std::collections::VecDeque;
use std::error::Error;
use std::io::ErrorKind;

use pinfold::{Access, File, Pinned, Pool, Region, SpaceError};

const ENTRY: u64 = 1 << 20;
const ENTRIES_MAX: usize = 8;

/// Keys by use: the coldest first.
struct Cache {
    pool: Pool,
    coldest_first: VecDeque<String>,
}

impl Cache {
    fn new() -> Result<Self, Box<dyn Error>> {
        // Whatever is left over is too little for one more entry.
        let pool = Pool::new(Region::memfd(ENTRIES_MAX as u64 * ENTRY + ENTRY / 2)?)?;
        Ok(Self { pool, coldest_first: VecDeque::new() })
    }

    /// A new entry; colder ones make room for it.
    fn insert(&mut self, key: &str, fill: u8) -> Result<(), Box<dyn Error>> {
        let file = self.pool.create(key)?;
        while let Err(full) = file.allocate(0..ENTRY).try_now() {
            let SpaceError::Full(_) = full else { return Err(full.into()) };
            self.evict_one()?;
        }
        file.write_at(0, &vec![fill; ENTRY as usize])?;
        self.coldest_first.push_back(key.to_owned());
        Ok(())
    }

    /// Lends an entry to a device. It is in use until the pin is dropped, whoever drops it.
    fn read(&mut self, key: &str) -> Result<Pinned, Box<dyn Error>> {
        let place = self.coldest_first.iter().position(|cold| cold == key).ok_or("no such entry")?;
        let hot = self.coldest_first.remove(place).ok_or("no such entry")?;
        self.coldest_first.push_back(hot);
        Ok(self.pool.open(key)?.pin(0..ENTRY, Access::Read).labelled("nic 0", key)?.wait()?)
    }

    /// Evicts the coldest entry that is idle.
    fn evict_one(&mut self) -> Result<(), Box<dyn Error>> {
        for place in 0..self.coldest_first.len() {
            let file: File = self.pool.open(&self.coldest_first[place])?;
            match file.truncate(0).try_now() {
                Ok(()) => {
                    let key = self.coldest_first.remove(place).ok_or("no such entry")?;
                    println!("evicted {key}");
                    return Ok(self.pool.unlink(key)?);
                }
                // The message says who uses it, which bytes, and for how long.
                Err(busy) if std::io::Error::from_raw_os_error(busy.errno()).kind() == ErrorKind::ResourceBusy => {
                    println!("{} stays: {busy}", self.coldest_first[place]);
                }
                Err(other) => return Err(other.into()),
            }
        }
        Err("every entry is in use".into())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut cache = Cache::new()?;
    for index in 0..ENTRIES_MAX as u8 {
        cache.insert(&format!("/entry {index}"), index)?;
    }

    // A device sends entry 0 and entry 1; then everything else is used, so these two are the coldest.
    let sending = [cache.read("/entry 0")?, cache.read("/entry 1")?];
    for index in 2..ENTRIES_MAX {
        drop(cache.read(&format!("/entry {index}"))?);
    }

    // Three more: the coldest that are idle go, not those that are being sent.
    for index in 8..11 {
        cache.insert(&format!("/entry {index}"), index)?;
    }
    let left: Vec<&str> = cache.coldest_first.iter().map(String::as_str).collect();
    let expected = ["0", "1", "5", "6", "7", "8", "9", "10"].map(|index| format!("/entry {index}"));
    assert_eq!(left, expected, "2, 3 and 4 made room");

    // What is being sent is what it was, although the cache was full all the while.
    for (index, pinned) in sending.iter().enumerate() {
        let mut sent = vec![0xFF; ENTRY as usize];
        pinned.copy_out(0, &mut sent)?;
        assert!(sent.iter().all(|byte| usize::from(*byte) == index));
    }

    drop(sending); // sent: now they are the coldest, and idle
    cache.insert("/entry 11", 11)?;
    assert!(cache.pool.open("/entry 0").is_err());
    println!("{:?}", cache.pool.stats());
    Ok(())
}
