//! The name of a pin as text, as listings show it: `3.17.1042`.
//!
//! For `#[serde(with = "pin_text")]`.

use pinfold::layout::PinId;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

pub(crate) fn serialize<S: Serializer>(pin: &PinId, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(pin)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PinId, D::Error> {
    parse_pin_id(&String::deserialize(from)?).map_err(D::Error::custom)
}

/// Reads the name of a pin, as listings show it.
///
/// # Errors
/// One line that says what a name of a pin looks like.
pub fn parse_pin_id(text: &str) -> Result<PinId, String> {
    let refused = || format!("`{text}` names no pin: take the three numbers of a listing, like 3.17.1042");
    let mut numbers = text.splitn(3, '.').map(|number| {
        // `parse` takes a sign.
        number.bytes().all(|digit| digit.is_ascii_digit()).then(|| number.parse::<u64>().ok()).flatten()
    });
    let mut next = || numbers.next().flatten().ok_or_else(refused);
    let (holder, slot, version) = (next()?, next()?, next()?);
    let narrow = |number| u32::try_from(number).map_err(|_| refused());
    Ok(PinId { holder: narrow(holder)?, slot: narrow(slot)?, version })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_named_as_listings_show_it() {
        let pin = PinId { holder: 3, slot: 17, version: u64::MAX };
        assert_eq!(parse_pin_id(&pin.to_string()), Ok(pin));
        for text in ["", "1", "1.2", "1.2.", "1.2.3.4", "a.2.3", "+1.2.3", "4294967296.1.1", "-1.2.3"] {
            assert!(parse_pin_id(text).unwrap_err().contains("names no pin"), "{text}");
        }
    }
}
