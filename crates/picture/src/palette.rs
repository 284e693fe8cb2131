//! Colours: of equal strength to the eye, told apart by lightness where hues are alike.
//!
//! Files take hues from green over blue to pink. Orange and red are kept for what is stuck, which is hatched too, so that
//! nothing is told by its hue alone.

use std::fmt;

/// How many colours files are given.
pub(crate) const SWATCHES: u8 = 48;
/// The hues of files, in degrees.
const HUES: (f64, f64) = (108.0, 352.0);
/// How light they are, in turn, and how strong.
const TIERS: [(f64, f64); 3] = [(0.62, 0.135), (0.77, 0.115), (0.48, 0.125)];

/// A colour of a screen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rgb(pub(crate) [u8; 3]);

impl fmt::Display for Rgb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [red, green, blue] = self.0;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

/// Which colour a file has: always the same for an id, and far apart for ids that follow one another.
pub(crate) fn swatch(id: u64) -> u8 {
    // Multiples of the golden ratio fall into the widest gap that is left.
    let place = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    ((place * u64::from(SWATCHES)) >> 32) as u8
}

/// A file's colour.
pub(crate) fn strong(swatch: u8) -> Rgb {
    let (lightness, chroma) = TIERS[usize::from(swatch) % TIERS.len()];
    oklch(lightness, chroma, hue(swatch))
}

/// The same, paler: for what is not written yet.
pub(crate) fn pale(swatch: u8) -> Rgb {
    let (lightness, chroma) = TIERS[usize::from(swatch) % TIERS.len()];
    oklch(0.83 + (lightness - 0.62) * 0.3, chroma * 0.45, hue(swatch))
}

/// The same for terminals with 256 colours: stronger, since few of theirs are near, and lighter, since many are dark.
pub(crate) fn of_256(swatch: u8) -> u8 {
    let (lightness, chroma) = TIERS[usize::from(swatch) % TIERS.len()];
    nearest_of_256(oklch(lightness + 0.05, chroma * 1.4, hue(swatch)))
}

fn hue(swatch: u8) -> f64 {
    let (from, to) = HUES;
    from + (to - from) * f64::from(swatch) / f64::from(SWATCHES - 1)
}

/// A colour by its lightness, strength and hue in Oklab's polar form; weaker where a screen has none so strong.
fn oklch(lightness: f64, chroma: f64, hue: f64) -> Rgb {
    let (sin, cos) = hue.to_radians().sin_cos();
    let steps = (0..=20).map(|step| chroma * (1.0 - f64::from(step) / 20.0));
    let mut linear = steps.map(|chroma| linear_rgb(lightness, chroma * cos, chroma * sin));
    let on_screen = |rgb: &[f64; 3]| rgb.iter().all(|part| (-0.0005..=1.0005).contains(part));
    Rgb(linear.find(on_screen).unwrap_or([lightness.powi(3); 3]).map(encoded))
}

/// From Oklab to linear sRGB, by its author's matrices (<https://bottosson.github.io/posts/oklab/>).
fn linear_rgb(lightness: f64, a: f64, b: f64) -> [f64; 3] {
    let long = (lightness + 0.396_337_777_4 * a + 0.215_803_757_3 * b).powi(3);
    let medium = (lightness - 0.105_561_345_8 * a - 0.063_854_172_8 * b).powi(3);
    let short = (lightness - 0.089_484_177_5 * a - 1.291_485_548_0 * b).powi(3);
    [
        4.076_741_662_1 * long - 3.307_711_591_3 * medium + 0.230_969_929_2 * short,
        -1.268_438_004_6 * long + 2.609_757_401_1 * medium - 0.341_319_396_5 * short,
        -0.004_196_086_3 * long - 0.703_418_614_7 * medium + 1.707_614_701_0 * short,
    ]
}

fn encoded(linear: f64) -> u8 {
    let linear = linear.clamp(0.0, 1.0);
    let value = if linear <= 0.003_130_8 { linear * 12.92 } else { 1.055 * linear.powf(1.0 / 2.4) - 0.055 };
    (value * 255.0).round() as u8
}

/// The nearest of the 6 × 6 × 6 colours that terminals with 256 have.
fn nearest_of_256(Rgb(parts): Rgb) -> u8 {
    let levels = [0u8, 95, 135, 175, 215, 255];
    let nearest = |part: u8| (0..6).min_by_key(|level| levels[*level].abs_diff(part)).unwrap_or(0) as u8;
    let [red, green, blue] = parts.map(nearest);
    16 + 36 * red + 6 * green + blue
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn known_colours_come_out_as_they_are_known() {
        assert_eq!(oklch(1.0, 0.0, 0.0).to_string(), "#ffffff");
        assert_eq!(oklch(0.0, 0.0, 0.0).to_string(), "#000000");
        assert_eq!(oklch(0.4520, 0.3132, 264.05).to_string(), "#0000ff");
    }

    #[test]
    fn files_that_follow_one_another_have_colours_of_their_own() {
        let colours: BTreeSet<_> = (1..=24).map(swatch).collect();
        assert!(colours.len() >= 20, "24 files share {} colours", colours.len());
        let all: BTreeSet<_> = (0..SWATCHES).flat_map(|swatch| [strong(swatch).0, pale(swatch).0]).collect();
        assert_eq!(all.len(), 2 * usize::from(SWATCHES));
        assert!((0..1000).all(|id| swatch(id) < SWATCHES));
    }

    #[test]
    fn terminals_get_the_nearest_of_their_colours() {
        assert_eq!([Rgb([0, 0, 0]), Rgb([255, 255, 255]), Rgb([250, 5, 90])].map(nearest_of_256), [16, 231, 197]);
    }
}
