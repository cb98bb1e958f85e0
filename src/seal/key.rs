//! The key that signs checkpoints, and the public key that checks them.
//!
//! Both are text in the signed-note formats: `PRIVATE+KEY+<name>+<id>+<base64>` and `<name>+<id>+<base64>`. The
//! name is the log's origin, so a checkpoint of one log can't stand for another's. Not here: the file they are
//! read from (`cli`).

use data_encoding::BASE64;
use ed25519_dalek::{SigningKey, VerifyingKey};
use signed_note::{Signer as _, StandardSigner, StandardVerifier, Verifier as _};
use zeroize::Zeroizing;

use crate::secret::{ExposeSecret as _, SecretString};

/// What `signed_note` writes before an Ed25519 key.
const ED25519: u8 = 1;

/// Why a key's text is not taken. None of these quotes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not `PRIVATE+KEY+name+id+base64`.
    #[error("not a signing key: it should read `PRIVATE+KEY+name+id+base64`, make one with `keys generate`")]
    Signing,
    /// Not `name+id+base64`.
    #[error("not a public key: it should read `name+id+base64`, as `keys generate` printed it")]
    Public,
    /// A signing key where a public one is wanted.
    #[error("this is the signing key, give the public key and keep this one secret")]
    Secret,
    /// A name that can't stand in a note.
    #[error("a key's name can't be empty or hold white space, control characters or `+`")]
    Name,
    /// No random bytes.
    #[error("the system gave no random bytes, try again")]
    Random,
}

/// The signing key.
pub struct Signer {
    inner: StandardSigner,
    public: String,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("public", &self.public).finish_non_exhaustive()
    }
}

impl Signer {
    /// Takes the text of a key file; white space around it is cut.
    ///
    /// # Errors
    /// The text is no signing key.
    pub fn new(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        let inner = StandardSigner::new(text).map_err(|_| KeyError::Signing)?;
        check_name(inner.name())?;
        let public = SigningKey::from_bytes(&*seed(text)?).verifying_key();
        let public = signed_note::new_ed25519_verifier_key(inner.name(), &public);
        Ok(Self { inner, public })
    }

    /// Takes the text of a key file for the log of one replica: its origin is the key's name, a slash and the replica's name.
    ///
    /// # Errors
    /// The text is no signing key, or the name can't stand in a note.
    pub fn of_replica(text: &str, replica: &str) -> Result<Self, KeyError> {
        check_replica(replica)?;
        let text = text.trim();
        let name = format!("{}/{replica}", StandardSigner::new(text).map_err(|_| KeyError::Signing)?.name());
        check_name(&name)?;
        let seed = seed(text)?;
        let secret = key_text(&name, &seed);
        Self::new(secret.expose_secret())
    }

    /// Takes the text of a key file for the log of this origin, if it can be one of this key's.
    ///
    /// # Errors
    /// The text is no signing key, or the origin another key's.
    pub fn of_origin(text: &str, origin: &str) -> Result<Self, KeyError> {
        let own = Self::new(text)?;
        if origin == own.origin() {
            return Ok(own);
        }
        let replica = origin.strip_prefix(own.origin()).and_then(|rest| rest.strip_prefix('/'));
        Self::of_replica(text, replica.ok_or(KeyError::Name)?)
    }

    /// The log's origin: the key's name.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.inner.name()
    }

    /// The public key's text.
    #[must_use]
    pub fn public_key(&self) -> &str {
        &self.public
    }

    /// What checks this key's signatures.
    ///
    /// # Errors
    /// Never for a key that was taken; the type says so because the text is read once more.
    pub fn verifier(&self) -> Result<Verifier, KeyError> {
        Verifier::new(&self.public)
    }

    pub(super) const fn inner(&self) -> &StandardSigner {
        &self.inner
    }
}

/// The public key.
#[derive(Clone)]
pub struct Verifier {
    inner: StandardVerifier,
    text: String,
}

impl PartialEq for Verifier {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Verifier({}+{})", self.inner.name(), self.id())
    }
}

impl Verifier {
    /// Takes the text of a public key; white space around it is cut.
    ///
    /// # Errors
    /// The text is no public key.
    pub fn new(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        if text.starts_with("PRIVATE+KEY+") {
            return Err(KeyError::Secret);
        }
        let inner = StandardVerifier::new(text).map_err(|_| KeyError::Public)?;
        check_name(inner.name())?;
        Ok(Self { inner, text: text.to_owned() })
    }

