//! `[limits]`: how much of the upstream a subject, a team and all together may use.
//!
//! Not here: counting (`limit`).

use std::time::Duration;

use super::table::{Section, plain_text, text_of};
use super::tree::{Node, Value};
use super::units::{self, per};
use super::{Budget, Limits, Quota, Rate};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// Roles in a list: nobody names more, and each is looked up for each call.
const MAX_ROLES: usize = 64;

pub(super) fn read(section: &mut Section<'_>) -> Limits {
    Limits {
        subject: section.section("subject", |inner| quota(inner, [(20, SECOND), (60, MINUTE), (20, HOUR)])),
        team: section.section("team", |inner| quota(inner, [(60, SECOND), (120, MINUTE), (60, HOUR)])),
        upstream_budget: section.section("upstream_budget", budget),
    }
}

/// A class that is not named keeps its default: leaving one out must not mean "without limit".
fn quota(section: &mut Section<'_>, [read, write, secret]: [(u32, Duration); 3]) -> Quota {
    let rate = |(requests, time)| Some(Rate { requests: per(requests), per: time });
    Quota {
        read: section.rate("read", rate(read)),
        write: section.rate("write", rate(write)),
        secret: section.rate("secret", rate(secret)),
    }
}

/// Cloudflare's global limit: 1,200 calls in 5 minutes for a user.
fn budget(section: &mut Section<'_>) -> Budget {
    let requests = section.count("requests", 1200, 1..=1_000_000);
    let window = section.duration("window", Duration::from_mins(5), SECOND..=HOUR);
    let share = |node: &Node| {
        let typed = node.value.as_integer().and_then(|number| u32::try_from(number).ok());
        let found = typed.or_else(|| text_of(node).and_then(|text| units::share(text, requests)));
        found
            .filter(|found| *found < requests)
            .ok_or_else(|| format!("wants {}, less than requests ({requests})", units::SHARE))
    };
    let reserve = section.parsed("reserve", share).unwrap_or(requests / 10);
    section.resolved("reserve", reserve);
    let reserve_roles = list_of_texts(section, "reserve_roles", MAX_ROLES);
    let reserve_roles = reserve_roles.unwrap_or_else(|| vec!["incident".to_owned()]);
    section.resolved("reserve_roles", reserve_roles.join("\n"));
    Budget { requests, window, reserve, reserve_roles }
}

/// A list of at most `most` texts, each once.
pub(super) fn list_of_texts(section: &mut Section<'_>, key: &str, most: usize) -> Option<Vec<String>> {
    section.parsed(key, |node| {
        let wanted = || format!("wants a list of at most {most} strings in quotes, each once");
        let Value::Array(items) = &node.value else { return Err(wanted()) };
        let mut names: Vec<String> = Vec::new();
        for item in items {
            let name = plain_text(item).map_err(|_| wanted())?;
            if names.contains(&name) || names.len() == most {
                return Err(wanted());
            }
            names.push(name);
        }
        Ok(names)
    })
}
