//! Pins, breaks and busy extents.
mod area;
mod liveness;
mod mechanism;
mod memory;
mod segments;
mod sync;

pub use area::{Area, AreaOptions};
pub use mechanism::attribution::{BreakInfo, BusyExtentInfo, Observer, PinId, PinInfo, Quarantined};
pub use mechanism::busy_extents::{BusyExtents, BusyStats, CommitId, Extent, FreeExtent};
pub use mechanism::error::{AreaError, BreakError, LabelError, PinError, SpaceError, UnpinError};
pub use mechanism::geometry::Geometry;
pub use mechanism::holder::Holder;
pub use mechanism::layout_break::{Canceller, Draining, Effect, Idle, LayoutBreak, Policy};
pub use mechanism::pin::{Access, Label, Pin, PinSpec, Pinning, RawPin};
pub use mechanism::recall::{LongTermPin, Recall, Recalled};
pub use mechanism::transfer::{PinRequest, Transfer};
pub use mechanism::until::Until;
pub use mechanism::view::{Layout, LayoutToken};
