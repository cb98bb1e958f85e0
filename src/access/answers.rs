//! The questions that the desk answers.
//!
//! Not here: who may ask, and how a question is recorded (`access`).

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::asked::{Asked, Known, MAX_TEXT, Question};
use super::{Desk, Reading, Shown, Told, VerificationState};
use crate::authorize::Depth;
use crate::inspect::{self, KeyAge, ProveError, metadata, read_entry};
use crate::json::{Json, Object};
use crate::refusal::Refusal;
use crate::seal::EntryProof;
use crate::store::{By, Count, Filter, ReadError, Row, Rows, View};

/// Bytes of entries after which a page of them ends.
const PAGE_BYTES: usize = 2 << 20;

/// Some entries.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// In the order that was asked for.
    pub entries: Vec<Shown>,
    /// Where the next page begins; none where this is the last.
    pub next: Option<u64>,
}

impl Desk {
    /// A question with its filter, of which texts are kept that the record has already.
    async fn question(&self, what: &str, asked: &Asked, any: bool) -> Result<Question, Refusal> {
        let known = |filter: Filter| async move {
            let filter = Filter { limit: Some(1), ..filter };
            Ok::<_, Refusal>(any || !self.reader.find(&filter).await.map_err(unreadable)?.is_empty())
        };
        let subject = match &asked.subject {
            Some(subject) => known(Filter { subject: Some(subject.clone()), ..Filter::default() }).await?,
            None => false,
        };
        let tunnel = match &asked.tunnel {
            Some(tunnel) => known(Filter { tunnel: Some(tunnel.clone()), ..Filter::default() }).await?,
            None => false,
        };
        Ok(Question::new(what, asked, Known { subject, tunnel, team: any }))
    }

    /// The newest entries that fit, or the oldest after one: as many as fit into a few MiB, and at least one.
    ///
    /// # Errors
    /// The record can't be read, or the question can't be recorded.
    pub async fn entries(
        &self,
        reading: &Reading,
        asked: &Asked,
        filter: &Filter,
    ) -> Result<Told<Page>, Refusal> {
        let turn = self.turn(reading).await?;
        let seqs = self.reader.find(filter).await.map_err(unreadable)?;
        let mut page = Page::default();
        let mut bytes = 0;
        for seq in &seqs {
            if bytes >= PAGE_BYTES {
                break;
            }
            let rows = self.reader.entries(&[*seq]).await.map_err(unreadable)?;
            bytes += rows.iter().map(|row| row.entry.len()).sum::<usize>();
            page.entries.extend(shown(reading, rows));
            page.next = Some(*seq);
        }
        let all = page.entries.len() == seqs.len() && seqs.len() < asked.limit() as usize;
        page.next = page.next.filter(|_| !all);
        let question = self.question("entries", asked, !seqs.is_empty()).await?;
        drop(turn);
        self.note(reading, &question, page).await
    }

    /// All entries of one call, oldest first, by its request id or the id of any of them.
    ///
    /// # Errors
    /// As above.
    pub async fn call(&self, reading: &Reading, id: Uuid) -> Result<Told<Vec<Shown>>, Refusal> {
        let turn = self.turn(reading).await?;
        let rows = self.reader.get(&id.to_string()).await.map_err(unreadable)?;
        drop(turn);
        let question = Question::of("call", &id.to_string(), !rows.is_empty());
        self.note(reading, &question, shown(reading, rows)).await
    }

    /// Rows of a view, newest first.
    ///
    /// # Errors
    /// As above.
    pub async fn rows(
        &self,
        reading: &Reading,
        view: View,
        asked: &Asked,
        filter: &Filter,
        least: usize,
    ) -> Result<Told<Rows>, Refusal> {
        let turn = self.turn(reading).await?;
        let field = asked.pointer();
        let mut rows = self.reader.view(view, filter, field.as_deref(), least).await.map_err(unreadable)?;
        let question = self.question(view.name(), asked, !rows.rows.is_empty()).await?;
        drop(turn);
        if reading.depth == Depth::Metadata {
            hide(&mut rows.rows);
        }
        self.note(reading, &question, rows).await
    }

    /// Counts of calls.
    ///
    /// # Errors
    /// As above.
    pub async fn counts(
        &self,
        reading: &Reading,
        asked: &Asked,
        filter: &Filter,
        by: By,
    ) -> Result<Told<Vec<Count>>, Refusal> {
        let turn = self.turn(reading).await?;
        let counts = self.reader.counts(filter, by).await.map_err(unreadable)?;
        let question = self.question("statistics", asked, !counts.is_empty()).await?;
        drop(turn);
        self.note(reading, &question, counts).await
    }

    /// The tunnels that are left, with the ages of their keys, by id; of one only where it is given.
    ///
    /// # Errors
    /// As above.
    pub async fn key_ages(
        &self,
        reading: &Reading,
        only: Option<&str>,
    ) -> Result<Told<Vec<(String, KeyAge)>>, Refusal> {
        // First, as who waits for these must not have a turn meanwhile.
        let mut ages = self.ages.lock().await;
        let turn = self.turn(reading).await?;
        ages.follow(&self.reader).await.map_err(unreadable)?;
        let found: Vec<(String, KeyAge)> = match only {
            Some(tunnel) => ages.of(tunnel).map(|age| (tunnel.to_owned(), age.clone())).into_iter().collect(),
            None => ages.left().map(|(id, age)| (id.to_owned(), age.clone())).collect(),
        };
        drop((ages, turn));
        let question =
            Question::of("key_ages", only.unwrap_or_default(), only.is_some() && !found.is_empty());
        self.note(reading, &question, found).await
    }

