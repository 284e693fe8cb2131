//! The rows, each beside what it is compared with.

mod area;
mod break_alone;
mod copies;
mod device_reads;
mod lasting;
mod pins;
mod raw_ring;
mod short_lives;
mod views;
mod wake;

use crate::report::Comparison;

/// All of them, in the order of the table.
pub(crate) const ALL: [&[Comparison]; 16] = [
    &pins::ROW_1,
    &pins::ROW_2,
    &break_alone::ROW_3,
    &break_alone::ROW_4,
    &wake::ROW_5,
    &device_reads::ROW_6,
    &copies::ROW_7,
    &copies::ROW_8,
    &short_lives::ROW_9,
    &lasting::ROW_10,
    &lasting::ROW_11,
    &lasting::ROW_12,
    &views::ROW_13,
    &views::ROW_14,
    &views::ROW_15,
    &views::ROW_16,
];
