//! The client's end of the worker protocol.
