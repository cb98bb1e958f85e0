//! Takes up a changed configuration, and changed files that it names, while running.
//!
//! What calls are judged by (configuration, policy, issuers with their key files, limits) is taken whole or not at all, and
//! each call goes by the old or by the new. Certificates, upstream tokens and revocations each stand alone as long as the
//! configuration itself is as it was: a slip in the policy must not keep a leaver in. A text counts when two looks a second
//! apart found it: a file that is being written in place may end, for a moment, before the rule that forbids. Only what
//! revokes counts at once. Each change is recorded before it takes effect; what can't be recorded is not done, and tried
//! again. Not here: what can be reloaded (`parts`), how it is read (`prepare`), what is told of it (`problem`).

mod files;
mod parts;
mod prepare;
mod problem;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::config::{self, Config, KeySource};
use crate::entry::Kind;
use crate::identify::{LOOK_FOR_REVOKED, Revocations};
use crate::json::Object;
use crate::listen::Certificate;
use crate::pipeline::{Pipeline, Rules};
use crate::refusal::Refusal;
use crate::service::PERMITS_NOTHING;

pub(super) use files::Files;
use files::{State, jwks_file};
use parts::{Changes, Part};
use prepare::Next;
use problem::{Problem, Seen};

/// How often files are looked at; the one that revokes is looked at oftener ([`LOOK_FOR_REVOKED`]).
const LOOK: Duration = Duration::from_secs(1);

const UNRECORDED: &str = "what changed is not in force: it can't be recorded; it is tried again";

/// What the last reload had to say, for readiness.
pub(super) type Warnings = Arc<Mutex<Vec<String>>>;

/// Where a configuration comes from, so that it can be read again.
pub struct Source {
    /// The file.
    pub file: PathBuf,
    /// The environment as it was at the start: a process's own does not change.
    pub variables: BTreeMap<String, String>,
    /// Puts another `log.filter` in force.
    pub filter: Box<dyn Fn(&str) + Send + Sync>,
}

impl std::fmt::Debug for Source {
    /// Without the variables, of which one may be a token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("file", &self.file).finish_non_exhaustive()
    }
}

/// Follows a configuration.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) source: Source,
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) certificate: Option<Arc<Certificate>>,
    /// What is in force.
    pub(super) config: Arc<Config>,
    /// As they were when what is in force was read.
    pub(super) files: Files,
    pub(super) warnings: Warnings,
    pub(super) looks: Looks,
}

/// What a look found: the configuration file's text, the files that it names, and those that are in use, which may be
/// others while it is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    text: State,
    files: Files,
    in_use: Files,
}

/// What the looks found.
#[derive(Debug, Default)]
pub(super) struct Looks {
    last: Option<(Found, Instant)>,
    /// The last one is known to be bad, and stays so. What could not be recorded is tried again.
    refused: bool,
    /// What is wrong with the last one is in the record.
    noted: bool,
    /// Somebody asked, and is to be told how it went.
    asked: bool,
    /// What keeps the last one from being in force.
    wrong: Vec<Problem>,
    /// What the file that revokes was like when all that it revokes was in force.
    revoked: Option<State>,
}

/// When files are looked at.
#[derive(Debug)]
struct Rounds {
    /// When all are.
    next: Instant,
}

/// What is looked at in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    Revocations,
    All,
}

impl Rounds {
    /// How long it is from one to the next.
    const PAUSE: Duration = LOOK_FOR_REVOKED;

    /// From now on, with all files looked at.
    fn from(now: Instant) -> Self {
        Self { next: now + LOOK }
    }

    fn at(&self, now: Instant) -> Round {
        if now >= self.next { Round::All } else { Round::Revocations }
    }
}

impl Looks {
    /// Whether this look found what one a while before found, and that is worth a try.
    fn settled(&mut self, found: &Found, now: Instant) -> bool {
        match &self.last {
            Some((last, since)) if last == found => !self.refused && now.duration_since(*since) >= LOOK,
            _ => {
                self.last = Some((found.clone(), now));
                self.refused = false;
                self.noted = false;
                false
            }
        }
    }
}

