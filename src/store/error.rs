//! Why the store could not do what it was asked to.
//!
//! One closed list, so that the caller's answer, health and metrics name a fault by the same words. Not here:
//! damage that `inspect::verify` looks for.

/// Why an append failed. Whatever it is, nothing may happen on the strength of these entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreError {
    /// The disk, or the quota on it, is full.
    Full,
    /// The file or its file system can't be written.
    ReadOnly,
    /// Another process holds the database's write lock.
    Locked,
    /// The file is not where it was, or another one is in its place.
    Moved,
    /// The file is damaged, or is no database.
    Corrupt,
    /// The database holds something that this process did not write.
    Foreign,
    /// The file can't be opened.
    Unopenable,
    /// It took longer than it may. The entries may still be stored, now or a moment later: this is the only
    /// fault after which that is open.
    Timeout,
    /// More entries are waiting than are held in memory.
    Busy,
    /// The store was closed.
    Closed,
    /// The operating system reported an error.
    Io,
    /// The server can't be reached.
    Away,
    /// Another process writes this replica's log.
    Taken,
    /// This machine's clock and the server's are too far apart: replicas judge by time what came first.
    Clock,
    /// The database takes no such entry: it is not JSON, lacks a member, or has an id that is known already.
    Invalid,
}

impl StoreError {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Full,
        Self::ReadOnly,
        Self::Locked,
        Self::Moved,
        Self::Corrupt,
        Self::Foreign,
        Self::Unopenable,
        Self::Timeout,
        Self::Busy,
        Self::Closed,
        Self::Io,
        Self::Away,
        Self::Taken,
        Self::Clock,
        Self::Invalid,
    ];

    /// What it is and what to do, in words that a client may read.
    #[must_use]
    pub const fn why(self) -> &'static str {
        match self {
            Self::Full => "the audit database's disk is full, make room",
            Self::ReadOnly => "the audit database is read-only, make it writable",
            Self::Locked => "another process holds the audit database's lock, end it",
            Self::Moved => "the audit database's file was moved or replaced, put it back",
            Self::Corrupt => {
                "the audit database is damaged, or the file is no database; keep it, and restore a copy that `tunnelwarden audit verify` finds good"
            }
            Self::Foreign => {
                "the audit database was changed by someone else, run `tunnelwarden audit verify`"
            }
            Self::Unopenable => "the audit database can't be opened, check its path and permissions",
            Self::Timeout => "the audit database does not answer in time, check its disk",
            Self::Busy => "too many entries wait for the audit database, try again later",
            Self::Closed => "the audit database is closed because the process is stopping",
            Self::Io => "the audit database's disk reports an error, check the disk",
            Self::Away => "the audit database can't be reached, check its server and the network",
            Self::Taken => {
                "another process writes this replica's log, or did until it died within the last 15 seconds; then try again, else give each replica a name of its own (audit.replica)"
            }
            Self::Clock => {
                "this machine's clock and the audit database's are more than a second apart, let both follow the same time servers"
            }
            Self::Invalid => "the audit database refused an entry as malformed, report this as a bug",
        }
    }

    /// The name in metrics and health.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::ReadOnly => "read_only",
            Self::Locked => "locked",
            Self::Moved => "moved",
            Self::Corrupt => "corrupt",
            Self::Foreign => "foreign",
            Self::Unopenable => "unopenable",
            Self::Timeout => "timeout",
            Self::Busy => "busy",
            Self::Closed => "closed",
            Self::Io => "io",
            Self::Away => "away",
            Self::Taken => "taken",
            Self::Clock => "clock",
            Self::Invalid => "invalid",
        }
    }
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.why())
    }
}

impl std::error::Error for StoreError {}

/// Why the store can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The lock file is held.
    #[error("another process writes `{0}`, stop it or give this one a database of its own")]
    InUse(String),
    /// A replica has it.
    #[error("a process writes the log `{0}` of this record; stop every replica, and run this again")]
    LogInUse(String),
    /// One of several logs.
    #[error("the log `{0}`")]
    OfLog(String, #[source] Box<Self>),
    /// The database can't be used now.
    #[error("can't use the audit database `{path}`: {fault}")]
    Unusable {
        /// Its path.
        path: String,
        /// Why not.
        fault: StoreError,
    },
    /// Not on a server.
    #[error("can't {0} a record on a PostgreSQL server, only one in a file")]
    OnlyFiles(&'static str),
    /// The server did not let it be done.
    #[error("can't make the audit database's tables at `{path}`")]
    Server {
        /// Which one.
        path: String,
        /// What it said.
        source: sqlx::Error,
    },
    /// An operation on a file beside the database failed.
    #[error("can't {doing} `{path}`")]
    File {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A database of something else.
    #[error("`{0}` is a database of another program, give another path")]
    NotOurs(String),
    /// A database of another version of this program.
    #[error("the audit database's tables are not those of this version: {0}")]
    Schema(String),
    /// What is stored does not agree with itself or with the key.
    #[error("the record does not agree with its signed head: {0}")]
    Disagrees(Damage),
}

/// What of the record does not agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The head is missing although there are entries.
    #[error("the head is missing; restore the database and run `tunnelwarden audit verify`")]
    NoHead,
    /// The head's signature is not this key's.
    #[error(
        "the head is not signed by this key; use the key that this log began with, or give a path where no database is yet"
    )]
    Signature,
    /// The log says that another key signs it now.
    #[error(
        "the log's signing key was replaced by another one: use the key that `keys rotate` made, or finish it with \
         `tunnelwarden keys rotate`"
    )]
    Rotated,
    /// More or fewer entries than the head says.
    #[error("the head covers {head} entries but {stored} are stored; run `tunnelwarden audit verify`")]
    Size {
        /// How many the head covers.
        head: u64,
        /// How many there are.
        stored: u64,
    },
    /// More or fewer checkpoints than the head says.
    #[error("the head knows {head} checkpoints but {stored} are stored; run `tunnelwarden audit verify`")]
    Checkpoints {
        /// How many the head knows.
        head: u64,
        /// How many there are.
        stored: u64,
    },
    /// The hashes at the tree's edge don't make the head's root.
    #[error("the stored hashes don't make the signed root; run `tunnelwarden audit verify`")]
    Root,
    /// One of the last entries is not the one that was hashed.
    #[error("entry {0} is not what was recorded; run `tunnelwarden audit verify`")]
    Entry(u64),
    /// The checkpoint file is signed by another key, or is something else.
    #[error("the checkpoint file holds no checkpoint of this log; move it away or give another path")]
    CheckpointFile,
    /// The checkpoint file knows of more than the database.
    #[error(
        "the checkpoint file proves {file} entries but {stored} are stored: the end of the record was cut off; \
         restore it, or move the checkpoint file away to go on without"
    )]
    CutOff {
        /// How many the file proves.
        file: u64,
        /// How many there are.
        stored: u64,
    },
    /// The checkpoint file proves another history.
    #[error(
        "the checkpoint file proves other entries than those stored; restore the database, or move the file \
         away to begin another log"
    )]
    OtherHistory,
}
