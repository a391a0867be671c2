//! Typed -> meant: file, environment and flags as one validated `Config`.
