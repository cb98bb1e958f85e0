//! Clients behind proxies: limits, policy and record go by the address that the last trusted one saw.
//!
//! Not here: how the header is read (`src/listen/client.rs`).

use http::Method;

use crate::harness::{Wishes, World};

/// Nobody is it. Whoever could pass for it would read.
const POLICY: &str = r#"
@id("from-the-office")
permit (principal, action == Action::"list", resource)
when { context.source.isInRange(ip("198.51.100.0/24")) };
"#;

#[tokio::test]
async fn what_a_client_writes_left_of_its_own_address_has_no_effect() {
    let world = World::with(Wishes {
        config: vec![
            ("listen.trusted_hops", "[\"127.0.0.1\"]".to_owned()),
            ("listen.unidentified_per_address", "\"1/h\"".to_owned()),
        ],
        policy: Some(POLICY.to_owned()),
        ..Wishes::default()
    })
    .await;
    let ask = async |token: &str, forwarded: &str| {
        let fields = [("x-forwarded-for", forwarded)];
        world.try_call(token, Method::GET, "", None, &fields).await.unwrap()
    };
    let token = world.token("viewer");
    // Policy: the office by the proxy's word, not by the client's.
    assert_eq!(ask(&token, "192.0.2.1, 198.51.100.7").await.status, 200);
    let refused = ask(&token, "198.51.100.7, 192.0.2.1").await;
    assert_eq!(refused.status, 403);
    // Record.
    let entries = world.entries_of(&refused.header("x-request-id")).await;
    assert_eq!(entries[0].text("/client_address"), "192.0.2.1", "{}", entries[0].raw);
    // Limits: another name each time is the same address still, and others are not held up.
    assert_eq!(ask("none", "203.0.113.1, 192.0.2.1").await.status, 401);
    assert_eq!(ask("none", "203.0.113.2, 192.0.2.1").await.status, 429);
    assert_eq!(ask("none", "192.0.2.1, 192.0.2.2").await.status, 401);
    let recorded = world.entries().await;
    assert!(recorded.iter().all(|entry| !entry.raw.contains("203.0.113.")));
}
