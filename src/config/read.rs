//! Reads a configuration: as written, then resolved.
//!
//! The text becomes a tree, variables change the tree, and sections take their keys out of it. Only a tree that
//! gave no problem at all becomes a [`Config`]. No file but the configuration itself is touched. Not here: the
//! keys of `[[issuer]]`, `[upstream]`, `[limits]`, `[audit]` and `[trace]` (files of those names).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::header::{AUTHORIZATION, COOKIE, HOST, HeaderName, ORIGIN};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::store::MAX_ENTRY;

use super::cidr::{CIDR, Cidr};
use super::limits::list_of_texts;
use super::table::{Reader, Section, text_of};
use super::tree::{self, Node};
use super::{
    Admin, ClientCertificates, Config, Listen, Log, Policy, Problem, Problems, Rate, Revocation, Tls,
};
use super::{audit, digest, issuer, limits, overrides, trace, units, upstream};

/// Bytes of a configuration file: a hundred issuers and a thousand accounts need a tenth of it.
const MAX_FILE: u64 = 1 << 20;

/// Reads the file, then the variables `TUNNELWARDEN__SECTION__KEY` and `CLOUDFLARE_API_TOKEN` of `env`.
///
/// Relative paths in it are relative to the file's directory.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn load(path: &Path, env: &BTreeMap<String, String>) -> Result<Config, Problems> {
    let (text, base) = text(path)?;
    resolve(&text, &base, env)
}

/// A configuration's text, and the directory that its relative paths are relative to.
pub(super) fn text(path: &Path) -> Result<(String, PathBuf), Problems> {
    let alone = |what| Problems(vec![Problem { key: String::new(), line: None, what }]);
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(|e| alone(format!("can't read the configuration file `{}`: {e}", path.display())))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_FILE {
        return Err(alone(format!("the configuration file `{}` is larger than 1MiB", path.display())));
    }
    let text = String::from_utf8(bytes).map_err(|_| {
        alone(format!("the configuration file `{}` is not UTF-8; save it as UTF-8", path.display()))
    })?;
    Ok((text, path.parent().unwrap_or(Path::new("")).to_owned()))
}

/// Reads a configuration's text; `base` is what its relative paths are relative to.
///
/// # Errors
/// Everything that is wrong, at once.
pub(super) fn resolve(text: &str, base: &Path, env: &BTreeMap<String, String>) -> Result<Config, Problems> {
    // Where the grammar is broken the rest can't be told, and would give problems that aren't there.
    let mut tree = tree::file(text).map_err(in_order)?;
    let mut problems = Vec::new();
    overrides::apply(&mut tree, env, &mut problems);
    let reader = Reader {
        base: base.to_owned(),
        problems: RefCell::new(problems),
        origins: RefCell::new(BTreeMap::new()),
        resolved: RefCell::new(BTreeMap::new()),
    };
    let mut root = Section::root(&reader, tree);
    let mut config = Config {
        listen: root.section("listen", listen),
        admin: root.section("admin", admin),
        upstream: root.section("upstream", |section| upstream::read(section, env)),
        issuers: issuer::read_all(&mut root),
        revocation: root.section("revocation", |section| Revocation { file: section.path("file") }),
        policy: root.section("policy", policy),
        limits: root.section("limits", limits::read),
        audit: root.section("audit", audit::read),
        log: root.section("log", log),
        trace: root.section("trace", trace::read),
        digest: String::new(),
        resolved: BTreeMap::new(),
    };
    if config.listen.address == config.admin.address && config.admin.address.port() != 0 {
        root.problem("admin.address", "is the same as listen.address; give each its own port");
    }
    if config.listen.tls.as_ref().is_none_or(|tls| tls.clients.is_none()) {
        for (at, _) in config.issuers.iter().enumerate().filter(|(_, issuer)| issuer.bound_tokens_only) {
            let what = "no client could show a certificate, and no token would be taken; set listen.client_certificate";
            root.problem(&format!("issuer.{at}.bound_tokens_only"), what);
        }
    }
    root.finish();
    let problems = reader.problems.into_inner();
    if problems.is_empty() {
        config.resolved = reader.resolved.into_inner();
        config.digest = digest::of(&config.resolved);
        Ok(config)
    } else {
        Err(in_order(problems))
    }
}

