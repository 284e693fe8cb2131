//! Races, each forced at the one moment in which it could do harm.

use std::sync::Arc;

use pinfold_region::Region;
use rustix::io::Errno;

use super::directory::{Dir, Locked};
use super::walk::Follow;
use super::{NameError, Rename};
use crate::Pool;
use crate::moments::{Moment, meanwhile};

type Call = fn(&Pool) -> Result<(), NameError>;

fn pool(dirs: &[&str]) -> Pool {
    let pool = Pool::new(Region::memfd(1 << 20).unwrap()).unwrap();
    dirs.iter().for_each(|dir| pool.create_dir(dir).unwrap());
    pool
}

fn dir(pool: &Pool, path: &str) -> Dir {
    Dir::of(pool.node(path.as_ref(), Follow::No).unwrap()).unwrap()
}

/// The directories in a directory.
fn below(pool: &Pool, path: &str) -> Vec<Dir> {
    dir(pool, path).lock().iter().filter_map(|(_, node)| Dir::of(Arc::clone(node))).collect()
}

/// What `call` does if `happens` happens once it has found what it needs.
fn found<T>(pool: &Pool, happens: Call, call: fn(&Pool) -> T) -> T {
    let other = pool.clone();
    meanwhile(Moment::Found, move || happens(&other).unwrap(), || call(pool))
}

fn replace(pool: &Pool) -> Result<(), NameError> {
    drop(pool.create("/new")?);
    pool.rename("/new", "/f", Rename::Replace)
}

fn is(result: Result<(), NameError>, errno: Errno) {
    assert_eq!(result.unwrap_err().errno(), errno.raw_os_error());
}

#[test]
fn a_name_that_is_replaced_is_never_missing() {
    let pool = pool(&[]);
    let old = pool.create("/f").unwrap().id();
    let opened = found(&pool, replace, |pool| pool.open("/f").unwrap().id());
    assert!(opened > old);
    let opened = found(&pool, replace, |pool| pool.open_or_create("/f").unwrap().id());
    assert_eq!(opened, pool.metadata("/f").unwrap().id);
    found(&pool, replace, |pool| pool.link("/f", "/l")).unwrap();
    assert_eq!(pool.metadata("/l").unwrap().id, pool.metadata("/f").unwrap().id);
}

#[test]
fn a_name_that_went_meanwhile_is_missing() {
    let pool = pool(&[]);
    let unlink = |pool: &Pool| pool.unlink("/f");
    let calls: [Call; 4] = [
        |pool| pool.open("/f").map(drop),
        |pool| pool.link("/f", "/l"),
        |pool| pool.unlink("/f"),
        |pool| pool.rename("/f", "/g", Rename::Replace),
    ];
    for call in calls {
        drop(pool.create("/f").unwrap());
        is(found(&pool, unlink, call), Errno::NOENT);
    }
    assert_eq!(pool.stats().nodes, 1);
}

#[test]
fn a_name_that_came_meanwhile_is_opened_or_in_the_way() {
    let pool = pool(&[]);
    let create = |pool: &Pool| pool.create("/f").map(drop);
    is(found(&pool, create, |pool| pool.create("/f").map(drop)), Errno::EXIST);
    pool.unlink("/f").unwrap();
    let opened = found(&pool, create, |pool| pool.open_or_create("/f").unwrap().id());
    assert_eq!((opened, pool.stats().nodes), (pool.metadata("/f").unwrap().id, 2));
    let remake = |pool: &Pool| pool.create("/g").map(drop);
    is(found(&pool, remake, |pool| pool.rename("/f", "/g", Rename::NoReplace)), Errno::EXIST);
}

#[test]
fn a_directory_that_was_removed_takes_no_names() {
    let remove = |pool: &Pool| pool.remove_dir("/d");
    let calls: [Call; 5] = [
        |pool| pool.create("/d/x").map(drop),
        |pool| pool.create_dir("/d/x"),
        |pool| pool.link("/f", "/d/x"),
        |pool| pool.rename("/f", "/d/x", Rename::Replace),
        |pool| pool.rename("/e", "/d/x", Rename::Replace),
    ];
    for call in calls {
        let pool = pool(&["/d", "/e"]);
        drop(pool.create("/f").unwrap());
        is(found(&pool, remove, call), Errno::NOENT);
        assert_eq!(pool.stats().nodes, 3, "the root, `e` and `f`");
        assert_eq!(pool.metadata("/f").unwrap().links, 1);
    }
}

