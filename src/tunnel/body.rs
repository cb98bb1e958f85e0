//! The bodies of requests, parsed into what they ask for.
//!
//! A body is taken only in a shape that is known, whole: a name, type or shape outside the field table is
//! refused with a pointer to it, and a `null` is a field left out. What goes upstream is written anew from the elements that were parsed, so it
//! is what was authorized. Names are compared as they are: an upstream that folded case would read `PSK` as
//! `psk`, and here it is an unknown name.
//! Not here: whether the values are good (the upstream says so), what they change (`tunnel::change`).

mod check;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use crate::json::{Json, Object};
use crate::operation::{Class, Operation, TunnelId};
use crate::refusal::Refusal;

use super::fields::{PSK_ENTRY, TUNNEL};

/// Elements of a list that are taken. An account has at most a few hundred tunnels; each element costs a
/// policy decision.
pub const MAX_ELEMENTS: usize = 1000;

/// Why a body is not taken.
#[derive(Clone, PartialEq, Eq)]
pub enum BodyFault {
    /// A body where none is taken.
    Unexpected,
    /// A shape that is not known.
    Bad {
        /// RFC 6901 pointer to the place; may hold names that the client chose.
        pointer: String,
        /// What is wrong there.
        what: &'static str,
    },
}

impl std::fmt::Debug for BodyFault {
    /// Leaves the pointer out: a name in it may be a secret put in the wrong place.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unexpected => f.write_str("Unexpected"),
            Self::Bad { what, .. } => f.debug_struct("Bad").field("what", what).finish_non_exhaustive(),
        }
    }
}

impl From<BodyFault> for Refusal {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::Unexpected => Self::BodyUnexpected,
            BodyFault::Bad { pointer, what } => Self::BadBody { pointer, what },
        }
    }
}

fn bad<T>(pointer: impl Into<String>, what: &'static str) -> Result<T, BodyFault> {
    Err(BodyFault::Bad { pointer: pointer.into(), what })
}

/// How the elements stand in the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// No body.
    Nothing,
    /// `{}`
    Empty,
    /// The element itself.
    Bare,
    /// One element in an object with this one member.
    Wrapped(&'static str),
    /// An array, in an object with this one member where there is a name.
    List(Option<&'static str>),
}

/// What a call asks for: its elements, one a tunnel.
#[derive(Clone, PartialEq, Eq)]
pub struct Asked {
    operation: Operation,
    shape: Shape,
    elements: Vec<Element>,
}

/// What is asked of one tunnel.
#[derive(Clone, PartialEq, Eq)]
pub struct Element {
    /// The tunnel; none where it is to be created.
    pub tunnel: Option<TunnelId>,
    /// RFC 6901 pointer to the element in the body.
    pub pointer: String,
    /// The members as sent, `id` among them where it was; none is `null`.
    pub fields: Object,
}

impl std::fmt::Debug for Asked {
    /// Shows no value of the body.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { operation, shape, elements } = self;
        f.debug_struct("Asked").field("of", operation).field("as", shape).field("elements", elements).finish()
    }
}

impl std::fmt::Debug for Element {
    /// Shows no value of the body.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Element")
            .field("tunnel", &self.tunnel)
            .field("at", &self.pointer)
            .finish_non_exhaustive()
    }
}

impl Element {
    /// The key that is to be set, `""` included: that the name is there decides which rights are needed.
    #[must_use]
    pub fn psk(&self) -> Option<&str> {
        self.fields.get("psk")?.as_str()
    }

    /// The secrets asked for, and what each is called in the record.
    fn secrets(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let key = self.fields.get("bgp").and_then(|bgp| bgp.get("md5_key")).and_then(Json::as_str);
        let psk = self.psk().map(|psk| ("psk", psk));
        psk.into_iter().chain(key.map(|key| ("md5_key", key)))
    }

    /// The tunnel's name as asked for.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.fields.get("name")?.as_str()
    }
}

