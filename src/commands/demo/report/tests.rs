use super::*;
use crate::commands::demo::graph::graph;

