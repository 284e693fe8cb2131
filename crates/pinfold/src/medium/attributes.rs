//! What a node has beside what it is: times, mode, owner, extended attributes; as bytes, in records and in items.
//!
//! Most nodes have two times, mostly the same, and nothing else: those take a number or none. All else is behind a set of flags.
//!
//! Stays true  A1: a change older than the last one does not count: who replays the log over a younger checkpoint changes nothing.

use std::collections::BTreeMap;

use super::codec::{Decoded, Garbled, Reader, Writer};

/// The bits of a mode that are no type.
pub(crate) const MODE_BITS: u32 = 0o7777;

/// What a node has. Times are in nanoseconds since 1970.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Attributes {
    /// When its bytes, names or target last changed, or what somebody set that to.
    pub(crate) modified: u64,
    /// When anything of it last changed.
    pub(crate) changed: u64,
    pub(crate) more: Option<Box<More>>,
}

/// What few nodes have.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct More {
    /// When it was last read, as somebody set it.
    pub(crate) accessed: Option<u64>,
    /// Permissions, and the three bits above them.
    pub(crate) mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    /// By name.
    pub(crate) extended: Extended,
}

/// Extended attributes.
pub(crate) type Extended = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// Some attributes, and what they are from now on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) modified: Option<u64>,
    pub(crate) accessed: Option<u64>,
    pub(crate) mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
}

impl Settings {
    /// Whether it sets anything.
    pub(crate) fn is_any(&self) -> bool {
        *self != Self::default()
    }
}

const MODIFIED: u64 = 1;
const ACCESSED: u64 = 2;
const MODE: u64 = 4;
const UID: u64 = 8;
const GID: u64 = 16;
/// Of items alone.
const CHANGED: u64 = 32;
const EXTENDED: u64 = 64;

impl Attributes {
    /// Of what was made at `time`.
    pub(crate) fn made(time: u64) -> Self {
        Self { modified: time, changed: time, more: None }
    }

    /// Whether its two times say all.
    pub(crate) fn is_plain(&self) -> bool {
        self.modified == self.changed && self.more.is_none()
    }

    /// Its bytes, names or target changed (A1).
    pub(crate) fn modified_at(&mut self, time: u64) {
        if time >= self.changed {
            (self.modified, self.changed) = (time, time);
        }
    }

    /// Something else of it changed.
    pub(crate) fn changed_at(&mut self, time: u64) {
        self.changed = self.changed.max(time);
    }

    /// Somebody set some of it (A1).
    pub(crate) fn set(&mut self, settings: &Settings, time: u64) {
        if let Some(modified) = settings.modified.filter(|_| time >= self.changed) {
            self.modified = modified;
        }
        self.changed_at(time);
        More::set(&mut self.more, settings);
    }

    /// An extended attribute is set, or goes.
    pub(crate) fn set_extended(&mut self, name: &[u8], value: Option<&[u8]>, time: u64) {
        self.changed_at(time);
        More::set_extended(&mut self.more, name, value);
    }

    /// Writes all but `modified`.
    pub(crate) fn write(&self, to: &mut Writer) {
        let none = More::default();
        let more = self.more.as_deref().unwrap_or(&none);
        let mut fields = Fields::of(&Settings { modified: None, ..more.settings() });
        fields.put(CHANGED, (self.changed != self.modified).then_some(self.changed));
        fields.put(EXTENDED, (!more.extended.is_empty()).then_some(more.extended.len() as u64));
        fields.write(to);
        for (name, value) in &more.extended {
            to.text(name);
            to.text(value);
        }
    }

    /// Reads what [`Attributes::write`] wrote.
    pub(crate) fn read(from: &mut Reader<'_>, modified: u64) -> Decoded<Self> {
        let mut fields = Fields::read(from, ACCESSED | MODE | UID | GID | CHANGED | EXTENDED)?;
        let changed = fields.take(CHANGED).unwrap_or(modified);
        let count = fields.take(EXTENDED).unwrap_or(0);
        let mut attributes = Self { modified, changed, more: None };
        More::set(&mut attributes.more, &fields.settings()?);
        for _ in 0..count {
            let (name, value) = (from.text()?, from.text()?);
            check_extended(name, Some(value))?;
            More::set_extended(&mut attributes.more, name, Some(value));
        }
        Ok(attributes)
    }
}

/// Bytes of an extended attribute's name, as in Linux.
pub(crate) const EXTENDED_NAME_MAX: usize = 255;
/// Bytes of an extended attribute's value, as in Linux; and of all names of one node.
pub(crate) const EXTENDED_BYTES_MAX: usize = 65536;

/// Whether an extended attribute can be called so.
pub(crate) fn is_extended_name(name: &[u8]) -> bool {
    (1..=EXTENDED_NAME_MAX).contains(&name.len()) && !name.contains(&0)
}

/// Whether what a medium says can be an extended attribute.
pub(crate) fn check_extended(name: &[u8], value: Option<&[u8]>) -> Decoded<()> {
    match is_extended_name(name) && value.is_none_or(|value| value.len() <= EXTENDED_BYTES_MAX) {
        true => Ok(()),
        false => Err(Garbled("an extended attribute that cannot be one")),
    }
}

