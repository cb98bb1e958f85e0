//! Empty records on a real PostgreSQL server, for tests.

use std::path::Path;
use std::sync::OnceLock;

use super::{Database, migrate};

#[path = "../../tests/postgres/server.rs"]
mod server;

pub(crate) use server::server;

/// A database with the tables and nothing in them, as the replica of this name writes it; none where there is no server.
pub(crate) async fn postgres(replica: &str) -> Option<Database> {
    static LIKE: tokio::sync::OnceCell<String> = tokio::sync::OnceCell::const_new();
    let server = server()?;
    let made = || async {
        let name = server.database(None);
        let Database::Postgres(owner) = parse(&server.url("owner", &name)) else { unreachable!() };
        let (writer, analyst) = (["writer".to_owned()], ["analyst".to_owned()]);
        migrate(&owner, &writer, &analyst, jiff::civil::date(2026, 1, 15)).await.unwrap();
        name
    };
    let like = LIKE.get_or_init(made).await;
    // One database can be the pattern of one other at a time.
    static TURN: OnceLock<tokio::sync::Mutex<()>> = OnceLock::new();
    let _turn = TURN.get_or_init(tokio::sync::Mutex::default).lock().await;
    let name = server.database(Some(like));
    match parse(&server.url("writer", &name)) {
        Database::Postgres(writer) => Some(Database::Postgres(writer.for_replica(replica).unwrap())),
        Database::Sqlite(_) => unreachable!(),
    }
}

fn parse(url: &str) -> Database {
    Database::parse(url, Path::new("")).unwrap()
}
