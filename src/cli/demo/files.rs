//! The files of a demo: what a deployment has, made in one folder.
//!
//! Not here: making the record's keys (`cli::keys`), what is started from them (`service`).

use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::Clock;
use crate::config::Algorithm;
use crate::identify::dev::DevKey;
use crate::json::{Json, Object};
use crate::secret::ExposeSecret as _;

const ISSUER: &str = "https://idp.example";
const AUDIENCE: &str = "tunnelwarden";

/// How long a demo's tokens are good: a working day. The configuration allows no longer ones.
const LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);

/// What the files are to say.
pub(super) struct Wanted<'a> {
    pub listen: SocketAddr,
    pub admin: SocketAddr,
    pub upstream: &'a str,
    pub upstream_token: &'a str,
    pub roles: &'a [&'a str],
}

/// The configuration's first line, by which a demo's folder is known.
const MADE_BY: &str = "# made by `tunnelwarden demo`\n";

/// The folder of a demo, which no other demo has at the same time.
#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    is_throwaway: bool,
    _turn: File,
    tokens: Vec<(String, String)>,
}

impl Files {
    /// Makes them all. A folder of an earlier demo keeps its record, its keys and its policy; any other has to be empty.
    pub(super) fn create(
        dir: Option<PathBuf>,
        clock: &dyn Clock,
        wanted: &Wanted<'_>,
    ) -> Result<Self, String> {
        let is_throwaway = dir.is_none();
        let dir = match dir {
            Some(dir) => dir,
            None => std::env::temp_dir().join(format!("tunnelwarden-demo-{}", clock.now().as_millisecond())),
        };
        // One that is there below the temporary folder, which all share, is somebody else's.
        std::fs::DirBuilder::new()
            .recursive(!is_throwaway)
            .mode(0o700)
            .create(&dir)
            .map_err(|e| format!("`{}` can't be made: {e}", dir.display()))?;
        let dir = dir.canonicalize().map_err(|e| e.to_string())?;
        let turn = take_turn(&dir)?;
        check_is_a_demos(&dir)?;
        let key = DevKey::generate(Algorithm::Es256).map_err(|e| e.to_string())?;
        let mut files = Self { dir, is_throwaway, _turn: turn, tokens: Vec::new() };
        // First, so that a folder is known for a demo's also where the rest was cut short.
        files.write("tunnelwarden.toml", &configuration(wanted))?;
        for role in wanted.roles {
            let token = key.sign(&claims(role, clock), &[]).map_err(|e| e.to_string())?;
            files.write(&format!("{role}.token"), &token)?;
            files.tokens.push(((*role).to_owned(), token));
        }
        files.write("issuer.pem", key.pem().expose_secret())?;
        files.write("jwks.json", &key.jwks().to_string())?;
        if !files.dir.join("policy.cedar").exists() {
            files.write("policy.cedar", include_str!("../../../config/policy.cedar"))?;
        }
        files.write("cloudflare-token", wanted.upstream_token)?;
        Ok(files)
    }

    /// Takes them away where nobody asked to keep them and nothing has been recorded.
    pub(super) fn discard(self) {
        if self.is_throwaway {
            let _ = std::fs::remove_dir_all(self.dir);
        }
    }

    /// Writes what makes a person's shell ready to paste commands into.
    pub(super) fn shell(&self, tunnels: &str, tunnel: &str, audit: &str) -> Result<(), String> {
        let program = std::env::current_exe().unwrap_or_else(|_| "tunnelwarden".into());
        let text = format!(
            r#"# made by `tunnelwarden demo`, for bash and zsh
DEMO={dir}
TUNNELS={tunnels}
TUNNEL={tunnel}
AUDIT={audit}

# as ROLE ARGUMENTS: curl with the role's token, which is read from a file so that no list of processes shows it.
as() {{
  local role=$1
  shift
  printf 'header = "Authorization: Bearer %s"\n' "$(cat "$DEMO/$role.token")" |
    curl --silent --show-error --config - "$@" && echo
}}

tunnelwarden() {{
  {program} "$@"
}}
"#,
            dir = quoted(&self.dir),
            program = quoted(&program),
        );
        self.write("demo.sh", &text)
    }

    /// Writes what a test needs to use the demo: `demo.env`, complete when it is there.
    pub(super) fn environment(&self, base: &str, emulator: &str, account: &str) -> Result<(), String> {
        let mut text = format!("DEMO_BASE_URL={base}\nDEMO_EMULATOR={emulator}\nDEMO_ACCOUNT={account}\n");
        for (role, token) in &self.tokens {
            text.push_str(&format!("DEMO_TOKEN_{}={token}\n", role.to_ascii_uppercase()));
        }
        self.write("demo.env.new", &text)?;
        std::fs::rename(self.dir.join("demo.env.new"), self.dir.join("demo.env")).map_err(|e| e.to_string())
    }

    pub(super) fn script(&self) -> PathBuf {
        self.dir.join("demo.sh")
    }

    pub(super) fn config(&self) -> PathBuf {
        self.dir.join("tunnelwarden.toml")
    }

    pub(super) fn database(&self) -> PathBuf {
        self.dir.join("audit.db")
    }

