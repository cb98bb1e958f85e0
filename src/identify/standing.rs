//! What is still to be asked of a caller that was identified: whether its token is over or revoked by now, and whether it is
//! good for one secret only.
//!
//! Not here: which tokens were used up (`audit::used`).

use std::time::Duration;

use jiff::Timestamp;

use super::{Identifier, claims};
use crate::caller::Caller;
use crate::config::Issuer;
use crate::refusal::{Refusal, TokenFault};

impl Identifier {
    /// Whether a caller that this one identified may still be acted for: its token is not over by now.
    ///
    /// # Errors
    /// [`TokenFault::Expired`]
    pub fn lasts(&self, caller: &Caller) -> Result<(), Refusal> {
        let own = self.issuers.iter().find(|trusted| trusted.rules.issuer == caller.issuer);
        let ends = own.map(|trusted| claims::end(caller.expires, &trusted.rules));
        if ends.is_some_and(|ends| self.clock.now().as_microsecond() < ends) {
            Ok(())
        } else {
            Err(Refusal::TokenInvalid(TokenFault::Expired))
        }
    }

    /// Until when the token of a caller that this one identified could come again, if it is good for one secret only.
    ///
    /// # Errors
    /// [`TokenFault::Claim`]: it has no `jti` by which it could be told from others.
    pub fn one_use(&self, caller: &Caller) -> Result<Option<Timestamp>, Refusal> {
        let own = self.issuers.iter().find(|trusted| trusted.rules.issuer == caller.issuer);
        let Some(own) = own.filter(|trusted| trusted.rules.one_use_for_secrets) else { return Ok(None) };
        if caller.jti.is_none() {
            return Err(Refusal::TokenInvalid(TokenFault::Claim { pointer: "/jti".to_owned() }));
        }
        let ends = claims::end(caller.expires, &own.rules);
        Ok(Some(Timestamp::from_microsecond(ends).unwrap_or(Timestamp::MAX)))
    }

    /// How long after it was used a token can come again at most, of all that are good for one secret only.
    #[must_use]
    pub fn used_tokens_last(&self) -> Duration {
        let of = |rules: &Issuer| rules.max_lifetime.saturating_add(rules.leeway.saturating_mul(2));
        let own = self.issuers.iter().map(|trusted| &trusted.rules).filter(|rules| rules.one_use_for_secrets);
        own.map(of).max().unwrap_or_default()
    }

    /// Whether a caller, whoever identified it, is revoked by none of what is revoked here.
    ///
    /// # Errors
    /// [`Refusal::TokenRevoked`]
    pub fn spares(&self, caller: &Caller) -> Result<(), Refusal> {
        let everywhere = self.everywhere.as_ref().map(|(everywhere, _)| everywhere);
        if self.revoked.names(caller) || everywhere.is_some_and(|everywhere| everywhere.names(caller)) {
            return Err(Refusal::TokenRevoked);
        }
        Ok(())
    }
}