/// In the order of the file; what has no line comes last.
pub(super) fn in_order(mut problems: Vec<Problem>) -> Problems {
    problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
    Problems(problems)
}

/// An intent is recorded whole, with the body and the state before, which may have the same size. In both a mask
/// may be twice as long as what it stands for.
const MAX_BODY: usize = MAX_ENTRY / 4;

const MILLIS_100: Duration = Duration::from_millis(100);
const MINUTES_10: Duration = Duration::from_mins(10);

fn listen(section: &mut Section<'_>) -> Listen {
    let default = Rate { requests: units::per(60), per: Duration::from_mins(1) };
    let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    let max_connections = section.count("max_connections", 4096, 1..=65_536);
    let (half, most) = ((max_connections / 2).max(1), max_connections.max(1));
    let unidentified_per_address = section.required_rate("unidentified_per_address", default);
    // Twenty flooders are told by name; of more than these each is heard less.
    let in_all = Rate {
        requests: unidentified_per_address.requests.saturating_mul(units::per(20)),
        ..unidentified_per_address
    };
    Listen {
        address: address(section, 8080),
        tls: tls(section),
        proxy_protocol: ranges(section, "proxy_protocol"),
        trusted_hops: ranges(section, "trusted_hops"),
        max_connections: count(max_connections),
        connections_per_address: count(section.count("connections_per_address", half, 1..=most)),
        header_timeout: section.duration("header_timeout", Duration::from_secs(10), MILLIS_100..=MINUTES_10),
        body_timeout: section.duration("body_timeout", Duration::from_secs(30), MILLIS_100..=MINUTES_10),
        max_connection_age: section.duration(
            "max_connection_age",
            Duration::from_hours(1),
            Duration::from_mins(1)..=Duration::from_hours(24),
        ),
        // The HTTP library refuses a buffer of less than 8 KiB.
        max_header_bytes: section.size("max_header_bytes", 16 << 10, 8 << 10..=256 << 10),
        max_body_bytes: section.size("max_body_bytes", 1 << 20, 1 << 10..=MAX_BODY),
        drain_timeout: section.duration(
            "drain_timeout",
            Duration::from_secs(30),
            Duration::ZERO..=MINUTES_10,
        ),
        unidentified_per_address,
        unidentified_in_all: section.required_rate("unidentified_in_all", in_all),
    }
}

/// Ranges of addresses in a list: nobody names more, and each is looked at for each connection.
const MAX_RANGES: usize = 64;

fn ranges(section: &mut Section<'_>, key: &str) -> Vec<Cidr> {
    let texts = list_of_texts(section, key, MAX_RANGES).unwrap_or_default();
    let mut ranges = Vec::with_capacity(texts.len());
    for text in &texts {
        match Cidr::parse(text) {
            Some(range) if range.has_all() => {
                section.problem(
                    key,
                    &format!("`{text}` is every address: then anybody could say whose request it is"),
                );
            }
            Some(range) => ranges.push(range),
            None => section.problem(key, &format!("`{text}` is not {CIDR}")),
        }
    }
    section.resolved(key, texts.join("\n"));
    ranges
}

fn address(section: &mut Section<'_>, port: u16) -> SocketAddr {
    let parse = |node: &Node| {
        text_of(node).and_then(|text| text.parse().ok()).ok_or_else(|| {
            format!("wants an address and a port such as \"127.0.0.1:{port}\" or \"[::]:{port}\", not a name")
        })
    };
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let address = section.parsed("address", parse).unwrap_or(default);
    section.resolved("address", address);
    address
}

