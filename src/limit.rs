//! How much a caller may ask for, how much all callers may ask of the upstream, and how much work an address
//! may cause before anybody there is identified.
//!
//! Three limits, because they protect three things: [`Limiter`] one caller from another, [`Budget`] all callers
//! from the upstream's own lockout (on a breach it refuses everybody for minutes), [`AddressGate`] this process
//! from senders without a token. All state is in memory, bounded, and forgotten at a restart: a quota that
//! starts full after a restart gives away at most one burst.
//!
//! Not here: connection and body limits (`listen`), what is written into an answer (`respond`).

mod address;
mod budget;
mod fields;
mod keyed;
mod standing;

use std::sync::Arc;

use crate::caller::Caller;
use crate::clock::Clock;
use crate::config;
use crate::operation::Class;
use crate::refusal::Refusal;

pub use address::AddressGate;
pub use budget::{Budget, Taken};
use keyed::{Key, Keyed, key};
pub use standing::Standing;

const SUBJECT: &str = "subject";
const TEAM: &str = "team";

/// The quotas of subjects and teams, by class of operation.
#[derive(Debug)]
pub struct Limiter {
    subject: PerClass,
    team: PerClass,
    clock: Arc<dyn Clock>,
}

/// The quotas of one kind of holder; `None` is without limit.
#[derive(Debug)]
struct PerClass {
    read: Option<Arc<Keyed>>,
    write: Option<Arc<Keyed>>,
    secret: Option<Arc<Keyed>>,
}

impl PerClass {
    fn new(quota: &config::Quota, clock: &Arc<dyn Clock>) -> Self {
        Self::by_class(|class| quota.of(class).map(|rate| Arc::new(Keyed::new(rate, Arc::clone(clock)))))
    }

    /// The same holders: a quota that is as it was is the very same, another one begins with what is spent.
    fn renewed(&self, quota: &config::Quota, clock: &Arc<dyn Clock>) -> Self {
        Self::by_class(|class| {
            let rate = quota.of(class)?;
            Some(match self.of(class) {
                Some(known) if known.rate() == rate => Arc::clone(known),
                Some(known) => Arc::new(known.renewed(rate)),
                None => Arc::new(Keyed::new(rate, Arc::clone(clock))),
            })
        })
    }

    fn by_class(keyed: impl Fn(Class) -> Option<Arc<Keyed>>) -> Self {
        Self { read: keyed(Class::Read), write: keyed(Class::Write), secret: keyed(Class::Secret) }
    }

    const fn of(&self, class: Class) -> Option<&Arc<Keyed>> {
        match class {
            Class::Read => self.read.as_ref(),
            Class::Write => self.write.as_ref(),
            Class::Secret => self.secret.as_ref(),
        }
    }
}

/// The proof that a call fits into its caller's quotas; only [`Limiter`] makes one.
#[derive(Clone, Debug)]
pub struct Admitted {
    standing: Standing,
}

impl Admitted {
    /// How much of each quota is left.
    #[must_use]
    pub const fn standing(&self) -> &Standing {
        &self.standing
    }

    /// This admission together with a later charge for the same call: the newer numbers stand.
    #[must_use]
    pub fn and(mut self, later: Self) -> Self {
        self.standing.merge(later.standing);
        self
    }
}

/// A call that does not fit. Nothing was taken from any quota for it.
#[derive(Clone, Debug)]
pub struct Refused {
    /// What to answer.
    pub refusal: Refusal,
    /// How much of each quota is left, for the answer's headers.
    pub standing: Standing,
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        refused.refusal
    }
}

/// One quota that a call takes from.
struct Share<'a> {
    of: &'static str,
    quota: &'a Keyed,
    key: Key,
}

impl Limiter {
    /// Full quotas.
    #[must_use]
    pub fn new(limits: &config::Limits, clock: Arc<dyn Clock>) -> Self {
        let (subject, team) = (PerClass::new(&limits.subject, &clock), PerClass::new(&limits.team, &clock));
        Self { subject, team, clock }
    }

    /// The quotas of other limits for the same callers. One that did not change goes on as it is; of one that did,
    /// calls that were spent stay spent (`Keyed::renewed`); one that there was not before is full. Calls that hold
    /// on to the limits before still take from those.
    #[must_use]
    pub fn renewed(&self, limits: &config::Limits) -> Self {
        Self {
            subject: self.subject.renewed(&limits.subject, &self.clock),
            team: self.team.renewed(&limits.team, &self.clock),
            clock: Arc::clone(&self.clock),
        }
    }

    /// Takes one call of `class` from the subject's quota and from that of each of its teams: from all of them
    /// or from none. The subject is asked first, then the teams in their order; what was taken before one
    /// refuses is given back, so a refused call costs nobody anything.
    ///
    /// A subject is known by issuer and subject, so two issuers' users of one name don't share a quota; a team
    /// is known by its name alone, as it is to the policy.
    ///
    /// # Errors
    /// [`Refusal::QuotaSpent`], with what is left of each quota.
    pub fn admit(&self, caller: &Caller, class: Class) -> Result<Admitted, Refused> {
        let shares = self.shares(caller, class);
        for (at, share) in shares.iter().enumerate() {
            if let Err(retry_after) = share.quota.take(&share.key) {
                shares.iter().take(at).for_each(|taken| taken.quota.give_back(&taken.key));
                let standing = standing(&shares, class, Some(at));
                return Err(Refused {
                    refusal: Refusal::QuotaSpent { of: share.of, class, retry_after },
                    standing,
                });
            }
        }
        Ok(Admitted { standing: standing(&shares, class, None) })
    }

    /// Takes one more call of `class` for work that a call causes beyond itself: a state read by the proxy
    /// (class read), a PSK in an ordinary body (class secret). Same rules as [`Limiter::admit`].
    ///
    /// # Errors
    /// [`Refusal::QuotaSpent`], with what is left of each quota.
    pub fn charge(&self, caller: &Caller, class: Class) -> Result<Admitted, Refused> {
        self.admit(caller, class)
    }

    fn shares<'a>(&'a self, caller: &Caller, class: Class) -> Vec<Share<'a>> {
        let subject = self.subject.of(class).map(|quota| Share {
            of: SUBJECT,
            quota,
            key: key(&[&caller.issuer, &caller.subject]),
        });
        let teams = self.team.of(class).into_iter().flat_map(|quota| {
            caller.teams.iter().map(move |team| Share { of: TEAM, quota, key: key(&[team]) })
        });
        subject.into_iter().chain(teams).collect()
    }
}

/// The numbers for the headers. Of several teams the one with the least left is told, as that one will refuse.
fn standing(shares: &[Share<'_>], class: Class, refused: Option<usize>) -> Standing {
    let mut standing = Standing::default();
    for of in [SUBJECT, TEAM] {
        let level = |(at, share): (usize, &Share<'_>)| {
            let mut level = share.quota.level(&share.key);
            if refused == Some(at) {
                // Also where the quota refused for want of room, with calls left.
                level.remaining = 0;
            }
            (level, share.quota.rate())
        };
        let of_this = shares.iter().enumerate().filter(|(_, share)| share.of == of);
        if let Some((level, rate)) = of_this.map(level).min_by_key(|(level, _)| level.remaining) {
            standing.set(of, class, rate, level);
        }
    }
    standing
}

#[cfg(test)]
mod tests;
