//! How much a caller may ask for, how much all callers may ask of the upstream, and how much work an address
//! may cause before anybody there is identified.
//!
//! Three limits, because they protect three things: [`Limiter`] one caller from another, [`Budget`] all callers
//! from the upstream's own lockout (on a breach it refuses everybody for minutes), [`AddressGate`] this process
//! from senders without a token. All state is in memory, bounded, and forgotten at a restart: a quota that
//! starts full after a restart gives away at most one burst.
//!
//! Where several replicas write one record, quotas and budget are kept in its database as well, and that decides
//! (`limit::replicas`, `limit::budget::replicas`). While it can't be asked, reads are decided by what is counted here, and
//! writes are refused.
//!
//! Not here: connection and body limits (`listen`), what is written into an answer (`respond`).

mod address;
mod budget;
#[cfg(test)]
mod cut;
mod fields;
mod keyed;
#[cfg(test)]
mod properties;
mod replicas;
mod standing;

use std::sync::Arc;

use crate::caller::Caller;
use crate::clock::Clock;
use crate::config;
use crate::operation::Class;
use crate::refusal::Refusal;
use crate::share::{Away, Shared};

pub use address::AddressGate;
pub use budget::{Budget, Taken};
use keyed::{Key, Keyed, Level, key};
use replicas::{Replicas, Unfit};
pub use standing::Standing;

const SUBJECT: &str = "subject";
const TEAM: &str = "team";

/// The quotas of subjects and teams, by class of operation.
#[derive(Debug)]
pub struct Limiter {
    subject: PerClass,
    team: PerClass,
    clock: Arc<dyn Clock>,
    replicas: Option<Arc<Replicas>>,
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
    class: Class,
}

impl Share<'_> {
    /// The quota's name where all quotas are kept together.
    fn everywhere(&self) -> Key {
        let mut key = self.key;
        if let Some(first) = key.first_mut() {
            *first = match self.class {
                Class::Read => 0,
                Class::Write => 1,
                Class::Secret => 2,
            } + if self.of == TEAM { 8 } else { 0 };
        }
        key
    }
}

impl Limiter {
    /// Full quotas; those that replicas share, where there are several.
    #[must_use]
    pub fn new(limits: &config::Limits, clock: Arc<dyn Clock>, shared: Option<Shared>) -> Self {
        let (subject, team) = (PerClass::new(&limits.subject, &clock), PerClass::new(&limits.team, &clock));
        let replicas = shared.map(|shared| Arc::new(Replicas::new(shared, Arc::clone(&clock))));
        Self { subject, team, clock, replicas }
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
            replicas: self.replicas.clone(),
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
    /// [`Refusal::QuotaSpent`], with what is left of each quota; [`Refusal::AuditUnavailable`] for a write or a secret
    /// while replicas can't ask for what they share.
    pub async fn admit(&self, caller: &Caller, class: Class) -> Result<Admitted, Refused> {
        let shares = self.shares(caller, class);
        take_here(&shares, class)?;
        match &self.replicas {
            // Apart, as it is far larger: whoever is alone need not carry it.
            Some(replicas) if !shares.is_empty() => Box::pin(take_everywhere(replicas, &shares, class)).await,
            Some(_) | None => Ok(Admitted {
                standing: standing(&shares, class, None, |share| share.quota.level(&share.key)),
            }),
        }
    }

    /// Takes one more call of `class` for work that a call causes beyond itself: a state read by the proxy
    /// (class read), a PSK in an ordinary body (class secret). Same rules as [`Limiter::admit`].
    ///
    /// # Errors
    /// Those of [`Limiter::admit`].
    pub async fn charge(&self, caller: &Caller, class: Class) -> Result<Admitted, Refused> {
        self.admit(caller, class).await
    }

    fn shares<'a>(&'a self, caller: &Caller, class: Class) -> Vec<Share<'a>> {
        let subject = self.subject.of(class).map(|quota| Share {
            of: SUBJECT,
            quota,
            key: key(&[&caller.issuer, &caller.subject]),
            class,
        });
        let teams = self.team.of(class).into_iter().flat_map(|quota| {
            caller.teams.iter().map(move |team| Share { of: TEAM, quota, key: key(&[team]), class })
        });
        subject.into_iter().chain(teams).collect()
    }
}

/// Takes from this process's own count.
fn take_here(shares: &[Share<'_>], class: Class) -> Result<(), Refused> {
    for (at, share) in shares.iter().enumerate() {
        if let Err(retry_after) = share.quota.take(&share.key) {
            give_back(shares.iter().take(at));
            let standing = standing(shares, class, Some(at), |share| share.quota.level(&share.key));
            return Err(Refused {
                refusal: Refusal::QuotaSpent { of: share.of, class, retry_after },
                standing,
            });
        }
    }
    Ok(())
}

fn give_back<'a>(shares: impl IntoIterator<Item = &'a Share<'a>>) {
    shares.into_iter().for_each(|share| share.quota.give_back(&share.key));
}

/// Takes from what all replicas count together, after this one's own count had room. That has no more taken from it, so it
/// refuses nothing that the whole would allow, and is as it should be when it must decide alone.
async fn take_everywhere(
    replicas: &Replicas,
    shares: &[Share<'_>],
    class: Class,
) -> Result<Admitted, Refused> {
    let taken = replicas.take(shares).await;
    match taken {
        Ok(()) => Ok(Admitted { standing: standing(shares, class, None, |share| replicas.level(share)) }),
        Err(Unfit::Spent { at, wait }) => {
            give_back(shares);
            let of = shares.get(at).map_or(SUBJECT, |share| share.of);
            Err(Refused {
                refusal: Refusal::QuotaSpent { of, class, retry_after: wait },
                standing: standing(shares, class, Some(at), |share| replicas.level(share)),
            })
        }
        Err(Unfit::Away) => {
            let here = || standing(shares, class, None, |share| share.quota.level(&share.key));
            match class {
                Class::Read => Ok(Admitted { standing: here() }),
                Class::Write | Class::Secret => {
                    give_back(shares);
                    Err(Refused { refusal: Away.into(), standing: here() })
                }
            }
        }
    }
}

/// The numbers for the headers. Of several teams the one with the least left is told, as that one will refuse.
fn standing(
    shares: &[Share<'_>],
    class: Class,
    refused: Option<usize>,
    level_of: impl Fn(&Share<'_>) -> Level,
) -> Standing {
    let mut standing = Standing::default();
    for of in [SUBJECT, TEAM] {
        let level = |(at, share): (usize, &Share<'_>)| {
            let mut level = level_of(share);
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
