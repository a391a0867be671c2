//! Requests and replies of the worker protocol.
