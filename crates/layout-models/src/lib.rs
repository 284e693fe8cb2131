//! Models of the layout mechanism.
