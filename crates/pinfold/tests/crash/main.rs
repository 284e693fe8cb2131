//! The power fails at every flush and fence of a random load, with unflushed stores kept or lost at will; after each the
//! pool is opened, and compared with what was done and what was synced (G9, G10).

mod history;
mod load;
mod recovered;
mod views;

use std::sync::{Arc, Mutex};

use pinfold::PoolOptions;
use pinfold_crash::{Answer, Call, Cut, Grain, Image, Keep, Medium};
use pinfold_region::Durability;

use history::History;
use load::Load;
use recovered::check;

const MIB: u64 = 1 << 20;

/// An instant at which the power may fail, and what was under way then.
struct Instant {
    cut: Cut,
    /// The operation under way: what came before is done.
    now: usize,
    /// How much of the history was synced.
    history: History,
}

/// Runs a load, and gathers every instant.
fn run(seed: u64, operations: usize, durability: Durability, lie: Option<fn(&Call) -> bool>) -> Vec<Instant> {
    let (medium, region) = Medium::new(16 * MIB, durability).unwrap();
    let pool = PoolOptions::new().commit_every(None).format_region(region, 16 * MIB, None).unwrap();
    pool.create_dir("/dir").unwrap();
    pool.sync().unwrap();
    let load = Arc::new(Mutex::new(Load::new(seed)));
    let instants = Arc::new(Mutex::new(Vec::new()));
    let (gathered, under_way) = (Arc::clone(&instants), Arc::new(Mutex::new((0, History::default()))));
    let progress = Arc::clone(&under_way);
    medium.on_boundary(move |medium, boundary| {
        // The kernel writes pages, and a cache lines, when they like.
        if boundary.number % 5 == 4 {
            medium.evict(Keep::Mix(seed)).unwrap();
        }
        let (now, history) = progress.lock().unwrap().clone();
        gathered.lock().unwrap().push(Instant { cut: medium.cut().unwrap(), now, history });
    });
    if let Some(lie) = lie {
        medium.on_call(move |call| if lie(call) { Answer::Lie } else { Answer::Honest });
    }
    for _ in 0..operations {
        let mut load = load.lock().unwrap();
        let operation = load.next();
        load.begin(&operation);
        *under_way.lock().unwrap() = (load.history.now(), load.history.clone());
        load.carry_out(&pool, &operation);
        load.end(&operation);
        *under_way.lock().unwrap() = (load.history.now(), load.history.clone());
    }
    drop(pool);
    std::mem::take(&mut *instants.lock().unwrap())
}

/// Recovers from each instant in several ways. How many images there were; the first that is wrong.
fn recover(instants: &[Instant], seed: u64, keeps: usize) -> Result<usize, String> {
    let mut images = 0;
    for (nth, instant) in instants.iter().enumerate() {
        let mut seen: Vec<Image> = Vec::new();
        for (step, keep) in Keep::various(seed.wrapping_add(nth as u64)).take(keeps).enumerate() {
            let image = match step % 3 {
                0 => instant.cut.image(keep),
                1 => instant.cut.torn(Grain::Sector, keep),
                _ => instant.cut.torn(Grain::Word, keep),
            };
            if seen.contains(&image) {
                continue;
            }
            seen.push(image.clone());
            images += 1;
            let said =
                |why: String| format!("seed {seed}, {}, {keep:?}, operation {}: {why}", instant.cut, instant.now);
            check(image, instant.now, &instant.history).map_err(said)?;
        }
    }
    Ok(images)
}

fn survives(durability: Durability, seeds: std::ops::Range<u64>) {
    let mut images = 0;
    for seed in seeds {
        let instants = run(seed, 60, durability, None);
        images += recover(&instants, seed, 7).unwrap_or_else(|why| panic!("{why}"));
    }
    assert!(images > 1000, "{images} images are too few to say anything");
}

#[test]
fn g9_what_was_synced_survives_where_pages_are_written_at_will() {
    survives(Durability::PageCache, 0..4);
}

#[test]
fn g9_what_was_synced_survives_where_cache_lines_are_written_at_will() {
    let Some(lines) = pinfold_region_lines() else {
        eprintln!("skipped: this processor has no instruction that writes cache lines back");
        return;
    };
    survives(lines, 100..103);
}

/// What a region on persistent memory reports here.
fn pinfold_region_lines() -> Option<Durability> {
    cfg!(target_arch = "x86_64").then_some(Durability::CacheLines(pinfold_region::CacheLineInstruction::Clflush))
}

/// A flush that is left out is noticed: else the others prove nothing.
fn is_noticed(lie: fn(&Call) -> bool) -> bool {
    (200..230).any(|seed| recover(&run(seed, 60, Durability::PageCache, Some(lie)), seed, 4).is_err())
}

#[test]
fn a_log_that_is_never_flushed_is_noticed() {
    // The log lies from 128 KiB on, 256 KiB long.
    assert!(is_noticed(
        |call| matches!(call, Call::WriteBack { bytes, .. } if (128 << 10..384 << 10).contains(&bytes.start))
    ));
}

#[test]
fn bytes_that_are_never_flushed_are_noticed() {
    assert!(is_noticed(|call| matches!(call, Call::WriteBack { bytes, .. } if bytes.start >= 384 << 10)));
}