impl More {
    /// Takes over what is set.
    pub(crate) fn set(more: &mut Option<Box<Self>>, settings: &Settings) {
        let Settings { modified: _, accessed, mode, uid, gid } = *settings;
        if (Settings { modified: None, ..*settings }) == Settings::default() {
            return;
        }
        let more = more.get_or_insert_default();
        more.accessed = accessed.or(more.accessed);
        more.mode = mode.or(more.mode);
        more.uid = uid.or(more.uid);
        more.gid = gid.or(more.gid);
    }

    pub(crate) fn set_extended(more: &mut Option<Box<Self>>, name: &[u8], value: Option<&[u8]>) {
        match value {
            Some(value) => drop(more.get_or_insert_default().extended.insert(name.into(), value.into())),
            None => more.iter_mut().for_each(|more| drop(more.extended.remove(name))),
        }
        if more.as_deref() == Some(&Self::default()) {
            *more = None;
        }
    }

    /// All of it but what is extended.
    pub(crate) fn settings(&self) -> Settings {
        let Self { accessed, mode, uid, gid, .. } = *self;
        Settings { modified: None, accessed, mode, uid, gid }
    }
}

impl Settings {
    pub(crate) fn write(&self, to: &mut Writer) {
        Fields::of(self).write(to);
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        Fields::read(from, MODIFIED | ACCESSED | MODE | UID | GID)?.settings()
    }
}

/// Numbers, each with a bit that says whether it is there: first the bits, then the numbers in order.
struct Fields([Option<u64>; 7]);

impl Fields {
    fn of(settings: &Settings) -> Self {
        let Settings { modified, accessed, mode, uid, gid } = *settings;
        let mut fields = Self([None; 7]);
        fields.put(MODIFIED, modified);
        fields.put(ACCESSED, accessed);
        fields.put(MODE, mode.map(u64::from));
        fields.put(UID, uid.map(u64::from));
        fields.put(GID, gid.map(u64::from));
        fields
    }

    fn put(&mut self, bit: u64, value: Option<u64>) {
        self.0[bit.trailing_zeros() as usize] = value;
    }

    fn take(&mut self, bit: u64) -> Option<u64> {
        self.0[bit.trailing_zeros() as usize].take()
    }

    fn write(&self, to: &mut Writer) {
        let bits = self.0.iter().enumerate().map(|(bit, value)| u64::from(value.is_some()) << bit);
        to.number(bits.sum());
        self.0.iter().flatten().for_each(|value| to.number(*value));
    }

    fn read(from: &mut Reader<'_>, known: u64) -> Decoded<Self> {
        let bits = from.number()?;
        if bits & !known != 0 {
            return Err(Garbled("attributes of an unknown kind"));
        }
        let mut fields = Self([None; 7]);
        for (bit, value) in fields.0.iter_mut().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1) {
            *value = match 1 << bit {
                // Each has two bytes: its lengths.
                EXTENDED => Some(from.count(2)? as u64),
                _ => Some(from.number()?),
            };
        }
        Ok(fields)
    }

    fn settings(&mut self) -> Decoded<Settings> {
        let small = |value: Option<u64>, most: u32| match value.map(u32::try_from) {
            None => Ok(None),
            Some(Ok(value)) if value <= most => Ok(Some(value)),
            Some(_) => Err(Garbled("a mode or an owner that cannot be one")),
        };
        Ok(Settings {
            modified: self.take(MODIFIED),
            accessed: self.take(ACCESSED),
            mode: small(self.take(MODE), MODE_BITS)?,
            uid: small(self.take(UID), u32::MAX)?,
            gid: small(self.take(GID), u32::MAX)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settings() -> impl Strategy<Value = Settings> {
        let mode = proptest::option::of(0..=MODE_BITS);
        let parts = (any::<Option<u64>>(), any::<Option<u64>>(), mode, any::<Option<u32>>(), any::<Option<u32>>());
        parts.prop_map(|(modified, accessed, mode, uid, gid)| Settings { modified, accessed, mode, uid, gid })
    }

    proptest! {
        #[test]
        fn what_is_written_comes_back(
            set in settings(), times in any::<[u64; 2]>(),
            extended in proptest::collection::btree_map("[a-z]{1,9}", proptest::collection::vec(any::<u8>(), 0..9), 0..3),
        ) {
            let mut writer = Writer::default();
            set.write(&mut writer);
            prop_assert_eq!(Settings::read(&mut Reader::new(&writer.bytes)), Ok(set));
            let mut attributes = Attributes { modified: times[0], changed: times[1], more: None };
            More::set(&mut attributes.more, &set);
            for (name, value) in &extended {
                More::set_extended(&mut attributes.more, name.as_bytes(), Some(value));
            }
            let mut writer = Writer::default();
            attributes.write(&mut writer);
            prop_assert_eq!(Attributes::read(&mut Reader::new(&writer.bytes), times[0]), Ok(attributes));
        }

        #[test]
        fn bytes_of_any_kind_are_attributes_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = (Settings::read(&mut Reader::new(&bytes)), Attributes::read(&mut Reader::new(&bytes), 0));
        }
    }

    #[test]
    fn what_is_older_than_the_last_change_does_not_count() {
        let mut attributes = Attributes::made(10);
        attributes.set(&Settings { modified: Some(3), ..Settings::default() }, 20);
        attributes.modified_at(15);
        assert_eq!((attributes.modified, attributes.changed), (3, 20));
        attributes.modified_at(20);
        assert_eq!((attributes.modified, attributes.changed), (20, 20));
    }
}
