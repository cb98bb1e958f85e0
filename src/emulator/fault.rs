//! What can go wrong on demand, and how it is asked for.
//!
//! A fault is text (`name` or `name=argument`) on the command line, in a control header and at the control
//! endpoint; it is a [`Fault`] in a test. Not here: carrying it out (`serve`, `answer`).

use std::time::Duration;

use crate::operation::Operation;

/// One thing that goes wrong with a call. "Acted" says whether the call's effect happens all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `latency=MS`: the call waits first. Acted.
    Latency(Duration),
    /// `drop-before`: the connection closes with no answer. Not acted.
    DropBefore,
    /// `drop-after`: the connection closes with no answer. Acted: the answer is lost.
    DropAfter,
    /// `reset-body`: half the answer, then the connection breaks. Acted.
    ResetBody,
    /// `status=CODE` (500): a JSON error. Not acted.
    Status(u16),
    /// `status-after=CODE` (500): a JSON error. Acted.
    StatusAfter(u16),
    /// `html`: a 502 page. Not acted.
    Html,
    /// `html-after`: a 502 page. Acted.
    HtmlAfter,
    /// `malformed`: the answer's JSON is cut off, under a length that fits. Acted.
    Malformed,
    /// `slow-body=MS` (50): the answer comes 16 bytes at a time, so long apart. Acted.
    SlowBody(Duration),
    /// `hang=MS` (60000): no answer; the connection closes in the end. Not acted.
    Hang(Duration),
    /// `hang-after=MS` (60000): no answer; the connection closes in the end. Acted.
    HangAfter(Duration),
    /// `huge-body=BYTES` (64 MiB): the answer is padded by so much. Acted. With `gzip` it is a bomb.
    HugeBody(usize),
    /// `throttle=SECONDS` (1): 429 with that `retry-after`. Not acted.
    Throttle(u32),
    /// `gzip`: the answer is compressed, whatever the client accepts. Acted.
    Gzip,
    /// `wrong-length`: `content-length` promises ten bytes more than come. Acted.
    WrongLength,
    /// `unknown-field`: the answer has a member that no document tells of, with a secret-looking text, in the
    /// envelope, in the result and in each tunnel. Acted.
    UnknownField,
    /// `echo-body`: a validation error whose message repeats the whole body. Not acted.
    EchoBody,
    /// `log-late=MS` (60000): the audit logs show a write's row only so much later. Acted.
    LogLate(Duration),
    /// `log-twice`: the audit logs show a write's row two times. Acted.
    LogTwice,
    /// `log-never`: the audit logs have no row for a write. Acted.
    LogNever,
}

/// A minute: longer than any deadline that a test gives, short enough that a forgotten hang ends.
const HANG_MS: u64 = 60_000;
/// Ten minutes: the most that any wait takes, so that nothing asked from outside holds a task for ever.
const WAIT_MAX_MS: u64 = 600_000;
/// 64 MiB: past every limit on an answer, and still quick to send over loopback.
const HUGE: usize = 64 << 20;
/// 1 GiB: the most that is sent on request.
const HUGE_MAX: usize = 1 << 30;

impl Fault {
    /// Every name that [`Fault::parse`] takes.
    pub const NAMES: [&'static str; 21] = [
        "latency",
        "drop-before",
        "drop-after",
        "reset-body",
        "status",
        "status-after",
        "html",
        "html-after",
        "malformed",
        "slow-body",
        "hang",
        "hang-after",
        "huge-body",
        "throttle",
        "gzip",
        "wrong-length",
        "unknown-field",
        "echo-body",
        "log-late",
        "log-twice",
        "log-never",
    ];

