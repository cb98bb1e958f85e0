//! The tunnels of one account, and the rules between them.
//!
//! A write works on a copy of the account which takes the account's place when all of it went well: a call is
//! all or nothing, and `validate_only` is the same call without the last step. Not here: which fields a tunnel
//! has (`fields`), what a call answers (`operations`).

use http::StatusCode;
use jiff::Timestamp;

use super::answer::{Problem, Refused, object};
use super::fields::{INVALID, TargetForm, Wanted, ends};
use crate::clock::rfc3339;
use crate::json::{Json, Object};
use crate::secret::SecretString;

/// One tunnel as the emulator keeps it.
#[derive(Clone)]
pub(super) struct Tunnel {
    pub(super) id: String,
    /// Every plain member, defaults filled in; `health_check.target` as its saved text.
    settings: Object,
    pub(super) psk: Option<SecretString>,
    psk_on: Option<Timestamp>,
    created: Timestamp,
    modified: Timestamp,
}

impl Tunnel {
    fn text(&self, name: &str) -> &str {
        self.settings.get(name).and_then(Json::as_str).unwrap_or_default()
    }

    pub(super) fn name(&self) -> &str {
        self.text("name")
    }

    pub(super) fn set_psk(&mut self, psk: SecretString, now: Timestamp) {
        self.psk = Some(psk);
        self.psk_on = Some(now);
    }

    pub(super) fn psk_metadata(&self) -> Json {
        object([("last_generated_on", Json::from(self.psk_on.map(rfc3339)))])
    }

    /// The tunnel as answered: never with its PSK.
    pub(super) fn show(&self, form: TargetForm, now: Timestamp) -> Json {
        let mut shown = Object::from_iter([("id", self.id.as_str())]);
        for (name, value) in self.settings.iter() {
            shown.set(name.to_owned(), value.clone());
        }
        if let Some(Json::Object(health)) = shown.get_mut("health_check") {
            let saved = health.get("target").and_then(Json::as_str).unwrap_or_default().to_owned();
            let effective = self.effective_target(&saved);
            let target = match form {
                TargetForm::Text => Json::from(effective),
                TargetForm::Object => {
                    object([("effective", Json::from(effective)), ("saved", Json::from(saved))])
                }
            };
            health.set("target", target);
        }
        if self.settings.get("bgp").is_some() {
            shown.set("bgp_status", self.bgp_status(now));
        }
        shown.set("psk_metadata", self.psk_metadata());
        shown.set("created_on", rfc3339(self.created));
        shown.set("modified_on", rfc3339(self.modified));
        shown.into()
    }

    fn effective_target(&self, saved: &str) -> String {
        let direction = self.settings.get("health_check").and_then(|health| health.get("direction"));
        if direction.and_then(Json::as_str) == Some("bidirectional") {
            // The other end of the inside network, whatever was saved.
            return ends(self.text("interface_address"))
                .map_or_else(String::new, |(_, peer)| peer.to_string());
        }
        if saved.is_empty() { self.text("customer_endpoint").to_owned() } else { saved.to_owned() }
    }

    /// Volatile on purpose: time and port differ from one answer to the next.
    fn bgp_status(&self, now: Timestamp) -> Json {
        let (here, peer) = ends(self.text("interface_address"))
            .map_or_else(Default::default, |(here, peer)| (here.to_string(), peer.to_string()));
        // 49152 to 65535 are the ephemeral ports (RFC 6335 section 6).
        let port = 49_152 + now.as_microsecond().rem_euclid(16_384);
        object([
            ("state", Json::from("BGP_UP")),
            ("bgp_state", Json::from("ESTABLISHED")),
            ("cf_speaker_ip", Json::from(here)),
            ("cf_speaker_port", Json::from(179u16)),
            ("customer_speaker_ip", Json::from(peer)),
            ("customer_speaker_port", Json::from(port)),
            ("tcp_established", Json::from(true)),
            ("updated_at", Json::from(rfc3339(now))),
        ])
    }

    fn fqdn_id(&self) -> Option<&str> {
        self.settings.get("custom_remote_identities")?.get("fqdn_id")?.as_str()
    }
}

/// The tunnels of one account, oldest first.
#[derive(Clone, Default)]
pub(super) struct Tunnels(Vec<Tunnel>);

/// Tunnels that one account holds at most, as the real quota keeps an account small: memory stays bounded.
const MOST: usize = 10_000;

impl Tunnels {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Tunnel> {
        self.0.iter()
    }

    pub(super) fn find(&self, id: &str) -> Option<&Tunnel> {
        self.0.iter().find(|tunnel| tunnel.id == id)
    }

    pub(super) fn find_mut(&mut self, id: &str) -> Option<&mut Tunnel> {
        self.0.iter_mut().find(|tunnel| tunnel.id == id)
    }

    /// Adds a tunnel.
    pub(super) fn add(&mut self, id: String, wanted: Wanted, now: Timestamp) -> Result<Tunnel, Refused> {
        if self.0.len() >= MOST {
            let problem = Problem::new(1002, "the account has reached its quota of IPsec tunnels");
            return Err(Refused::new(StatusCode::BAD_REQUEST, problem));
        }
        let psk_on = wanted.psk.is_some().then_some(now);
        let tunnel =
            Tunnel { id, settings: wanted.settings, psk: wanted.psk, psk_on, created: now, modified: now };
        self.0.push(tunnel.clone());
        Ok(tunnel)
    }

    /// Replaces the whole of a tunnel but its identity, and its PSK where none is sent.
    pub(super) fn replace(&mut self, id: &str, wanted: Wanted, now: Timestamp) -> Result<Tunnel, Refused> {
        let tunnel = self.find_mut(id).ok_or_else(not_found)?;
        tunnel.settings = wanted.settings;
        tunnel.modified = now;
        if let Some(psk) = wanted.psk {
            tunnel.set_psk(psk, now);
        }
        Ok(tunnel.clone())
    }

    pub(super) fn remove(&mut self, id: &str) -> Result<Tunnel, Refused> {
        let at = self.0.iter().position(|tunnel| tunnel.id == id).ok_or_else(not_found)?;
        Ok(self.0.remove(at))
    }

    /// The rules between tunnels, for the tunnel `id` whose body stood at `at`.
    pub(super) fn check(&self, id: &str, at: &str) -> Result<(), Refused> {
        let Some(tunnel) = self.find(id) else { return Ok(()) };
        for other in self.0.iter().filter(|other| other.id != id) {
            if other.name() == tunnel.name() {
                let message = format!("the name '{}' is used by another IPsec tunnel", tunnel.name());
                return Err(conflict(&format!("{at}/name"), message));
            }
            let same_end = other.text("cloudflare_endpoint") == tunnel.text("cloudflare_endpoint");
            if same_end && tunnel.fqdn_id().is_some() && other.fqdn_id() == tunnel.fqdn_id() {
                let message = "another IPsec tunnel with this cloudflare_endpoint has this fqdn_id";
                return Err(conflict(&format!("{at}/custom_remote_identities/fqdn_id"), message.to_owned()));
            }
        }
        Ok(())
    }
}

fn conflict(pointer: &str, message: String) -> Refused {
    Refused::new(StatusCode::BAD_REQUEST, Problem::at(INVALID, pointer, message))
}

/// 404 for a tunnel.
pub(super) fn not_found() -> Refused {
    Refused::new(StatusCode::NOT_FOUND, Problem::new(1032, "IPsec tunnel not found"))
}
