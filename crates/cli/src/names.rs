//! Names as they are shown. A name is any bytes but NUL and the slash: it may move a cursor, or be no text at all.

use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;

/// A name or path for people: as it is where that is harmless, or else quoted so that a shell reads the same bytes back.
pub(crate) fn shown(name: impl AsRef<OsStr>) -> String {
    let name = name.as_ref();
    match name.to_str() {
        Some(text) if !text.is_empty() && text.chars().all(is_plain) => text.to_owned(),
        Some(text) if text.chars().all(|c| is_visible(c) && c != '\'') => format!("'{text}'"),
        Some(text) if text.chars().all(|c| is_visible(c) && !"\"$`\\!".contains(c)) => format!("\"{text}\""),
        _ => escaped(name),
    }
}

/// A name in JSON: text as it is, but `%` is `%25`, and a byte that belongs to no character is `%` and two hexadecimal digits.
pub(crate) fn json(name: impl AsRef<OsStr>) -> String {
    let mut text = String::new();
    for chunk in name.as_ref().as_bytes().utf8_chunks() {
        text.push_str(&chunk.valid().replace('%', "%25"));
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(text, "%{byte:02x}");
        }
    }
    text
}

/// Columns of a text on a terminal, near enough: East Asian scripts and pictographs take two.
pub(crate) fn width(text: &str) -> usize {
    let wide = |c: char| {
        matches!(c, '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{303e}' | '\u{3041}'..='\u{a4cf}' | '\u{a960}'..='\u{a97f}'
            | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}' | '\u{fe30}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff60}'
            | '\u{ffe0}'..='\u{ffe6}' | '\u{1f000}'..='\u{1faff}' | '\u{20000}'..='\u{3ffff}')
    };
    text.chars().map(|c| 1 + usize::from(wide(c))).sum()
}

/// What no shell takes for anything but itself.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "/._-+=:,@%^".contains(c) || (!c.is_ascii() && is_visible(c))
}

/// Neither a control character nor one that changes the direction of writing or hides.
fn is_visible(c: char) -> bool {
    let hidden = matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    !c.is_control() && !hidden && (c == ' ' || !c.is_whitespace())
}

/// `$'a\nb'`.
fn escaped(name: &OsStr) -> String {
    let mut out = String::from("$'");
    for chunk in name.as_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\r' => out.push_str("\\r"),
                '\'' | '\\' => out.extend(['\\', c]),
                c if is_visible(c) => out.push(c),
                c => {
                    let mut bytes = [0; 4];
                    c.encode_utf8(&mut bytes).bytes().for_each(|byte| octal(&mut out, byte));
                }
            }
        }
        chunk.invalid().iter().for_each(|byte| octal(&mut out, *byte));
    }
    out.push('\'');
    out
}

/// Three digits always, so that what follows is not taken for a fourth.
fn octal(out: &mut String, byte: u8) {
    let _ = write!(out, "\\{byte:03o}");
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn what_is_harmless_is_shown_as_it_is() {
        for name in ["/a/b.txt", "größe", "日本", "a=b", "50%"] {
            assert_eq!(shown(name), name);
        }
        assert_eq!(shown("a b"), "'a b'");
        assert_eq!(shown(""), "''");
        assert_eq!(shown("it's"), "\"it's\"");
        assert_eq!(shown("a\nb"), "$'a\\nb'");
        assert_eq!(shown(OsStr::from_bytes(b"\xffa")), "$'\\377a'");
        assert_eq!(shown("a\u{202e}b"), "$'a\\342\\200\\256b'");
    }

    #[test]
    fn a_shell_reads_the_same_bytes_back() {
        if Command::new("bash").arg("--version").output().is_err() {
            return println!("skipped: there is no bash");
        }
        let all: Vec<u8> = (1..=255).collect();
        for name in [&all[..], b"a'b\"c$d`e!", b"\\", b"'", b"*", b"~", b"-n", b"#", b"a;b&c|d", b"\n", b"\xf0\x9f"] {
            let said =
                Command::new("bash").arg("-c").arg(format!("printf %s {}", shown(OsStr::from_bytes(name)))).output();
            assert_eq!(said.unwrap().stdout, name, "{}", shown(OsStr::from_bytes(name)));
        }
    }

    #[test]
    fn no_control_character_is_ever_shown() {
        for byte in 0..=255 {
            let name = std::ffi::OsString::from_vec(vec![b'a', byte]);
            assert!(shown(&name).chars().all(|c| !c.is_control()), "{byte}");
        }
    }

    #[test]
    fn names_in_json_lose_nothing() {
        assert_eq!(json("/größe 1"), "/größe 1");
        assert_eq!(json(OsStr::from_bytes(b"50%\xff")), "50%25%ff");
    }
}
