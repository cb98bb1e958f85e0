//! The command line. Each subcommand is a file in `cli/`.

pub mod audit;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::clock::Clock;

/// What the outside gives to a command: the environment comes in here and nowhere else.
#[derive(Debug)]
pub struct Env {
    /// Environment variables.
    pub vars: BTreeMap<String, String>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

/// Exit codes, the same for every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0
    Good,
    /// 1
    Failed,
    /// 2: wrong usage or configuration.
    Usage,
    /// 3: verification found tampering.
    Tampered,
}
