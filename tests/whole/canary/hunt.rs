//! Secrets, and the search for them in every usual spelling.
//!
//! Not here: where secrets are put (`bodies`, `heads`), and where none may be found (`canary`).

use aho_corasick::AhoCorasick;
use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use tunnelwarden::emulator::new_token;
use tunnelwarden::json::Json;
use tunnelwarden::secret::ExposeSecret as _;

/// Bytes that a place may not have in common with a secret: enough that no chance hit comes about among random
/// secrets, and few enough that a secret that was cut short is found.
const RUN: usize = 12;

/// Secrets, each with what it is called when it is found, and what is to be searched in the end.
#[derive(Default)]
pub struct Hunt {
    secrets: Vec<(String, Vec<u8>)>,
    refusals: Vec<(String, Vec<u8>)>,
}

/// All secrets in all spellings, ready to be looked for.
pub struct Search {
    finder: AhoCorasick,
    told: Vec<String>,
}

impl Hunt {
    /// A new secret of letters, digits and signs that JSON, URLs and HTML each escape.
    pub fn secret(&mut self, what: &str) -> String {
        self.with(what, "+/\"\\%&é")
    }

    /// A new secret for places that take fewer signs, such as an `md5_key`.
    pub fn tame(&mut self, what: &str) -> String {
        self.with(what, "+/\\%&")
    }

    /// A new secret of letters and digits, for places that take no others.
    pub fn plain(&mut self, what: &str) -> String {
        self.with(what, "")
    }

    fn with(&mut self, what: &str, signs: &str) -> String {
        let secret = format!("{}{signs}{}", random(), random());
        self.known(what, secret.clone());
        secret
    }

    /// A secret that is there already.
    pub fn known(&mut self, what: &str, secret: impl Into<Vec<u8>>) {
        self.secrets.push((what.to_owned(), secret.into()));
    }

    /// An answer to a call that was refused, to be searched once all secrets are known.
    pub fn refused(&mut self, place: String, answer: impl Into<Vec<u8>>) {
        self.refusals.push((place, answer.into()));
    }

    pub fn refusals(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.refusals.iter().map(|(place, answer)| (place.as_str(), answer.as_slice()))
    }

    pub fn search(&self) -> Search {
        let all = self.secrets.iter().flat_map(|(what, secret)| {
            spellings(secret).into_iter().map(move |(how, spelled)| (format!("{what} ({how})"), spelled))
        });
        let (told, patterns): (Vec<String>, Vec<Vec<u8>>) = all.unzip();
        Search { finder: AhoCorasick::new(&patterns).unwrap(), told }
    }
}

impl Search {
    /// Every secret that stands in `bytes`, in any spelling: what it is, and how it is spelled.
    pub fn found(&self, bytes: &[u8]) -> Vec<&str> {
        let hits = self.finder.find_overlapping_iter(bytes);
        let mut found: Vec<_> = hits.map(|hit| self.told[hit.pattern().as_usize()].as_str()).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    #[track_caller]
    pub fn none_in(&self, place: &str, bytes: &[u8]) {
        let found = self.found(bytes);
        assert!(found.is_empty(), "{place} holds {found:#?}");
    }
}

/// 16 letters and digits.
fn random() -> String {
    new_token().unwrap().expose_secret()[5..21].to_owned()
}

/// The ways in which a secret may be spelled, the last ones in an encoding of more text than the secret.
pub fn spellings(secret: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut spelled: Vec<(String, Vec<u8>)> = Vec::new();
    let mut add = |how: &str, bytes: Vec<u8>| spelled.push((how.to_owned(), bytes));
    let each = |write: &dyn Fn(u8) -> String| secret.iter().map(|b| write(*b)).collect::<String>();
    add("as it is", secret.to_vec());
    secret.windows(RUN).for_each(|run| add("a part", run.to_vec()));
    add("hex", HEXLOWER.encode(secret).into_bytes());
    add("upper-case hex", HEXUPPER.encode(secret).into_bytes());
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    add("percent", each(&|b| if plain(b) { char::from(b).into() } else { format!("%{b:02X}") }).into_bytes());
    add(
        "lower-case percent",
        each(&|b| if plain(b) { char::from(b).into() } else { format!("%{b:02x}") }).into_bytes(),
    );
    add("all percent", each(&|b| format!("%{b:02X}")).into_bytes());
    if let Ok(text) = std::str::from_utf8(secret) {
        let json = Json::from(text).to_string();
        add("JSON", json[1..json.len() - 1].into());
        // What is escaped once more, as a JSON text within another.
        let twice = Json::from(&json[1..json.len() - 1]).to_string();
        add("JSON twice", twice[1..twice.len() - 1].into());
        add("\\u", escaped(text).into_bytes());
        add("\\u in JSON", escaped(text).replace('\\', "\\\\").into_bytes());
    }
    for (how, encoding) in [("Base64", BASE64_NOPAD), ("URL Base64", BASE64URL_NOPAD)] {
        for before in 0..3 {
            let text = [&b"??"[..before], secret].concat();
            let whole = encoding.encode(&text);
            // Characters that hold bits of what stands before or after differ from text to text.
            let from = (before * 8).div_ceil(6);
            let to = text.len() * 8 / 6;
            add(&format!("{how} after {before} bytes"), whole[from..to].into());
        }
    }
    spelled
}

/// Texts that hold the whole of a secret in one of its spellings each.
pub fn embeddings(secret: &str) -> Vec<String> {
    let plain = spellings(secret.as_bytes()).into_iter();
    let plain = plain.filter(|(how, _)| how != "a part" && !how.contains("Base64"));
    let mut texts: Vec<String> = plain.map(|(_, bytes)| String::from_utf8(bytes).unwrap()).collect();
    for encoding in [BASE64_NOPAD, BASE64URL_NOPAD] {
        texts.extend(["", "x", "xy"].map(|before| encoding.encode(format!("{before}{secret}z").as_bytes())));
    }
    texts
}

/// Each character as JSON's `\u00xx`.
pub fn escaped(text: &str) -> String {
    text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect()
}

#[test]
fn a_secret_is_found_in_every_spelling() {
    let mut hunt = Hunt::default();
    let secret = hunt.secret("the secret");
    let search = hunt.search();
    for (how, spelled) in spellings(secret.as_bytes()) {
        let text = [b"before ".as_slice(), &spelled, b" after"].concat();
        assert!(!search.found(&text).is_empty(), "{how}");
    }
    for before in ["", "x", "xy"] {
        let whole = BASE64_NOPAD.encode(format!("{before}{secret}after").as_bytes());
        assert!(!search.found(whole.as_bytes()).is_empty(), "{before}");
    }
    assert!(search.found(b"nothing of the kind").is_empty());
}
