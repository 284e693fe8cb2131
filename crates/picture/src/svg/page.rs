//! What is written into a picture, one element at a time.
//!
//! Stays true  P2: all text goes through [`escaped`].

use std::fmt::{self, Display, Write};

use crate::shown::{escaped, fitted};
use crate::size::trimmed;

/// Text in the foreground, and behind it.
pub(crate) const INK: &str = "#1b2530";
pub(crate) const FAINT: &str = "#5b6875";
/// Lines between parts.
pub(crate) const RULE: &str = "#d5dbe1";

/// The part of a character's size that it is wide, for what is wider than most: a text must not run into the next.
const WIDTH: f64 = 0.6;

/// Columns of what is said to whoever points at a text.
const TITLE_MAX: usize = 200;

/// The elements of a picture.
#[derive(Default)]
pub(crate) struct Page {
    pub(crate) out: String,
}

/// How a text stands.
#[derive(Clone, Copy)]
pub(crate) struct Type {
    pub(crate) size: f64,
    pub(crate) colour: &'static str,
    pub(crate) bold: bool,
    pub(crate) anchor: Anchor,
}

/// Which end of a text stands at its place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

impl Type {
    pub(crate) const BODY: Self = Self { size: 12.0, colour: INK, bold: false, anchor: Anchor::Start };
    pub(crate) const SMALL: Self = Self { size: 11.0, colour: FAINT, ..Self::BODY };
    pub(crate) const HEADING: Self = Self { size: 14.0, bold: true, ..Self::BODY };

    pub(crate) fn faint(self) -> Self {
        Self { colour: FAINT, ..self }
    }

    pub(crate) fn bold(self) -> Self {
        Self { bold: true, ..self }
    }

    pub(crate) fn end(self) -> Self {
        Self { anchor: Anchor::End, ..self }
    }

    pub(crate) fn middle(self) -> Self {
        Self { anchor: Anchor::Middle, ..self }
    }

    /// A name as far as it fits into a width.
    pub(crate) fn fitted(self, text: &str, width: f64) -> String {
        fitted(text, self.columns(width))
    }

    /// How many characters fit into a width.
    pub(crate) fn columns(self, width: f64) -> usize {
        (width / (self.size * WIDTH)) as usize
    }
}

impl Page {
    /// Writes a piece of markup.
    pub(crate) fn markup(&mut self, markup: fmt::Arguments<'_>) {
        // A `String` takes all that is written.
        let _ = self.out.write_fmt(markup);
    }

    pub(crate) fn text(&mut self, place: (f64, f64), style: Type, text: &str) {
        self.titled_text(place, style, text, "");
    }

    /// A text that may be a part of what is said to whoever points at it.
    pub(crate) fn titled_text(&mut self, (x, y): (f64, f64), style: Type, text: &str, whole: &str) {
        let Type { size, colour, bold, anchor } = style;
        let bold = if bold { " font-weight=\"600\"" } else { "" };
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let title = if whole.is_empty() || whole == text {
            String::new()
        } else {
            format!("<title>{}</title>", escaped(&fitted(whole, TITLE_MAX)))
        };
        let (x, y, size, text) = (Num(x), Num(y), Num(size), escaped(text));
        self.markup(format_args!(
            "<text x=\"{x}\" y=\"{y}\" font-size=\"{size}\" fill=\"{colour}\"{bold}{anchor}>{title}{text}</text>\n"
        ));
    }

    pub(crate) fn rect(&mut self, place: Rect, fill: &str, more: &str) {
        self.markup(format_args!("<rect {place} fill=\"{fill}\"{more}/>\n"));
    }

    /// A rectangle that says something to whoever points at it.
    pub(crate) fn titled_rect(&mut self, place: Rect, fill: &str, title: &str) {
        let lines: Vec<_> = title.lines().map(escaped).collect();
        let title = lines.join("\n");
        self.markup(format_args!("<rect {place} fill=\"{fill}\"><title>{title}</title></rect>\n"));
    }

    pub(crate) fn rule(&mut self, y: f64, from: f64, to: f64) {
        let (y, from, to) = (Num(y), Num(from), Num(to));
        self.markup(format_args!("<path d=\"M{from} {y}H{to}\" stroke=\"{RULE}\"/>\n"));
    }
}

/// A place on the page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rect {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

impl Rect {
    pub(crate) fn new(x: f64, y: f64, width: f64, height: f64) -> Self {
        Self { x, y, width, height }
    }

    /// As a piece of a path's data.
    pub(crate) fn outline(&self) -> Outline {
        Outline(*self)
    }
}

impl Display for Rect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (x, y, width, height) = (Num(self.x), Num(self.y), Num(self.width), Num(self.height));
        write!(f, "x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"")
    }
}

/// A rectangle as a piece of a path's data.
pub(crate) struct Outline(Rect);

impl Display for Outline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rect { x, y, width, height } = self.0;
        write!(f, "M{} {}h{}v{}h{}z", Num(x), Num(y), Num(width), Num(height), Num(-width))
    }
}

/// A number to a hundredth.
#[derive(Clone, Copy)]
pub(crate) struct Num(pub(crate) f64);

impl Display for Num {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match trimmed(format!("{:.2}", self.0)).as_str() {
            "-0" => f.write_str("0"),
            number => f.write_str(number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_short_as_they_can_be() {
        let said = [0.0, -0.001, 8.0, 1.0 / 3.0, -2.5].map(|number| Num(number).to_string());
        assert_eq!(said, ["0", "0", "8", "0.33", "-2.5"]);
    }

    #[test]
    fn p2_text_does_not_become_markup() {
        let mut page = Page::default();
        page.text((1.0, 2.0), Type::BODY, "</text><script>");
        page.titled_rect(Rect::new(0.0, 0.0, 1.0, 1.0), "none", "a\n<b>");
        assert!(page.out.contains("&lt;/text&gt;&lt;script&gt;") && page.out.contains("<title>a\n&lt;b&gt;</title>"));
    }
}
