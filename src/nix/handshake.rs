//! The handshake of the worker protocol.