#[test]
fn a_directory_that_was_replaced_takes_no_names() {
    let pool = pool(&["/d", "/e"]);
    let replace = |pool: &Pool| pool.rename("/e", "/d", Rename::Replace);
    is(found(&pool, replace, |pool| pool.create("/d/x").map(drop)), Errno::NOENT);
    assert_eq!(pool.stats().nodes, 2);
}

#[test]
fn remove_dir_removes_what_has_the_name_when_it_is_removed() {
    let pool = pool(&["/d", "/e", "/e/x"]);
    let exchange = |pool: &Pool| pool.rename("/d", "/e", Rename::Exchange);
    is(found(&pool, exchange, |pool| pool.remove_dir("/d")), Errno::NOTEMPTY);
    let fill = |pool: &Pool| pool.create("/e/f").map(drop);
    is(found(&pool, fill, |pool| pool.remove_dir("/e")), Errno::NOTEMPTY);
}

#[test]
fn no_directory_comes_to_lie_in_itself_while_the_other_moves() {
    let pool = pool(&["/x", "/x/a", "/y", "/y/b"]);
    let other = |pool: &Pool| pool.rename("/y/b", "/x/a/b", Rename::Replace);
    is(found(&pool, other, |pool| pool.rename("/x/a", "/y/b/a", Rename::Replace)), Errno::INVAL);
    assert_eq!(pool.metadata("/x/a/b/..").unwrap().id, pool.metadata("/x/a").unwrap().id);
}

/// N4. The other half of it: with `moving` held, no other directory moves.
#[test]
fn directories_move_between_directories_one_at_a_time() {
    let pool = pool(&["/x", "/x/a", "/y", "/y/b"]);
    let moves: [Call; 3] = [
        |pool| pool.rename("/x/a", "/y/a", Rename::NoReplace),
        |pool| pool.rename("/y/a", "/x/a", Rename::Replace),
        |pool| pool.rename("/x/a", "/y/b", Rename::Exchange),
    ];
    for call in moves {
        let other = pool.clone();
        let held = move || assert!(other.shared.moving.try_lock().is_err());
        meanwhile(Moment::HalfRenamed, held, || call(&pool)).unwrap();
    }
}

#[test]
fn a_file_moves_between_directories_beside_directories_that_move() {
    let pool = pool(&["/x", "/y"]);
    drop(pool.create("/x/f").unwrap());
    let other = pool.clone();
    let free = move || assert!(other.shared.moving.try_lock().is_ok());
    meanwhile(Moment::HalfRenamed, free, || pool.rename("/x/f", "/y/f", Rename::Replace)).unwrap();
}

#[test]
fn a_directory_that_moves_is_never_without_a_parent() {
    let pool = pool(&["/x", "/x/a", "/y", "/y/b"]);
    let moves: [Call; 3] = [
        |pool| pool.rename("/x/a", "/y/b", Rename::Exchange),
        |pool| pool.rename("/x/a", "/x/c", Rename::Replace),
        |pool| pool.rename("/x/c", "/y/a", Rename::Replace),
    ];
    for call in moves {
        let inside = ["/x", "/y"].map(|path| below(&pool, path)).concat();
        assert_eq!(inside.len(), 2);
        let parents = move || assert!(inside.iter().all(|dir| dir.parent().is_some()));
        meanwhile(Moment::HalfRenamed, parents, || call(&pool)).unwrap();
    }
}

#[test]
fn directories_are_locked_in_the_order_of_their_ids_each_once() {
    let pool = pool(&["/a", "/b", "/c"]);
    let [a, b, c] = ["/a", "/b", "/c"].map(|path| dir(&pool, path));
    assert!(Locked::new([&c, &a, &c, &b]).ids().eq([a.id(), b.id(), c.id()]));
}
