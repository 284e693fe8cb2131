//! What areas are filled with: a colour, and a hatch over it where a colour alone would not be seen by everybody.

use crate::chart::What;
use crate::palette;
use crate::sums::Kind;

/// A colour on the map.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Fill {
    /// A file's, by its swatch.
    File(u8),
    /// The same, where it is not written yet.
    Pale(u8),
    /// Several files, too small to be told apart.
    OtherFiles,
    /// The same, where they are not written yet.
    PaleOthers,
    Meta,
    Parked,
    Quarantined,
    Unknown,
    Free,
}

/// What lies over a colour.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Hatch {
    Unwritten,
    Parked,
    Quarantined,
    Unknown,
    /// Many pieces in one place.
    Mixed,
}

impl Fill {
    pub(crate) fn of(what: &What) -> Self {
        match what {
            What::File { of, unwritten: false } => Self::File(palette::swatch(of.id)),
            What::File { of, unwritten: true } => Self::Pale(palette::swatch(of.id)),
            What::Meta(_) => Self::Meta,
            What::Parked { .. } => Self::Parked,
            What::Quarantined { .. } => Self::Quarantined,
            What::Free => Self::Free,
            What::Unknown => Self::Unknown,
        }
    }

    pub(crate) fn of_kind(kind: Kind) -> Self {
        match kind {
            Kind::Written => Self::OtherFiles,
            Kind::Unwritten => Self::PaleOthers,
            Kind::Free => Self::Free,
            Kind::Parked => Self::Parked,
            Kind::Quarantined => Self::Quarantined,
            Kind::Meta => Self::Meta,
            Kind::Unknown => Self::Unknown,
        }
    }

    pub(crate) fn colour(self) -> String {
        match self {
            Self::File(swatch) => palette::strong(swatch).to_string(),
            Self::Pale(swatch) => palette::pale(swatch).to_string(),
            Self::OtherFiles => "#8497aa".to_owned(),
            Self::PaleOthers => "#bcc8d4".to_owned(),
            Self::Meta => "#4a5560".to_owned(),
            Self::Parked => "#f2a52b".to_owned(),
            Self::Quarantined => "#d1202f".to_owned(),
            Self::Unknown => "#ffffff".to_owned(),
            Self::Free => "#e8edf1".to_owned(),
        }
    }

    pub(crate) fn hatch(self) -> Option<Hatch> {
        match self {
            Self::Pale(_) | Self::PaleOthers => Some(Hatch::Unwritten),
            Self::Parked => Some(Hatch::Parked),
            Self::Quarantined => Some(Hatch::Quarantined),
            Self::Unknown => Some(Hatch::Unknown),
            Self::File(_) | Self::OtherFiles | Self::Meta | Self::Free => None,
        }
    }

    /// Whether it is part of a file.
    pub(crate) fn is_file(self) -> bool {
        matches!(self, Self::File(_) | Self::Pale(_) | Self::OtherFiles | Self::PaleOthers)
    }
}

impl Hatch {
    /// What fills an area with it.
    pub(crate) fn url(self) -> &'static str {
        match self {
            Self::Unwritten => "url(#pinfold-unwritten)",
            Self::Parked => "url(#pinfold-parked)",
            Self::Quarantined => "url(#pinfold-quarantined)",
            Self::Unknown => "url(#pinfold-unknown)",
            Self::Mixed => "url(#pinfold-mixed)",
        }
    }
}

/// The patterns.
pub(crate) const DEFINITIONS: &str = "\
<defs>
<pattern id=\"pinfold-unwritten\" width=\"4\" height=\"4\" patternUnits=\"userSpaceOnUse\"><path d=\"M.5 .5h1v1h-1zM2.5 2.5h1v1h-1z\" fill=\"#fff\"/></pattern>
<pattern id=\"pinfold-parked\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\"><path d=\"M1 0v5\" stroke=\"#7a4300\" stroke-width=\"1.4\"/></pattern>
<pattern id=\"pinfold-quarantined\" width=\"4\" height=\"4\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(-45)\"><path d=\"M1 0v4\" stroke=\"#fff\" stroke-width=\"1.2\"/></pattern>
<pattern id=\"pinfold-unknown\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\"><path d=\"M.5 0v5M0 .5h5\" stroke=\"#9aa5b0\" stroke-width=\".8\"/></pattern>
<pattern id=\"pinfold-mixed\" width=\"3\" height=\"3\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\"><path d=\"M.5 0v3\" stroke=\"#fff\" stroke-opacity=\".45\" stroke-width=\".9\"/></pattern>
</defs>
";
