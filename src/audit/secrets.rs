//! The secrets of one call: what its entries must not hold, and what they must tell all the same.
//!
//! The guard masks a secret wherever it stands, so whoever chooses a secret chooses what the record loses. A call
//! whose own secret stands in a text that the record must tell (what is asked for, the tunnel as it was) is
//! refused, before anything is sent. From then on a credential out of a header has done its work: it goes nowhere,
//! so nobody can echo it, and it masks nothing but the user agent, which may hold a part of it.
//! Not here: how a secret is looked for (`guard`), secrets in the caller's own name (`guard::secret_in_identity`).

use crate::json::{Json, Object, escape_token};
use crate::listen::headers::Credential;
use crate::operation::Operation;
use crate::refusal::Refusal;
use crate::secret::{ExposeSecret, SecretString};
use crate::tunnel::body::Asked;
use crate::tunnel::fields::{Field, Kind, PSK_ENTRY, TUNNEL, row};

use super::guard::Guard;
use super::redact::collect_secrets;

/// The secrets of one call.
#[derive(Debug, Default)]
pub struct Secrets {
    /// What is masked everywhere.
    everywhere: Vec<SecretString>,
    /// What came in headers; masked everywhere until `cleared`, unless it is the token.
    headers: Vec<Credential>,
    /// What came in the body, and where.
    body: Vec<(String, SecretString)>,
    cleared: bool,
}

/// A text or a number that the record keeps as it is.
struct Told<'a> {
    pointer: String,
    value: &'a Json,
}

impl Secrets {
    /// Takes the credentials of a call that has just arrived.
    pub fn in_headers(&mut self, found: Vec<Credential>) {
        self.headers.extend(found);
    }

    /// Takes the secrets that a body asks for.
    pub fn in_body(&mut self, asked: &Asked) {
        for element in asked.elements() {
            let own = |name: &str| format!("{}{name}", element.pointer);
            let key = element.fields.get("bgp").and_then(|bgp| bgp.get("md5_key")).and_then(Json::as_str);
            self.body.extend(element.psk().map(|psk| (own("/psk"), psk.into())));
            self.body.extend(key.map(|key| (own("/bgp/md5_key"), key.into())));
        }
    }

    /// Takes secrets that others know: those of the upstream's texts, and its token.
    pub fn extend(&mut self, found: impl IntoIterator<Item = SecretString>) {
        self.everywhere.extend(found);
    }

    /// Holds what the client sent as secrets against its user agent and the texts of its body. Where none of them
    /// stands in another, its credentials need mask nothing any more.
    ///
    /// # Errors
    /// [`Refusal::BadHeader`], [`Refusal::BadBody`] for the secret that stands in one; also for a text that would
    /// be masked by its looks.
    pub fn apart_from(&mut self, asked: &Asked, user_agent: Option<&str>) -> Result<(), Refusal> {
        let supplied = self.supplied();
        let guard = Guard::new(supplied.iter().map(|(_, secret)| *secret));
        if let Some(agent) = user_agent.filter(|agent| guard.finds(agent)) {
            return Err(to_blame(&supplied, |guard| guard.finds(agent)));
        }
        for told in told_by(asked) {
            if guard.masks(told.value) {
                if Guard::new([]).masks(told.value) {
                    let what = "a text that looks like a token, which the record would not hold";
                    return Err(Refusal::BadBody { pointer: told.pointer, what });
                }
                return Err(to_blame(&supplied, |guard| guard.masks(told.value)));
            }
        }
        self.cleared = true;
        Ok(())
    }

    /// Takes the secrets of the tunnels as they are, and holds them against the texts of the body, and what the
    /// client sent as secrets against the tunnels' texts.
    ///
    /// # Errors
    /// As [`Secrets::apart_from`]. Where a key that the tunnel has stands in the body, its text is to blame.
    pub fn apart_from_states(&mut self, asked: &Asked, before: &[Object]) -> Result<(), Refusal> {
        let theirs: Vec<SecretString> =
            before.iter().flat_map(|tunnel| collect_secrets(&Json::Object(tunnel.clone()))).collect();
        // At once: the refusal has an entry, too.
        self.everywhere.extend(theirs.iter().cloned());
        let supplied = self.supplied();
        let guard = Guard::new(supplied.iter().map(|(_, secret)| *secret));
        let mut told = Vec::new();
        before.iter().for_each(|tunnel| tell(tunnel, TUNNEL, "", &mut told));
        if let Some(told) = told.iter().find(|told| guard.finds_in(told.value)) {
            return Err(to_blame(&supplied, |guard| guard.finds_in(told.value)));
        }
        let guard = Guard::new(theirs.iter().map(ExposeSecret::expose_secret));
        if let Some(told) = told_by(asked).into_iter().find(|told| guard.finds_in(told.value)) {
            let what = "a text that holds a key which the tunnel has, so the record would lose it; replace the key \
                        first";
            return Err(Refusal::BadBody { pointer: told.pointer, what });
        }
        Ok(())
    }

