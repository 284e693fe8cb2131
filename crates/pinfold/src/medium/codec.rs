//! How numbers and texts are written: as few bytes as they need (LEB128), and read back with every bound checked.

/// The bytes are not what was expected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Garbled(pub(crate) &'static str);

/// What can be decoded or not.
pub(crate) type Decoded<T> = Result<T, Garbled>;

/// Appends to bytes.
#[derive(Default)]
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    pub(crate) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    /// A text with its length.
    pub(crate) fn text(&mut self, text: &[u8]) {
        self.number(text.len() as u64);
        self.bytes.extend_from_slice(text);
    }
}

/// Reads from bytes, and never past them.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// How many bytes are left: no count of things can be larger.
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> Decoded<u8> {
        let (byte, rest) = self.rest.split_first().ok_or(Garbled("it ends in the middle of an entry"))?;
        self.rest = rest;
        Ok(*byte)
    }

    #[inline]
    pub(crate) fn number(&mut self) -> Decoded<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7F);
            if shift == 63 && part > 1 {
                break;
            }
            number |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Garbled("a number has more than 64 bits"))
    }

    /// A count of things of which each takes so many bytes at least.
    pub(crate) fn count(&mut self, each: usize) -> Decoded<usize> {
        let count = self.number()?;
        match usize::try_from(count).ok().filter(|count| *count <= self.left() / each) {
            Some(count) => Ok(count),
            None => Err(Garbled("more entries are announced than there is room for")),
        }
    }

    pub(crate) fn text(&mut self) -> Decoded<&'a [u8]> {
        let len = self.count(1)?;
        let (text, rest) = self.rest.split_at(len);
        self.rest = rest;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts_come_back() {
        let mut writer = Writer::default();
        let numbers = [0, 1, 127, 128, 300, 1 << 35, u64::MAX - 1, u64::MAX];
        numbers.iter().for_each(|number| writer.number(*number));
        writer.text(b"name");
        let mut reader = Reader::new(&writer.bytes);
        numbers.iter().for_each(|number| assert_eq!(reader.number(), Ok(*number)));
        assert_eq!(reader.text(), Ok(&b"name"[..]));
        assert!(reader.is_empty());
    }

    #[test]
    fn what_is_cut_or_too_large_is_told() {
        assert!(Reader::new(&[0x80]).number().is_err());
        assert!(Reader::new(&[0xFF; 10]).number().is_err());
        assert!(Reader::new(&[9, b'a']).text().is_err(), "longer than what is there");
        assert!(Reader::new(&[2, 0, 0, 0, 0, 0]).count(3).is_err(), "two of three bytes each");
        assert_eq!(Reader::new(&[2, 0, 0, 0, 0, 0, 0]).count(3), Ok(2));
    }
}
