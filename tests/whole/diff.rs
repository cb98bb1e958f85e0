//! Changed fields, as the terminal and SQL tell of them.

use http::Method;
use tunnelwarden::json::{self, Json};

use crate::harness::{World, tunnel_body};

fn diff(world: &World, flags: &[&str]) -> Vec<String> {
    let done = world.program(&[&["audit", "diff", "--config", &world.config()], flags].concat());
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn each_changed_field_is_a_line_and_a_row_of_the_view() {
    let world = World::start().await;
    let create = |name: &'static str, n| {
        let world = &world;
        async move {
            world.call("admin", Method::POST, "", Some(&tunnel_body(name, n))).await.text_at("/result/id")
        }
    };
    let (berlin, _oslo) = (create("berlin", 1).await, create("oslo", 2).await);
    let moved = tunnel_body("berlin", 3).replace("true", "false");
    let put = world.call("admin", Method::PUT, &format!("/{berlin}"), Some(&moved)).await;
    assert_eq!(put.status, 200, "{}", put.text());
    let request = put.header("x-request-id");
    let of_call = diff(&world, &[&request]);
    assert_eq!(of_call, diff(&world, &["--subject", "admin@test", "--operation", "update"]));
    assert_eq!(of_call.len(), 4, "{of_call:#?}");
    let endpoint = of_call.iter().find(|line| line.contains("customer_endpoint")).unwrap();
    assert!(endpoint.contains("admin@test  berlin  customer_endpoint: \"198.51.100.1\" → \"198.51.100.3\""));
    // By name and by id, and one field of it.
    for tunnel in ["berlin", &berlin] {
        assert_eq!(diff(&world, &["--tunnel", tunnel]).len(), 5, "its creation, and four fields");
        assert_eq!(diff(&world, &["--tunnel", tunnel, "--field", "replay_protection"]).len(), 1);
        assert_eq!(diff(&world, &["--tunnel", tunnel, "--limit", "2"]).len(), 2);
    }
    assert_eq!(diff(&world, &["--limit", "0"]).len(), 6);
    assert_eq!(diff(&world, &["--since", "1h", "--operation", "create"]).len(), 2);
    assert_eq!(diff(&world, &["--until", "1h"]), ["no change fits"]);
    assert!(diff(&world, &["--until", "1h", "--json"]).is_empty());
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(world.database()).read_only(true);
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    let columns: Vec<String> = sqlx::query_scalar("SELECT name FROM pragma_table_info('changes')")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    for line in diff(&world, &["--json"]) {
        let row = json::read(line.as_bytes(), json::MAX_DEPTH).unwrap();
        let names: Vec<&str> = row.as_object().unwrap().iter().map(|(name, _)| name).collect();
        assert_eq!(names, columns);
        assert!(row.get("before").is_some_and(|before| *before != Json::from("null")));
    }
}
