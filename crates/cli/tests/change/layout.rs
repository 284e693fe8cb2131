//! `truncate` and `fallocate`.

use std::path::Path;

use pinfold::{Access, Pool};

use crate::common::{pinfold, run};
use crate::pools::{BOTH, PoolFile};

#[test]
fn files_are_made_cut_and_made_longer() {
    for owner in BOTH {
        let pool = PoolFile::new(owner, |pool| pool.create("/file").unwrap().write_at(0, &[7; 65536]).unwrap());
        pool.does("truncate", &["-s", "5000", "/file"]);
        assert_eq!((pool.len("/file"), pool.allocated("/file")), (5000, 8192));
        pool.does("truncate", &["-s", "1M", "/file", "/new"]);
        assert_eq!((pool.len("/file"), pool.len("/new"), pool.allocated("/new")), (1 << 20, 1 << 20, 0));
        // As coreutils: what is not there is left so, without a word.
        pool.does("truncate", &["-c", "-s", "0", "/none"]);
        assert_eq!(pool.kind("/none"), None);
        pool.refuses("truncate", &["-s", "0", "/"], "is a directory");
        pool.refuses("truncate", &["-s", "16777215T", "/file"], "/file: ");
    }
}

#[test]
fn ranges_are_set_aside_punched_zeroed_taken_out_and_opened() {
    for owner in BOTH {
        let pool = PoolFile::new(owner, |pool| pool.create("/file").unwrap().write_at(0, &[7; 16384]).unwrap());
        pool.does("fallocate", &["-p", "-l", "4K", "/file"]);
        assert_eq!((pool.len("/file"), pool.allocated("/file")), (16384, 12288));
        pool.does("fallocate", &["-c", "-l", "4K", "/file"]);
        assert_eq!(pool.len("/file"), 12288);
        pool.does("fallocate", &["-i", "-o", "4096", "-l", "8K", "/file"]);
        assert_eq!((pool.len("/file"), pool.allocated("/file")), (20480, 12288));
        pool.does("fallocate", &["-z", "-n", "-o", "4K", "-l", "32K", "/file"]);
        assert_eq!((pool.len("/file"), pool.allocated("/file")), (20480, 36864));
        pool.does("fallocate", &["-z", "-o", "0", "-l", "24K", "/file"]);
        assert_eq!(pool.len("/file"), 24576);
        pool.does("fallocate", &["-n", "-l", "1M", "/new"]);
        assert_eq!((pool.len("/new"), pool.allocated("/new")), (0, 1 << 20));
        pool.does("fallocate", &["-l", "64K", "/new"]);
        assert_eq!(pool.len("/new"), 65536);
        pool.refuses("fallocate", &["-p", "-l", "4K", "/none"], "no such file");
        pool.refuses("fallocate", &["-c", "-o", "1", "-l", "4K", "/file"], "not whole blocks");
        pool.refuses("fallocate", &["-l", "1T", "/file"], "no space");
        pool.refuses("fallocate", &["-o", "16777215T", "-l", "16777215T", "/file"], "longest file");
    }
}

#[test]
fn a_wrong_command_line_ends_with_status_2() {
    let pool = Path::new("/nowhere/pool");
    for arguments in [
        &["truncate", "POOL", "/file"][..],
        &["truncate", "POOL", "-s", "x", "/file"],
        &["truncate", "POOL", "-s", "1", "--timeout", "-1", "/file"],
        &["truncate", "POOL", "-s", "1", "--try", "--detach", "/file"],
        &["fallocate", "POOL", "/file"],
        &["fallocate", "POOL", "-p", "-z", "-l", "1", "/file"],
        &["fallocate", "POOL", "-c", "-n", "-l", "4K", "/file"],
        &["mv", "POOL", "-n", "-f", "/a", "/b"],
        &["rm", "POOL"],
        &["resize", "POOL", "large"],
        &["resize", "POOL", "-1"],
        &["truncate", "POOL", "/a", "-s", "-1"],
        &["fallocate", "POOL", "/a", "-o", "-4K", "-l", "4K"],
        &["fallocate", "POOL", "/a", "-l", "4K", "--timeout", "-1"],
        &["release", "POOL", "--pin", "1.2.3"],
        &["release", "POOL", "--pin", "x", "--reason", "y"],
        &["release", "POOL", "--yes"],
    ] {
        let arguments = arguments.iter().map(|word| if *word == "POOL" { pool.as_os_str() } else { word.as_ref() });
        let ended = run(pinfold().args(arguments)).expect(2);
        assert_eq!(ended.stdout, "");
    }
}

