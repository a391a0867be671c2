//! Snapshot -> what people read; pure.
