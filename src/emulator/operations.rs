//! The eight operations: from a body to a result, and to what changed.
//!
//! Not here: who may call (`gate`), the envelope (`answer`).

use http::StatusCode;
use jiff::Timestamp;

use super::answer::{Problem, Refused, object};
use super::fields::{self, INVALID, TargetForm, Wanted};
use super::tunnels::{Tunnel, Tunnels, not_found};
use crate::clock::Ids;
use crate::json::{Json, MAX_DEPTH, Object, read};
use crate::operation::{AccountId, Operation};
use crate::secret::{ExposeSecret, SecretString};

/// One call, past the gate.
pub(super) struct Ask<'a> {
    pub(super) operation: Operation,
    pub(super) account: AccountId,
    pub(super) tunnel: Option<&'a str>,
    pub(super) form: TargetForm,
    pub(super) body: &'a [u8],
    pub(super) now: Timestamp,
    pub(super) ids: &'a Ids,
}

/// What a call did to the copy that it worked on.
pub(super) struct Done {
    pub(super) result: Json,
    /// Id and name of each tunnel that changed; none for a read.
    pub(super) touched: Vec<(String, String)>,
}

impl Ask<'_> {
    /// Carries the call out on `tunnels`, which the caller keeps or throws away.
    pub(super) fn run(&self, tunnels: &mut Tunnels) -> Result<Done, Refused> {
        match self.operation {
            Operation::List => {
                let shown: Vec<_> = tunnels.iter().map(|tunnel| self.show(tunnel)).collect();
                Ok(Done { result: object([("ipsec_tunnels", Json::Array(shown))]), touched: Vec::new() })
            }
            Operation::Get => {
                let tunnel = tunnels.find(self.id()).ok_or_else(not_found)?;
                let result = object([("ipsec_tunnel", self.show(tunnel))]);
                Ok(Done { result, touched: Vec::new() })
            }
            Operation::Create => self.create(tunnels),
            Operation::BulkUpdate => self.bulk_update(tunnels),
            Operation::Update => {
                tunnels.find(self.id()).ok_or_else(not_found)?;
                let wanted = self.wanted(&self.json()?, "")?;
                let tunnel = tunnels.replace(self.id(), wanted, self.now)?;
                tunnels.check(&tunnel.id, "")?;
                let result =
                    object([("modified", Json::from(true)), ("modified_ipsec_tunnel", self.show(&tunnel))]);
                Ok(done(result, [&tunnel]))
            }
            Operation::Delete => {
                let tunnel = tunnels.remove(self.id())?;
                let result =
                    object([("deleted", Json::from(true)), ("deleted_ipsec_tunnel", self.show(&tunnel))]);
                Ok(done(result, [&tunnel]))
            }
            Operation::GeneratePsk => self.generate_psk(tunnels),
            Operation::SetPsks => self.set_psks(tunnels),
        }
    }

    fn id(&self) -> &str {
        self.tunnel.unwrap_or_default()
    }

    fn show(&self, tunnel: &Tunnel) -> Json {
        tunnel.show(self.form, self.now)
    }

    fn wanted(&self, sent: &Json, at: &str) -> Result<Wanted, Refused> {
        fields::wanted(sent, at, self.form, self.account)
            .map_err(|problems| Refused { status: StatusCode::BAD_REQUEST, problems })
    }

    fn json(&self) -> Result<Json, Refused> {
        read(self.body, MAX_DEPTH).map_err(|error| {
            // The real decoder quotes what it stumbled over, and whatever secret stands near it.
            let from = error.offset.saturating_sub(SNIPPET);
            let to = self.body.len().min(error.offset.saturating_add(SNIPPET));
            let near = String::from_utf8_lossy(self.body.get(from..to).unwrap_or_default());
            let message = format!("Invalid JSON in request: {error}, near '{near}'");
            Refused::new(StatusCode::BAD_REQUEST, Problem::new(1022, message))
        })
    }

    fn create(&self, tunnels: &mut Tunnels) -> Result<Done, Refused> {
        let body = self.json()?;
        let Some(wrapped) = body.get("ipsec_tunnels") else {
            let tunnel = self.add(tunnels, &body, "")?;
            return Ok(done(self.show(&tunnel), [&tunnel]));
        };
        let mut made = Vec::new();
        for (i, sent) in many(wrapped, "/ipsec_tunnels")?.iter().enumerate() {
            made.push(self.add(tunnels, sent, &format!("/ipsec_tunnels/{i}"))?);
        }
        let shown = made.iter().map(|tunnel| self.show(tunnel)).collect();
        Ok(done(object([("ipsec_tunnels", Json::Array(shown))]), &made))
    }

    fn add(&self, tunnels: &mut Tunnels, sent: &Json, at: &str) -> Result<Tunnel, Refused> {
        let wanted = self.wanted(sent, at)?;
        let tunnel = tunnels.add(self.ids.next().simple().to_string(), wanted, self.now)?;
        tunnels.check(&tunnel.id, at)?;
        Ok(tunnel)
    }

    fn bulk_update(&self, tunnels: &mut Tunnels) -> Result<Done, Refused> {
        let body = self.json()?;
        let elements: Vec<(String, &Json)> = match (&body, body.get("ipsec_tunnels")) {
            (_, Some(wrapped)) => numbered(many(wrapped, "/ipsec_tunnels")?, "/ipsec_tunnels"),
            (Json::Array(_), None) => numbered(many(&body, "")?, ""),
            (_, None) => vec![(String::new(), &body)],
        };
        let mut ids: Vec<&str> = Vec::new();
        for (at, sent) in &elements {
            let pointer = format!("{at}/id");
            let id = sent.get("id").and_then(Json::as_str);
            let id = id.ok_or_else(|| invalid(&pointer, "id is required"))?;
            if ids.contains(&id) {
                return Err(invalid(&pointer, "id stands for the second time"));
            }
            ids.push(id);
            let wanted = self.wanted(sent, at)?;
            tunnels.replace(id, wanted, self.now)?;
        }
        // Checked when all are in place, so that two tunnels can swap their names.
        for (id, (at, _)) in ids.iter().zip(&elements) {
            tunnels.check(id, at)?;
        }
        let modified: Vec<_> = ids.iter().filter_map(|id| tunnels.find(id)).collect();
        let shown = modified.iter().map(|tunnel| self.show(tunnel)).collect();
        let result = object([("modified", Json::from(true)), ("modified_ipsec_tunnels", Json::Array(shown))]);
        Ok(done(result, modified))
    }

    fn generate_psk(&self, tunnels: &mut Tunnels) -> Result<Done, Refused> {
        let tunnel = tunnels.find_mut(self.id()).ok_or_else(not_found)?;
        if !self.body.is_empty() && self.json()? != Json::Object(Object::new()) {
            return Err(invalid("", "the body of psk_generate must be an empty object"));
        }
        let psk = random(32).ok_or_else(|| {
            Refused::new(StatusCode::INTERNAL_SERVER_ERROR, Problem::new(1000, "internal error"))
        })?;
        tunnel.set_psk(psk.clone(), self.now);
        let result = self.applied(tunnel, &psk);
        Ok(done(result, [&*tunnel]))
    }

    fn set_psks(&self, tunnels: &mut Tunnels) -> Result<Done, Refused> {
        let body = self.json()?;
        let sent = body.get("psks").ok_or_else(|| invalid("/psks", "psks is required"))?;
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for (i, entry) in many(sent, "/psks")?.iter().enumerate() {
            let text = |name: &str| {
                let value = entry.get(name).and_then(Json::as_str);
                value.ok_or_else(|| invalid(&format!("/psks/{i}/{name}"), &format!("{name} is required")))
            };
            let (id, psk) = (text("id")?, text("psk")?);
            if pairs.iter().any(|(known, _)| *known == id) {
                return Err(invalid(&format!("/psks/{i}/id"), "id stands for the second time"));
            }
            pairs.push((id, psk));
        }
        let (mut applied, mut unapplied, mut touched) = (Object::new(), Object::new(), Vec::new());
        for (id, psk) in pairs {
            match tunnels.find_mut(id) {
                None => unapplied.set(id.to_owned(), "IPsec tunnel not found"),
                Some(_) if psk.is_empty() => unapplied.set(id.to_owned(), "psk must not be empty"),
                Some(tunnel) => {
                    let psk = SecretString::from(psk);
                    tunnel.set_psk(psk.clone(), self.now);
                    applied.set(id.to_owned(), self.applied(tunnel, &psk));
                    touched.push((id.to_owned(), tunnel.name().to_owned()));
                }
            }
        }
        let result = object([
            ("successfully_applied_psks", Json::from(applied)),
            ("unapplied_psks", Json::from(unapplied)),
        ]);
        Ok(Done { result, touched })
    }

    fn applied(&self, tunnel: &Tunnel, psk: &SecretString) -> Json {
        object([
            // An IKE identity: a number for the account, then the tunnel.
            ("ipsec_id", Json::from(format!("{}_{}", account_number(self.account), tunnel.id))),
            ("ipsec_tunnel_id", Json::from(tunnel.id.as_str())),
            ("psk", Json::from(psk.expose_secret())),
            ("psk_metadata", tunnel.psk_metadata()),
        ])
    }
}