    /// Masks every secret in a finished entry.
    pub fn mask(&self, entry: &mut Json) {
        let agent = entry
            .get("user_agent")
            .filter(|_| self.cleared && self.headers.iter().any(|found| !found.is_token()))
            .cloned();
        let headers = |kept: fn(&Credential) -> bool| {
            self.headers.iter().filter(move |found| kept(found)).map(|found| &found.secret)
        };
        let of_all = || self.everywhere.iter().chain(self.body.iter().map(|(_, secret)| secret));
        let kept = if self.cleared { headers(Credential::is_token) } else { headers(|_| true) };
        Guard::new(of_all().chain(kept).map(ExposeSecret::expose_secret)).mask(entry);
        if let (Some(agent), Json::Object(members)) = (agent, entry) {
            let mut alone = Json::Object(Object::from_iter([("user_agent", agent)]));
            Guard::new(of_all().chain(headers(|_| true)).map(ExposeSecret::expose_secret)).mask(&mut alone);
            members.set("user_agent", alone.get("user_agent").cloned().unwrap_or(Json::Null));
        }
    }

    /// What the client sent as secrets and may still be echoed, each with the refusal that it is to blame for.
    fn supplied(&self) -> Vec<(Refusal, &str)> {
        let what = "holds what stands in the user agent, the body or the tunnel as well, so the record would lose \
                    it there; leave it out of one of them";
        let headers = self.headers.iter().filter(|found| !self.cleared || found.is_token());
        let headers = headers
            .map(|found| (Refusal::BadHeader { name: found.header, what }, found.secret.expose_secret()));
        let what = "a key that stands in a text of the body or the tunnel, or in the user agent, as well, so the \
                    record would lose it there; choose a random one";
        let body = self.body.iter().map(|(pointer, secret)| {
            (Refusal::BadBody { pointer: pointer.clone(), what }, secret.expose_secret())
        });
        headers.chain(body).collect()
    }
}

/// Which of these secrets is found: by halves, since a client may send two thousand.
fn to_blame(supplied: &[(Refusal, &str)], found: impl Fn(&Guard) -> bool) -> Refusal {
    let mut left = supplied;
    while left.len() > 1 {
        let (first, second) = left.split_at(left.len() / 2);
        left = if found(&Guard::new(first.iter().map(|(_, secret)| *secret))) { first } else { second };
    }
    left.first().map_or(Refusal::Internal, |(refusal, _)| refusal.clone())
}

/// What the record tells of a body.
fn told_by(asked: &Asked) -> Vec<Told<'_>> {
    let table = if asked.operation() == Operation::SetPsks { PSK_ENTRY } else { TUNNEL };
    let mut told = Vec::new();
    asked.elements().iter().for_each(|element| tell(&element.fields, table, &element.pointer, &mut told));
    told
}

/// Gathers what redaction lets through as it is.
fn tell<'a>(members: &'a Object, table: &'static [Field], pointer: &str, told: &mut Vec<Told<'a>>) {
    for (name, value) in members.iter() {
        if let Some(field) = row(table, name) {
            tell_value(value, &field.kind, format!("{pointer}/{}", escape_token(name)), told);
        }
    }
}

fn tell_value<'a>(value: &'a Json, kind: &'static Kind, pointer: String, told: &mut Vec<Told<'a>>) {
    match (kind, value) {
        (Kind::Secret(_) | Kind::Pointer, _) => {}
        (Kind::Group(table) | Kind::TextOr(table), Json::Object(inner)) => tell(inner, table, &pointer, told),
        (Kind::List(kind), Json::Array(items)) => {
            for (at, item) in items.iter().enumerate() {
                tell_value(item, kind, format!("{pointer}/{at}"), told);
            }
        }
        (_, Json::String(_) | Json::Number(_)) => told.push(Told { pointer, value }),
        (_, Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_)) => {}
    }
}