impl Follower {
    /// Looks again and again until the process stops, and at once when asked.
    pub(super) async fn follow(mut self, asked: Arc<Notify>, mut stop: watch::Receiver<bool>) {
        let mut rounds = Rounds::from(Instant::now());
        loop {
            let round = tokio::select! {
                () = tokio::time::sleep(Rounds::PAUSE) => rounds.at(Instant::now()),
                () = asked.notified() => {
                    tracing::info!("asked to reload");
                    self.looks.asked = true;
                    self.looks.refused = false;
                    self.looks.noted = false;
                    Round::All
                }
                _ = stop.wait_for(|stop| *stop) => return,
            };
            self.revoke_at_once().await;
            if round == Round::All {
                self.look().await;
                rounds = Rounds::from(Instant::now());
            }
        }
    }

    async fn look(&mut self) {
        let Some((found, wanted)) = self.find().await else { return };
        self.doubt(&found.in_use);
        if !self.looks.settled(&found, Instant::now()) {
            return;
        }
        // Nothing could be put in force, and whoever issues keys would be asked for them each time.
        if self.pipeline.auditor.admits().is_err() {
            return;
        }
        let prepared = tokio::select! {
            prepared = self.prepare(&found, wanted) => Some(prepared),
            // An issuer that is slow to give its keys must not keep anybody in who is revoked meanwhile.
            () = self.other_revocations(&found.in_use) => None,
        };
        let Some((config, next, wrong)) = prepared else { return self.revoke_at_once().await };
        // What was read is what was looked at, unless it is another text by now.
        match self.find().await {
            Some((again, _)) if again == found => {}
            Some((again, _)) => {
                self.looks.settled(&again, Instant::now());
                return;
            }
            None => return,
        }
        let (changed, whole) = (!next.parts.is_empty(), next.whole);
        let mut recorded = if wrong.is_empty() { Ok(()) } else { self.note(&found, &wrong).await };
        if changed && recorded.is_ok() {
            recorded = self.record(&config, &next).await;
        }
        if let Err(refusal) = recorded {
            tracing::warn!(
                refusal.name = refusal.name(),
                "not reloaded: it can't be recorded; it is tried again"
            );
            return self.warn(vec![UNRECORDED.to_owned()]);
        }
        if !wrong.is_empty() {
            wrong.iter().for_each(|problem| problem.tell(&self.source.file, &found.files));
            self.pipeline.metrics.reload(false);
            self.looks.refused = true;
        }
        if changed {
            self.pipeline.metrics.reload(true);
        } else if wrong.is_empty() && !self.looks.wrong.is_empty() {
            tracing::info!("all files are good again, and as they are in force");
        } else if wrong.is_empty() && self.looks.asked {
            tracing::info!("there is nothing to reload: all files are as they were");
        }
        self.looks.asked = false;
        self.warn(wrong.iter().map(|problem| problem.warning(&found.files)).collect());
        self.looks.wrong = wrong;
        let files = if whole { &found.files } else { &found.in_use };
        self.put_in_force(config, next, files);
        self.doubt(files);
    }

    /// The files as they are now, and the configuration that they make.
    async fn find(&self) -> Option<(Found, Result<Arc<Config>, Vec<Problem>>)> {
        let (file, variables) = (self.source.file.clone(), self.source.variables.clone());
        let present = Arc::clone(&self.config);
        // A network file system may block; the calls in this runtime must not wait for it. Nothing is lost if it fails: the
        // next look is soon.
        let found = tokio::task::spawn_blocking(move || {
            let text = State::of(&file);
            let wanted = match config::load(&file, &variables) {
                Ok(config) if config.differences(&present).is_empty() => Ok(Arc::clone(&present)),
                Ok(config) => Ok(Arc::new(config)),
                Err(problems) => Err(problems.0.iter().map(Problem::of_config).collect()),
            };
            let in_use = Files::look(&present);
            let files = match &wanted {
                Ok(config) if !Arc::ptr_eq(config, &present) => Files::look(config),
                Ok(_) | Err(_) => in_use.clone(),
            };
            (Found { text, files, in_use }, wanted)
        });
        found.await.ok()
    }

