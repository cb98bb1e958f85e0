//! How much of a caller's quotas is left, as `RateLimit` and `RateLimit-Policy` say it.
//!
//! Source: IETF draft-ietf-httpapi-ratelimit-headers; the fields are lists of RFC 9651. `r` is the number of
//! calls left, `t` the seconds until the quota is full again, `q` its size and `w` its window in seconds.
//!
//! Not here: reading the upstream's fields of the same names (`limit::fields`).

use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::keyed::Level;
use crate::config::Rate;
use crate::operation::Class;

/// What is left of each quota that a call takes from; empty where none is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    items: Vec<Item>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    of: &'static str,
    class: Class,
    rate: Rate,
    level: Level,
}

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

impl Standing {
    pub(super) fn set(&mut self, of: &'static str, class: Class, rate: Rate, level: Level) {
        let item = Item { of, class, rate, level };
        match self.items.iter_mut().find(|known| known.of == of && known.class == class) {
            Some(known) => *known = item,
            None => self.items.push(item),
        }
    }

    /// Takes in newer numbers.
    pub fn merge(&mut self, newer: Self) {
        newer.items.into_iter().for_each(|item| self.set(item.of, item.class, item.rate, item.level));
    }

    /// The two fields; none where no quota applies.
    #[must_use]
    pub fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let list = |write: fn(&Item) -> String| {
            let text = self.items.iter().map(write).collect::<Vec<_>>().join(", ");
            HeaderValue::try_from(text).ok().filter(|value| !value.is_empty())
        };
        let limit = list(|item| {
            let (name, level) = (item.name(), item.level);
            format!("\"{name}\";r={};t={}", level.remaining, seconds(level.full_in))
        });
        let policy =
            list(|item| format!("\"{}\";q={};w={}", item.name(), item.rate.requests, seconds(item.rate.per)));
        let named = [(RATE_LIMIT, limit), (RATE_LIMIT_POLICY, policy)];
        named.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

impl Item {
    fn name(&self) -> String {
        format!("{}-{}", self.of, self.class.name())
    }
}

/// Whole seconds, rounded up: who comes back a second too late is served.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
