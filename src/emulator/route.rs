//! What a request line asks of the emulator.
//!
//! Written apart from [`crate::operation::route`] on purpose: two readers of one path that disagree are a
//! finding, and the stand-in must not share the product's mistakes. Not here: bodies (`operations`).

use http::{Method, StatusCode};

use super::answer::{Problem, Refused};
use super::fault::Place;
use crate::operation::{AccountId, Operation};

/// A request line, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Operation { operation: Operation, account: AccountId, tunnel: Option<String> },
    VerifyUser,
    VerifyAccount(AccountId),
    AuditLogs(AccountId),
}

impl Asked {
    /// Where faults find it.
    pub(super) const fn place(&self) -> Place {
        match self {
            Self::Operation { operation, .. } => Place::Operation(*operation),
            Self::VerifyUser | Self::VerifyAccount(_) => Place::TokenVerify,
            Self::AuditLogs(_) => Place::AuditLogs,
        }
    }

    pub(super) const fn operation(&self) -> Option<Operation> {
        if let Self::Operation { operation, .. } = self { Some(*operation) } else { None }
    }

    pub(super) const fn account(&self) -> Option<AccountId> {
        match self {
            Self::Operation { account, .. } | Self::VerifyAccount(account) | Self::AuditLogs(account) => {
                Some(*account)
            }
            Self::VerifyUser => None,
        }
    }
}

/// Reads a request line below `/client/v4`.
pub(super) fn asked(method: &Method, path: &str) -> Result<Asked, Refused> {
    let unknown = || {
        let message = format!("Could not route to {path}, perhaps your object identifier is invalid?");
        Refused::new(StatusCode::NOT_FOUND, Problem::new(7003, message))
    };
    let rest = path.strip_prefix("/client/v4/").ok_or_else(unknown)?;
    let segments: Vec<&str> = rest.split('/').collect();
    let get = |asked| only(method, &[(Method::GET, asked)]);
    if segments == ["user", "tokens", "verify"] {
        return get(Asked::VerifyUser);
    }
    let (account, rest) = match segments.as_slice() {
        ["accounts", account, rest @ ..] => (AccountId::parse(account).ok_or_else(unknown)?, rest),
        _ => return Err(unknown()),
    };
    let asked = |operation, tunnel: Option<&str>| {
        (operation, Asked::Operation { operation, account, tunnel: tunnel.map(str::to_owned) })
    };
    let by_method = |operations: &[Operation], tunnel| {
        let served: Vec<_> = operations
            .iter()
            .map(|operation| asked(*operation, tunnel))
            .map(|(operation, asked)| (operation.method(), asked))
            .collect();
        only(method, &served)
    };
    match rest {
        ["tokens", "verify"] => get(Asked::VerifyAccount(account)),
        ["logs", "audit"] => get(Asked::AuditLogs(account)),
        ["magic", "ipsec_tunnels"] => {
            by_method(&[Operation::List, Operation::Create, Operation::BulkUpdate], None)
        }
        ["magic", "ipsec_tunnels", "psk"] => by_method(&[Operation::SetPsks], None),
        ["magic", "ipsec_tunnels", id] if !id.is_empty() => {
            by_method(&[Operation::Get, Operation::Update, Operation::Delete], Some(id))
        }
        ["magic", "ipsec_tunnels", id, "psk_generate"] if !id.is_empty() => {
            by_method(&[Operation::GeneratePsk], Some(id))
        }
        _ => Err(unknown()),
    }
}

fn only(method: &Method, served: &[(Method, Asked)]) -> Result<Asked, Refused> {
    served.iter().find(|(known, _)| known == method).map(|(_, asked)| asked.clone()).ok_or_else(|| {
        let problem = Problem::new(10405, "Method not allowed for this URI");
        Refused::new(StatusCode::METHOD_NOT_ALLOWED, problem)
    })
}

/// `validate_only` of a query; other parameters are ignored, as the upstream does.
pub(super) fn validate_only(query: Option<&str>) -> Result<bool, Refused> {
    match parameter(query, "validate_only").as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Refused::new(
            StatusCode::BAD_REQUEST,
            Problem::new(1001, "query parameter validate_only must be a boolean"),
        )),
    }
}

/// The first query parameter of that name, percent-decoded.
pub(super) fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    query?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then(|| percent_decoded(value))
    })
}

fn percent_decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let escaped = tail.get(..2).and_then(|pair| data_encoding::HEXUPPER_PERMISSIVE.decode(pair).ok());
        match (first, escaped.as_deref()) {
            (b'%', Some([byte])) => {
                out.push(*byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            (b'+', _) => out.push(b' '),
            _ => out.push(*first),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_router_and_this_one_agree_on_what_is_served() {
        const BASE: &str = "/client/v4/accounts/a1/magic/ipsec_tunnels";
        for path in ["", "/0f", "/0f/psk_generate", "/psk", "/0f/psk", "/psk/x", "/0f/psk_generate/x"] {
            for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
                let path = format!("{BASE}{path}");
                let theirs = crate::operation::route(&method, &path, None).ok().map(|r| r.operation);
                let ours = asked(&method, &path).ok().and_then(|asked| asked.operation());
                assert_eq!(ours, theirs, "{method} {path}");
            }
        }
    }

    #[test]
    fn parameters_are_decoded() {
        let query = Some("since=2026-01-01T00%3A00%3A00Z&x&before=a+b&bad=%zz");
        assert_eq!(parameter(query, "since").as_deref(), Some("2026-01-01T00:00:00Z"));
        assert_eq!(parameter(query, "before").as_deref(), Some("a b"));
        assert_eq!(parameter(query, "bad").as_deref(), Some("%zz"));
        assert_eq!(parameter(query, "cursor"), None);
    }
}