/// Bytes of a malformed body that an error quotes on each side of the mistake.
const SNIPPET: usize = 48;

/// Elements of one call that are taken.
const ELEMENTS: usize = 1_000;

fn done<'t>(result: Json, touched: impl IntoIterator<Item = &'t Tunnel>) -> Done {
    let touched = touched.into_iter().map(|tunnel| (tunnel.id.clone(), tunnel.name().to_owned())).collect();
    Done { result, touched }
}

fn invalid(pointer: &str, message: &str) -> Refused {
    Refused::new(StatusCode::BAD_REQUEST, Problem::at(INVALID, pointer, message))
}

fn many<'j>(value: &'j Json, at: &str) -> Result<&'j [Json], Refused> {
    match value.as_array() {
        Some([]) => Err(invalid(at, "must not be empty")),
        Some(items) if items.len() <= ELEMENTS => Ok(items),
        Some(_) => Err(invalid(at, "has too many elements")),
        None => Err(invalid(at, "must be an array")),
    }
}

fn numbered<'j>(items: &'j [Json], at: &str) -> Vec<(String, &'j Json)> {
    items.iter().enumerate().map(|(i, item)| (format!("{at}/{i}"), item)).collect()
}

fn account_number(account: AccountId) -> u32 {
    account.as_str().bytes().fold(0, |sum: u32, b| sum.wrapping_mul(31).wrapping_add(u32::from(b))) % 100_000
}

/// A random text of ASCII letters and digits; `None` when the random source fails.
pub(super) fn random(length: usize) -> Option<SecretString> {
    const SET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let mut bytes = [0u8; 64];
        aws_lc_rs::rand::fill(&mut bytes).ok()?;
        // 248 is four times 62: the bytes above it would favor the first letters.
        let letters = bytes.iter().filter(|b| **b < 248).filter_map(|b| SET.get(usize::from(b % 62)));
        text.extend(letters.take(length - text.len()).map(|b| char::from(*b)));
    }
    Some(text.into())
}
