//! The primitives of the worker protocol.
