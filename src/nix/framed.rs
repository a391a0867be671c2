//! Streams whose length is not known beforehand.
