//! Signs and colours of a text: block characters where colours are shown, letters where they are not.

use super::cells::Cell;
use crate::palette::{of_256, swatch};
use crate::sums::{Hold, Kind};

/// What a piece of text is, for its colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ink {
    Plain,
    Title,
    Strong,
    Faint,
    /// By a file's swatch.
    File(u8),
    Parked,
    Bad,
}

impl Ink {
    pub(crate) fn of_hold(hold: Hold) -> Self {
        match hold {
            Hold::Quarantined | Hold::PinInQuarantine => Self::Bad,
            Hold::Parked => Self::Parked,
            Hold::Pin => Self::Strong,
        }
    }

    /// The parameters of "select graphic rendition".
    fn code(self) -> Option<String> {
        match self {
            Self::Plain => None,
            Self::Title | Self::Strong => Some("1".to_owned()),
            Self::Faint => Some("2".to_owned()),
            Self::File(swatch) => Some(format!("38;5;{}", of_256(swatch))),
            Self::Parked => Some("1;33".to_owned()),
            Self::Bad => Some("1;31".to_owned()),
        }
    }
}

/// Whether there are colours.
#[derive(Clone, Copy)]
pub(crate) struct Paint {
    pub(crate) coloured: bool,
}

impl Paint {
    pub(crate) fn paint(self, ink: Ink, text: &str) -> String {
        match ink.code().filter(|_| self.coloured && !text.is_empty()) {
            Some(code) => format!("\x1b[{code}m{text}\x1b[0m"),
            None => text.to_owned(),
        }
    }

    /// A line of signs; colours change only where they have to.
    pub(crate) fn line(self, signs: &[(Ink, char)]) -> String {
        let pieces = signs.chunk_by(|(one, _), (other, _)| one == other);
        pieces.map(|piece| self.paint(piece[0].0, &piece.iter().map(|(_, sign)| sign).collect::<String>())).collect()
    }

    /// What stands for a character of the map. `letters` are the files that have one.
    pub(crate) fn sign(self, cell: &Cell, letters: &[u64]) -> (Ink, char) {
        match *cell {
            Cell::File { id, unwritten } if self.coloured => (Ink::File(swatch(id)), if unwritten { '░' } else { '█' }),
            Cell::Mixed(Some(id)) if self.coloured => (Ink::File(swatch(id)), '▒'),
            Cell::Mixed(_) => (Ink::Plain, if self.coloured { '▒' } else { '%' }),
            Cell::File { id, unwritten } => {
                (Ink::Plain, plain(letters.iter().position(|listed| *listed == id), unwritten))
            }
            Cell::Free => (Ink::Faint, if self.coloured { '·' } else { '.' }),
            Cell::Parked => (Ink::Parked, if self.coloured { '▚' } else { '~' }),
            Cell::Quarantined => (Ink::Bad, if self.coloured { '▞' } else { '!' }),
            Cell::Meta => (Ink::Plain, if self.coloured { '▪' } else { '#' }),
            Cell::Unknown => (Ink::Faint, '?'),
        }
    }

    /// Marks of pins, as they stand under a line.
    pub(crate) fn pins(self, marks: &str) -> String {
        let ink = |mark| if mark == '!' { Ink::Bad } else { Ink::Strong };
        self.line(&marks.chars().map(|mark| (ink(mark), mark)).collect::<Vec<_>>())
    }

    /// What stands before a listed file.
    pub(crate) fn letter(self, at: usize) -> String {
        if self.coloured { "█".to_owned() } else { plain(Some(at), false).to_string() }
    }

    /// How a kind looks on the map.
    pub(crate) fn sample(self, kind: Kind) -> Vec<(Ink, String)> {
        let cell = match kind {
            Kind::Written if self.coloured => return self.files('█'),
            Kind::Unwritten if self.coloured => return self.files('░'),
            Kind::Written => return vec![(Ink::Plain, "A-J+".to_owned())],
            Kind::Unwritten => return vec![(Ink::Plain, "a-j-".to_owned())],
            Kind::Free => Cell::Free,
            Kind::Parked => Cell::Parked,
            Kind::Quarantined => Cell::Quarantined,
            Kind::Meta => Cell::Meta,
            Kind::Unknown => Cell::Unknown,
        };
        let (ink, sign) = self.sign(&cell, &[]);
        vec![(ink, sign.to_string())]
    }

    /// How many pieces in one place look on the map.
    pub(crate) fn mixture(self) -> Vec<(Ink, String)> {
        if self.coloured { self.files('▒') } else { vec![(Ink::Plain, "%".to_owned())] }
    }

    /// A sign in some colours of files.
    fn files(self, sign: char) -> Vec<(Ink, String)> {
        [1, 2].map(|id| (Ink::File(swatch(id)), sign.to_string())).to_vec()
    }

    /// A bar for a part of the most that there is. What is there has at least one column.
    pub(crate) fn bar(self, part: u64, most: u64, columns: usize) -> String {
        let sign = if self.coloured { "▇" } else { "=" };
        let length = (u128::from(part) * columns as u128).div_ceil(u128::from(most.max(1)));
        sign.repeat(length as usize)
    }
}

/// A listed file's letter, or the sign of all others.
fn plain(listed: Option<usize>, unwritten: bool) -> char {
    let letters = if unwritten { 'a'..='z' } else { 'A'..='Z' };
    let other = if unwritten { '-' } else { '+' };
    listed.and_then(|at| letters.clone().nth(at)).unwrap_or(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_colours_nothing_is_added() {
        let (plain, coloured) = (Paint { coloured: false }, Paint { coloured: true });
        assert_eq!(plain.paint(Ink::Bad, "stuck"), "stuck");
        assert_eq!(coloured.paint(Ink::Bad, "stuck"), "\x1b[1;31mstuck\x1b[0m");
    }

    #[test]
    fn a_colour_is_set_once_for_all_that_has_it() {
        let signs = [(Ink::Bad, 'a'), (Ink::Bad, 'b'), (Ink::Plain, 'c')];
        assert_eq!(Paint { coloured: true }.line(&signs), "\x1b[1;31mab\x1b[0mc");
    }

    #[test]
    fn a_bar_is_as_long_as_its_part_and_never_nothing() {
        let paint = Paint { coloured: false };
        assert_eq!(
            [(0, 9), (1, 1000), (5, 10), (10, 10)].map(|(part, most)| paint.bar(part, most, 10).len()),
            [0, 1, 5, 10]
        );
    }
}
