//! What is known of a tunnel: its fields, the shapes of bodies, what a call would change.
//!
//! Source: Cloudflare API, "Magic IPsec tunnels". Not here: who may change what (`authorize`).

pub mod body;
pub mod change;
pub mod fields;
pub mod state;

use std::collections::BTreeSet;

pub use body::{Asked, BodyFault, Element};

/// What a write would change, judged against the state before (or against the defaults, for a tunnel that does
/// not exist yet). Fields are named by their path with dots: `replay_protection`, `bgp.md5_key`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Fields whose value would be another.
    pub changed: BTreeSet<String>,
    /// Those of them whose new value protects less than the old one.
    pub weakened: BTreeSet<String>,
}

impl Change {
    /// The change of an operation that replaces the key and nothing else.
    #[must_use]
    pub fn of_key() -> Self {
        Self { changed: BTreeSet::from(["psk".to_owned()]), weakened: BTreeSet::new() }
    }
}
