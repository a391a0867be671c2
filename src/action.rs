//! What the GitHub Action decides: a job's environment in, plans out. Pure.
//!
//! | file | what |
//! |---|---|
//! | `matrix` | how many runners of which kind -> jobs and names |

pub mod matrix;