    pub(super) fn token(&self, role: &str) -> &str {
        self.tokens.iter().find(|(known, _)| known == role).map_or("", |(_, token)| token)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), String> {
        let path = self.dir.join(name);
        let file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|e| format!("`{}` can't be written: {e}", path.display()))
    }
}

fn take_turn(dir: &Path) -> Result<File, String> {
    let shown = dir.display();
    let turn = File::open(dir).map_err(|e| format!("`{shown}` can't be read: {e}"))?;
    match turn.try_lock() {
        Ok(()) => Ok(turn),
        Err(TryLockError::WouldBlock) => {
            Err(format!("another demo has `{shown}`; end it, or give another folder"))
        }
        Err(TryLockError::Error(e)) => Err(format!("`{shown}` can't be locked: {e}")),
    }
}

/// What is no demo's, such as a deployment, would lose its configuration, its tokens and its keys.
fn check_is_a_demos(dir: &Path) -> Result<(), String> {
    let shown = dir.display();
    let mut there = std::fs::read_dir(dir).map_err(|e| format!("`{shown}` can't be read: {e}"))?;
    let configuration = std::fs::read_to_string(dir.join("tunnelwarden.toml")).unwrap_or_default();
    if there.next().is_none() || configuration.starts_with(MADE_BY) {
        return Ok(());
    }
    Err(format!("what is in `{shown}` is not a demo's; give an empty folder, or one of an earlier demo"))
}

/// A path as a shell reads it back.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

fn claims(role: &str, clock: &dyn Clock) -> Json {
    let now = clock.now().as_second();
    let lifetime = i64::try_from(LIFETIME.as_secs()).unwrap_or(0);
    let mut claims = Object::new();
    claims.set("iss", ISSUER);
    claims.set("aud", AUDIENCE);
    claims.set("sub", format!("{role}@demo"));
    claims.set("team", "network");
    claims.set("role", role);
    claims.set("iat", now);
    claims.set("exp", now + lifetime);
    claims.set("jti", format!("demo-{role}-{now}"));
    Json::Object(claims)
}

/// A configuration as a deployment has it, with limits that a script can reach.
fn configuration(wanted: &Wanted<'_>) -> String {
    let Wanted { listen, admin, upstream, .. } = wanted;
    format!(
        r#"{MADE_BY}[listen]
address = "{listen}"

[admin]
address = "{admin}"

[upstream]
base_url = "{upstream}"
token_file = "cloudflare-token"
# Short, so that a lost answer can be tried without waiting a minute.
write_timeout = "3s"

[[issuer]]
issuer = "{ISSUER}"
audience = "{AUDIENCE}"
jwks_file = "jwks.json"
algorithms = ["ES256"]
max_lifetime = "12h"

[policy]
file = "policy.cedar"

[limits]
subject = {{ read = "20/s", write = "60/m", secret = "20/h" }}
team = {{ read = "60/s", write = "120/m", secret = "60/h" }}

[audit]
database = "sqlite:audit.db"
signing_key_file = "audit-signing.key"
fingerprint_key_file = "audit-fingerprint.key"
checkpoint_file = "checkpoint.txt"
resolve_after = "2s"
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn create(dir: &Path) -> Result<Files, String> {
        let clock = ManualClock::at("2026-01-02T00:00:00Z".parse().unwrap());
        let address = "127.0.0.1:0".parse().unwrap();
        let wanted = Wanted {
            listen: address,
            admin: address,
            upstream: "http://127.0.0.1:1",
            upstream_token: "t",
            roles: &[],
        };
        Files::create(Some(dir.to_owned()), clock.as_ref(), &wanted)
    }

    #[test]
    fn a_folder_that_is_not_a_demos_is_left_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in
            [("notes", "of value"), ("tunnelwarden.toml", "[listen]\n"), ("tunnelwarden.toml", "")]
        {
            let file = directory.path().join(name);
            std::fs::write(&file, text).unwrap();
            let said = create(directory.path()).unwrap_err();
            assert!(said.contains("not a demo's"), "{said}");
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
            assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
            std::fs::remove_file(file).unwrap();
        }
        create(&directory.path().join("new")).unwrap();
        create(directory.path()).unwrap_err();
    }

    #[test]
    fn a_demo_has_its_folder_to_itself_and_keeps_its_policy() {
        let directory = tempfile::tempdir().unwrap();
        let first = create(directory.path()).unwrap();
        let text = || std::fs::read_to_string(directory.path().join("jwks.json")).unwrap();
        let (keys, policy) = (text(), directory.path().join("policy.cedar"));
        let said = create(directory.path()).unwrap_err();
        assert!(said.contains("another demo"), "{said}");
        assert_eq!(text(), keys);
        std::fs::write(&policy, "// mine").unwrap();
        drop(first);
        create(directory.path()).unwrap();
        assert_ne!(text(), keys);
        assert_eq!(std::fs::read_to_string(policy).unwrap(), "// mine");
    }

    #[track_caller]
    fn check(path: &str, expected: &str) {
        assert_eq!(quoted(Path::new(path)), expected);
    }

    #[test]
    fn a_path_is_quoted_where_a_shell_would_read_it_otherwise() {
        check("/tmp/demo-1/x.y_z", "/tmp/demo-1/x.y_z");
        check("/tmp/my demo", "'/tmp/my demo'");
        check("/tmp/it's $HOME", r"'/tmp/it'\''s $HOME'");
    }
}
