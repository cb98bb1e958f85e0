//! Replicas before one database, and a line to it that a test can cut. For tests only.

use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::share::Shared;
use crate::store::{Database, record};

/// What this replica shares with others.
pub(super) fn replica(database: &Database, name: &str) -> Shared {
    let Database::Postgres(server) = database else { unreachable!() };
    let server = server.clone().for_replica(name).unwrap();
    Shared::open(&Database::Postgres(server)).unwrap().unwrap()
}

/// A way to the server that is there or not.
#[derive(Debug)]
pub(super) struct Line {
    is_cut: Arc<watch::Sender<bool>>,
    pub(super) database: Database,
}

impl Line {
    /// To an empty record, if there is a server.
    pub(super) async fn new() -> Option<Self> {
        let database = record::postgres("a").await?;
        let there = record::server()?.port();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap().port();
        let url = database.to_string().replace(&format!(":{there}/"), &format!(":{here}/"));
        let is_cut = Arc::new(watch::Sender::new(false));
        let cut = Arc::clone(&is_cut);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut cut = cut.subscribe();
                tokio::spawn(async move {
                    let Ok(mut server) = TcpStream::connect(("127.0.0.1", there)).await else { return };
                    tokio::select! {
                        _ = cut.wait_for(|cut| *cut) => {}
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                    }
                });
            }
        });
        Some(Self { is_cut, database: Database::parse(&url, std::path::Path::new("")).unwrap() })
    }

    pub(super) fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    pub(super) fn mend(&self) {
        self.is_cut.send_replace(false);
    }
}
