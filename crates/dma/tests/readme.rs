//! The taste in the README, as it stands there.

use pinfold::{Access, Pool, Publish, Region};
use pinfold_dma::{Request, Uring};

#[test]
fn the_taste_in_the_readme_works() -> Result<(), Box<dyn std::error::Error>> {
    let ring = Uring::new()?;
    let disk = tempfile::tempfile()?;
    disk.set_len(4 << 20)?;

    let pool = Pool::new(Region::memfd(64 << 20)?)?;
    pool.create_dir("/kv")?;
    let file = pool.create("/kv/17")?;
    file.allocate(0..4 << 20).try_now()?;

    let pinned = file.pin(0..4 << 20, Access::Write).wait()?;
    let filling = ring.submit(Request::read(&disk, 0), pinned)?;

    assert_eq!(file.truncate(1 << 20).try_now().unwrap_err().errno(), libc::EBUSY);
    file.truncate(1 << 20).detach().wait()?;
    drop(filling.wait()?.whole()?);
    assert_eq!((file.len(), pool.stats().parked, pool.stats().pins), (1 << 20, 0, 0));

    let reservation = pool.reserve(4096).try_now()?;
    drop(reservation.pin(0..4096).wait()?);
    reservation.publish("/kv/18", Publish::Replace)?;
    Ok(())
}
