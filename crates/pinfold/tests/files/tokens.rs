//! Tokens: what a range is called elsewhere, and what its owner makes of it.

use std::os::fd::BorrowedFd;

use pinfold::{Access, File, Pool, Token};
use rustix::io::Errno;

use crate::common::child::Child;
use crate::common::{BLOCK, MIB, assert_errno, filled, pool_of};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn a_token_goes_to_another_process_and_back_and_names_the_same_bytes() {
    let pool = pool_of(4 * MIB);
    let file = filled(&pool, "/file", 8 * BLOCK, 7);
    let token = file.token(BLOCK..3 * BLOCK).unwrap();
    let region: BorrowedFd<'_> = pool.region().file().unwrap();
    let other = Child::start();
    // A file descriptor for the memory, and a name for the bytes; no address and no right.
    other.ask(&format!("keep {}", hex(&token.to_bytes())), &[region]);
    let back = Token::from_bytes(&from_hex(&other.ask("what", &[]))).unwrap();
    assert_eq!((&back, back.range(), back.file()), (&token, BLOCK..3 * BLOCK, file.id()));

    // The other process asks for the bytes: the owner pins them for it, and says where they are.
    let pinned = pool.redeem(&back).unwrap().pin(Access::Read).labelled("guest", "read").unwrap().wait().unwrap();
    let sum: u64 = pinned
        .segments()
        .iter()
        .map(|segment| other.ask(&format!("read {} {}", segment.place(), segment.len), &[]).parse::<u64>().unwrap())
        .sum();
    assert_eq!(sum, 7 * 2 * BLOCK);
    drop(pinned);

    file.truncate(2 * BLOCK).wait().unwrap();
    let asked_again = Token::from_bytes(&from_hex(&other.ask("what", &[]))).unwrap();
    let error = pool.redeem(&asked_again).unwrap_err();
    assert_errno(error.errno(), Errno::STALE, &error);
}

/// Whether a token of blocks 2 to 6 of a file of 16 is good after `change`.
fn is_good_after(change: impl FnOnce(&Pool, &File)) -> bool {
    let pool = pool_of(4 * MIB);
    let file = filled(&pool, "/file", 16 * BLOCK, 7);
    drop(filled(&pool, "/other", 16 * BLOCK, 8));
    let token = file.token(2 * BLOCK..6 * BLOCK).unwrap();
    let early = pool.redeem(&token).unwrap();
    change(&pool, &file);
    let late = pool.redeem(&token).and_then(|redeemed| redeemed.pin(Access::Read).wait());
    let pinned_late = early.pin(Access::Read).wait();
    assert_eq!(late.is_ok(), pinned_late.is_ok(), "what was redeemed before is looked at again when it is pinned");
    for result in [late, pinned_late] {
        match result {
            Ok(pinned) => assert_eq!((pinned.segments()[0].offset, pinned.len()), (2 * BLOCK, 4 * BLOCK)),
            Err(error) => assert_errno(error.errno(), Errno::STALE, &error),
        }
    }
    pool.redeem(&file.token(0..1).unwrap()).expect("a token of now is good");
    true_if_last_was_good(&pool, &token)
}

fn true_if_last_was_good(pool: &Pool, token: &Token) -> bool {
    pool.redeem(token).is_ok()
}

#[test]
fn a_token_is_stale_after_a_change_of_its_range() {
    let other = |pool: &Pool| pool.open("/other").unwrap();
    assert!(!is_good_after(|_, file| file.truncate(5 * BLOCK).wait().unwrap()));
    assert!(!is_good_after(|_, file| file.punch(5 * BLOCK..7 * BLOCK).wait().unwrap()));
    assert!(!is_good_after(|_, file| file.punch(0..16 * BLOCK).detach().wait().unwrap()));
    assert!(!is_good_after(|_, file| file.zero(2 * BLOCK..3 * BLOCK).wait().unwrap()));
    assert!(!is_good_after(|_, file| file.collapse(0..BLOCK).wait().unwrap()), "what it named has moved");
    assert!(!is_good_after(|_, file| file.insert(0, BLOCK).wait().unwrap()));
    assert!(!is_good_after(|pool, file| file.exchange(0..3 * BLOCK, &other(pool), 0).wait().unwrap()));
    assert!(!is_good_after(|pool, file| other(pool).exchange(0..3 * BLOCK, file, 3 * BLOCK).wait().unwrap()));
    assert!(!is_good_after(|_, file| {
        file.truncate(0).wait().unwrap();
        file.truncate(16 * BLOCK).wait().unwrap();
    }));
}

#[test]
fn a_token_is_good_after_a_change_elsewhere() {
    assert!(is_good_after(|_, file| file.punch(6 * BLOCK..16 * BLOCK).wait().unwrap()));
    assert!(is_good_after(|_, file| file.punch(0..2 * BLOCK).detach().wait().unwrap()));
    assert!(is_good_after(|_, file| file.truncate(6 * BLOCK).wait().unwrap()));
    assert!(is_good_after(|_, file| file.truncate(20 * BLOCK).wait().unwrap()));
    assert!(is_good_after(|_, file| file.collapse(8 * BLOCK..9 * BLOCK).wait().unwrap()));
    assert!(is_good_after(|_, file| file.insert(6 * BLOCK, BLOCK).wait().unwrap()));
    assert!(is_good_after(|_, file| file.write_at(3 * BLOCK, &[9; 100]).unwrap()), "its bytes are not its layout");
    assert!(is_good_after(|pool, _| pool.rename("/file", "/renamed", pinfold::Rename::Replace).unwrap()));
    assert!(is_good_after(|pool, _| pool.unlink("/file").unwrap()));
    // More changes than are remembered, all elsewhere, may make it stale; never the reverse.
    is_good_after(|_, file| (0..200).for_each(|_| file.punch(8 * BLOCK..9 * BLOCK).wait().unwrap()));
}

#[test]
fn a_token_of_a_range_past_the_end_is_not_made() {
    let pool = pool_of(4 * MIB);
    let file = filled(&pool, "/file", 8 * BLOCK, 7);
    let error = file.token(0..8 * BLOCK + 1).unwrap_err();
    assert_errno(error.errno(), Errno::NXIO, &error);
}
