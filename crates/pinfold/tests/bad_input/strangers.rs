//! Files of another pool, tokens of another pool, memory that is none.

use pinfold::{Access, AreaOptions, PinError, PoolError, PoolOptions, Publish, Region, Token};
use rustix::io::Errno;

use crate::common::{BLOCK, MIB, assert_errno, block_on, bytes_of, filled, pool_of, unlink};
use crate::{assert_says, nothing_stays, nothing_stays_in};

#[test]
fn files_of_two_pools_do_not_mix() {
    nothing_stays(|pool| {
        let file = filled(pool, "/file", 65536, 7);
        let elsewhere = pool_of(MIB);
        let stranger = filled(&elsewhere, "/stranger", 65536, 8);

        let batch = || file.pin(0..1, Access::Read).and(stranger.pin(0..1, Access::Read));
        for error in [batch().wait().unwrap_err(), batch().try_now().unwrap_err()] {
            assert_errno(error.errno(), Errno::XDEV, &error);
            assert_says(&error, &["another pool", &stranger.id().to_string()]);
        }
        assert_errno(block_on(batch().wait_async()).unwrap_err().errno(), Errno::XDEV, &PinError::OtherToken);
        let mut pinned = file.pin(0..1, Access::Read).wait().unwrap();
        let error = pinned.extend(&stranger, 0..1, Access::Read).unwrap_err();
        assert_errno(error.errno(), Errno::XDEV, &error);
        drop(pinned);

        let error = file.copy_range(0..65536, &stranger, 0).unwrap_err();
        assert_errno(error.errno(), Errno::XDEV, &error);
        let error = file.exchange(0..BLOCK, &stranger, 0).wait().unwrap_err();
        assert_errno(error.errno(), Errno::XDEV, &error);
        assert_says(&error, &["another pool", &stranger.id().to_string()]);

        assert_eq!((bytes_of(&file, 0..65536), bytes_of(&stranger, 0..65536)), (vec![7; 65536], vec![8; 65536]));
        assert!(pool.pins().is_empty() && elsewhere.pins().is_empty());
        drop(file);
        pool.unlink("/file").unwrap();
    });
}

