//! What a pool is after the power came back: it opens, and is what it was after one of the operations, not older than what
//! was synced; each sector holds what it may hold.

use pinfold::{Pool, PoolOptions, Snapshot};
use pinfold_crash::Image;

use crate::history::{History, Id, Mark, SECTOR, State};
use crate::load::MARK;

/// Recovers from an image; why it is wrong.
pub(crate) fn check(image: Image, now: usize, history: &History) -> Result<(), String> {
    let looked_at = Snapshot::of(Bytes(image.clone())).map_err(|error| format!("it cannot be looked at: {error}"))?;
    let region = image.into_region().map_err(|error| error.to_string())?;
    let open = PoolOptions::new().commit_every(None).no_dma_in_flight(true);
    let pool = open.open_region(region, None).map_err(|error| format!("it does not open: {error}"))?;
    let state = state_of(&pool, history)?;
    let known = |of: &State| {
        let of_file = |id: Id| (of.lens[&id], of.marks.get(&id).copied().unwrap_or_default());
        of.names.iter().map(|(name, id)| (name.clone(), id.map(of_file))).collect::<Vec<_>>()
    };
    let found = known(&state);
    let first = history.synced;
    let possible = (first..now.min(history.states.len())).rev().filter(|at| known(&history.states[*at]) == found);
    let mut why = format!("it is as after no operation from {first} on: {found:?}");
    for prefix in possible {
        match check_bytes(&pool, &history.states[prefix], history, prefix) {
            Ok(()) => return check_blocks(&pool, &looked_at),
            Err(wrong) => why = wrong,
        }
    }
    Err(why)
}

/// Names, lengths and attributes.
fn state_of(pool: &Pool, _: &History) -> Result<State, String> {
    let mut state = State::default();
    let mut next = 0;
    for dir in ["/", "/dir"] {
        let Ok(entries) = pool.read_dir(dir) else { continue };
        for entry in entries {
            let path = format!("{}/{}", dir.trim_end_matches('/'), entry.name.display());
            let metadata = pool.metadata(&path).map_err(|error| error.to_string())?;
            let id = (metadata.kind == pinfold::FileKind::File).then(|| {
                next += 1;
                state.lens.insert(next, metadata.len);
                let mode = Some(metadata.mode).filter(|mode| *mode != 0o644);
                let extended = pool.inode(&path).ok().and_then(|inode| inode.extended(MARK));
                let extended = extended.map(|value| u32::from_le_bytes(value.try_into().unwrap()));
                state.marks.insert(next, Mark { mode, extended });
                next
            });
            state.names.insert(path, id);
        }
    }
    Ok(state)
}

fn check_bytes(pool: &Pool, state: &State, history: &History, prefix: usize) -> Result<(), String> {
    for (name, id) in state.names.iter().filter_map(|(name, id)| Some((name, (*id)?))) {
        let file = pool.open(name).map_err(|error| error.to_string())?;
        let mut bytes = vec![0; file.len() as usize];
        file.read_at(0, &mut bytes).map_err(|error| error.to_string())?;
        let known = &history.bytes[&id];
        for (sector, words) in bytes.chunks_exact(SECTOR as usize).enumerate() {
            let allowed = |word: &[u8]| {
                let value = u32::from_le_bytes(word.try_into().unwrap());
                known.may_be(sector, value, prefix).then_some(()).ok_or(value)
            };
            if let Err(value) = words.chunks_exact(4).try_for_each(allowed) {
                let events = known.events.get(&sector);
                return Err(format!(
                    "{name} (file {id}), sector {sector}: {value}, of {events:?} after {:?}",
                    known.synced.get(sector)
                ));
            }
        }
    }
    Ok(())
}

/// All blocks add up, and the pool takes more.
fn check_blocks(pool: &Pool, looked_at: &Snapshot) -> Result<(), String> {
    // Files that had lost their last name are gone once that is durable.
    pool.sync().map_err(|error| error.to_string())?;
    let (stats, info) = (pool.stats(), looked_at.info());
    if stats.in_files > info.in_files {
        return Err(format!("{} bytes in files, and the medium says {}", stats.in_files, info.in_files));
    }
    if stats.not_durable + stats.parked + stats.quarantined > 0 {
        return Err(format!("there is something left of what nobody has: {stats:?}"));
    }
    let file = pool.create("/after").map_err(|error| error.to_string())?;
    file.write_at(0, &[1; 5000]).map_err(|error| error.to_string())?;
    file.sync().map_err(|error| error.to_string())
}

/// An image as bytes to look at.
struct Bytes(Image);

impl pinfold::Source for Bytes {
    fn len(&self) -> std::io::Result<u64> {
        Ok(self.0.len())
    }

    fn read_at(&self, offset: u64, to: &mut [u8]) -> std::io::Result<()> {
        self.0.read(offset, to)
    }
}