    /// Reads `name` or `name=argument`.
    ///
    /// # Errors
    /// An unknown name or an argument that does not fit, in words for a person.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, argument) = match text.split_once('=') {
            Some((name, argument)) => (name.trim(), Some(argument.trim())),
            None => (text.trim(), None),
        };
        let number = |fallback: u64, max: u64| match argument {
            None => Ok(fallback),
            Some(digits) => digits
                .parse::<u64>()
                .ok()
                .filter(|n| *n <= max)
                .ok_or_else(|| format!("the argument of fault `{name}` is a number up to {max}")),
        };
        let wait = |fallback| number(fallback, WAIT_MAX_MS).map(Duration::from_millis);
        let status = || {
            let code = number(500, 599)?;
            u16::try_from(code).ok().filter(|c| *c >= 400).ok_or_else(|| "a status is 400 to 599".to_owned())
        };
        let fault = match name {
            "latency" => Self::Latency(wait(100)?),
            "status" => Self::Status(status()?),
            "status-after" => Self::StatusAfter(status()?),
            "slow-body" => Self::SlowBody(wait(50)?),
            "log-late" => Self::LogLate(wait(HANG_MS)?),
            "hang" => Self::Hang(wait(HANG_MS)?),
            "hang-after" => Self::HangAfter(wait(HANG_MS)?),
            "huge-body" => {
                let bytes = number(HUGE as u64, HUGE_MAX as u64)?;
                Self::HugeBody(usize::try_from(bytes).unwrap_or(HUGE))
            }
            "throttle" => Self::Throttle(u32::try_from(number(1, 86_400)?).unwrap_or(1)),
            plain => {
                let fault = match plain {
                    "drop-before" => Self::DropBefore,
                    "drop-after" => Self::DropAfter,
                    "reset-body" => Self::ResetBody,
                    "html" => Self::Html,
                    "html-after" => Self::HtmlAfter,
                    "malformed" => Self::Malformed,
                    "gzip" => Self::Gzip,
                    "wrong-length" => Self::WrongLength,
                    "unknown-field" => Self::UnknownField,
                    "echo-body" => Self::EchoBody,
                    "log-twice" => Self::LogTwice,
                    "log-never" => Self::LogNever,
                    _ => return Err(format!("unknown fault; known are: {}", Self::NAMES.join(", "))),
                };
                if argument.is_some() {
                    return Err(format!("fault `{name}` takes no argument"));
                }
                fault
            }
        };
        Ok(fault)
    }
}

/// Which calls a fault is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Each of the eight operations, and nothing else.
    Operations,
    /// That one.
    Operation(Operation),
    /// The token verification endpoints.
    TokenVerify,
    /// The audit logs.
    AuditLogs,
}

impl From<Option<Operation>> for Place {
    fn from(operation: Option<Operation>) -> Self {
        operation.map_or(Self::Operations, Self::Operation)
    }
}

impl From<Operation> for Place {
    fn from(operation: Operation) -> Self {
        Self::Operation(operation)
    }
}

impl Place {
    /// Reads an operation's name, `token_verify` or `audit_logs`.
    ///
    /// # Errors
    /// Any other name, in words for a person.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "token_verify" => Ok(Self::TokenVerify),
            "audit_logs" => Ok(Self::AuditLogs),
            name => Operation::from_name(name).map(Self::Operation).ok_or_else(|| {
                let known: Vec<_> = Operation::ALL.into_iter().map(Operation::name).collect();
                format!("unknown operation; known are: {}, token_verify, audit_logs", known.join(", "))
            }),
        }
    }

    /// Whether a fault for `self` strikes a call at `call`, which is never [`Place::Operations`].
    fn covers(self, call: Self) -> bool {
        self == call || (self == Self::Operations && matches!(call, Self::Operation(_)))
    }
}

/// A fault, the calls that it is for, and how often it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What goes wrong.
    pub fault: Fault,
    /// With which calls.
    pub place: Place,
    /// How many times; `u32::MAX` is for ever.
    pub times: u32,
}

impl Rule {
    /// Reads `NAME[=ARG][@OPERATION][:TIMES]`; without `TIMES` it strikes for ever.
    ///
    /// # Errors
    /// What is wrong with it, in words for a person.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (rest, times) = match text.rsplit_once(':') {
            Some((rest, digits)) => {
                (rest, digits.parse().map_err(|_| "the part after `:` is a number of times".to_owned())?)
            }
            None => (text, u32::MAX),
        };
        let (fault, place) = match rest.split_once('@') {
            Some((fault, place)) => (fault, Place::parse(place)?),
            None => (rest, Place::Operations),
        };
        Ok(Self { fault: Fault::parse(fault)?, place, times })
    }
}

