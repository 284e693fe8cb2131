//! Paths as they are asked for: bytes, before anything is looked up.
//!
//! A path is absolute from the pool's root; a relative one begins there too, or, as the target of a symbolic link, in the
//! directory of the link. Slashes may be repeated.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::error::NameError;

/// Bytes of a name.
const NAME_MAX: usize = 255;
/// Bytes of a path. (Linux counts the NUL at its end, and says 4096.)
const PATH_MAX: usize = 4095;

/// Whether a directory may have such a name.
pub(crate) fn is_name(name: &[u8]) -> bool {
    let is_plain = || !name.iter().any(|byte| matches!(byte, 0 | b'/'));
    matches!(Last::of(name), Last::Name(_)) && name.len() <= NAME_MAX && is_plain()
}

/// Whether a symbolic link may have such a target.
pub(crate) fn is_target(target: &[u8]) -> bool {
    (1..=PATH_MAX).contains(&target.len()) && !target.contains(&0)
}

/// A path that a caller gave, and that its errors name.
#[derive(Clone, Copy)]
pub(super) struct Asked<'p> {
    path: &'p Path,
}

/// What stands at the end of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Last<'p> {
    Name(&'p [u8]),
    /// `.`
    Here,
    /// `..`
    Parent,
    /// Nothing but slashes.
    Root,
}

/// A path in parts.
pub(crate) struct Split<'p> {
    pub(crate) absolute: bool,
    /// All that comes before the last part, with its slashes.
    before: &'p [u8],
    pub(crate) last: Last<'p>,
    /// A slash stands at the end: only a directory will do.
    pub(crate) slash: bool,
}

impl<'p> Asked<'p> {
    /// Refuses what cannot be a path.
    pub(super) fn new(path: &'p Path) -> Result<Self, NameError> {
        let asked = Self { path };
        let len = asked.bytes().len();
        if len == 0 {
            return Err(NameError::Empty);
        }
        if len > PATH_MAX {
            return Err(asked.too_long(len, PATH_MAX));
        }
        if asked.bytes().contains(&0) {
            return Err(NameError::BadName { path: path.to_path_buf(), why: "a name cannot hold a NUL" });
        }
        Ok(asked)
    }

    pub(super) fn bytes(self) -> &'p [u8] {
        self.path.as_os_str().as_bytes()
    }

    /// Refuses what is too long for one name.
    pub(super) fn check_name(self, last: Last<'_>) -> Result<(), NameError> {
        match last {
            Last::Name(name) if name.len() > NAME_MAX => Err(self.too_long(name.len(), NAME_MAX)),
            _ => Ok(()),
        }
    }

    /// An error about this path.
    #[cold]
    pub(super) fn error(self, case: fn(PathBuf) -> NameError) -> NameError {
        case(self.path.to_path_buf())
    }

    #[cold]
    pub(super) fn refused(self, why: &'static str) -> NameError {
        NameError::Refused { path: self.path.to_path_buf(), why }
    }

    #[cold]
    fn too_long(self, len: usize, max: usize) -> NameError {
        NameError::TooLong { path: self.path.to_path_buf(), len, max }
    }
}

impl<'p> Last<'p> {
    pub(super) fn of(part: &'p [u8]) -> Self {
        match part {
            b"" => Self::Root,
            b"." => Self::Here,
            b".." => Self::Parent,
            name => Self::Name(name),
        }
    }
}

impl<'p> Split<'p> {
    pub(crate) fn of(path: &'p [u8]) -> Self {
        let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
        let start = path[..end].iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let last = Last::of(&path[start..end]);
        Self { absolute: path.starts_with(b"/"), before: &path[..start], last, slash: end < path.len() }
    }

    /// The parts on the way to the last one.
    pub(crate) fn before(&self) -> impl Iterator<Item = Last<'p>> + use<'p> {
        self.before.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).map(Last::of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(path: &[u8]) -> (bool, Vec<Last<'_>>, Last<'_>, bool) {
        let split = Split::of(path);
        (split.absolute, split.before().collect(), split.last, split.slash)
    }

    #[test]
    fn a_path_is_divided_at_slashes_however_many() {
        let name = |name| Last::Name(name);
        assert_eq!(parts(b"a"), (false, vec![], name(b"a"), false));
        assert_eq!(parts(b"/a"), (true, vec![], name(b"a"), false));
        assert_eq!(parts(b"//a///b//"), (true, vec![name(b"a")], name(b"b"), true));
        assert_eq!(parts(b"./../...//x"), (false, vec![Last::Here, Last::Parent, name(b"...")], name(b"x"), false));
        assert_eq!(parts(b"///"), (true, vec![], Last::Root, true));
        assert_eq!(parts(b"a/.."), (false, vec![name(b"a")], Last::Parent, false));
    }
}