/// The test itself owns the pool, with a transfer in flight, and serves it.
#[test]
fn g6_transfers_in_the_way_are_seen_left_or_waited_for() {
    let pool_file = PoolFile::new(crate::pools::Owner::Nobody, |pool| {
        pool.create("/file").unwrap().write_at(0, &[7; 65536]).unwrap();
    });
    let pool = Pool::load(&pool_file.path).unwrap();
    let _serving = pinfold_control::serve(&pool, pinfold::live_dir_of(&pool_file.path)).unwrap();
    let file = pool.open("/file").unwrap();
    let pinned = file.pin(0..4096, Access::Write).labelled("nic 0", "chunk 17").unwrap().wait().unwrap();
    pool_file.refuses("truncate", &["-s", "0", "--try", "/file"], "pool: busy: /file bytes 0..4096: process");
    pool_file.refuses("truncate", &["-s", "0", "--timeout", "0.001", "/file"], "nic 0");
    pool_file.refuses("fallocate", &["-c", "-l", "4K", "--timeout", "0", "/file"], "timed out");
    pool_file.refuses("fallocate", &["-c", "-l", "4K", "--detach", "/file"], "/file bytes 0 to the end: ");
    assert_eq!(file.len(), 65536);
    pool_file.does("fallocate", &["-p", "-o", "0", "-l", "8K", "--detach", "/file"]);
    assert_eq!((file.len(), pool.stats().parked), (65536, 4096));
    drop(pinned);
    assert_eq!(pool.stats().parked, 0);
    let pinned = file.pin(0..4096, Access::Write).wait().unwrap();
    let waits = std::thread::spawn({
        let path = pool_file.path.clone();
        move || run(pinfold().arg("truncate").arg(path).args(["-s", "0", "/file"]))
    });
    while !pool.breaks().iter().any(|running| running.behind.is_some()) {
        assert!(!waits.is_finished(), "it does not wait");
        std::thread::yield_now();
    }
    assert_eq!(file.len(), 65536);
    drop(pinned);
    waits.join().unwrap().expect(0);
    assert_eq!(file.len(), 0);
}

#[test]
fn g6_a_command_that_is_killed_withdraws_what_it_waits_for() {
    let pool_file = PoolFile::new(crate::pools::Owner::Nobody, |pool| {
        pool.create("/file").unwrap().write_at(0, &[7; 65536]).unwrap();
    });
    let pool = Pool::load(&pool_file.path).unwrap();
    let _serving = pinfold_control::serve(&pool, pinfold::live_dir_of(&pool_file.path)).unwrap();
    let file = pool.open("/file").unwrap();
    let pinned = file.pin(0..4096, Access::Write).wait().unwrap();
    let mut waits = pinfold().arg("truncate").arg(&pool_file.path).args(["-s", "0", "/file"]).spawn().unwrap();
    while !pool.breaks().iter().any(|running| running.behind.is_some()) {
        assert!(waits.try_wait().unwrap().is_none(), "it ended");
        std::thread::yield_now();
    }
    waits.kill().unwrap();
    waits.wait().unwrap();
    while !pool.breaks().is_empty() {
        std::thread::yield_now();
    }
    drop(pinned);
    let mut bytes = vec![0; 65536];
    assert_eq!(file.read_at(0, &mut bytes).unwrap(), 65536);
    assert_eq!(bytes, [7; 65536]);
}
