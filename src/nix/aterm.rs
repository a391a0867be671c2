//! Derivations as Nix writes them to .drv files (ATerm).