impl Asked {
    /// Reads a body. `tunnel` is the tunnel in the path, `body` is `None` where no byte was sent.
    ///
    /// # Errors
    /// A body that is not wholly understood.
    pub fn read(
        operation: Operation,
        tunnel: Option<TunnelId>,
        body: Option<Json>,
    ) -> Result<Self, BodyFault> {
        let nothing = || Element { tunnel, pointer: String::new(), fields: Object::new() };
        let (shape, elements) = match (operation, body) {
            (Operation::List, None) => (Shape::Nothing, Vec::new()),
            (Operation::Get | Operation::Delete, None) => (Shape::Nothing, vec![nothing()]),
            (Operation::List | Operation::Get | Operation::Delete, Some(_)) => {
                return Err(BodyFault::Unexpected);
            }
            // The specification asks for a body and gives it no member: both ways of saying so are the same.
            (Operation::GeneratePsk, None) => (Shape::Empty, vec![nothing()]),
            (Operation::GeneratePsk, Some(Json::Object(object))) if object.is_empty() => {
                (Shape::Empty, vec![nothing()])
            }
            (Operation::GeneratePsk, Some(_)) => return bad("", "this operation takes no body, or `{}`"),
            (_, None) => return bad("", "this operation needs a JSON body"),
            (Operation::Create, Some(body)) => create(body)?,
            (Operation::Update, Some(body)) => (Shape::Bare, vec![update(tunnel, body)?]),
            (Operation::BulkUpdate, Some(body)) => bulk(body)?,
            (Operation::SetPsks, Some(body)) => psks(body)?,
        };
        Ok(Self { operation, shape, elements })
    }

    /// What is asked for.
    #[must_use]
    pub const fn operation(&self) -> Operation {
        self.operation
    }

    /// One element a tunnel, in the order of the body; none for *list*.
    #[must_use]
    pub fn elements(&self) -> &[Element] {
        &self.elements
    }

    /// Whether it makes or sets a key: by the operations that are named for it, or by a key in the body of another.
    #[must_use]
    pub fn mints(&self) -> bool {
        self.operation.class() == Class::Secret || self.elements.iter().any(|element| element.psk().is_some())
    }

    /// The body that goes upstream, written from the elements; `None` where there is none to be sent.
    #[must_use]
    pub fn upstream_body(&self) -> Option<String> {
        self.shaped(|element| Json::Object(element.fields.clone())).map(|body| body.to_string())
    }

    /// A body of the same shape, each element as `write` has it.
    #[must_use]
    pub fn shaped(&self, mut write: impl FnMut(&Element) -> Json) -> Option<Json> {
        let wrap = |name: &'static str, inner: Json| Json::Object(Object::from_iter([(name, inner)]));
        let first = self.elements.first();
        match self.shape {
            Shape::Nothing => None,
            Shape::Empty => Some(Json::Object(Object::new())),
            Shape::Bare => first.map(write),
            Shape::Wrapped(name) => first.map(|element| wrap(name, write(element))),
            Shape::List(name) => {
                let list = Json::Array(self.elements.iter().map(write).collect());
                Some(if let Some(name) = name { wrap(name, list) } else { list })
            }
        }
    }

    /// Every secret in the body, and what it is called in the record.
    #[must_use]
    pub fn secrets(&self) -> Vec<(&'static str, &str)> {
        self.elements.iter().flat_map(Element::secrets).collect()
    }
}

fn create(body: Json) -> Result<(Shape, Vec<Element>), BodyFault> {
    let (shape, items) = if body.get("ipsec_tunnels").is_some() {
        (Shape::List(Some("ipsec_tunnels")), unwrap_list(body, "ipsec_tunnels")?)
    } else if body.get("ipsec_tunnel").is_some() {
        let inner = unwrap(body, "ipsec_tunnel")?;
        (Shape::Wrapped("ipsec_tunnel"), vec![("/ipsec_tunnel".to_owned(), inner)])
    } else {
        (Shape::Bare, vec![(String::new(), body)])
    };
    let element = |(pointer, item): (String, Json)| {
        let fields = check::members(item, TUNNEL, &pointer)?;
        if fields.get("id").is_some() {
            // An upstream that took it would let a caller reach a tunnel that no policy was asked about.
            return bad(pointer + "/id", "a new tunnel's `id` is the upstream's to give; leave it out");
        }
        Ok(Element { tunnel: None, pointer, fields })
    };
    Ok((shape, items.into_iter().map(element).collect::<Result<_, _>>()?))
}

