//! The server's end of the worker protocol.
