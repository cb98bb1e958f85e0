//! What a refusal says: to the client, what is wrong and what to do; to the auditor, the same without a
//! client's own words.

use super::{Forbidden, Refusal, TokenFault, whole_seconds};
use crate::json::Object;

impl Refusal {
    /// The sentence in the envelope. Holds no word of ours that a client may not see, and of a client's own
    /// only what it sent in this call.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::MalformedRequest(what) => format!(
                "the request is not well-formed HTTP: {what}; correct the client, or a proxy in between"
            ),
            Self::HeadersTooLarge => "the request's headers are too large; send fewer or shorter ones".into(),
            Self::AddressLimited { retry_after } => format!(
                "too many unidentified requests from this address; wait {} s",
                whole_seconds(*retry_after)
            ),
            Self::Overloaded { .. } => "too many connections or calls at once; try again shortly".into(),
            Self::TargetSpelling(what) => format!("the path holds {what}; spell it exactly as documented"),
            Self::UnknownRoute => "no such route; use \
                /client/v4/accounts/{account_id}/magic/ipsec_tunnels or what is below it"
                .into(),
            Self::MethodNotAllowed { allow } => format!("this method is not served here; use {allow}"),
            Self::BadQuery(what) => format!("the query holds {what}; send `validate_only=true` or `false`, once, on changes, and nothing else"),
            Self::BadHeader { name, what } => {
                with_remedy(format!("the header `{name}` {what}"), "correct it or leave it out")
            }

            Self::BodyTooLarge { limit } => format!("the body is larger than {limit} bytes; split the call"),
            Self::BodyTimeout => "the body did not arrive in time; send it at once".into(),
            Self::BodyIncomplete => "the body ended before its declared length; send all of it".into(),
            Self::ContentType => "the body is not declared as JSON; send `content-type: application/json`".into(),
            Self::ContentEncoding => "an encoded body is not taken; send it without `content-encoding`".into(),
            Self::BodyUnexpected => "this operation takes no body; leave it out".into(),
            Self::BadJson(error) => format!("the body is not acceptable JSON: {error}; correct it there"),
            Self::BadBody { what, .. } => {
                with_remedy(format!("the body is not acceptable: {what}"), "correct what `source.pointer` names")
            }

            Self::TokenMissing { legacy_headers: false } => {
                "no token; send your internal JWT as `Authorization: Bearer`".into()
            }
            Self::TokenMissing { legacy_headers: true } => "no token: `X-Auth-Key` and `X-Auth-Email` are not \
                accepted here; unset CLOUDFLARE_API_KEY and CLOUDFLARE_EMAIL, and set CLOUDFLARE_API_TOKEN to your \
                internal JWT"
                .into(),
            Self::TokenAmbiguous => "more than one `Authorization` header; send exactly one".into(),
            Self::TokenInvalid(fault) => token_message(fault),
            Self::TokenRevoked => "this token has been revoked; ask for a new one".into(),
            Self::KeysUnavailable { .. } => {
                "this token's key is not known, and its issuer's keys can't be fetched at the moment; try again shortly"
                    .into()
            }
            Self::QuotaSpent { of, class, retry_after } => format!(
                "the {of}'s quota of {} calls is spent; wait {} s",
                class.name(),
                whole_seconds(*retry_after)
            ),
            Self::BudgetSpent { retry_after } => format!(
                "the budget of upstream calls that all callers share is spent; wait {} s",
                whole_seconds(*retry_after)
            ),
            Self::Forbidden(forbidden) => forbidden_message(forbidden),
            Self::StateUnreadable { why } => {
                format!("the tunnel's present state, which the decision needs, can't be read: {why}; try again \
                     shortly")
            }
            Self::TunnelUnknown => "no such IPsec tunnel in this account; look up its id in the list of tunnels".into(),
            Self::PreconditionFailed => {
                "the tunnel has changed since it was read: `If-Match` names another state; read it again".into()
            }
            Self::TunnelBusy { .. } => "another call on this tunnel is not finished yet; try again shortly".into(),
            Self::Repeat { first } => format!(
                "this looks like a retry of request {first}, which may have happened; look the tunnel up, and make a \
                 new call only if it did not"
            ),
            Self::ClientGone => "the connection was closed before anything was sent; send the call again".into(),
            Self::AuditUnavailable { why } => {
                format!("the audit store can't take a record ({why}), so nothing was done; try again shortly")
            }
            Self::UpstreamToken(why) => format!(
                "this proxy's own upstream token can't be used: {why}; ask those who run it to see what \
                 `tunnelwarden check` says"
            ),
            Self::UpstreamUnreachable => "no connection to the upstream, so nothing was sent; try again shortly".into(),
            Self::UpstreamTimeout => {
                "the upstream did not answer in time, and what was asked may have happened; look the tunnel up before you \
                 call again"
                    .into()
            }
            Self::UpstreamDropped => {
                "the upstream broke off without an answer, and what was asked may have happened; look the tunnel up before \
                 you call again"
                    .into()
            }
            Self::UpstreamAnswer(what) => format!(
                "the upstream's answer can't be used: {what}, and what was asked may have happened; look the tunnel up \
                 before you call again"
            ),
            Self::Internal => "an internal fault of this proxy; give those who run it the request id, which finds it in the log".into(),
        }
    }

    /// Where in the body the fault lies, for `source.pointer`.
    #[must_use]
    pub fn pointer(&self) -> Option<&str> {
        match self {
            Self::BadJson(error) => Some(&error.pointer),
            Self::BadBody { pointer, .. } => Some(pointer),
            Self::Forbidden(forbidden) => forbidden.pointer.as_deref(),
            Self::MalformedRequest(_)
            | Self::HeadersTooLarge
            | Self::AddressLimited { .. }
            | Self::Overloaded { .. }
            | Self::TargetSpelling(_)
            | Self::UnknownRoute
            | Self::MethodNotAllowed { .. }
            | Self::BadQuery(_)
            | Self::BadHeader { .. }
            | Self::BodyTooLarge { .. }
            | Self::BodyTimeout
            | Self::BodyIncomplete
            | Self::ContentType
            | Self::ContentEncoding
            | Self::BodyUnexpected
            | Self::TokenMissing { .. }
            | Self::TokenAmbiguous
            | Self::TokenInvalid(_)
            | Self::TokenRevoked
            | Self::KeysUnavailable { .. }
            | Self::QuotaSpent { .. }
            | Self::BudgetSpent { .. }
            | Self::StateUnreadable { .. }
            | Self::TunnelUnknown
            | Self::PreconditionFailed
            | Self::TunnelBusy { .. }
            | Self::Repeat { .. }
            | Self::ClientGone
            | Self::AuditUnavailable { .. }
            | Self::UpstreamToken(_)
            | Self::UpstreamUnreachable
            | Self::UpstreamTimeout
            | Self::UpstreamDropped
            | Self::UpstreamAnswer(_)
            | Self::Internal => None,
        }
    }

    /// The member `refusal` of an entry: `name`, `code`, `message`, and for repeats `first`. The pointer
    /// is left to `audit`, which knows the names that may be stored.
    #[must_use]
    pub fn record(&self) -> Object {
        let mut record = Object::new();
        record.set("name", self.name());
        record.set("code", self.terms().code);
        if let Self::TokenInvalid(fault) = self {
            record.set("fault", <&'static str>::from(fault));
        }
        record.set("message", self.message());
        if let Self::Repeat { first } | Self::TokenInvalid(TokenFault::Used { first }) = self {
            record.set("first", first.to_string());
        }
        record
    }
}

