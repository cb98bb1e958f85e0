//! What can be reloaded, and which key of the configuration belongs to which part of it.
//!
//! A key that is in no part needs a restart. Not here: reading the parts (`prepare`).

use std::collections::BTreeSet;

use super::files::Files;
use crate::config::Config;

/// A part of what is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Part {
    Policy,
    Issuers,
    Revocation,
    Certificate,
    UpstreamToken,
    Limits,
    Log,
}

impl Part {
    /// The name in the record and in the log.
    pub(super) fn name(self) -> &'static str {
        self.into()
    }

    /// The part that a key belongs to.
    pub(super) fn of(key: &str) -> Option<Self> {
        match key {
            "listen.certificate_file"
            | "listen.private_key_file"
            | "listen.client_ca_file"
            | "listen.client_certificate" => Some(Self::Certificate),
            "upstream.token_file" | "upstream.token_variable" => Some(Self::UpstreamToken),
            "log.filter" => Some(Self::Log),
            _ if key.starts_with("policy.") => Some(Self::Policy),
            _ if key.starts_with("issuer.") => Some(Self::Issuers),
            _ if key.starts_with("revocation.") => Some(Self::Revocation),
            _ if key.starts_with("upstream.accounts.") => Some(Self::UpstreamToken),
            _ if key.starts_with("limits.") => Some(Self::Limits),
            _ => None,
        }
    }

    /// Whether calls are not judged by it: it is lent to us by somebody who replaces it in time, or shuts somebody out,
    /// and no fault elsewhere must keep that from happening.
    pub(super) const fn stands_alone(self) -> bool {
        match self {
            Self::Revocation | Self::Certificate | Self::UpstreamToken => true,
            Self::Policy | Self::Issuers | Self::Limits | Self::Log => false,
        }
    }
}

/// What is other in a new configuration and the files that it names.
#[derive(Debug, Default)]
pub(super) struct Changes<'a> {
    pub(super) parts: BTreeSet<Part>,
    /// Keys that can't be changed in a running process.
    pub(super) fixed: Vec<&'a str>,
    /// Whether the configuration is another one.
    pub(super) of_config: bool,
}

impl<'a> Changes<'a> {
    /// Compares what is in force with what there is.
    pub(super) fn between(old: (&'a Config, &'a Files), new: (&'a Config, &'a Files)) -> Self {
        let keys = old.0.differences(new.0);
        // To speak TLS or not is up to the listener, which stays.
        let of_listener = old.0.listen.tls.is_some() != new.0.listen.tls.is_some();
        let part = |key: &str| Part::of(key).filter(|part| !of_listener || *part != Part::Certificate);
        Self {
            of_config: !keys.is_empty(),
            parts: keys.iter().copied().chain(old.1.changed(new.1)).filter_map(part).collect(),
            fixed: keys.into_iter().filter(|key| part(key).is_none()).collect(),
        }
    }

    /// Of the files that are in use, those with another text, as far as each stands alone.
    pub(super) fn alone(old: &'a Files, new: &'a Files) -> Self {
        let parts = old.rewritten(new).filter_map(Part::of).filter(|part| part.stands_alone());
        Self { parts: parts.collect(), ..Self::default() }
    }
}
