//! Arguments that a command does not have: one of them may be a secret that somebody put there, and the parser's own error would
//! repeat it.

use std::convert::Infallible;

/// An argument that is none, of which nothing is kept.
#[derive(Clone, Copy, Debug)]
pub struct Forgotten;

impl Forgotten {
    /// Takes it, whatever it is.
    ///
    /// # Errors
    /// None.
    pub const fn parse(_: &str) -> Result<Self, Infallible> {
        Ok(Self)
    }
}
