//! Names as they can be shown: any text comes in, and no control sequence, no markup and no endless line goes out.

/// What stands for a character that cannot be shown.
const REPLACED: char = '\u{fffd}';

/// A text without what would move the cursor, break a line, change the direction of writing, or is no character of XML.
pub(crate) fn shown(text: &str) -> String {
    text.chars().map(|character| if is_shown(character) { character } else { REPLACED }).collect()
}

fn is_shown(character: char) -> bool {
    let invisible = matches!(character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}' | '\u{e0000}'..='\u{e007f}');
    !character.is_control() && !invisible
}

/// A file's name, or what is said where it has none.
pub(crate) fn named(name: &str) -> &str {
    if name.is_empty() { "(no name)" } else { name }
}

/// The text in as many columns as there are, cut in its middle if it is longer: the end of a path tells most.
pub(crate) fn fitted(text: &str, columns: usize) -> String {
    let text = shown(text);
    if width(&text) <= columns {
        return text;
    }
    let kept = columns.saturating_sub(1);
    let head = taken(text.chars(), kept / 3);
    let tail = taken(text.chars().rev(), kept - width(&head));
    let tail: String = tail.chars().rev().collect();
    if columns == 0 { String::new() } else { format!("{head}…{tail}") }
}

/// The text in as many columns as there are, cut at its end if it is longer: of a sentence the beginning tells most.
pub(crate) fn begun(text: &str, columns: usize) -> String {
    let text = shown(text);
    match columns.checked_sub(1) {
        _ if width(&text) <= columns => text,
        Some(kept) => taken(text.chars(), kept) + "…",
        None => String::new(),
    }
}

/// As many characters as fit.
fn taken(text: impl Iterator<Item = char>, columns: usize) -> String {
    let mut left = columns;
    text.take_while(|character| {
        let fits = columns_of(*character) <= left;
        left = left.saturating_sub(columns_of(*character));
        fits
    })
    .collect()
}

/// Columns of a text on a terminal.
pub(crate) fn width(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

/// Near enough: what East Asian scripts and pictographs need, two; a mark that combines, none less than one, so that a
/// text is never wider than said.
fn columns_of(character: char) -> usize {
    let wide = matches!(character, '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{303e}' | '\u{3041}'..='\u{a4cf}' | '\u{a960}'..='\u{a97f}'
        | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}' | '\u{fe30}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}' | '\u{1f000}'..='\u{1faff}' | '\u{20000}'..='\u{3ffff}');
    if wide { 2 } else { 1 }
}

/// A shown text as XML content or attribute.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in shown(text).chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_direction_marks_are_replaced() {
        assert_eq!(shown("a\u{1b}[31m\nb\u{202e}c\u{ffff}"), "a\u{fffd}[31m\u{fffd}b\u{fffd}c\u{fffd}");
        assert_eq!(shown("/κόσμος/日本"), "/κόσμος/日本");
    }

    #[test]
    fn markup_is_escaped() {
        assert_eq!(escaped("<a b=\"c\">&'\0"), "&lt;a b=&quot;c&quot;&gt;&amp;&#39;\u{fffd}");
    }

    #[test]
    fn a_long_name_keeps_its_end() {
        assert_eq!(fitted("/models/layers/17/weights.bin", 16), "/mode…eights.bin");
        assert_eq!(fitted("short", 16), "short");
        assert_eq!(fitted("日本日本日本", 8), "日…日本");
        assert_eq!([fitted("long", 1), fitted("long", 0)], ["…", ""]);
    }

    #[test]
    fn a_long_sentence_keeps_its_beginning() {
        assert_eq!(begun("nic 0, for chunk 17", 8), "nic 0, …");
        assert_eq!([begun("日本日本", 4), begun("short", 5), begun("long", 0)], ["日…", "short", ""]);
    }
}
