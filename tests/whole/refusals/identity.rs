//! Tokens that are not accepted: each fault, over the wire.
//!
//! Not here: the many forms of each fault (`src/identify/tests/attacks.rs`).

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tunnelwarden::config::Algorithm;
use tunnelwarden::identify::dev::DevKey;
use tunnelwarden::json::{Json, Object};

use crate::harness::{Answer, Wishes, World};

use super::ask::{ask, ask_with, bearer, claims, line, read, request, with_claims};
use super::row::{Group, Row};

/// The one who is revoked.
const REVOKED: &str = "left-the-company";

pub(super) const GROUP: Group = Group {
    apart: false,
    wishes: || Wishes {
        config: vec![
            ("listen.unidentified_per_address", "\"100000/m\"".to_owned()),
            ("revocation.file", "\"revoked.txt\"".to_owned()),
            ("issuer.one_use_for_secrets", "true".to_owned()),
        ],
        ..Wishes::default()
    },
    rows: &[
        Row::new("token_missing", 401, 99200, |w| Box::pin(list(w, &[]))),
        Row::new("token_missing", 401, 99200, |w| {
            Box::pin(async move {
                let answer = list(w, &["x-auth-key: 0123456789abcdef", "x-auth-email: a@b.example"]).await;
                assert!(answer.text().contains("CLOUDFLARE_API_KEY"), "{}", answer.text());
                answer
            })
        }),
        Row::new("token_ambiguous", 401, 99201, |w| {
            Box::pin(async move {
                let good = bearer(w, "viewer");
                list(w, &[&good, &good]).await
            })
        }),
        Row::token("scheme", 99210, |w| Box::pin(list(w, &["authorization: Basic dTpw"]))),
        Row::token("too_large", 99211, |w| {
            Box::pin(async move {
                let long = with_claims(w, &[("note", Json::from("a".repeat(8 << 10)))]);
                list(w, &[&long]).await
            })
        }),
        Row::token("malformed", 99212, |w| Box::pin(list(w, &["authorization: Bearer a.b.c"]))),
        Row::token("critical_header", 99213, |w| {
            Box::pin(async move {
                let crit = ("crit", Json::from(vec!["exp"]));
                list(w, &[&signed(&w.key, &claims(w, &[]), &[crit])]).await
            })
        }),
        Row::token("algorithm", 99214, |w| {
            Box::pin(async move {
                let other = DevKey::generate(Algorithm::EdDsa).unwrap().with_id(w.key.id());
                list(w, &[&signed(&other, &claims(w, &[]), &[])]).await
            })
        }),
        Row::token("issuer", 99215, |w| {
            Box::pin(async move { list(w, &[&with_claims(w, &[("iss", "https://else".into())])]).await })
        }),
        Row::token("unknown_key", 99216, |w| {
            Box::pin(async move {
                let other = DevKey::generate(Algorithm::Es256).unwrap();
                list(w, &[&signed(&other, &claims(w, &[]), &[])]).await
            })
        }),
        Row::token("signature", 99217, |w| {
            Box::pin(async move {
                let other = DevKey::generate(Algorithm::Es256).unwrap().with_id(w.key.id());
                list(w, &[&signed(&other, &claims(w, &[]), &[])]).await
            })
        }),
        Row::token("expired", 99218, |w| {
            Box::pin(async move {
                let past = [("iat", now(w, -7200)), ("exp", now(w, -3600))];
                list(w, &[&with_claims(w, &past)]).await
            })
        }),
        Row::token("not_yet_valid", 99219, |w| {
            Box::pin(async move { list(w, &[&with_claims(w, &[("nbf", now(w, 1800))])]).await })
        }),
        Row::token("audience", 99220, |w| {
            Box::pin(async move { list(w, &[&with_claims(w, &[("aud", "else".into())])]).await })
        }),
        Row::token("lifetime", 99221, |w| {
            Box::pin(async move { list(w, &[&with_claims(w, &[("exp", now(w, 13 * 3600))])]).await })
        }),
        Row::token("claim", 99222, |w| {
            Box::pin(async move { list(w, &[&with_claims(w, &[("sub", Json::Null)])]).await })
        }),
        Row::token("binding_kind", 99223, |w| {
            Box::pin(async move { list(w, &[&with_claims(w, &[("cnf", bound("jkt"))])]).await })
        }),
        Row::token("binding", 99224, |w| {
            Box::pin(async move { list(w, &[&with_claims(w, &[("cnf", bound("x5t#S256"))])]).await })
        }),
        Row::token("used", 99226, |w| {
            Box::pin(async move {
                let once = with_claims(w, &[("role", "admin".into()), ("jti", "once".into())]);
                let generate = format!("/{}/psk_generate", "0".repeat(32));
                // The first one goes to Cloudflare, which knows no such tunnel.
                ask_with(w, &line("POST", &generate), &[&once], None).await;
                ask_with(w, &line("POST", &generate), &[&once], None).await
            })
        }),
        Row::new("token_revoked", 401, 99203, |w| {
            Box::pin(async move {
                let line = format!("sub {} {REVOKED}\n", crate::harness::ISSUER);
                std::fs::write(w.dir.path().join("revoked.txt"), line).unwrap();
                revoked(w).await
            })
        }),
    ],
};

/// An issuer all of whose tokens must be bound.
pub(super) const BOUND: Group = Group {
    apart: false,
    wishes: || Wishes {
        config: vec![("issuer.bound_tokens_only", "true".to_owned())],
        listen_tls: true,
        ..Wishes::default()
    },
    rows: &[Row::token("unbound", 99225, |w| {
        Box::pin(async move {
            let good = request(&line("GET", ""), &[&bearer(w, "viewer")], None);
            let pem = std::fs::read(w.dir.path().join("tls.crt")).unwrap();
            let trusted = CertificateDer::from_pem_slice(&pem).unwrap();
            read(&crate::bound::over_tls(w, trusted, None, &good).await.unwrap())
        })
    })],
};

/// A claim `cnf` with one member.
fn bound(how: &'static str) -> Json {
    Object::from_iter([(how, "A".repeat(43))]).into()
}

/// The issuer's keys were never seen.
pub(super) const KEYLESS: Group = Group {
    apart: false,
    wishes: || Wishes {
        config: vec![
            ("issuer.jwks_file", String::new()),
            // Nothing listens on the port that RFC 863 gives to discarding, nor may a test open it.
            ("issuer.jwks_url", "\"http://127.0.0.1:9/jwks\"".to_owned()),
        ],
        ..Wishes::default()
    },
    rows: &[Row::new("keys_unavailable", 503, 99204, |w| {
        Box::pin(async move { ask(w, "viewer", &line("GET", ""), None).await })
    })
    .come_back()],
};

async fn list(world: &World, headers: &[&str]) -> Answer {
    ask_with(world, &line("GET", ""), headers, None).await
}

fn signed(key: &DevKey, claims: &Json, extras: &[(&str, Json)]) -> String {
    format!("authorization: Bearer {}", key.sign(claims, extras).unwrap())
}

fn now(world: &World, and: i64) -> Json {
    use tunnelwarden::clock::Clock as _;
    Json::from(world.clock.now().as_second() + and)
}

/// Asks until the revocation has been seen: the file is looked at from time to time.
async fn revoked(world: &World) -> Answer {
    let until = tokio::time::Instant::now() + crate::harness::PATIENCE;
    let token = with_claims(world, &[("sub", REVOKED.into())]);
    loop {
        let answer = list(world, &[&token]).await;
        if answer.status != 200 {
            return answer;
        }
        assert!(tokio::time::Instant::now() < until, "never revoked");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
