//! The map as segments: true to scale where there is room, and as mixtures where there is not.
//!
//! Stays true  S1: segments follow one another without gap or overlap over all blocks of the pool.
//!             S2: the bands of a mixture have as many blocks together as the mixture.

use std::collections::BTreeMap;
use std::ops::Range;

use super::fill::Fill;
use crate::rows::Rows;
use crate::runs::{Run, Runs, len, within};

/// How many files of a mixture keep their colours.
const COLOURS_MAX: usize = 3;

/// Blocks in a row that are drawn as one.
#[derive(Debug)]
pub(crate) struct Segment<'r, 'a> {
    pub(crate) blocks: Range<u64>,
    pub(crate) shape: Shape<'r, 'a>,
}

#[derive(Debug)]
pub(crate) enum Shape<'r, 'a> {
    /// A part of a run.
    Run(&'r Run<'a>),
    /// Many runs: how many blocks have which colour, from the bottom to the top.
    Mixed(Vec<(Fill, u64)>),
}

/// How finely a map is drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Detail {
    /// Cells of a line, a power of two. In one of them either every run is drawn, or their mixture.
    pub(crate) cells: u64,
    /// More runs than that in one cell are drawn as a mixture.
    pub(crate) runs_max: usize,
    /// The least width of what has a title of its own, in parts of a line.
    pub(crate) titled: u64,
    /// Marks and brackets that are not further apart than that are drawn as one.
    pub(crate) apart: f64,
}

/// The segments of a pool.
pub(crate) fn segments<'r, 'a>(runs: &'r Runs<'a>, rows: &Rows, detail: Detail) -> Vec<Segment<'r, 'a>> {
    // Lines are powers of two long, so cells are whole blocks.
    let cell = rows.each / detail.cells.min(rows.each);
    let blocks = rows.blocks;
    let cells = (0..blocks.div_ceil(cell)).map(move |at| at * cell..(at * cell).saturating_add(cell).min(blocks));
    let mut segments = Vec::new();
    for (cell, touched) in runs.cut(cells) {
        if touched.len() > detail.runs_max {
            segments.push(Segment { shape: Shape::Mixed(bands(&cell, touched)), blocks: cell });
            continue;
        }
        for run in touched {
            add(&mut segments, run, within(&run.blocks, &cell), rows);
        }
    }
    segments
}

/// Adds a part of a run, to the last segment if that is of the same run and line.
fn add<'r, 'a>(segments: &mut Vec<Segment<'r, 'a>>, run: &'r Run<'a>, blocks: Range<u64>, rows: &Rows) {
    if let Some(Segment { blocks: last, shape: Shape::Run(of) }) = segments.last_mut()
        && std::ptr::eq(*of, run)
        && !blocks.start.is_multiple_of(rows.each)
    {
        last.end = blocks.end;
        return;
    }
    segments.push(Segment { blocks, shape: Shape::Run(run) });
}

/// How much of some blocks has which colour: files from the bottom up, the largest first, free space on top.
fn bands(blocks: &Range<u64>, runs: &[Run<'_>]) -> Vec<(Fill, u64)> {
    let mut colours: BTreeMap<Fill, u64> = BTreeMap::new();
    for run in runs {
        *colours.entry(Fill::of(run.what)).or_default() += len(&within(&run.blocks, blocks));
    }
    let mut files: Vec<_> = colours.iter().filter(|(fill, _)| fill.is_file()).map(|(fill, of)| (*fill, *of)).collect();
    files.sort_by_key(|(fill, of)| (u64::MAX - of, *fill));
    for (fill, of) in files.drain(COLOURS_MAX.min(files.len())..) {
        let others = if matches!(fill, Fill::Pale(_)) { Fill::PaleOthers } else { Fill::OtherFiles };
        *colours.entry(others).or_default() += of;
    }
    let is_kept = |fill: &Fill| !matches!(fill, Fill::File(_) | Fill::Pale(_));
    files.extend(colours.into_iter().filter(|(fill, _)| is_kept(fill)));
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::{Chart, Part, Stretch, What};

    fn file(blocks: Range<u64>, id: u64) -> Stretch {
        Stretch {
            blocks,
            what: What::File { of: Part { name: "/f".into(), id, offset: 0 }, unwritten: id.is_multiple_of(3) },
        }
    }

    /// A pool in which every `step`-th block is free and the others belong to some files in turn.
    fn shredded(blocks: u64, step: u64, files: u64) -> Chart {
        let stretches =
            (0..blocks).filter(|block| block % step != 0).map(|block| file(block..block + 1, block % files));
        let free =
            (0..blocks).step_by(step as usize).map(|block| Stretch { blocks: block..block + 1, what: What::Free });
        Chart { block_size: 4096, blocks, stretches: stretches.chain(free).collect(), ..Chart::default() }
    }

    #[test]
    fn s1_s2_every_block_is_drawn_once() {
        let detail = Detail { cells: 8, runs_max: 4, titled: 8, apart: 1.0 };
        for (blocks, step, files) in [(1, 1, 1), (33, 2, 1), (1000, 3, 2), (5000, 7, 40), (4096, 64, 3)] {
            let chart = shredded(blocks, step, files);
            let runs = Runs::of(&chart);
            let segments = segments(&runs, &Rows::of(blocks, 8, 4), detail);
            let mut at = 0;
            for Segment { blocks, shape } in &segments {
                assert_eq!(blocks.start, at, "of {blocks:?}");
                at = blocks.end;
                if let Shape::Mixed(bands) = shape {
                    assert_eq!(bands.iter().map(|(_, of)| of).sum::<u64>(), len(blocks), "{bands:?}");
                }
            }
            assert_eq!(at, blocks);
        }
    }

    #[test]
    fn a_run_is_one_segment_in_each_line_however_many_cells_it_has() {
        let chart = Chart { block_size: 1, blocks: 64, stretches: vec![file(0..40, 1)], ..Chart::default() };
        let runs = Runs::of(&chart);
        let detail = Detail { cells: 8, runs_max: 4, titled: 8, apart: 1.0 };
        let segments = segments(&runs, &Rows::of(64, 2, 4), detail);
        let places: Vec<_> = segments.iter().map(|segment| segment.blocks.clone()).collect();
        assert_eq!(places, [0..32, 32..40, 40..64]);
    }

    #[test]
    fn a_mixture_keeps_the_colours_of_its_largest_files() {
        let stretches =
            vec![file(0..1, 1), file(1..5, 2), file(5..8, 4), file(8..10, 5), file(10..12, 7), file(12..13, 9)];
        let chart = Chart { block_size: 1, blocks: 16, stretches, ..Chart::default() };
        let colour = |id| Fill::File(crate::palette::swatch(id));
        let expected = [(colour(2), 4), (colour(4), 3)];
        let bands = bands(&(0..16), &Runs::of(&chart).all);
        assert_eq!(bands[..2], expected);
        assert_eq!(bands[3..], [(Fill::OtherFiles, 3), (Fill::PaleOthers, 1), (Fill::Unknown, 3)]);
    }
}