/// What goes wrong with one call: at most one fault of each kind that can be had together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) latency: Duration,
    pub(super) gzip: bool,
    pub(super) log: Logged,
    pub(super) main: Option<Fault>,
}

/// How a write's row gets into the audit logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Logged {
    #[default]
    AtOnce,
    After(Duration),
    Twice,
    Never,
}

impl Plan {
    pub(super) const fn add(&mut self, fault: Fault) {
        match (kind(fault), fault) {
            (Kind::Latency, Fault::Latency(wait)) => self.latency = wait,
            (Kind::Gzip, _) => self.gzip = true,
            (Kind::Log, Fault::LogLate(wait)) => self.log = Logged::After(wait),
            (Kind::Log, Fault::LogTwice) => self.log = Logged::Twice,
            (Kind::Log, _) => self.log = Logged::Never,
            (Kind::Latency | Kind::Main, other) => self.main = Some(other),
        }
    }
}

/// The kinds of faults that can be had together: a call meets the first waiting rule of each.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Latency,
    Gzip,
    Log,
    Main,
}

#[expect(clippy::wildcard_enum_match_arm, reason = "all others exclude each other")]
const fn kind(fault: Fault) -> Kind {
    match fault {
        Fault::Latency(_) => Kind::Latency,
        Fault::Gzip => Kind::Gzip,
        Fault::LogLate(_) | Fault::LogTwice | Fault::LogNever => Kind::Log,
        _ => Kind::Main,
    }
}

/// Faults that wait for their call, first come first served.
#[derive(Debug, Default)]
pub(super) struct Queue(Vec<Rule>);

/// Rules that wait at most: more are a runaway test.
const QUEUE_MAX: usize = 10_000;

impl Queue {
    pub(super) const fn new(rules: Vec<Rule>) -> Self {
        Self(rules)
    }

    pub(super) fn push(&mut self, rule: Rule) {
        if rule.times > 0 && self.0.len() < QUEUE_MAX {
            self.0.push(rule);
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Takes what strikes a call at `call`.
    pub(super) fn take(&mut self, call: Place) -> Plan {
        let mut plan = Plan::default();
        for wanted in [Kind::Latency, Kind::Gzip, Kind::Log, Kind::Main] {
            let strikes = |rule: &&mut Rule| kind(rule.fault) == wanted && rule.place.covers(call);
            if let Some(rule) = self.0.iter_mut().find(strikes) {
                plan.add(rule.fault);
                if rule.times != u32::MAX {
                    rule.times = rule.times.saturating_sub(1);
                }
            }
        }
        self.0.retain(|rule| rule.times > 0);
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_fault() {
        for name in Fault::NAMES {
            assert!(Fault::parse(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_rule_names_fault_operation_and_times() {
        let rule = |fault, place, times| Ok(Rule { fault, place, times });
        assert_eq!(Rule::parse("drop-after"), rule(Fault::DropAfter, Place::Operations, u32::MAX));
        assert_eq!(
            Rule::parse("status=503@create:2"),
            rule(Fault::Status(503), Place::Operation(Operation::Create), 2)
        );
        assert_eq!(Rule::parse("html@token_verify:1"), rule(Fault::Html, Place::TokenVerify, 1));
        for bad in ["", "nope", "html=1", "status=200", "status=x", "html@nope", "html:x", "hang=9999999999"]
        {
            assert!(Rule::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn faults_of_one_kind_strike_one_after_the_other_and_of_different_kinds_together() {
        let mut queue = Queue::default();
        for text in ["html:1", "status=503:1", "gzip@list:1", "latency=5"] {
            queue.push(Rule::parse(text).unwrap());
        }
        let main = |plan: Plan| plan.main;
        assert_eq!(main(queue.take(Place::TokenVerify)), None);
        assert_eq!(main(queue.take(Operation::Create.into())), Some(Fault::Html));
        let both = queue.take(Operation::List.into());
        assert_eq!(
            both,
            Plan {
                latency: Duration::from_millis(5),
                gzip: true,
                log: Logged::AtOnce,
                main: Some(Fault::Status(503))
            }
        );
        assert_eq!(queue.take(Operation::List.into()).main, None);
        assert_eq!(queue.take(Operation::List.into()).latency, Duration::from_millis(5));
    }
}
