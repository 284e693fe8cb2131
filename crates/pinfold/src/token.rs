//! Tokens: what a range of a file is called outside of its owner's process.
//!
//! A token is a name, not a right and not an address: its pool's owner redeems it, and gives a pin for what the range was
//! when the token was made, or `ESTALE`. Never other data.
//!
//! Stays true  T1: what a token is redeemed to is of the same file, and of the same layout generation of that range.

use std::ops::Range;

use pinfold_layout::{Access, LayoutToken};

use crate::error::PinError;
use crate::file::File;
use crate::lock::read;
use crate::node::FileId;
use crate::pinning::{Pinning, Want};
use crate::pool::Pool;

/// Names a range of a file as it is now, in bytes that can be sent anywhere.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Token {
    host: [u8; 16],
    pool: [u8; 16],
    file: u64,
    generation: u64,
    range: Range<u64>,
}

/// The bytes are no token.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0} bytes are not a token of this version of pinfold")]
pub struct NotAToken(pub usize);

/// What a token begins with; the last byte is the version.
const MAGIC: [u8; 8] = *b"pfToken\x01";

impl Token {
    /// Bytes of a token.
    pub const LEN: usize = 72;

    /// The range, in bytes of its file.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// Which file.
    pub fn file(&self) -> FileId {
        FileId(self.file)
    }

    /// The token as bytes: 8 of magic and version, 16 of host, 16 of pool, then file, generation, start and end, each as
    /// 8 bytes, little-endian.
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..24].copy_from_slice(&self.host);
        bytes[24..40].copy_from_slice(&self.pool);
        let words = [self.file, self.generation, self.range.start, self.range.end];
        for (to, word) in bytes[40..].chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// The inverse of [`Token::to_bytes`]. Whether it is good shows when it is redeemed.
    ///
    /// # Errors
    /// [`NotAToken`] for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NotAToken> {
        let not = NotAToken(bytes.len());
        let bytes: &[u8; Self::LEN] = bytes.try_into().map_err(|_| not)?;
        let (magic, rest) = bytes.split_at(8);
        let (host, rest) = rest.split_at(16);
        let (pool, words) = rest.split_at(16);
        let word = |index: usize| words[index * 8..index * 8 + 8].try_into().map(u64::from_le_bytes).map_err(|_| not);
        let range = word(2)?..word(3)?;
        if magic != MAGIC || range.is_empty() {
            return Err(not);
        }
        let (host, pool) = (host.try_into().map_err(|_| not)?, pool.try_into().map_err(|_| not)?);
        Ok(Self { host, pool, file: word(0)?, generation: word(1)?, range })
    }
}

impl File {
    /// A token for a range of bytes as it is now.
    ///
    /// # Errors
    /// [`PinError::BadRange`], [`PinError::PastEnd`].
    pub fn token(&self, range: Range<u64>) -> Result<Token, PinError> {
        Want::of(self, range.clone(), Access::Read).check()?;
        let pool = &self.open.pool;
        let generation = read(&self.open.body().map).changes.generation();
        Ok(Token { host: pool.host, pool: pool.id, file: self.id().0, generation, range })
    }

    /// What a holder in another process needs to pin this file itself ([`Area::invite`](pinfold_layout::Area::invite),
    /// [`Holder::layout`](pinfold_layout::Holder::layout)). Its ranges are in blocks of the pool. Good while the file is open
    /// here: later pins get `ESTALE`, or, for a while, keep nothing.
    ///
    /// Such a pin keeps blocks in place, and knows neither where they are nor whether there are any: once it is in, the
    /// owner can say so ([`File::extents`]), and that stays true until it is gone.
    ///
    /// # Errors
    /// [`PinError::Area`] when all places for files with a layout are taken.
    pub fn layout_token(&self) -> Result<LayoutToken, PinError> {
        Ok(self.open.layout()?.token())
    }
}

impl Pool {
    /// The file and the range that a token names, if this pool made it and the range is still what it was.
    ///
    /// What is pinned through [`Redeemed::pin`] is checked again when it is in.
    ///
    /// # Errors
    /// [`PinError::Stale`] if the file is gone or the range was changed since; [`PinError::OtherToken`].
    pub fn redeem(&self, token: &Token) -> Result<Redeemed, PinError> {
        if token.host != self.shared.host || token.pool != self.shared.id {
            return Err(PinError::OtherToken);
        }
        let stale = || PinError::Stale { file: token.file(), range: token.range() };
        let file = self.open_by_id(token.file()).ok_or_else(stale)?;
        let blocks = self.shared.block.outward(&token.range);
        let changed = read(&file.open.body().map).changes.since(token.generation, &blocks);
        if changed { Err(stale()) } else { Ok(Redeemed { file, token: token.clone() }) }
    }
}

/// What a token named, opened by the owner.
#[derive(Debug)]
pub struct Redeemed {
    file: File,
    token: Token,
}

impl Redeemed {
    /// The file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// A pin of the range, if it is still what the token named when the pin is in; `ESTALE` otherwise.
    pub fn pin(&self, access: Access) -> Pinning<'_> {
        let unchanged_since = Some(self.token.generation);
        Pinning::of(Want { unchanged_since, ..Want::of(&self.file, self.token.range(), access) })
    }
}

/// This boot of this machine, and the pool's opening of that number: generations begin anew with each.
pub(crate) fn this_opening(epoch: u64) -> [u8; 16] {
    let mut host = this_boot();
    host[..8].iter_mut().zip(epoch.to_le_bytes()).for_each(|(byte, of_epoch)| *byte ^= of_epoch);
    host
}

/// This boot of this machine.
pub(crate) fn this_boot() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: Vec<u8> =
        text.bytes().filter_map(|byte| (byte as char).to_digit(16)).map(|digit| digit as u8).collect();
    let mut host = [0; 16];
    for (to, pair) in host.iter_mut().zip(digits.chunks_exact(2)) {
        *to = pair[0] << 4 | pair[1];
    }
    host
}

const _: () = assert!(Token::LEN == 8 + 16 + 16 + 4 * 8);

#[cfg(test)]
mod tests {
    use pinfold_layout::{Holder, PinSpec, Until};
    use pinfold_region::Region;

    use crate::PoolOptions;

    use super::*;

    #[test]
    fn g1_blocks_that_a_guest_pinned_by_a_layout_token_are_parked_when_their_file_goes() {
        let pool = PoolOptions::new().shared(true).create(Region::memfd(1 << 20).unwrap()).unwrap();
        let file = pool.create("/shared").unwrap();
        file.allocate(0..65536).try_now().unwrap();
        let [header, segment] = pool.area().invite(std::process::id()).unwrap().into_fds();
        let guest = Holder::join(header, segment).unwrap();

        let layout = guest.layout(file.layout_token().unwrap()).unwrap();
        let spec = PinSpec::device(Access::Write);
        let pin = guest.pin(&layout, 0..16, spec, Until::done(), || file.extents()).unwrap();
        assert_eq!(pin.resolved().iter().map(|extent| extent.len).sum::<u64>(), 65536);
        pool.unlink("/shared").unwrap();
        drop(file);
        assert_eq!(pool.stats().parked, 65536);
        drop(pin);
        assert_eq!(pool.stats().parked, 0);
    }
}
