//! A token judged as the proxy judges it: signature, times, issuer, audience, claims and revocations.
//!
//! Not here: how (`identify`), what else is shown of a token (`token inspect`).

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};

use super::visible;
use crate::caller::{Caller, Thumbprint};
use crate::cli::{Env, Exit, Stop};
use crate::clock::rfc3339;
use crate::config;
use crate::identify::{self, Identifier};
use crate::service::why;
use crate::share::Shared;

/// Says whether the proxy of this configuration takes the token, and as whose.
pub(super) async fn judge(token: &str, file: &Path, env: &Env, out: &mut dyn Write) -> Result<Exit, Stop> {
    let config = config::load(file, &env.vars).map_err(Stop::usage)?;
    let shared = Shared::open(&config.audit.database).map_err(Stop::failed)?;
    let identifier = Identifier::start(&config.issuers, &config.revocation, Arc::clone(&env.clock))
        .await
        .map_err(Stop::failed)?;
    let identifier = identifier.sharing(shared.as_ref()).await.map_err(|error| Stop::failed(why(&error)))?;
    for trouble in identifier.health() {
        writeln!(out, "warning: {}", visible(&trouble))?;
    }
    let mut headers = HeaderMap::new();
    let mut bearer = HeaderValue::from_str(&format!("Bearer {token}")).map_err(Stop::failed)?;
    bearer.set_sensitive(true);
    headers.insert(AUTHORIZATION, bearer);
    // As if its own client sent it.
    let bound = identify::show(token)
        .ok()
        .and_then(|shown| Thumbprint::parse(shown.claims.pointer("/cnf/x5t#S256")?.as_str()?));
    match identifier.identify(&headers, bound).await {
        Ok(identified) => {
            let Caller { subject, teams, roles, issuer, expires, .. } = &**identified.caller();
            let list = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            writeln!(out, "accepted: `{subject}` of {issuer}, until {}", rfc3339(*expires))?;
            writeln!(out, "  roles: {}", list(roles))?;
            writeln!(out, "  teams: {}", list(teams))?;
            if let Some(bound) = bound {
                writeln!(out, "  only with the client certificate of SHA-256 {bound}")?;
            }
            Ok(Exit::Good)
        }
        Err(refusal) => {
            writeln!(out, "refused: {}", visible(&refusal.message()))?;
            Ok(Exit::Failed)
        }
    }
}
