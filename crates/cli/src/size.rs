//! Sizes as people write and read them: K, M, G, T, P and E are powers of 1024, here and everywhere in the command.

use std::ops::Range;

/// The units, each 1024 of the one before.
const UNITS: [char; 6] = ['K', 'M', 'G', 'T', 'P', 'E'];

/// Bytes, from `4096`, `64M`, `1.5G` or `2TiB`; small letters too.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no size: give bytes, or K, M, G, T as in 64M (powers of 1024)");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = shift_of(unit).ok_or_else(wrong)?;
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(part) || number.ends_with('.') || part.len() > 12 {
        return Err(wrong());
    }
    let too_large = || format!("`{text}` is too large: the most is 15E");
    let whole: u128 = whole.parse().map_err(|_| too_large())?;
    let bytes = whole.checked_mul(1 << shift).ok_or_else(too_large)?;
    let (part, of): (u128, u128) = (format!("0{part}").parse().map_err(|_| wrong())?, 10_u128.pow(part.len() as u32));
    let (part, rest) = ((part << shift) / of, (part << shift) % of);
    match rest {
        0 => u64::try_from(bytes + part).map_err(|_| too_large()),
        _ => Err(format!("`{text}` is not a whole number of bytes")),
    }
}

/// How far a unit shifts a number.
fn shift_of(unit: &str) -> Option<u32> {
    let unit = unit.to_ascii_uppercase();
    let letter = unit.strip_suffix("IB").unwrap_or(&unit);
    match letter {
        "" if unit.is_empty() => Some(0),
        "B" => Some(0),
        _ => {
            let index = UNITS.iter().position(|unit| letter == unit.to_string())?;
            Some(10 * (index as u32 + 1))
        }
    }
}

/// In three or four characters, rounded up, as `ls -h` does: `512`, `1.5K`, `64M`.
pub(crate) fn human(bytes: u64) -> String {
    if bytes < 1024 {
        return bytes.to_string();
    }
    let mut shift = 10 * ((63 - bytes.leading_zeros()) / 10);
    let tenths = |shift: u32| (u128::from(bytes) * 10).div_ceil(1 << shift);
    let whole = |shift: u32| u128::from(bytes).div_ceil(1 << shift);
    if whole(shift) >= 1024 && shift < 60 {
        shift += 10;
    }
    let unit = UNITS[(shift / 10 - 1) as usize];
    match tenths(shift) {
        tenths @ ..100 => format!("{}.{}{unit}", tenths / 10, tenths % 10),
        _ => format!("{}{unit}", whole(shift)),
    }
}

/// To the byte, in the largest unit that divides it: `64M`, `1028K`, `4097`. [`parse`] reads it back.
pub(crate) fn exact(bytes: u64) -> String {
    let units = (bytes.trailing_zeros() / 10).min(UNITS.len() as u32) as usize;
    match units.checked_sub(1).filter(|_| bytes > 0) {
        Some(unit) => format!("{}{}", bytes >> (10 * units), UNITS[unit]),
        None => bytes.to_string(),
    }
}

/// As [`exact`], with the noun where there is no unit: `64M`, `25 bytes`.
pub(crate) fn with_noun(bytes: u64) -> String {
    match bytes.is_multiple_of(1 << 10) && bytes > 0 {
        true => exact(bytes),
        false => count(bytes, "byte"),
    }
}

/// To the byte, for sentences: `64 MiB`, `4 KiB`, `17 bytes`.
pub(crate) fn in_words(bytes: u64) -> String {
    match bytes {
        1.. if bytes.is_multiple_of(1 << 30) => format!("{} GiB", bytes >> 30),
        1.. if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        1.. if bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        _ => count(bytes, "byte"),
    }
}

/// A range of bytes, to the byte; what is open-ended goes to the end.
pub(crate) fn range(bytes: &Range<u64>) -> String {
    match bytes.end {
        u64::MAX => format!("{}..end", exact(bytes.start)),
        end => format!("{}..{}", exact(bytes.start), exact(end)),
    }
}

/// A number with its noun: `1 extent`, `2 extents`.
pub(crate) fn count(number: u64, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("4096B", 4096),
            ("4K", 4096),
            ("4k", 4096),
            ("4KiB", 4096),
            ("1.5G", 3 << 29),
            ("0.5k", 512),
            ("2TiB", 2 << 40),
            ("15E", 15 << 60),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_and_said() {
        let wrong =
            ["", "K", "-1", "+1", "4KB", "1.K", ".5K", "1.5", "64 M", "1e3", "1_0", "0x10", "4iB", "1.2.3M", "²K"];
        for text in wrong {
            assert!(parse(text).is_err_and(|why| why.contains(&format!("`{text}`"))), "{text}");
        }
        for text in ["16E", "99999999999999999999", "18446744073709551616", &"9".repeat(60)] {
            assert!(parse(text).is_err_and(|why| why.contains("too large")), "{text}");
        }
        assert_eq!(parse("18446744073709551615"), Ok(u64::MAX));
    }

    #[test]
    fn they_are_shown_rounded_up_or_to_the_byte() {
        for (bytes, said) in [
            (0, "0"),
            (1023, "1023"),
            (1024, "1.0K"),
            (1025, "1.1K"),
            (10_239, "10K"),
            (64 << 20, "64M"),
            ((1 << 20) - 1, "1.0M"),
            ((1 << 30) + 1, "1.1G"),
            (u64::MAX, "16E"),
        ] {
            assert_eq!(human(bytes), said, "{bytes}");
        }
        for (bytes, said) in
            [(0, "0"), (4097, "4097"), (4096, "4K"), (1_052_672, "1028K"), (u64::MAX, "18446744073709551615")]
        {
            assert_eq!(exact(bytes), said);
            assert_eq!(parse(said), Ok(bytes));
        }
        assert_eq!(
            (with_noun(64 << 20), with_noun(0), with_noun(25)),
            ("64M".into(), "0 bytes".into(), "25 bytes".into())
        );
        assert_eq!(
            (in_words(3 << 30), in_words(1), in_words(1025)),
            ("3 GiB".into(), "1 byte".into(), "1025 bytes".into())
        );
    }
}
