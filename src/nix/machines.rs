//! Machines lines, both ways.