    /// The log's origin: the key's name.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.inner.name()
    }

    /// The same key for the log of one replica.
    ///
    /// # Errors
    /// The name can't stand in a note.
    pub fn of_replica(&self, replica: &str) -> Result<Self, KeyError> {
        check_replica(replica)?;
        let encoded = self.text.splitn(3, '+').nth(2).ok_or(KeyError::Public)?;
        let key = BASE64.decode(encoded.as_bytes()).map_err(|_| KeyError::Public)?;
        let key: &[u8; 32] = key.get(1..).and_then(|key| key.try_into().ok()).ok_or(KeyError::Public)?;
        let key = VerifyingKey::from_bytes(key).map_err(|_| KeyError::Public)?;
        let name = format!("{}/{replica}", self.origin());
        check_name(&name)?;
        Self::new(&signed_note::new_ed25519_verifier_key(&name, &key))
    }

    /// The same key for the log of this origin, if it can be one of this key's.
    #[must_use]
    pub fn of_origin(&self, origin: &str) -> Option<Self> {
        if origin == self.origin() {
            return Some(self.clone());
        }
        let replica = origin.strip_prefix(self.origin())?.strip_prefix('/')?;
        self.of_replica(replica).ok()
    }

    /// The key's text.
    #[must_use]
    pub fn public_key(&self) -> &str {
        &self.text
    }

    /// Whether both are one key, be it for different logs.
    #[must_use]
    pub fn is_same_key(&self, other: &Self) -> bool {
        let bytes = |key: &Self| key.text.rsplit_once('+').map(|(_, bytes)| bytes.to_owned());
        bytes(self) == bytes(other)
    }

    /// Eight hexadecimal digits that tell it from other keys of the log: what a note's signature names it by.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{:08x}", self.inner.key_id())
    }

    pub(super) fn inner(&self) -> StandardVerifier {
        self.inner.clone()
    }
}

/// Makes a new key with the name `name` (such as `tunnelwarden/prod`): the signing key's text and the public
/// key's.
///
/// # Errors
/// The name can't stand in a note, or the system gives no random bytes.
pub fn generate_key(name: &str) -> Result<(SecretString, String), KeyError> {
    check_name(name)?;
    let mut seed = Zeroizing::new([0u8; 32]);
    aws_lc_rs::rand::fill(seed.as_mut_slice()).map_err(|_| KeyError::Random)?;
    let public = SigningKey::from_bytes(&seed).verifying_key();
    Ok((key_text(name, &seed), signed_note::new_ed25519_verifier_key(name, &public)))
}

/// The text of a signing key.
fn key_text(name: &str, seed: &[u8; 32]) -> SecretString {
    let public = SigningKey::from_bytes(seed).verifying_key();
    let typed = Zeroizing::new([&[ED25519], seed.as_slice()].concat());
    let id = signed_note::key_id(name, &[&[ED25519], public.as_bytes().as_slice()].concat());
    let encoded = Zeroizing::new(BASE64.encode(&typed));
    SecretString::from(format!("PRIVATE+KEY+{name}+{id:08x}+{}", encoded.as_str()))
}

/// The secret part of a signing key's text.
fn seed(text: &str) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    // Five parts; the last is base64 and may hold a `+` of its own.
    let encoded = text.splitn(5, '+').nth(4).ok_or(KeyError::Signing)?;
    let key = Zeroizing::new(BASE64.decode(encoded.as_bytes()).map_err(|_| KeyError::Signing)?);
    let seed = key.get(1..).and_then(|seed| seed.try_into().ok()).ok_or(KeyError::Signing)?;
    Ok(Zeroizing::new(seed))
}

fn check_name(name: &str) -> Result<(), KeyError> {
    let fits = signed_note::is_key_name_valid(name) && !name.chars().any(char::is_control);
    if fits { Ok(()) } else { Err(KeyError::Name) }
}

/// Without a name of its own, a replica's log would look like one of no replica.
fn check_replica(name: &str) -> Result<(), KeyError> {
    if name.is_empty() { Err(KeyError::Name) } else { Ok(()) }
}
