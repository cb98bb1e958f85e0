//! The field table: every member that a tunnel, or the answer that holds it, is known to have.
//!
//! One table serves four readers, so that they cannot disagree: what a client may send (`tunnel::body`), what
//! counts as the same state (`tunnel::state`), what weakens (`tunnel::change`), and what may stand in the
//! record as it is (`audit::redact`). What the table does not name is unknown: refused in a request, stored as
//! type and length in the record.
//!
//! Source: Cloudflare API, "Magic IPsec tunnels"; `remote_identities` from the Go client before version 1.
//! Not here: walking a value along the table (each reader's own file).

/// What kind of value a field has. `null` is taken for any of them and means that the field is left out.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A string.
    Text,
    /// A string of free text that the upstream wrote: it may echo anything that it was sent.
    Prose,
    /// A string that is an RFC 6901 pointer into a request, so made of names that a client may have chosen.
    Pointer,
    /// A string that is secret, and what it is called in the record.
    Secret(&'static str),
    /// `true` or `false`.
    Flag,
    /// A number written as an integer.
    Integer,
    /// An object with these members.
    Group(&'static [Field]),
    /// A string, or an object with these members.
    TextOr(&'static [Field]),
    /// An array.
    List(&'static Kind),
    /// An object whose names are tunnel ids.
    ById(&'static Kind),
}

/// What the upstream makes of a field in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// A full replace sets it; left out, it falls back to its default.
    Asked,
    /// Not documented for requests, though not read-only either: sent, it counts as asked for; left out, it
    /// stays as it was.
    Tolerated,
    /// Of the upstream's making. Clients that read, modify and write send it back, and it is ignored.
    ReadOnly,
}

/// Which change of a field protects less than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weakens {
    /// None that can be told from the values.
    Never,
    /// Turning it on.
    WhenSet,
    /// Turning it off, or leaving it out.
    WhenUnset,
}

/// The value of a field that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// None, or one that the upstream works out. An empty text, list or object means the same.
    Empty,
    /// This truth value.
    Flag(bool),
    /// This text.
    Text(&'static str),
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The member's name.
    pub name: &'static str,
    /// What kind of value it has.
    pub kind: Kind,
    /// What the upstream makes of it in a request.
    pub sent: Sent,
    /// Its value when it is left out.
    pub absent: Absent,
    /// Which change of it protects less.
    pub weakens: Weakens,
    /// Changes by itself, so a difference in it is no change of configuration.
    pub volatile: bool,
    /// Has a value in every tunnel, so `null` is no way to leave it out.
    pub required: bool,
}

impl Field {
    const fn asked(name: &'static str, kind: Kind) -> Self {
        let (sent, absent, weakens) = (Sent::Asked, Absent::Empty, Weakens::Never);
        Self { name, kind, sent, absent, weakens, volatile: false, required: false }
    }

    const fn answered(name: &'static str, kind: Kind) -> Self {
        Self { sent: Sent::ReadOnly, ..Self::asked(name, kind) }
    }

    const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    const fn or(self, absent: Absent) -> Self {
        Self { absent, ..self }
    }

    const fn weakens(self, weakens: Weakens) -> Self {
        Self { weakens, ..self }
    }

    const fn volatile(self) -> Self {
        Self { volatile: true, ..self }
    }
}

use Kind::{ById, Flag, Group, Integer, List, Pointer, Prose, Secret, Text, TextOr};

/// A tunnel, as asked for and as answered.
///
/// Weakening is what takes a protection of the traffic or of its routing away, as far as values tell:
/// - `allow_null_cipher` on: packets may go unencrypted;
/// - `replay_protection` off: packets may be played again;
/// - `customer_endpoint` left out: the other end may be anywhere;
/// - `bgp.md5_key` left out: the routing session takes any peer that reaches it;
/// - `bgp.import_filter_id`, `bgp.export_filter_id` left out: routes pass unfiltered.
///
/// Not among them: a key, endpoint or filter replaced by another (values don't tell which is better; `changed`
/// names the field), `custom_remote_identities` (it chooses which key is tried, and the key still decides) and
/// `health_check` (a question of availability).
pub const TUNNEL: &[Field] = &[
    Field::answered("id", Text),
    Field::asked("name", Text).required(),
    Field::asked("description", Text),
    Field::asked("cloudflare_endpoint", Text).required(),
    Field::asked("customer_endpoint", Text).weakens(Weakens::WhenUnset),
    Field::asked("interface_address", Text).required(),
    Field::asked("interface_address6", Text),
    Field::asked("psk", Secret("psk")),
    Field { sent: Sent::Tolerated, ..Field::asked("allow_null_cipher", Flag) }
        .or(Absent::Flag(false))
        .weakens(Weakens::WhenSet),
    Field::asked("replay_protection", Flag).or(Absent::Flag(false)).weakens(Weakens::WhenUnset),
    Field::asked("automatic_return_routing", Flag).or(Absent::Flag(false)),
    Field::asked("health_check", Group(HEALTH_CHECK)),
    Field::asked("bgp", Group(BGP)),
    Field::asked("custom_remote_identities", Group(&[Field::asked("fqdn_id", Text)])),
    Field::answered("remote_identities", Group(REMOTE_IDENTITIES)),
    Field::answered("bgp_status", Group(BGP_STATUS)).volatile(),
    Field::answered("psk_metadata", Group(PSK_METADATA)),
    Field::answered("created_on", Text),
    Field::answered("modified_on", Text).volatile(),
];

const HEALTH_CHECK: &[Field] = &[
    Field::asked("enabled", Flag).or(Absent::Flag(true)),
    Field::asked("rate", Text).or(Absent::Text("mid")),
    Field::asked("type", Text).or(Absent::Text("reply")),
    Field::asked("direction", Text).or(Absent::Text("unidirectional")),
    // A string, or with `x-magic-new-hc-target: true` an object.
    Field::asked("target", TextOr(TARGET)),
];

const TARGET: &[Field] = &[Field::answered("effective", Text), Field::asked("saved", Text)];

const BGP: &[Field] = &[
    Field::asked("customer_asn", Integer).required(),
    Field::asked("extra_prefixes", List(&Text)),
    Field::asked("md5_key", Secret("md5_key")).weakens(Weakens::WhenUnset),
    Field::asked("import_filter_id", Text).weakens(Weakens::WhenUnset),
    Field::asked("export_filter_id", Text).weakens(Weakens::WhenUnset),
];

const BGP_STATUS: &[Field] = &[
    Field::answered("state", Text),
    Field::answered("bgp_state", Text),
    Field::answered("cf_speaker_ip", Text),
    Field::answered("cf_speaker_port", Integer),
    Field::answered("customer_speaker_ip", Text),
    Field::answered("customer_speaker_port", Integer),
    Field::answered("tcp_established", Flag),
    Field::answered("updated_at", Text),
];

const REMOTE_IDENTITIES: &[Field] =
    &[Field::answered("hex_id", Text), Field::answered("fqdn_id", Text), Field::answered("user_id", Text)];

const PSK_METADATA: &[Field] = &[Field::answered("last_generated_on", Text)];

/// One element of a *set PSKs* body.
pub const PSK_ENTRY: &[Field] =
    &[Field::asked("id", Text).required(), Field::asked("psk", Secret("psk")).required()];

/// What stands in `result`, over all operations; *create* answers a bare [`TUNNEL`] besides.
pub const RESULT: &[Field] = &[
    Field::answered("ipsec_tunnels", List(&Group(TUNNEL))),
    Field::answered("ipsec_tunnel", Group(TUNNEL)),
    Field::answered("modified", Flag),
    Field::answered("modified_ipsec_tunnels", List(&Group(TUNNEL))),
    Field::answered("modified_ipsec_tunnel", Group(TUNNEL)),
    Field::answered("deleted", Flag),
    Field::answered("deleted_ipsec_tunnel", Group(TUNNEL)),
    Field::answered("ipsec_tunnel_id", Text),
    Field::answered("ipsec_id", Text),
    Field::answered("psk", Secret("psk")),
    Field::answered("psk_metadata", Group(PSK_METADATA)),
    Field::answered("successfully_applied_psks", ById(&Group(APPLIED_PSK))),
    Field::answered("unapplied_psks", ById(&Prose)),
];

const APPLIED_PSK: &[Field] = &[
    Field::answered("ipsec_tunnel_id", Text),
    Field::answered("ipsec_id", Text),
    Field::answered("psk", Secret("psk")),
    Field::answered("psk_metadata", Group(PSK_METADATA)),
];

/// The envelope around `result`, which is left to [`RESULT`].
pub const ENVELOPE: &[Field] = &[
    Field::answered("success", Flag),
    Field::answered("errors", List(&Group(MESSAGE))),
    Field::answered("messages", List(&Group(MESSAGE))),
];

const MESSAGE: &[Field] = &[
    Field::answered("code", Integer),
    Field::answered("message", Prose),
    Field::answered("documentation_url", Prose),
    Field::answered("source", Group(&[Field::answered("pointer", Pointer)])),
];

/// The row of that name in a table.
#[must_use]
pub fn row(table: &'static [Field], name: &str) -> Option<&'static Field> {
    table.iter().find(|field| field.name == name)
}

/// The row of a tunnel's field by its path with dots, such as `bgp.md5_key`.
#[must_use]
pub fn field(path: &str) -> Option<&'static Field> {
    let mut table = TUNNEL;
    let mut found = None;
    for name in path.split('.') {
        found = Some(row(table, name)?);
        table = match found?.kind {
            Group(inner) | TextOr(inner) => inner,
            Text | Prose | Pointer | Secret(_) | Flag | Integer | List(_) | ById(_) => &[],
        };
    }
    found
}

/// Whether `name` is a member's name anywhere in requests or answers.
#[must_use]
pub fn is_name(name: &str) -> bool {
    fn in_table(table: &'static [Field], name: &str) -> bool {
        table.iter().any(|field| field.name == name || in_kind(&field.kind, name))
    }
    fn in_kind(kind: &'static Kind, name: &str) -> bool {
        match kind {
            Group(inner) | TextOr(inner) => in_table(inner, name),
            List(inner) | ById(inner) => in_kind(inner, name),
            Text | Prose | Pointer | Secret(_) | Flag | Integer => false,
        }
    }
    matches!(name, "result" | "psks") || in_table(RESULT, name) || in_table(ENVELOPE, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_path() {
        assert!(matches!(field("bgp.md5_key").unwrap().kind, Secret("md5_key")));
        assert!(field("health_check.target.saved").is_some());
        assert!(field("name.x").is_none() && field("md5_key").is_none() && field("").is_none());
    }

    #[test]
    fn every_field_of_the_specification_has_a_row() {
        for name in [
            "automatic_return_routing",
            "bgp.customer_asn",
            "bgp.export_filter_id",
            "bgp.extra_prefixes",
            "bgp.import_filter_id",
            "bgp_status.customer_speaker_port",
            "cloudflare_endpoint",
            "custom_remote_identities.fqdn_id",
            "health_check.direction",
            "health_check.target.effective",
            "interface_address6",
            "psk_metadata.last_generated_on",
            "replay_protection",
        ] {
            assert!(field(name).is_some(), "{name}");
        }
    }

    #[test]
    fn names_are_known_at_any_depth_and_nothing_else_is() {
        for name in ["psk", "saved", "md5_key", "pointer", "unapplied_psks", "ipsec_id", "psks", "result"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "PSK", "0", "hunter2", "na"] {
            assert!(!is_name(name), "{name}");
        }
    }
}
