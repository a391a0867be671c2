//! Nix archives, as a stream.
