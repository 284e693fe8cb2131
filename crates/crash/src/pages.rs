//! Bytes of a medium as a table of pages that copies share.
//!
//! Stays true  T1: a page that is not there is zeros, and a page of zeros is not there. So two tables hold the same
//!                 bytes if and only if they have the same pages.
//!             T2: a copy shares everything; writing to one never shows in another.
//! Who calls   anyone; plain data, no lock.

use std::sync::{Arc, LazyLock};

/// Bytes in a page.
pub(crate) const PAGE: usize = 4096;

/// Bytes in a cache line.
pub(crate) const LINE: usize = 64;

/// Cache lines in a page.
pub(crate) const LINES: usize = PAGE / LINE;

/// Pages in a chunk, the unit in which tables are shared.
const CHUNK: usize = 64;

pub(crate) type Page = [u8; PAGE];

pub(crate) type Line = [u8; LINE];

type Chunk = [Option<Arc<Page>>; CHUNK];

pub(crate) static ZEROS: Page = [0; PAGE];

static ZERO_PAGE: LazyLock<Arc<Page>> = LazyLock::new(|| Arc::new(ZEROS));

/// The bytes of a medium. A clone costs a few hundred bytes for each 16 MiB.
#[derive(Clone)]
pub(crate) struct Pages {
    chunks: Vec<Arc<Chunk>>,
}

impl Pages {
    /// `count` pages of zeros.
    pub(crate) fn zeros(count: usize) -> Self {
        let empty: Arc<Chunk> = Arc::new([const { None }; CHUNK]);
        Self { chunks: vec![empty; count.div_ceil(CHUNK)] }
    }

    /// The bytes of page `index`.
    pub(crate) fn get(&self, index: usize) -> &Page {
        self.slot(index).as_deref().unwrap_or(&ZEROS)
    }

    /// Page `index`, shared.
    pub(crate) fn share(&self, index: usize) -> Arc<Page> {
        Arc::clone(self.slot(index).as_ref().unwrap_or(&ZERO_PAGE))
    }

    /// Whether page `index` holds anything but zeros.
    pub(crate) fn has(&self, index: usize) -> bool {
        self.slot(index).is_some()
    }

    /// Writes `bytes` into page `index`, beginning at `offset`.
    pub(crate) fn write(&mut self, index: usize, offset: usize, bytes: &[u8]) {
        let slot = &mut Arc::make_mut(&mut self.chunks[index / CHUNK])[index % CHUNK];
        let page = Arc::make_mut(slot.get_or_insert_with(|| Arc::clone(&ZERO_PAGE)));
        page[offset..offset + bytes.len()].copy_from_slice(bytes);
        if *page == ZEROS {
            *slot = None;
        }
    }

    /// The pages that hold anything but zeros, in order.
    pub(crate) fn present(&self) -> impl Iterator<Item = (usize, &Page)> {
        self.chunks.iter().enumerate().flat_map(|(at, chunk)| {
            chunk.iter().enumerate().filter_map(move |(step, page)| Some((at * CHUNK + step, &**page.as_ref()?)))
        })
    }

    fn slot(&self, index: usize) -> &Option<Arc<Page>> {
        &self.chunks[index / CHUNK][index % CHUNK]
    }
}

impl PartialEq for Pages {
    fn eq(&self, other: &Self) -> bool {
        let same = |(one, two): (&Arc<Chunk>, &Arc<Chunk>)| Arc::ptr_eq(one, two) || same_chunks(one, two);
        self.chunks.len() == other.chunks.len() && self.chunks.iter().zip(&other.chunks).all(same)
    }
}

fn same_chunks(one: &Chunk, two: &Chunk) -> bool {
    one.iter().zip(two).all(|pages| match pages {
        (Some(one), Some(two)) => Arc::ptr_eq(one, two) || one == two,
        (None, None) => true,
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_keeps_its_bytes_when_the_other_is_written() {
        let mut pages = Pages::zeros(130);
        pages.write(129, 4000, b"old");
        let copy = pages.clone();
        pages.write(129, 4000, b"new");
        pages.write(0, 0, b"first");
        assert_eq!((&copy.get(129)[4000..4003], &pages.get(129)[4000..4003]), (&b"old"[..], &b"new"[..]));
        assert_eq!(copy.present().map(|(index, _)| index).collect::<Vec<_>>(), [129]);
        assert_eq!(pages.present().map(|(index, _)| index).collect::<Vec<_>>(), [0, 129]);
    }

    #[test]
    fn a_page_written_with_zeros_is_like_one_never_written() {
        let mut pages = Pages::zeros(3);
        pages.write(1, 7, &[9]);
        assert!(pages != Pages::zeros(3));
        pages.write(1, 7, &[0]);
        assert!(pages == Pages::zeros(3) && !pages.has(1));
    }
}
