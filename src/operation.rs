//! The eight operations of the upstream API, and their one spelling as a path.
//!
//! Source: Cloudflare API, "Magic IPsec tunnels". Not here: the body of a call (`tunnel`), who may make it
//! (`authorize`).

mod route;
#[cfg(test)]
mod tests;

pub use route::{Route, RouteError, collection_path, route};

/// One operation of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// `GET` on the collection.
    List,
    /// `POST` on the collection.
    Create,
    /// `PUT` on the collection.
    BulkUpdate,
    /// `GET` on a tunnel.
    Get,
    /// `PUT` on a tunnel: replaces the whole of it.
    Update,
    /// `DELETE` on a tunnel.
    Delete,
    /// `POST` on `psk_generate` below a tunnel: replaces its key and answers the new one, once.
    GeneratePsk,
    /// `POST` on `psk` below the collection: sets the keys of several tunnels.
    SetPsks,
}

/// What an operation costs when it goes wrong; quotas are given by class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Changes nothing.
    Read,
    /// Changes a tunnel.
    Write,
    /// Mints or replaces a key.
    Secret,
}

impl Class {
    /// All classes.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Secret];

    /// The name in configuration and record.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Secret => "secret",
        }
    }
}

impl Operation {
    /// All operations, in the order of the specification.
    pub const ALL: [Self; 8] = [
        Self::List,
        Self::Create,
        Self::BulkUpdate,
        Self::Get,
        Self::Update,
        Self::Delete,
        Self::GeneratePsk,
        Self::SetPsks,
    ];

    /// The name in policy, configuration and record.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Create => "create",
            Self::BulkUpdate => "bulk_update",
            Self::Get => "get",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::GeneratePsk => "generate_psk",
            Self::SetPsks => "set_psks",
        }
    }

    /// The operation of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.name() == name)
    }

    /// The class whose quota it takes from.
    #[must_use]
    pub const fn class(self) -> Class {
        match self {
            Self::List | Self::Get => Class::Read,
            Self::Create | Self::BulkUpdate | Self::Update | Self::Delete => Class::Write,
            Self::GeneratePsk | Self::SetPsks => Class::Secret,
        }
    }

    /// Whether it changes anything upstream.
    #[must_use]
    pub const fn is_write(self) -> bool {
        !matches!(self.class(), Class::Read)
    }

    /// Whether the tunnels are read first whatever the policy asks: what the call changes is told by them alone.
    #[must_use]
    pub const fn replaces_state(self) -> bool {
        matches!(self, Self::Update | Self::BulkUpdate | Self::Delete)
    }

    /// Whether making it twice does harm: a second tunnel, or a key that replaces the one just handed out.
    #[must_use]
    pub const fn is_one_shot(self) -> bool {
        matches!(self, Self::Create | Self::GeneratePsk | Self::SetPsks)
    }

    /// Whether the path names one tunnel.
    #[must_use]
    pub const fn names_tunnel(self) -> bool {
        matches!(self, Self::Get | Self::Update | Self::Delete | Self::GeneratePsk)
    }

    /// The request method.
    #[must_use]
    pub const fn method(self) -> http::Method {
        match self {
            Self::List | Self::Get => http::Method::GET,
            Self::Create | Self::GeneratePsk | Self::SetPsks => http::Method::POST,
            Self::BulkUpdate | Self::Update => http::Method::PUT,
            Self::Delete => http::Method::DELETE,
        }
    }
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name {
            digits: [u8; 32],
            length: u8,
        }

        impl $name {
            /// Takes 1 to 32 lower-case hex digits. One spelling only: two spellings of one id would be two
            /// resources to a policy.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
                if text.is_empty() || text.len() > 32 || !text.bytes().all(digit) {
                    return None;
                }
                let mut digits = [0u8; 32];
                digits.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
                Some(Self { digits, length: u8::try_from(text.len()).ok()? })
            }

            /// The digits.
            #[must_use]
            pub fn as_str(&self) -> &str {
                let used = self.digits.get(..usize::from(self.length)).unwrap_or_default();
                std::str::from_utf8(used).unwrap_or_default()
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

hex_id!(
    /// A Cloudflare account: 1 to 32 lower-case hex digits.
    AccountId
);
hex_id!(
    /// A tunnel: 1 to 32 lower-case hex digits. `psk` is none.
    TunnelId
);
