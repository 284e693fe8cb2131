//! What both pictures say in the same words.

use crate::chart::Chart;
use crate::runs::Runs;
use crate::size::{count, grouped, share, size};
use crate::sums::{Kind, Sums};

/// The pool in one line, its parts with this between them.
pub(crate) fn about(chart: &Chart, sums: &Sums<'_>, between: &str) -> String {
    let block = size(u128::from(chart.block_size));
    let whole = size(u128::from(chart.blocks) * u128::from(chart.block_size));
    let parts = [
        format!("{whole} in {} of {block}", count(chart.blocks, "block")),
        format!("{} in {}", count(sums.files.len() as u64, "file"), count(sums.extents(), "extent")),
        format!("{} free", share(sums.kinds[Kind::Free], chart.blocks)),
    ];
    parts.join(between)
}

/// What is wrong with a chart, one line for each.
pub(crate) fn wrong(runs: &Runs<'_>) -> impl Iterator<Item = String> {
    let found = [
        (runs.named_twice, "named twice; what begins first is shown"),
        (runs.past_end, "named past the end of the pool"),
    ];
    let found = found.into_iter().filter(|(blocks, _)| *blocks > 0);
    found.map(|(blocks, how)| format!("{} {how}.", blocks_are(blocks)))
}

fn blocks_are(blocks: u64) -> String {
    if blocks == 1 { "1 block is".to_owned() } else { format!("{} blocks are", grouped(blocks)) }
}
