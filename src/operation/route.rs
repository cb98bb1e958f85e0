//! From a raw request target to an operation, and back.
//!
//! The path is compared as it was sent: nothing is decoded, folded or cleaned first, so there is exactly one
//! spelling of each operation (RFC 3986 section 6 lists the equivalences that are *not* used).
//! Not here: methods that a caller may use on it (`authorize`).

use http::Method;

use super::{AccountId, Operation, TunnelId};

/// A call as its request line says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// What is asked for.
    pub operation: Operation,
    /// The account in the path.
    pub account: AccountId,
    /// The tunnel in the path; `Some` exactly where [`Operation::names_tunnel`].
    pub tunnel: Option<TunnelId>,
    /// `?validate_only=true`: the upstream checks and keeps nothing.
    pub validate_only: bool,
}

impl Route {
    /// Path and query as they go upstream, below the base URL: made from the parsed form alone.
    #[must_use]
    pub fn upstream_path(&self) -> String {
        let mut path = collection_path(self.account);
        if let Some(tunnel) = &self.tunnel {
            path.push('/');
            path.push_str(tunnel.as_str());
        }
        match self.operation {
            Operation::GeneratePsk => path.push_str("/psk_generate"),
            Operation::SetPsks => path.push_str("/psk"),
            Operation::List
            | Operation::Create
            | Operation::BulkUpdate
            | Operation::Get
            | Operation::Update
            | Operation::Delete => {}
        }
        if self.validate_only {
            path.push_str("?validate_only=true");
        }
        path
    }
}

/// The collection of an account, below the base URL.
#[must_use]
pub fn collection_path(account: AccountId) -> String {
    format!("/accounts/{account}/magic/ipsec_tunnels")
}