    /// Reads what changed: the configuration to go by from now on, the parts that can be put in force, and what keeps others
    /// from it.
    async fn prepare(
        &self,
        found: &Found,
        wanted: Result<Arc<Config>, Vec<Problem>>,
    ) -> (Arc<Config>, Next, Vec<Problem>) {
        let rules = self.pipeline.rules();
        let certificate = self.certificate.as_ref();
        let mut wrong = match wanted {
            Ok(config) => {
                let mut next = Next::default();
                let changes = Changes::between((&self.config, &self.files), (&config, &found.files));
                let mut wrong = Vec::new();
                if !changes.fixed.is_empty() {
                    wrong.push(Problem::fixed(&changes.fixed));
                }
                wrong.extend(next.judging(&rules, &config, &changes).await);
                let alone = next.alone(&rules, &config, certificate, &changes).await;
                if wrong.is_empty() && (alone.is_empty() || !changes.of_config) {
                    next.whole = true;
                    return (config, next, alone);
                }
                wrong.extend(alone);
                wrong
            }
            Err(problems) => problems,
        };
        let mut next = Next::default();
        let changes = Changes::alone(&self.files, &found.in_use);
        let alone = next.alone(&rules, &self.config, certificate, &changes).await;
        let known: BTreeSet<String> = wrong.iter().map(|problem| problem.key.clone()).collect();
        wrong.extend(alone.into_iter().filter(|problem| !known.contains(&problem.key)));
        (Arc::clone(&self.config), next, wrong)
    }

    /// What the file that revokes is like now; `None` where there is none.
    async fn revocations(&self) -> Option<State> {
        let path = self.config.revocation.file.clone()?;
        tokio::task::spawn_blocking(move || State::of(&path)).await.ok()
    }

    /// Ends when the file that revokes is another than was found.
    async fn other_revocations(&self, found: &Files) {
        loop {
            tokio::time::sleep(LOOK_FOR_REVOKED).await;
            let state = self.revocations().await;
            let path = self.config.revocation.file.as_deref();
            if state.is_some() && state.as_ref() != path.and_then(|path| found.state_of(path)) {
                return;
            }
        }
    }

    /// Whoever is revoked is out as soon as that is seen, also by a good line in a file that is not. Who is taken back in,
    /// waits until the file is settled and good: one that is rewritten in place is empty for a moment, and that moment must
    /// not let anybody in.
    async fn revoke_at_once(&mut self) {
        let state = self.revocations().await;
        let Some((path, state)) = self.config.revocation.file.as_deref().zip(state) else { return };
        if self.files.state_of(path) == Some(&state) || self.looks.revoked.as_ref() == Some(&state) {
            return;
        }
        let revocation = self.config.revocation.clone();
        let read = tokio::task::spawn_blocking(move || Revocations::read_good(&revocation)).await;
        let rules = self.pipeline.rules();
        // That it can't be read at all, the look at all files finds.
        let Ok(Ok((revocations, wrong))) = read else { return };
        if let Some(identifier) = rules.identifier.revoking_also(&revocations) {
            let mut next = Next { identifier: Some(Arc::new(identifier)), ..Next::default() };
            next.parts.insert(Part::Revocation);
            if let Err(refusal) = self.record(&self.config, &next).await {
                tracing::warn!(
                    refusal.name = refusal.name(),
                    "a revocation is not in force: it can't be recorded"
                );
                return self.warn(vec![UNRECORDED.to_owned()]);
            }
            self.put_in_force(Arc::clone(&self.config), next, &Files::default());
        }
        if let Some(problem) = wrong {
            tracing::warn!(
                reload.key = "revocation.file",
                reload.problem = problem,
                "not all of the revocations can be read: those that can are in force, and nobody is taken back in"
            );
        }
        self.looks.revoked = Some(state);
    }

    /// While a key file can't be used as it is, nobody knows that a key is not published.
    fn doubt(&self, files: &Files) {
        let rules = self.pipeline.rules();
        for (at, issuer) in self.config.issuers.iter().enumerate() {
            let KeySource::File(path) = &issuer.keys else { continue };
            let state = files.state_of(path);
            let is_other = state.is_some() && state != self.files.state_of(path);
            let known = self.looks.wrong.iter().find(|problem| problem.key == jwks_file(at));
            rules.identifier.doubt(at, known.filter(|_| is_other).map(|problem| problem.why.as_str()));
        }
    }

    async fn record(&self, config: &Config, next: &Next) -> Result<(), Refusal> {
        let rules = self.pipeline.rules();
        let policy = next.policy.as_ref().unwrap_or(&rules.policy);
        let mut members = Object::new();
        members.set("config_digest", config.digest.as_str());
        members.set("config_digest_before", self.config.digest.as_str());
        members.set("policy_digest", policy.digest());
        members.set("policy_digest_before", rules.policy.digest());
        members.set("parts", next.parts.iter().map(|part| part.name()).collect::<Vec<_>>());
        // One that ran out of time may be stored and not in force: then another one follows.
        self.pipeline.auditor.note(Kind::Reloaded, members).await.map(|_| ())
    }

