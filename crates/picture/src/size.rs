//! Sizes and shares as people say them.

/// Bytes to three digits: `0`, `512B`, `4K`, `1.25G`, `16T`.
pub(crate) fn size(bytes: u128) -> String {
    if bytes == 0 {
        return "0".to_owned();
    }
    let units = ["B", "K", "M", "G", "T", "P", "E", "Z", "Y"];
    let mut value = bytes as f64;
    let mut unit = 0;
    // What would be said as 1024 of one unit is 1 of the next.
    while value >= 1023.5 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{}{}", trimmed(format!("{value:.digits$}")), units[unit])
}

/// A number without the zeros at its end that say nothing.
pub(crate) fn trimmed(number: String) -> String {
    if !number.contains('.') {
        return number;
    }
    number.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A part of a whole, in percent: `12.3%`. What is there is never said to be nothing, nor what is not all to be all.
pub(crate) fn share(part: u64, whole: u64) -> String {
    if part == 0 || whole == 0 {
        return "0%".to_owned();
    }
    if part >= whole {
        return "100%".to_owned();
    }
    let percent = part as f64 / whole as f64 * 100.0;
    match percent {
        _ if percent < 0.1 => "<0.1%".to_owned(),
        _ if percent > 99.9 => ">99.9%".to_owned(),
        _ => format!("{percent:.1}%"),
    }
}

/// A number with its noun: `1 extent`, `2 extents`.
pub(crate) fn count(number: u64, one: &str) -> String {
    format!("{} {one}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// A number with its digits in threes: `4,294,967,296`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits_at_most() {
        let said =
            [0, 512, 4096, 1536, 1 << 20, 1300 << 20, (1 << 30) - 1, 16 << 40, (1 << 40) * 1000, u128::from(u64::MAX)];
        let expected = ["0", "512B", "4K", "1.5K", "1M", "1.27G", "1G", "16T", "1000T", "16E"];
        assert_eq!(said.map(size), expected);
    }

    #[test]
    fn a_share_is_never_rounded_to_nothing_or_to_all() {
        assert_eq!(
            [(0, 9), (1, 3), (1, 1 << 20), (2999, 3000), (3, 3), (0, 0)].map(|(part, whole)| share(part, whole)),
            ["0%", "33.3%", "<0.1%", ">99.9%", "100%", "0%"]
        );
    }

    #[test]
    fn digits_stand_in_threes() {
        assert_eq!([0, 999, 1000, 4_294_967_296].map(grouped), ["0", "999", "1,000", "4,294,967,296"]);
    }
}
