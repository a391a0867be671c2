//! Nix's base 32.