fn update(tunnel: Option<TunnelId>, body: Json) -> Result<Element, BodyFault> {
    let fields = check::members(body, TUNNEL, "")?;
    match fields.get("id") {
        Some(id) if id.as_str().and_then(TunnelId::parse) != tunnel || tunnel.is_none() => {
            bad("/id", "`id` is another than the tunnel in the path; leave it out")
        }
        Some(_) | None => Ok(Element { tunnel, pointer: String::new(), fields }),
    }
}

fn bulk(body: Json) -> Result<(Shape, Vec<Element>), BodyFault> {
    let (shape, items) = if matches!(body, Json::Array(_)) {
        (Shape::List(None), listed(body, "")?)
    } else if body.get("ipsec_tunnels").is_some() {
        (Shape::List(Some("ipsec_tunnels")), unwrap_list(body, "ipsec_tunnels")?)
    } else {
        (Shape::Bare, vec![(String::new(), body)])
    };
    Ok((shape, identified(items, TUNNEL)?))
}

fn psks(body: Json) -> Result<(Shape, Vec<Element>), BodyFault> {
    if !matches!(&body, Json::Object(members) if members.get("psks").is_some()) {
        return bad("", "the body must be `{\"psks\": [{\"id\": …, \"psk\": …}]}`");
    }
    let elements = identified(unwrap_list(body, "psks")?, PSK_ENTRY)?;
    match elements.iter().find(|element| element.psk().is_none_or(str::is_empty)) {
        Some(element) => {
            bad(format!("{}/psk", element.pointer), "each element needs a `psk` that is not empty")
        }
        None => Ok((Shape::List(Some("psks")), elements)),
    }
}

/// The value of the one member that `body` may have.
fn unwrap(body: Json, name: &'static str) -> Result<Json, BodyFault> {
    let Json::Object(members) = body else { return bad("", "an object is needed here") };
    let mut inner = None;
    for (found, value) in members {
        if found == name {
            inner = Some(value);
        } else {
            let pointer = format!("/{}", crate::json::escape_token(&found));
            return bad(pointer, "a member beside the wrapper; move it inside or leave it out");
        }
    }
    inner.map_or_else(|| bad("", "the wrapper is missing"), Ok)
}

fn unwrap_list(body: Json, name: &'static str) -> Result<Vec<(String, Json)>, BodyFault> {
    listed(unwrap(body, name)?, &format!("/{name}"))
}

fn listed(list: Json, pointer: &str) -> Result<Vec<(String, Json)>, BodyFault> {
    let Json::Array(items) = list else { return bad(pointer, "an array is needed here") };
    if items.is_empty() {
        return bad(pointer, "the list is empty; name at least one tunnel");
    }
    if items.len() > MAX_ELEMENTS {
        return bad(pointer, "the list has more than 1000 elements; split the call");
    }
    Ok(items.into_iter().enumerate().map(|(i, item)| (format!("{pointer}/{i}"), item)).collect())
}

/// Elements that each name a tunnel, and no two the same.
fn identified(
    items: Vec<(String, Json)>,
    table: &'static [super::fields::Field],
) -> Result<Vec<Element>, BodyFault> {
    let mut seen = HashSet::with_capacity(items.len());
    let mut elements = Vec::with_capacity(items.len());
    for (pointer, item) in items {
        let fields = check::members(item, table, &pointer)?;
        let Some(id) = fields.get("id").and_then(Json::as_str) else {
            return bad(pointer + "/id", "each element needs the `id` of its tunnel");
        };
        let Some(tunnel) = TunnelId::parse(id) else {
            return bad(pointer + "/id", "an `id` is 1 to 32 lower-case hex digits");
        };
        if !seen.insert(tunnel) {
            return bad(pointer + "/id", "an `id` for the second time; name each tunnel once");
        }
        elements.push(Element { tunnel: Some(tunnel), pointer, fields });
    }
    Ok(elements)
}
