//! Records on a server.

use super::*;

/// Whoever is on the way could be the server, and would be told the password.
#[tokio::test]
async fn a_server_that_need_not_prove_who_it_is_is_not_spoken_to() {
    let bench = Bench::make().await;
    for url in ["postgres://u@192.0.2.1/d?sslmode=disable", "postgres://u@192.0.2.1/d?sslmode=require"] {
        for line in [
            format!("list --database {url}"),
            format!("verify --database {url} --public-key @KEY"),
            format!("export --database {url}"),
            format!("copy --from sqlite:@audit.db --to {url} --public-key @KEY"),
        ] {
            let asked = tokio::time::timeout(Duration::from_secs(3), bench.run(&line)).await;
            let (exit, said) = asked.unwrap_or((Exit::Good, "it is spoken to".to_owned()));
            let says = "would not make sure who the server is; use sslmode=verify-full, or give --allow-insecure-database";
            assert!(exit == Exit::Usage && said.contains(says), "{line}: {exit:?} {said}");
        }
    }
    let line = "list --database postgres://u@127.0.0.1:1/d?sslmode=require --allow-insecure-database";
    assert!(bench.run(line).await.1.contains("127.0.0.1"));
}
