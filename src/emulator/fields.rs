//! The rules for a tunnel as sent: which fields there are, what fits in them, what stands in for those left out.
//!
//! Source: Cloudflare's OpenAPI description of `magic_ipsec_tunnel_add_single_request`. Unknown members are
//! ignored and read-only ones too, as clients send back what they were given. Not here: rules between tunnels
//! (`tunnels`).

use std::net::{IpAddr, Ipv4Addr};

use super::answer::{Problem, object};
use crate::json::{Json, Object};
use crate::operation::AccountId;
use crate::secret::SecretString;

/// Error code of a field that does not fit.
pub(super) const INVALID: u32 = 1001;

/// How `health_check.target` is written, by the header `x-magic-new-hc-target`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TargetForm {
    /// A string.
    Text,
    /// `{effective, saved}`.
    Object,
}

/// A tunnel as it should be: every default filled in.
#[derive(Clone)]
pub(super) struct Wanted {
    /// All plain members, with `health_check.target` as the saved text (maybe empty).
    pub(super) settings: Object,
    pub(super) psk: Option<SecretString>,
}

/// Reads a tunnel as sent; `at` is the RFC 6901 pointer to it.
pub(super) fn wanted(
    sent: &Json,
    at: &str,
    form: TargetForm,
    account: AccountId,
) -> Result<Wanted, Vec<Problem>> {
    let Some(sent) = sent.as_object() else {
        return Err(vec![Problem::at(INVALID, at, "an IPsec tunnel must be an object")]);
    };
    let mut fields = Fields { sent, at: at.to_owned(), problems: Vec::new() };
    let mut settings = Object::new();
    for name in ["name", "cloudflare_endpoint", "interface_address"] {
        fields.required(name);
    }
    fields.copy_text(&mut settings, "name", &|text| {
        (!text.is_empty() && text.len() <= 255 && !text.chars().any(char::is_control))
            .then_some(())
            .ok_or("must be 1 to 255 printable characters")
    });
    fields.copy_text(&mut settings, "description", &|_| Ok(()));
    fields.copy_text(&mut settings, "cloudflare_endpoint", &ip);
    fields.copy_text(&mut settings, "customer_endpoint", &|text| {
        if text.is_empty() { Ok(()) } else { ip(text) }
    });
    fields.copy_text(&mut settings, "interface_address", &interface_address);
    fields.copy_text(&mut settings, "interface_address6", &interface_address6);
    for (name, default) in
        [("allow_null_cipher", false), ("replay_protection", false), ("automatic_return_routing", false)]
    {
        let value = fields.flag(name, default);
        settings.set(name, value);
    }
    if let Some(bgp) = fields.inner("bgp", bgp) {
        settings.set("bgp", bgp);
    }
    if let Some(identities) = fields.inner("custom_remote_identities", |inner| identities(inner, account)) {
        settings.set("custom_remote_identities", identities);
    }
    let none = Object::new();
    let mut health = fields.inner_or_empty("health_check", &none);
    let health_check = health_check(&mut health, form);
    let problems = health.problems;
    fields.problems.extend(problems);
    settings.set("health_check", health_check);
    let psk = fields.text("psk").map(str::to_owned);
    if psk.as_deref() == Some("") {
        fields.wrong("psk", "must not be empty");
    }
    if fields.problems.is_empty() {
        Ok(Wanted { settings, psk: psk.map(SecretString::from) })
    } else {
        Err(fields.problems)
    }
}

/// The members of one object, and what is wrong with them.
struct Fields<'a> {
    sent: &'a Object,
    at: String,
    problems: Vec<Problem>,
}

type Rule<'r> = &'r dyn Fn(&str) -> Result<(), &'static str>;

impl<'a> Fields<'a> {
    /// The member, with `null` as good as left out.
    fn get(&self, name: &str) -> Option<&'a Json> {
        self.sent.get(name).filter(|value| **value != Json::Null)
    }

    fn pointer(&self, name: &str) -> String {
        format!("{}/{name}", self.at)
    }

    fn wrong(&mut self, name: &str, what: &str) {
        let problem = Problem::at(INVALID, self.pointer(name), format!("{name} {what}"));
        self.problems.push(problem);
    }

    fn required(&mut self, name: &str) {
        if self.get(name).is_none() {
            self.wrong(name, "is required");
        }
    }

    fn text(&mut self, name: &str) -> Option<&'a str> {
        let value = self.get(name)?;
        let text = value.as_str();
        if text.is_none() {
            self.wrong(name, &format!("must be a string, not {}", value.type_name()));
        }
        text
    }

    fn copy_text(&mut self, to: &mut Object, name: &'static str, rule: Rule<'_>) {
        let Some(text) = self.text(name) else { return };
        match rule(text) {
            Ok(()) => to.set(name, text),
            // The real one quotes the value at fault; so does this one.
            Err(what) => self.wrong(name, &format!("{what}, got '{text}'")),
        }
    }

    fn flag(&mut self, name: &str, default: bool) -> bool {
        let Some(value) = self.get(name) else { return default };
        value.as_bool().unwrap_or_else(|| {
            self.wrong(name, &format!("must be a boolean, not {}", value.type_name()));
            default
        })
    }

    fn one_of(&mut self, name: &str, known: &[&'static str], default: &'static str) -> &'static str {
        let Some(text) = self.text(name) else { return default };
        let found = known.iter().copied().find(|word| *word == text);
        found.unwrap_or_else(|| {
            self.wrong(name, &format!("must be one of {}, got '{text}'", known.join(", ")));
            default
        })
    }

    fn inner(&mut self, name: &str, read: impl FnOnce(&mut Fields<'a>) -> Json) -> Option<Json> {
        let value = self.get(name)?;
        let Some(sent) = value.as_object() else {
            self.wrong(name, &format!("must be an object, not {}", value.type_name()));
            return None;
        };
        let mut inner = Fields { sent, at: self.pointer(name), problems: Vec::new() };
        let shown = read(&mut inner);
        self.problems.append(&mut inner.problems);
        Some(shown)
    }

    fn inner_or_empty<'b>(&mut self, name: &str, none: &'b Object) -> Fields<'b>
    where
        'a: 'b,
    {
        let at = self.pointer(name);
        let sent = match self.get(name) {
            None => none,
            Some(Json::Object(sent)) => sent,
            Some(other) => {
                self.wrong(name, &format!("must be an object, not {}", other.type_name()));
                none
            }
        };
        Fields { sent, at, problems: Vec::new() }
    }
}

