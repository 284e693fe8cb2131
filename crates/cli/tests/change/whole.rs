//! `sync` and `resize`.

use crate::pools::{BOTH, PoolFile};

#[test]
fn what_was_done_is_made_durable() {
    for owner in BOTH {
        let pool = PoolFile::new(owner, |_| ());
        pool.does("mkdir", &["/dir"]);
        pool.does("truncate", &["-s", "1", "/file"]);
        pool.does("sync", &[]);
        pool.does("sync", &["/file"]);
        pool.refuses("sync", &["/none"], "/none: no such file");
        pool.does("sync", &["--checkpoint"]);
        assert_eq!(pool.now().info().log.1, 0, "nothing is to be replayed");
        assert_eq!(pool.names("/"), ["dir", "file"]);
    }
}

#[test]
fn a_pool_becomes_larger_and_never_smaller() {
    for owner in BOTH {
        let pool = PoolFile::new(owner, |_| ());
        let said = pool.run("resize", &["64M"]).expect(0).stdout;
        assert!(said.ends_with(": has 64M now\n"), "{said}");
        assert_eq!(pool.now().info().len, 64 << 20);
        assert_eq!(pool.run("resize", &["96M", "--json"]).expect(0).json()["len"], 96 << 20);
        pool.refuses("resize", &["32M"], "cannot shrink");
        pool.does("fallocate", &["-l", "80M", "/large"]);
    }
}