    /// What tunnels are called, as far as it is known without waiting. The first reader makes it be read, and not the
    /// start, which nobody may have to wait for.
    #[must_use]
    pub fn names(self: &Arc<Self>, _reading: &Reading) -> BTreeMap<String, String> {
        self.prepared.call_once(|| {
            let desk = Arc::clone(self);
            tokio::spawn(async move { desk.prepare().await });
        });
        self.ages.try_lock().map(|ages| ages.names()).unwrap_or_default()
    }

    async fn prepare(&self) {
        if let Err(error) = self.ages.lock().await.follow(&self.reader).await {
            tracing::warn!(error = %error, "the record can't be read for the ages of keys");
        }
    }

    /// The ids of the tunnels that a person may mean: by id, or by a name that they have or had.
    ///
    /// # Errors
    /// As above.
    pub async fn tunnels(&self, reading: &Reading, named: &str) -> Result<Told<Vec<String>>, Refusal> {
        if named.len() == 32 && named.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            // Nothing of the record is told by this.
            return Ok(Told { request_id: Uuid::nil(), what: vec![named.to_ascii_lowercase()] });
        }
        let ids = if named.chars().count() > MAX_TEXT {
            Vec::new()
        } else {
            let _turn = self.turn(reading).await?;
            self.reader.tunnels_named(named).await.map_err(unreadable)?
        };
        self.note(reading, &Question::of("tunnels_named", named, !ids.is_empty()), ids).await
    }

    /// The proof of an entry; none where there is no such entry.
    ///
    /// # Errors
    /// The reader may not see bodies, which are in it; or as above.
    pub async fn prove(&self, reading: &Reading, id: Uuid) -> Result<Told<Option<EntryProof>>, Refusal> {
        self.deep(reading).await?;
        let turn = self.turn(reading).await?;
        let rows = self.reader.get(&id.to_string()).await.map_err(unreadable)?;
        let text = id.to_string();
        let has_id = |row: &&Row| {
            read_entry(row.entry.as_bytes()).is_ok_and(|e| e.get("id").and_then(Json::as_str) == Some(&text))
        };
        let proof = match rows.iter().find(has_id) {
            None => None,
            Some(row) => match inspect::prove(&self.reader, &self.verifier, row.seq, None).await {
                Ok(proof) => Some(proof),
                Err(ProveError::Archived(_)) => {
                    return Err(Refusal::AuditUnavailable {
                        why: "parts of this entry were archived; prove it with `audit prove --archive`",
                    });
                }
                Err(error) => {
                    tracing::error!(error = %error, "an entry can't be proven");
                    return Err(Refusal::AuditUnavailable {
                        why: "it does not prove this entry; run `audit verify`",
                    });
                }
            },
        };
        drop(turn);
        self.note(reading, &Question::of("proof", &text, proof.is_some()), proof).await
    }

    /// The newest signed checkpoints, newest first; the head before them.
    ///
    /// # Errors
    /// As above.
    pub async fn checkpoints(&self, reading: &Reading, most: u32) -> Result<Told<Vec<String>>, Refusal> {
        let turn = self.turn(reading).await?;
        let notes = self.reader.checkpoints(most).await.map_err(unreadable)?;
        drop(turn);
        self.note(reading, &Question::of("checkpoints", "", false), notes).await
    }

    /// How the last verification went or goes. Starts one where that is wanted, none goes on, and the last one is not too
    /// young: it reads everything. A start takes the right to see bodies, and each has its entry.
    ///
    /// # Errors
    /// As above.
    pub async fn verification(
        self: &Arc<Self>,
        reading: &Reading,
        start: bool,
    ) -> Result<Told<VerificationState>, Refusal> {
        if start {
            self.deep(reading).await?;
        }
        let question = Question::of(if start { "verify" } else { "verification" }, "", false);
        if start {
            self.leases.end(&question.digest(reading));
        }
        let told = self.note(reading, &question, ()).await?;
        if start {
            self.verification.start(self.reader.clone(), self.verifier.clone(), &self.pipeline.clock);
        }
        Ok(Told { request_id: told.request_id, what: self.verification.state() })
    }
}

fn shown(reading: &Reading, rows: Vec<Row>) -> Vec<Shown> {
    let text = |row: Row| match reading.depth {
        Depth::Bodies => row.entry,
        // One that can't be read shows nothing.
        Depth::Metadata => {
            read_entry(row.entry.as_bytes()).map_or_else(|_| "{}".to_owned(), |e| metadata(&e).to_string())
        }
    };
    rows.into_iter().map(|row| Shown { seq: row.seq, text: text(row) }).collect()
}

/// Takes values out of rows. Rows that differ in a key alone become one: how many there are would tell of equal keys.
pub(super) fn hide(rows: &mut Vec<Object>) {
    for row in rows.iter_mut() {
        for name in ["before", "after", "psk"] {
            if let Some(value) = row.get_mut(name) {
                *value = Json::Null;
            }
        }
    }
    rows.dedup();
}

pub(super) fn unreadable(error: ReadError) -> Refusal {
    tracing::error!(error = %error, "the record can't be read");
    Refusal::AuditUnavailable { why: error.fault.why() }
}