    /// That this was not taken, once for each look that found it or somebody who asked.
    async fn note(&mut self, found: &Found, wrong: &[Problem]) -> Result<(), Refusal> {
        if self.looks.noted {
            return Ok(());
        }
        let auditor = &self.pipeline.auditor;
        let seen = Seen {
            config: &self.config,
            text: &found.text,
            found: &found.files,
            in_force: &self.files,
            fingerprinter: auditor.fingerprinter(),
        };
        let mut members = Object::new();
        members.set("config_digest", self.config.digest.as_str());
        members.set("policy_digest", self.pipeline.rules().policy.digest());
        members.set("problems", seen.problems(wrong));
        auditor.note(Kind::ReloadRefused, members).await?;
        self.looks.noted = true;
        Ok(())
    }

    /// What is read is in force from here on. What is used when it is needed comes first, so that no call goes by the new
    /// rules without it.
    fn put_in_force(&mut self, config: Arc<Config>, next: Next, files: &Files) {
        let Next { read, parts, policy, identifier, certificate, tokens, .. } = next;
        let pipeline = &self.pipeline;
        if let Some(tokens) = tokens {
            pipeline.upstream.take_up(tokens);
        }
        if let Some((own, new)) = self.certificate.as_ref().zip(certificate) {
            own.take_up(new);
        }
        if parts.contains(&Part::Log) {
            (self.source.filter)(&config.log.filter);
        }
        let before = pipeline.rules();
        let limiter = parts.contains(&Part::Limits).then(|| {
            pipeline.budget.renew(&config.limits.upstream_budget);
            Arc::new(before.limiter.renewed(&config.limits))
        });
        if limiter.is_some() || policy.is_some() || identifier.is_some() {
            pipeline.put_in_force(Rules {
                identifier: identifier.unwrap_or_else(|| Arc::clone(&before.identifier)),
                limiter: limiter.unwrap_or_else(|| Arc::clone(&before.limiter)),
                budget: pipeline.budget.pinned(),
                policy: policy.unwrap_or_else(|| Arc::clone(&before.policy)),
            });
        }
        if !parts.is_empty() {
            let rules = pipeline.rules();
            tracing::info!(
                reload.parts = parts.iter().map(|part| part.name()).collect::<Vec<_>>().join(" "),
                config.digest = config.digest,
                policy.digest = rules.policy.digest(),
                "reloaded"
            );
            if parts.contains(&Part::Policy) && rules.policy.permits_nothing() {
                tracing::warn!(policy.digest = rules.policy.digest(), "{PERMITS_NOTHING}");
            }
        }
        self.files.adopt(files, |part| read.contains(&part));
        self.config = config;
    }

    fn warn(&self, warnings: Vec<String>) {
        *self.warnings.lock().unwrap_or_else(PoisonError::into_inner) = warnings;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revocations_are_looked_at_four_times_a_second_and_all_files_once() {
        let mut now = Instant::now();
        let mut rounds = Rounds::from(now);
        let mut looked = Vec::new();
        for _ in 0..8 {
            now += Rounds::PAUSE;
            looked.push(rounds.at(now));
            if looked.last() == Some(&Round::All) {
                rounds = Rounds::from(now);
            }
        }
        use Round::{All, Revocations};
        let second = [Revocations, Revocations, Revocations, All];
        assert_eq!((looked, Rounds::PAUSE * 4), ([second, second].concat(), Duration::from_secs(1)));
    }

    #[test]
    fn a_text_counts_when_two_looks_found_it_a_second_apart() {
        let found = |text: &str| {
            let (files, in_use) = (Files::default(), Files::default());
            Found { text: State::Unreadable(text.to_owned()), files, in_use }
        };
        let (mut looks, mut now) = (Looks::default(), Instant::now());
        let mut look = |looks: &mut Looks, text: &str, after| {
            now += Duration::from_millis(after);
            looks.settled(&found(text), now)
        };
        for (text, after, settled) in [
            ("permit", 1000, false),
            ("permit, forbid", 1000, false),
            ("permit, forbid", 300, false),
            ("permit, forbid", 700, true),
            ("gone", 1000, false),
            ("permit, forbid", 1000, false),
            ("permit, forbid", 1000, true),
        ] {
            assert_eq!(look(&mut looks, text, after), settled, "{text}");
        }
        looks.refused = true;
        assert!(!look(&mut looks, "permit, forbid", 5000), "what is bad is not tried again");
        assert!(!look(&mut looks, "permit", 1000));
        assert!(look(&mut looks, "permit", 1000));
    }
}
