//! What the GitHub Action decides: a job's environment in, plans out. Pure.
//!
//! | file | what |
//! |---|---|
//! | `inputs` | the environment of a step -> types |
//! | `steps` | the steps: inputs and facts -> plans |
//! | `plan` | what a step does, as data |
//! | `workflow` | GitHub's own formats |
//! | `matrix` | how many runners of which kind -> jobs and names |

pub mod inputs;
pub mod matrix;
pub mod plan;
pub mod steps;
pub mod workflow;