fn health_check(fields: &mut Fields<'_>, form: TargetForm) -> Json {
    let target = match (form, fields.get("target")) {
        (_, None) => "",
        (TargetForm::Text, Some(Json::String(text))) => text,
        (TargetForm::Object, Some(Json::Object(target))) => {
            target.get("saved").and_then(Json::as_str).unwrap_or_default()
        }
        (TargetForm::Text, Some(_)) => {
            fields.wrong("target", "must be a string unless x-magic-new-hc-target is true");
            ""
        }
        (TargetForm::Object, Some(_)) => {
            fields.wrong("target", "must be an object when x-magic-new-hc-target is true");
            ""
        }
    };
    if !target.is_empty() && ip(target).is_err() {
        fields.wrong("target", &format!("must be an IP address, got '{target}'"));
    }
    object([
        ("enabled", Json::from(fields.flag("enabled", true))),
        ("rate", Json::from(fields.one_of("rate", &["low", "mid", "high"], "mid"))),
        ("type", Json::from(fields.one_of("type", &["reply", "request"], "reply"))),
        (
            "direction",
            Json::from(fields.one_of("direction", &["unidirectional", "bidirectional"], "unidirectional")),
        ),
        ("target", Json::from(target)),
    ])
}

fn bgp(fields: &mut Fields<'_>) -> Json {
    let mut shown = Object::new();
    fields.required("customer_asn");
    if let Some(asn) = fields.get("customer_asn") {
        match asn.as_i64().and_then(|n| u32::try_from(n).ok()) {
            Some(asn) => shown.set("customer_asn", asn),
            None => fields.wrong("customer_asn", "must be an integer from 0 to 4294967295"),
        }
    }
    let mut prefixes = Vec::new();
    match fields.get("extra_prefixes") {
        None => {}
        Some(Json::Array(items)) => {
            for (i, item) in items.iter().enumerate() {
                match item.as_str() {
                    Some(text) if cidr(text).is_some() => prefixes.push(text),
                    _ => fields.wrong(&format!("extra_prefixes/{i}"), "must be a prefix in CIDR notation"),
                }
            }
        }
        Some(_) => fields.wrong("extra_prefixes", "must be an array"),
    }
    shown.set("extra_prefixes", prefixes);
    fields.copy_text(&mut shown, "md5_key", &|key| {
        let fits = |b: u8| (b' '..=b'~').contains(&b) && b != b'"' && b != b'?';
        (!key.is_empty() && key.bytes().all(fits))
            .then_some(())
            .ok_or("must be non-empty printable ASCII without quotation and question marks")
    });
    fields.copy_text(&mut shown, "import_filter_id", &|_| Ok(()));
    fields.copy_text(&mut shown, "export_filter_id", &|_| Ok(()));
    shown.into()
}

fn identities(fields: &mut Fields<'_>, account: AccountId) -> Json {
    let mut shown = Object::new();
    let suffix = format!(".{account}.custom.ipsec.cloudflare.com");
    fields.copy_text(&mut shown, "fqdn_id", &|text| {
        let label = text.strip_suffix(&suffix).unwrap_or_default();
        (!label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
            .then_some(())
            .ok_or("must be <custom label>.<account id>.custom.ipsec.cloudflare.com")
    });
    shown.into()
}

fn ip(text: &str) -> Result<(), &'static str> {
    text.parse::<IpAddr>().map(|_| ()).map_err(|_| "must be an IP address")
}

fn cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let digits = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
    let length: u8 = length.parse().ok().filter(|n| digits && *n <= most)?;
    Some((address, length))
}

/// The inside address on Cloudflare's end and on the customer's, of a valid `interface_address`.
pub(super) fn ends(text: &str) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let Some((IpAddr::V4(here), 31)) = cidr(text) else { return None };
    Some((here, Ipv4Addr::from_bits(here.to_bits() ^ 1)))
}

fn interface_address(text: &str) -> Result<(), &'static str> {
    match ends(text) {
        Some((here, _)) if here.is_private() => Ok(()),
        Some(_) => Err("must be within 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16"),
        None => Err("must be an IPv4 address with a /31 prefix"),
    }
}

fn interface_address6(text: &str) -> Result<(), &'static str> {
    match cidr(text) {
        Some((IpAddr::V6(_), 127)) => Ok(()),
        _ => Err("must be an IPv6 address with a /127 prefix"),
    }
}