/// A message with a remedy, unless what is wrong already says one.
fn with_remedy(message: String, remedy: &str) -> String {
    if message.contains("; ") { message } else { format!("{message}; {remedy}") }
}

fn token_message(fault: &TokenFault) -> String {
    match fault {
        TokenFault::Scheme => "`Authorization` is not `Bearer` and one token; send it so, with one space between".into(),
        TokenFault::TooLarge => "the token is larger than is taken; ask for one with fewer claims".into(),
        TokenFault::Malformed => "the token is not a well-formed JWT; send your internal one, not a Cloudflare token".into(),
        TokenFault::CriticalHeader => {
            "the token's header asks for what is not served here: `crit`, `b64`, encryption, or a key of its own; \
             ask its issuer for a plain signed one"
                .into()
        }
        TokenFault::Algorithm => "the token's algorithm is not one that its issuer uses here; ask its issuer for another, or those who run this \
             proxy to allow it"
                .into(),
        TokenFault::Issuer => "the token's issuer is not known here; get a token that is meant for this service".into(),
        TokenFault::UnknownKey => "the token names a key that its issuer does not publish (any more); get a new token".into(),
        TokenFault::Signature => "the token's signature does not verify, so it was changed or signed by somebody else; get a new one".into(),
        TokenFault::Expired => "the token has expired; get a new one".into(),
        TokenFault::NotYetValid => "the token is not valid yet; check the clocks".into(),
        TokenFault::Audience => "the token is not meant for this service (`aud`); get one that is".into(),
        TokenFault::Lifetime => {
            "the token is valid for longer than is allowed here; ask for a shorter one".into()
        }
        TokenFault::BindingKind => {
            "the token is bound to its client in a way that is not served here: only `x5t#S256` in `cnf` is; ask its issuer for that"
                .into()
        }
        TokenFault::Binding => {
            "the token is bound to a client certificate (`cnf`) that this connection does not have; use it with that one"
                .into()
        }
        TokenFault::Unbound => {
            "the token is not bound to a certificate, and this issuer's must be (`cnf`); ask its issuer for one that is \
             bound to yours"
                .into()
        }
        TokenFault::Used { first } => format!(
            "the token was used up by request {first}, and is good for one secret only; get a new one, and if that request \
             was not yours, tell those who run this proxy"
        ),
        TokenFault::Claim { pointer } => {
            format!("the token's claim at `{pointer}` is missing or of the wrong type; ask its issuer to set it")
        }
    }
}

fn forbidden_message(forbidden: &Forbidden) -> String {
    let action = forbidden.action;
    let mut message = if forbidden.policies.is_empty() {
        format!("no policy lets you `{action}` here")
    } else {
        format!("policy `{}` does not let you `{action}` here", forbidden.policies.join("`, `"))
    };
    message.push_str("; ");
    message.push_str(forbidden.advice.as_deref().unwrap_or("ask those who keep the policy"));
    message
}
