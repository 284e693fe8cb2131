//! Stores through views, and the power fails: what was synced is there, whatever took the view away before, and what was stored past
//! the end never comes up (G9, node M2).

use pinfold::{Access, File, Pool, PoolOptions, Region, View};
use pinfold_crash::{Image, Keep, Medium};
use pinfold_region::{Durability, Traps};

use crate::{MIB, pinfold_region_lines};

const BLOCK: u64 = 4096;
const LEN: u64 = 16 * BLOCK;

/// A pool on a medium of its own, with a file that is synced, and a view of it.
struct Lab {
    medium: Medium,
    pool: Pool,
    file: File,
    view: View,
}

impl Lab {
    fn new(durability: Durability) -> Self {
        let (medium, region) = Medium::new(16 * MIB, durability).unwrap();
        let pool = PoolOptions::new().commit_every(None).format_region(region, 16 * MIB, None).unwrap();
        let file = pool.create("/file").unwrap();
        file.write_at(0, &[1; LEN as usize]).unwrap();
        pool.sync().unwrap();
        let view = file.map(0..2 * LEN, Access::Write).wait().unwrap();
        Self { medium, pool, file, view }
    }

    fn store(&self, at: u64, byte: u8) {
        self.view.bytes(at..at + 1).unwrap().copy_in(0, &[byte]).unwrap();
    }

    /// What is in the file when the power comes back and nothing had come to the medium that did not have to.
    fn survived(&self) -> Vec<u8> {
        bytes_in(self.medium.cut().unwrap().image(Keep::Nothing))
    }
}

fn bytes_in(image: Image) -> Vec<u8> {
    let region: Region = image.into_region().unwrap();
    let pool = PoolOptions::new().commit_every(None).no_dma_in_flight(true).open_region(region, None).unwrap();
    let file = pool.open("/file").unwrap();
    let mut bytes = vec![0; file.len() as usize];
    assert_eq!(file.read_at(0, &mut bytes).unwrap(), bytes.len());
    bytes
}

/// On a medium of each kind; where accesses cannot be trapped, a view is a pin, and nothing is promised.
fn each_medium(test: impl Fn(Lab)) {
    if let Err(why) = Traps::new() {
        return println!("skipped: {why}");
    }
    test(Lab::new(Durability::PageCache));
    pinfold_region_lines().into_iter().for_each(|lines| test(Lab::new(lines)));
}

#[test]
fn g9_each_sync_makes_durable_what_was_stored_before_it() {
    each_medium(|lab| {
        for byte in 2..5 {
            lab.store(5000, byte);
            if byte % 2 == 0 {
                lab.pool.sync().unwrap()
            } else {
                lab.file.sync().unwrap()
            }
            assert_eq!(lab.survived()[4999..5002], [1, byte, 1]);
        }
    });
}

#[test]
fn g9_what_was_stored_before_a_break_took_the_view_away_is_synced() {
    each_medium(|lab| {
        lab.store(2 * BLOCK, 2);
        lab.store(9 * BLOCK, 3);
        lab.file.collapse(0..BLOCK).wait().unwrap();
        lab.pool.sync().unwrap();
        let survived = lab.survived();
        assert_eq!((survived[BLOCK as usize], survived[8 * BLOCK as usize]), (2, 3));
    });
}

#[test]
fn g9_what_was_stored_through_a_view_that_is_gone_is_synced() {
    each_medium(|lab| {
        lab.store(2 * BLOCK, 2);
        lab.store(15 * BLOCK, 3);
        let Lab { medium, pool, file: _, view } = lab;
        drop(view);
        pool.sync().unwrap();
        let survived = bytes_in(medium.cut().unwrap().image(Keep::Nothing));
        assert_eq!((survived[2 * BLOCK as usize], survived[15 * BLOCK as usize]), (2, 3));
    });
}

/// In whichever order memory comes to the medium, and after a crash as well.
#[test]
fn g10_what_was_stored_past_the_end_never_comes_up() {
    each_medium(|lab| {
        lab.file.truncate(100).wait().unwrap();
        lab.store(50, 2);
        lab.store(200, 0xEE);
        lab.pool.sync().unwrap(); // the page comes to the medium as it is
        let grown_after_a_crash = {
            let region = lab.medium.cut().unwrap().image(Keep::Everything).into_region().unwrap();
            let pool = PoolOptions::new().commit_every(None).no_dma_in_flight(true).open_region(region, None).unwrap();
            let file = pool.open("/file").unwrap();
            file.truncate(1000).wait().unwrap();
            let mut bytes = [0xFF; 1000];
            file.read_at(0, &mut bytes).unwrap();
            bytes
        };
        assert!(!grown_after_a_crash.contains(&0xEE));
        lab.medium.on_boundary(|medium, _| {
            let cut = medium.cut().unwrap();
            for keep in Keep::various(7).take(8) {
                assert!(!bytes_in(cut.image(keep)).contains(&0xEE), "{cut}, {keep:?}");
            }
        });
        lab.file.truncate(1000).wait().unwrap();
        lab.pool.sync().unwrap();
        assert_eq!(lab.survived()[49..52], [1, 2, 1]);
    });
}