fn tls(section: &mut Section<'_>) -> Option<Tls> {
    let clients = client_certificates(section);
    match (section.path("certificate_file"), section.path("private_key_file")) {
        (Some(certificate_file), Some(private_key_file)) => {
            Some(Tls { certificate_file, private_key_file, clients })
        }
        (None, None) => {
            if clients.is_some() {
                section.problem("client_ca_file", "only goes with certificate_file and private_key_file");
            }
            None
        }
        (Some(_), None) => {
            section.problem("private_key_file", "is missing beside certificate_file; give both or neither");
            None
        }
        (None, Some(_)) => {
            section.problem("certificate_file", "is missing beside private_key_file; give both or neither");
            None
        }
    }
}

/// Both keys are said, or neither is: who names whom to trust and not whether to ask would ask nobody.
fn client_certificates(section: &mut Section<'_>) -> Option<ClientCertificates> {
    let wish = |node: &Node| match text_of(node) {
        Some("off") => Ok(None),
        Some("optional") => Ok(Some(false)),
        Some("required") => Ok(Some(true)),
        _ => Err("wants \"off\", \"optional\" or \"required\"".to_owned()),
    };
    let says_wish = section.says("client_certificate");
    let wish = section.parsed("client_certificate", wish);
    let name = match wish.flatten() {
        None => "off",
        Some(false) => "optional",
        Some(true) => "required",
    };
    section.resolved("client_certificate", name);
    let ca_file = section.path("client_ca_file");
    match (ca_file, wish) {
        (Some(ca_file), Some(Some(required))) => Some(ClientCertificates { ca_file, required }),
        (Some(_), Some(None)) => {
            section.problem("client_ca_file", "goes with client_certificate = \"optional\" or \"required\"");
            None
        }
        (Some(_), None) => {
            // What is said and wrong has its own problem.
            if !says_wish {
                section.problem("client_certificate", "is missing beside client_ca_file; say \"required\"");
            }
            None
        }
        (None, Some(Some(_))) => {
            section.problem("client_ca_file", "is missing; name the roots that vouch for clients");
            None
        }
        (None, Some(None) | None) => None,
    }
}

pub(super) fn admin(section: &mut Section<'_>) -> Admin {
    let header = |node: &Node| {
        let name = text_of(node).and_then(|text| HeaderName::try_from(text).ok());
        // Each of these has a meaning of its own there.
        let taken = |name: &HeaderName| [AUTHORIZATION, COOKIE, HOST, ORIGIN].contains(name);
        name.filter(|name| !taken(name)).ok_or_else(|| {
            "wants the name of a header that only the access proxy sets, such as \"Cf-Access-Jwt-Assertion\"".to_owned()
        })
    };
    let address = address(section, 9090);
    let token_header = section.parsed("token_header", header);
    section.resolved("token_header", token_header.as_ref().map_or("none", HeaderName::as_str));
    Admin { address, token_header }
}

pub(super) fn policy(section: &mut Section<'_>) -> Policy {
    Policy { file: section.required_path("file", "name the file of Cedar policies") }
}

/// Whether each part of a filter has a level, and one is for all that no other names. A word that is no level would be the name of
/// something, and everything else would be silent.
fn has_levels(filter: &str) -> bool {
    let is_level = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
    let mut parts = filter.split(',').map(str::trim);
    parts.clone().any(is_level) && parts.all(|part| is_level(part.rsplit('=').next().unwrap_or_default()))
}

fn log(section: &mut Section<'_>) -> Log {
    let format = |node: &Node| match text_of(node) {
        Some("text") => Ok(false),
        Some("json") => Ok(true),
        _ => Err("wants \"text\" or \"json\"".to_owned()),
    };
    let filter = |node: &Node| {
        text_of(node)
            .filter(|text| has_levels(text) && EnvFilter::try_new(text).is_ok())
            .map(str::to_owned)
            .ok_or_else(|| {
                "wants a filter such as \"info\" or \"info,tunnelwarden=debug\": one of off, error, warn, \
                 info, debug and trace for all else"
                    .to_owned()
            })
    };
    let json = section.parsed("format", format).unwrap_or(false);
    section.resolved("format", if json { "json" } else { "text" });
    let filter = section.parsed("filter", filter).unwrap_or_else(|| "info".to_owned());
    section.resolved("filter", &filter);
    Log { json, filter }
}
