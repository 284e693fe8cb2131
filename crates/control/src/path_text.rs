//! Names in JSON. A name is any bytes but NUL, so it is not always text: what is text stays readable, `%` is `%25`, and a byte
//! that belongs to no character is `%` and two hexadecimal digits. Nothing is lost, either way.
//!
//! For `#[serde(with = "path_text")]`.

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

pub(crate) fn serialize<S: Serializer>(name: &impl AsRef<OsStr>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&text_of(name.as_ref()))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>, T: From<OsString>>(from: D) -> Result<T, D::Error> {
    let text = String::deserialize(from)?;
    let name = name_of(&text).ok_or_else(|| D::Error::custom("`%` in a name needs two hexadecimal digits"))?;
    Ok(T::from(name))
}

/// The same for what may be missing.
pub(crate) mod optional {
    use std::path::PathBuf;

    use super::*;

    pub(crate) fn serialize<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
        match path {
            Some(path) => to.serialize_some(&text_of(path.as_os_str())),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
        let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
        let name = name_of(&text).ok_or_else(|| D::Error::custom("`%` in a path needs two hexadecimal digits"))?;
        Ok(Some(name.into()))
    }
}

fn text_of(name: &OsStr) -> String {
    let mut text = String::new();
    for chunk in name.as_bytes().utf8_chunks() {
        text.push_str(&chunk.valid().replace('%', "%25"));
        for byte in chunk.invalid() {
            // A string takes what is written.
            let _ = write!(text, "%{byte:02x}");
        }
    }
    text
}

fn name_of(text: &str) -> Option<OsString> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        // `from_str_radix` takes a sign.
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    Some(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_a_name_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        for name in [&b"/plain"[..], "/größe".as_bytes(), b"/100%", b"%41", b"\xff\xfe", b"a\xc3", b"", &all] {
            let text = text_of(OsStr::from_bytes(name));
            assert_eq!(name_of(&text).unwrap().as_bytes(), name, "{text}");
        }
        assert_eq!(text_of(OsStr::from_bytes("/größe".as_bytes())), "/größe");
        assert_eq!(text_of(OsStr::from_bytes(b"50%\xff")), "50%25%ff");
    }

    #[test]
    fn half_an_escape_is_no_name() {
        for text in ["%", "%4", "a%zz", "%+1", "%€"] {
            assert_eq!(name_of(text), None, "{text}");
        }
    }
}
