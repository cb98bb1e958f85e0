//! An entry of the record: one JSON text, written once and never changed.
//!
//! Every entry has `kind`, `id`, `time` and `request_id`; the members that follow are given in the table.
//! A member that is not known is left out, so `json_extract` answers NULL.
//!
//! | member | in | what |
//! |---|---|---|
//! | `subject`, `teams`, `roles`, `issuer`, `jti`, `key_id` | calls | the caller, once identified |
//! | `refused_token` | refusals, refused reads | `{subject, issuer, jti?, key_id?}`: whose token came, where it is good but revoked or not in its owner's hands; who sent it may be anybody |
//! | `client_address`, `user_agent`, `retry_count` | calls | where the call came from |
//! | `client_certificate` | calls | SHA-256 of the certificate that the client proved to have, in base64url: the `x5t#S256` of RFC 8705 |
//! | `operation`, `account`, `validate_only` | calls | what was asked, once the route is known |
//! | `tunnels` | calls | array of `{id?, name?}`: what it was asked of, and what it created |
//! | `method`, `path` | refusals without a route | the request line, bounded, where it is no operation |
//! | `decision`, `policies`, `policy_digest` | calls | `allow` or `deny`, the deciding policies' ids, and of which policy text |
//! | `changed`, `weakened` | writes | names of the fields that the call would change, and of those that weaken security |
//! | `request` | calls | `{size, digest, body?}`, the body redacted |
//! | `request_key` | one-shot intents, and others that use up a token | keyed digest by which a repeat is recognized |
//! | `token_used` | intents | keyed digest of the token's issuer and `jti`, where this call used the token up: it is good for no other secret |
//! | `state_before` | intents | array of redacted tunnels as read before the change |
//! | `intent_id` | outcomes and resolutions of writes | the `id` of the intent |
//! | `sent` | outcomes | `yes`, `no`, `unknown`: whether the call may have reached the upstream |
//! | `status` | outcomes, refusals | the status answered to the client |
//! | `refusal` | refusals, failed outcomes | `{name, code, fault?, message, pointer?, first?}` |
//! | `upstream` | outcomes | `{status, cf_ray?, error_codes?}` |
//! | `response` | outcomes | `{size, digest, content_type?, body?}`, the body redacted |
//! | `request_response_diff` | outcomes of writes | RFC 6902 patch from what was asked to what the upstream made of it, with `old` |
//! | `before_after_diff` | outcomes of writes, resolutions | array of `{tunnel, patch}`: what changed, with `old` |
//! | `results` | bulk and set PSKs | array of `{tunnel, applied, reason?, psk?}`, `psk` being the fingerprint of the key that was asked for |
//! | `client_gone` | outcomes | `true` where the client had hung up before its answer was ready |
//! | `ambiguous` | outcomes of writes | `true` where the upstream may have acted without our knowing; a `resolved` entry follows |
//! | `recorded_late` | intents, outcomes, resolutions, refusals | `true` where the store could not take it when it happened |
//! | `left_out` | entries of calls but intents | parts that are missing because the entry would have been too large, such as `response.body` |
//! | `duration_us`, `stages_us` | outcomes, refusals | microseconds, in all and by stage |
//! | `resolution`, `evidence` | resolutions | `applied`, `not applied` or `can't tell`, and what it rests on |
//! | `version`, `config_digest` | `started` | of the program and its configuration |
//! | `fingerprint_key_id` | `started` | of the key of all fingerprints from then on, as it stands in each of them: those by another key can't be compared with them |
//! | `ended_before` | `started`, `heartbeat` | a `seq`: each intent before it has its outcome or resolution before this entry |
//! | `heartbeat_s` | `started`, `heartbeat` | seconds until the next heartbeat, at most: a longer silence is an interruption |
//! | `read` | `audit_read` | `{door, what?, id?, filter?, depth?, covers_until?}`: by which way what was asked, how deep, and until when this entry tells of the same question |
//! | `policy_digest`, `policy_digest_before` | `reloaded` | of the policy text from then on and before |
//! | `config_digest`, `config_digest_before`, `parts` | `reloaded` | of the configuration from then on and before, and which parts changed: `policy`, `issuers`, `revocation`, `certificate`, `upstream_token`, `limits`, `log` |
//! | `policy_digest`, `config_digest`, `problems` | `reload_refused` | of what stays in force, and what keeps the change out: array of `{of, what, keys?, found?, in_force?}`, `of` being `configuration` or `file`, `what` being `not_good`, `missing`, `unreadable` or `needs_restart`, and the last two digests of the file: `sha256:<hex>`, or keyed where it may hold a secret |
//! | `expected` | intents | for each tunnel, what tells later whether the call came about: `{tunnel?, name?, before?, after?, key_before?, replaces_key}`, `before` and `after` as `ETag`s |
//! | `old_key`, `new_key` | `key_rotated` | public keys: this entry is the last that the old one signs, the new one signs what follows |
//! | `operator` | `key_rotated`, `archived` | `{uid, user?, sudo_user?}`: who ran the command, the names as their environment has them |
//! | `findings`, `settled` | `reconciled` | what is new: array of `{what, key, account, ...}` (`reconcile::finding`), and keys of findings that came to nothing |
//! | `accounts` | `reconciled` | what was compared: array of `{account, since, until, keys_until, keys_unread?, rows, changes, ours, by_intent, failed, holes}` |
//! | `from`, `to`, `before`, `file`, `stubs` | `archived` | `seq`s of the first entry whose parts are in the archive and of the first behind them, before which time they are, `{name, sha256, bytes}`, and the root of the tree over what stays of them |
//! | `archived` | what stays of entries whose text is in an archive | `{parts}`: what is no longer here, or not whole |
//!
//! Not here: what is secret in a body (`audit::redact`), the log (`store`), the proofs (`seal`).