/// Why a request line is none of the operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteError {
    /// The path is not spelled in the one way that is served; says what is odd in it.
    Spelling(&'static str),
    /// No operation has this path.
    Unknown,
    /// The path is served, with other methods: the value of `Allow`.
    Method(&'static str),
    /// A query that is not served; says what is wrong.
    Query(&'static str),
}

const PREFIX: &str = "/client/v4/accounts/";

/// Reads method, path and query (each as sent) as an operation.
///
/// # Errors
/// Whatever is not one of the eight operations in its one spelling.
pub fn route(method: &Method, path: &str, query: Option<&str>) -> Result<Route, RouteError> {
    check_spelling(path)?;
    let rest = path.strip_prefix(PREFIX).ok_or(RouteError::Unknown)?;
    let mut segments = rest.split('/');
    let account = segments.next().and_then(AccountId::parse).ok_or(RouteError::Unknown)?;
    if segments.next() != Some("magic") || segments.next() != Some("ipsec_tunnels") {
        return Err(RouteError::Unknown);
    }
    let (tunnel, by_method): (_, &[Operation]) = match (segments.next(), segments.next(), segments.next()) {
        (None, _, _) => (None, &[Operation::List, Operation::Create, Operation::BulkUpdate]),
        (Some("psk"), None, _) => (None, &[Operation::SetPsks]),
        (Some(id), None, _) => (Some(id), &[Operation::Get, Operation::Update, Operation::Delete]),
        (Some(id), Some("psk_generate"), None) if id != "psk" => (Some(id), &[Operation::GeneratePsk]),
        _ => return Err(RouteError::Unknown),
    };
    let tunnel = match tunnel {
        Some(text) => Some(TunnelId::parse(text).ok_or(RouteError::Unknown)?),
        None => None,
    };
    let operation = by_method
        .iter()
        .copied()
        .find(|operation| operation.method() == *method)
        .ok_or_else(|| RouteError::Method(allow(by_method)))?;
    let validate_only = validate_only(operation, query)?;
    Ok(Route { operation, account, tunnel, validate_only })
}

fn check_spelling(path: &str) -> Result<(), RouteError> {
    let odd = if path.contains('%') {
        "a percent-encoded character; send ids and names as they are"
    } else if path.contains("//") {
        "an empty segment (`//`)"
    } else if path.contains(';') {
        "a path parameter (`;`)"
    } else if path.contains('\\') {
        "a backslash"
    } else if path.split('/').any(|segment| segment == "." || segment == "..") {
        "a dot segment"
    } else if path.len() > 1 && path.ends_with('/') {
        "a trailing slash"
    } else if path.bytes().any(|b| b.is_ascii_uppercase()) {
        "an upper-case letter; ids are lower-case hex digits"
    } else if !path.is_ascii() {
        "a character outside ASCII"
    } else {
        return Ok(());
    };
    Err(RouteError::Spelling(odd))
}

fn allow(operations: &[Operation]) -> &'static str {
    match operations {
        [Operation::List, ..] => "GET, POST, PUT",
        [Operation::Get, ..] => "GET, PUT, DELETE",
        _ => "POST",
    }
}

fn validate_only(operation: Operation, query: Option<&str>) -> Result<bool, RouteError> {
    let value = match query {
        None => return Ok(false),
        Some("validate_only=true") => true,
        Some("validate_only=false") => false,
        Some("") => return Err(RouteError::Query("an empty query; leave the `?` out")),
        Some(other) if other.contains('&') => {
            return Err(RouteError::Query("more than one parameter; only `validate_only` is known, once"));
        }
        Some(other) if other.starts_with("validate_only=") => {
            return Err(RouteError::Query("`validate_only` is `true` or `false`"));
        }
        Some(_) => return Err(RouteError::Query("an unknown parameter; only `validate_only` is known")),
    };
    if operation.is_write() {
        Ok(value)
    } else {
        Err(RouteError::Query("`validate_only` on a read; it belongs to writes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "/client/v4/accounts/a1/magic/ipsec_tunnels";

    #[track_caller]
    fn check(method: &Method, path: &str, query: Option<&str>, want: Result<Operation, RouteError>) {
        assert_eq!(route(method, path, query).map(|r| r.operation), want, "{method} {path} {query:?}");
    }

    #[test]
    fn each_operation_has_one_spelling() {
        check(&Method::GET, BASE, None, Ok(Operation::List));
        check(&Method::POST, BASE, None, Ok(Operation::Create));
        check(&Method::PUT, BASE, None, Ok(Operation::BulkUpdate));
        check(&Method::GET, &format!("{BASE}/0f"), None, Ok(Operation::Get));
        check(&Method::PUT, &format!("{BASE}/0f"), None, Ok(Operation::Update));
        check(&Method::DELETE, &format!("{BASE}/0f"), None, Ok(Operation::Delete));
        check(&Method::POST, &format!("{BASE}/0f/psk_generate"), None, Ok(Operation::GeneratePsk));
        check(&Method::POST, &format!("{BASE}/psk"), None, Ok(Operation::SetPsks));
    }

    #[test]
    fn what_goes_upstream_is_what_was_parsed() {
        for path in ["", "/0f", "/0f/psk_generate", "/psk"] {
            for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE] {
                let Ok(known) = route(&method, &format!("{BASE}{path}"), None) else { continue };
                assert_eq!(format!("/client/v4{}", known.upstream_path()), format!("{BASE}{path}"));
            }
        }
    }

    #[test]
    fn other_spellings_are_refused_and_never_normalized() {
        let spelling = |path: &str| {
            let got = route(&Method::GET, path, None);
            assert!(matches!(got, Err(RouteError::Spelling(_))), "{path}: {got:?}");
        };
        spelling(&format!("{BASE}/"));
        spelling(&format!("{BASE}/./0f"));
        spelling(&format!("{BASE}/../ipsec_tunnels"));
        spelling(&format!("{BASE}/%2e%2e/0f"));
        spelling(&format!("{BASE}%2f0f"));
        spelling(&format!("{BASE}//0f"));
        spelling(&format!("{BASE};a=b"));
        spelling(&format!("{BASE}/0F"));
        spelling("/client/v4/Accounts/a1/magic/ipsec_tunnels");
        spelling(&format!("{BASE}\\0f"));
    }

    #[test]
    fn unknown_paths_are_unknown() {
        let unknown = |path: &str| check(&Method::GET, path, None, Err(RouteError::Unknown));
        unknown("/");
        unknown("/client/v4");
        unknown("/client/v4/accounts/a1");
        unknown("/client/v4/accounts/a1/magic/gre_tunnels");
        unknown("/client/v4/accounts/xyz/magic/ipsec_tunnels");
        unknown("/client/v4/accounts/0123456789abcdef0123456789abcdef0/magic/ipsec_tunnels");
        unknown(&format!("{BASE}/not-hex"));
        unknown(&format!("{BASE}/0f/psk"));
        unknown(&format!("{BASE}/psk/psk_generate"));
        unknown(&format!("{BASE}/0f/psk_generate/x"));
    }

    #[test]
    fn psk_is_never_a_tunnel() {
        check(&Method::GET, &format!("{BASE}/psk"), None, Err(RouteError::Method("POST")));
        check(&Method::PUT, &format!("{BASE}/psk"), None, Err(RouteError::Method("POST")));
        check(&Method::DELETE, &format!("{BASE}/psk"), None, Err(RouteError::Method("POST")));
    }

    #[test]
    fn other_methods_are_told_which_there_are() {
        let told = |path: &str, allow| {
            check(&Method::PATCH, &format!("{BASE}{path}"), None, Err(RouteError::Method(allow)));
        };
        told("", "GET, POST, PUT");
        told("/0f", "GET, PUT, DELETE");
        told("/psk", "POST");
        told("/0f/psk_generate", "POST");
        check(&Method::PATCH, &format!("{BASE}/psk/psk_generate"), None, Err(RouteError::Unknown));
    }

    #[test]
    fn a_wrong_query_is_told_what_is_wrong_with_it() {
        let said = |query| match route(&Method::PUT, BASE, Some(query)) {
            Err(RouteError::Query(said)) => said,
            other => panic!("{query}: {other:?}"),
        };
        assert!(said("").contains("empty query"));
        assert!(said("validate_only=true&a=b").contains("more than one"));
        assert!(said("validate_only=1").contains("`true` or `false`"));
        assert!(said("dry_run=true").contains("unknown parameter"));
    }

    #[test]
    fn validate_only_is_true_or_false_once_and_on_writes() {
        let flag = |query| route(&Method::PUT, BASE, Some(query)).map(|r| r.validate_only);
        assert_eq!(flag("validate_only=true"), Ok(true));
        assert_eq!(flag("validate_only=false"), Ok(false));
        for bad in [
            "",
            "validate_only",
            "validate_only=1",
            "validate_only=True",
            "validate_only=true&",
            "x=1",
            "validate_only=true&validate_only=false",
            "Validate_only=true",
            "validate_only=tru%65",
        ] {
            assert!(matches!(flag(bad), Err(RouteError::Query(_))), "{bad}");
        }
        assert!(matches!(route(&Method::GET, BASE, Some("validate_only=true")), Err(RouteError::Query(_))));
    }
}
