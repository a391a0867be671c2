//! Log and error frames.