#[test]
fn tokens_of_other_pools_and_of_nothing_are_refused() {
    nothing_stays(|pool| {
        let file = filled(pool, "/file", 65536, 7);
        let good = file.token(0..65536).unwrap();
        assert_eq!(pool.redeem(&good).unwrap().file().id(), file.id());

        let elsewhere = pool_of(MIB);
        let error = elsewhere.redeem(&good).unwrap_err();
        assert!(matches!(error, PinError::OtherToken), "{error}");
        assert_errno(error.errno(), Errno::STALE, &error);
        assert_says(&error, &["another pool"]);

        let bytes = good.to_bytes();
        for len in [0, 1, 8, 71] {
            let error = Token::from_bytes(&bytes[..len]).unwrap_err();
            assert_says(&error, &[&len.to_string(), "not a token"]);
        }
        assert!(Token::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
        for at in 0..8 {
            let mut damaged = bytes;
            damaged[at] ^= 1;
            assert!(Token::from_bytes(&damaged).is_err(), "byte {at} is magic and version");
        }
        drop((file, elsewhere));
        pool.unlink("/file").unwrap();
    });
}

#[test]
fn a_token_that_was_damaged_gives_an_error_or_the_same_files_own_bytes() {
    nothing_stays(|pool| {
        let file = filled(pool, "/file", 65536, 7);
        drop(filled(pool, "/another", 65536, 8));
        let good = file.token(4096..65536).unwrap().to_bytes();
        for at in 8..Token::LEN {
            for bit in 0..8 {
                let mut damaged = good;
                damaged[at] ^= 1 << bit;
                let Ok(token) = Token::from_bytes(&damaged) else { continue };
                let pinned = pool.redeem(&token).and_then(|redeemed| {
                    let pinned = redeemed.pin(Access::Read).try_now()?;
                    Ok((redeemed.file().id(), pinned))
                });
                match pinned {
                    // What is pinned is inside the file that the token says.
                    Ok((id, pinned)) => {
                        assert!(id == token.file() && pinned.segments().iter().all(|part| part.file == id))
                    }
                    Err(error) => {
                        let expected = [Errno::STALE, Errno::NXIO].contains(&Errno::from_raw_os_error(error.errno()));
                        assert!(expected, "byte {at}, bit {bit}: {error}");
                    }
                }
            }
        }
        drop(file);
        unlink(pool, &["/file", "/another"]);
    });
}

#[test]
fn a_token_of_a_file_that_is_gone_or_is_none_is_stale() {
    nothing_stays(|pool| {
        let file = filled(pool, "/file", 65536, 7);
        let token = file.token(0..1).unwrap();
        pool.unlink("/file").unwrap();
        pool.redeem(&token).expect("it has no name, and is open");
        drop(file);
        let error = pool.redeem(&token).unwrap_err();
        assert_errno(error.errno(), Errno::STALE, &error);
        assert_says(&error, &["stale", &token.file().to_string()]);
        // The root directory has an id too.
        let mut of_the_root = token.to_bytes();
        of_the_root[40..48].copy_from_slice(&1u64.to_le_bytes());
        let error = pool.redeem(&Token::from_bytes(&of_the_root).unwrap()).unwrap_err();
        assert_errno(error.errno(), Errno::STALE, &error);
    });
}

#[test]
fn a_pool_needs_a_block_size_and_a_block() {
    nothing_stays(|_| {
        for size in [0, 1, 512, 2048, 4095, 6144, 4 << 20, 1 << 63, u64::MAX] {
            let error = PoolOptions::new().block_size(size).create(Region::memfd(MIB).unwrap()).unwrap_err();
            assert!(matches!(error, PoolError::BadBlockSize(bad) if bad == size), "{error}");
            assert_errno(error.errno(), Errno::INVAL, &error);
            assert_says(&error, &[&size.to_string(), "4096", "2097152"]);
        }
        let error = PoolOptions::new().block_size(2 * MIB).create(Region::memfd(MIB).unwrap()).unwrap_err();
        assert!(matches!(error, PoolError::TooSmall { len: MIB, .. }), "{error}");
        assert_errno(error.errno(), Errno::INVAL, &error);
        assert_says(&error, &["1048576", "2097152"]);
        // The rest of a region that is no whole block is left alone.
        let odd = PoolOptions::new().block_size(8192).create(Region::memfd(3 * BLOCK).unwrap()).unwrap();
        assert_eq!((odd.stats().total, odd.stats().free), (8192, 8192));
    });
}

#[test]
fn a_pool_needs_capacities() {
    nothing_stays(|_| {
        let geometry = pinfold_layout::Geometry { chains: 3, ..Default::default() };
        let options = PoolOptions::new().area(AreaOptions::default().geometry(geometry));
        let error = options.create(Region::memfd(MIB).unwrap()).unwrap_err();
        assert_errno(error.errno(), Errno::INVAL, &error);
        assert_says(&error, &["power of two"]);
    });
}

#[test]
fn g12_in_limited_mode_no_device_pins_anything_and_nothing_is_busy() {
    let limited = PoolOptions::new().area(AreaOptions::default().limited(true));
    nothing_stays_in(limited, |pool| {
        let file = pool.create("/file").unwrap();
        file.truncate(65536).wait().unwrap();
        let pin = || file.pin(0..65536, Access::Read);
        let term = pinfold::LongTerm::new(Access::Read, Some(std::sync::Arc::new(|_: &pinfold::Recalled| ())));
        for error in [
            pin().wait().unwrap_err(),
            pin().try_now().unwrap_err(),
            block_on(pin().wait_async()).unwrap_err(),
            pin().and(pin()).wait().unwrap_err(),
            file.pin_long_term(0..1, term).wait().unwrap_err(),
            pool.redeem(&file.token(0..1).unwrap()).unwrap().pin(Access::Read).wait().unwrap_err(),
        ] {
            assert_errno(error.errno(), Errno::OPNOTSUPP, &error);
            assert_says(&error, &["limited mode"]);
        }
        assert_eq!(file.metadata().allocated, 0, "nothing was put under a hole for a pin that is refused");
        file.truncate(1).detach().wait().unwrap();
        file.truncate(0).try_now().unwrap();
        drop(file);
        pool.unlink("/file").unwrap();
    });
}

#[test]
fn g12_a_limited_pool_is_read_and_written_by_copies() {
    let limited = PoolOptions::new().area(AreaOptions::default().limited(true));
    nothing_stays_in(limited, |pool| {
        let file = filled(pool, "/file", 65536, 7);
        assert_eq!(bytes_of(&file, 0..65536), [7; 65536]);
        file.allocate(0..MIB).wait().unwrap();
        file.punch(1..8192).wait().unwrap();
        drop(file);
        pool.unlink("/file").unwrap();
        let file = pool.reserve(BLOCK).wait().unwrap().publish("/file", Publish::New).unwrap();
        drop(file);
        pool.unlink("/file").unwrap();
    });
}
