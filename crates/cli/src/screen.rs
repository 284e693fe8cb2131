//! What text goes to: how wide it is, and whether it shows colours.

use std::io::IsTerminal;

use rustix::termios::tcgetwinsize;

/// Where text is not shown on a terminal.
const COLUMNS: usize = 110;

/// Lines are not made longer, however wide the terminal.
const COLUMNS_MAX: usize = 120;

/// Standard output, as it is now.
#[derive(Clone, Copy)]
pub(crate) struct Screen {
    pub(crate) columns: usize,
    /// Whether people read it.
    pub(crate) is_terminal: bool,
    pub(crate) coloured: bool,
}

/// What a text is, for its colour.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Title,
    Faint,
    Good,
    Bad,
    Device,
    Waits,
    Directory,
    Link,
}

impl Style {
    /// The parameters of "select graphic rendition".
    fn code(self) -> &'static str {
        match self {
            Self::Title => "1",
            Self::Faint => "2",
            Self::Good => "32",
            Self::Bad => "1;31",
            Self::Device => "36",
            Self::Waits => "33",
            Self::Directory => "1;34",
            Self::Link => "36",
        }
    }
}

impl Screen {
    /// Colours on a terminal, unless `NO_COLOR` says no (<https://no-color.org>) or the terminal is dumb.
    pub(crate) fn of_stdout() -> Self {
        let out = std::io::stdout();
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let is_terminal = out.is_terminal();
        let coloured = is_terminal && !set("NO_COLOR") && !dumb;
        let columns = tcgetwinsize(&out).ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
        Self { columns: columns.unwrap_or(COLUMNS).clamp(60, COLUMNS_MAX), is_terminal, coloured }
    }

    pub(crate) fn paint(&self, style: Style, text: &str) -> String {
        match self.coloured {
            true => format!("\x1b[{}m{text}\x1b[0m", style.code()),
            false => text.to_owned(),
        }
    }

    /// The text in lines that fit, each with the indent.
    pub(crate) fn wrap(&self, indent: &str, text: &str) -> String {
        let width = self.columns.saturating_sub(indent.len());
        let mut lines = vec![String::new()];
        for word in text.split(' ') {
            let line = lines.last_mut().expect("there is always a last line");
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
                lines.push(word.to_owned());
                continue;
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        let lines: Vec<_> = lines.iter().map(|line| format!("{indent}{line}")).collect();
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_keep_their_indent() {
        let screen = Screen { columns: 12, is_terminal: false, coloured: false };
        assert_eq!(screen.wrap("  ", "one two three four"), "  one two\n  three four");
        assert_eq!(screen.wrap("  ", "incomprehensibilities"), "  incomprehensibilities");
    }

    #[test]
    fn without_colours_nothing_is_added() {
        let plain = Screen { columns: 80, is_terminal: true, coloured: false };
        assert_eq!(plain.paint(Style::Bad, "BROKEN"), "BROKEN");
        let coloured = Screen { columns: 80, is_terminal: true, coloured: true };
        assert_eq!(coloured.paint(Style::Bad, "BROKEN"), "\x1b[1;31mBROKEN\x1b[0m");
    }
}