mod form;

use jiff::Timestamp;
use uuid::Uuid;

pub use form::{DEPTH, FormError, check_members, parse, read, written};

use crate::clock::rfc3339;
use crate::json::{Json, Object};

/// What an entry tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A write is about to be sent.
    Intent,
    /// A call was answered.
    Outcome,
    /// A call was refused, and nothing was sent.
    Refusal,
    /// What became of an intent that a crash left without an outcome.
    Resolved,
    /// Somebody read the record.
    AuditRead,
    /// The process started.
    Started,
    /// The process stopped, in order.
    Stopped,
    /// Policy or configuration was replaced.
    Reloaded,
    /// Policy or configuration was changed, and what was before stays in force.
    ReloadRefused,
    /// The process is alive, whether anybody calls or not.
    Heartbeat,
    /// The record was compared with the upstream's own audit logs.
    Reconciled,
    /// Another key signs the log from here on.
    KeyRotated,
    /// Bodies of old entries were moved out into an archive.
    Archived,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 13] = [
        Self::Intent,
        Self::Outcome,
        Self::Refusal,
        Self::Resolved,
        Self::AuditRead,
        Self::Started,
        Self::Stopped,
        Self::Reloaded,
        Self::ReloadRefused,
        Self::Heartbeat,
        Self::Reconciled,
        Self::KeyRotated,
        Self::Archived,
    ];

    /// The name in the record.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Outcome => "outcome",
            Self::Refusal => "refusal",
            Self::Resolved => "resolved",
            Self::AuditRead => "audit_read",
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::Reloaded => "reloaded",
            Self::ReloadRefused => "reload_refused",
            Self::Heartbeat => "heartbeat",
            Self::Reconciled => "reconciled",
            Self::KeyRotated => "key_rotated",
            Self::Archived => "archived",
        }
    }
}

/// An entry that is being put together.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it tells of.
    pub kind: Kind,
    /// Its own id.
    pub id: Uuid,
    /// When it was made.
    pub time: Timestamp,
    /// The call it belongs to; its own id where it belongs to none.
    pub request_id: Uuid,
    /// The members that follow the four.
    pub members: Object,
}

impl Entry {
    /// The whole entry as one value.
    #[must_use]
    pub fn into_json(self) -> Json {
        let mut whole = Object::with_capacity(4 + self.members.len());
        whole.set("kind", self.kind.name());
        whole.set("id", self.id.to_string());
        whole.set("time", rfc3339(self.time));
        whole.set("request_id", self.request_id.to_string());
        whole.append(self.members);
        Json::Object(whole)
    }
}
