//! `policy matrix`: roles by operations, each cell asked for.

use std::io::{self, Write};
use std::net::IpAddr;

use clap::Args;

use super::super::{Env, Exit, Stop};
use super::{PolicyFrom, caller, load};
use crate::authorize::{Authorizer, Depth, Element, Question, Ruling};
use crate::caller::Caller;
use crate::inspect::plain;
use crate::json::{Json, Object};
use crate::operation::{AccountId, Operation, TunnelId};
use crate::tunnel::Change;

/// Arguments of `policy matrix`.
#[derive(Debug, Args)]
pub struct Matrix {
    /// Which policy.
    #[command(flatten)]
    pub from: PolicyFrom,
    /// Roles to ask for, instead of those that the policy names; `a+b` is someone who has both.
    #[arg(long, value_name = "ROLE", value_delimiter = ',')]
    pub role: Vec<String>,
    /// Teams that everybody in the table is in.
    #[arg(long, value_name = "TEAM", value_delimiter = ',')]
    pub team: Vec<String>,
    /// The issuer of everybody's token.
    #[arg(long, value_name = "ISSUER", default_value = "")]
    pub issuer: String,
    /// The subject of everybody's token.
    #[arg(long, value_name = "SUBJECT", default_value = "somebody")]
    pub subject: String,
    /// The account that the calls are on.
    #[arg(long, value_name = "ID", default_value = "0")]
    pub account: String,
    /// The address that the calls come from.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub source: IpAddr,
    /// Ask for calls with `validate_only=true`.
    #[arg(long)]
    pub validate_only: bool,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

/// What is asked besides the operation itself.
#[derive(Clone, Copy)]
struct Variant {
    name: &'static str,
    sets_psk: bool,
    weakens: bool,
}

const PLAIN: Variant = Variant { name: "", sets_psk: false, weakens: false };
const WITH_PSK: Variant = Variant { name: "+psk", sets_psk: true, weakens: false };
const WEAKENING: Variant = Variant { name: "+weaken", sets_psk: false, weakens: true };

/// A field that is in the weakened set of the column `+weaken`; which one it is matters only to a policy that
/// names fields.
const WEAKENED: &str = "replay_protection";

const fn variants(operation: Operation) -> &'static [Variant] {
    match operation {
        Operation::Create | Operation::Update | Operation::BulkUpdate => &[PLAIN, WITH_PSK, WEAKENING],
        Operation::List
        | Operation::Get
        | Operation::Delete
        | Operation::GeneratePsk
        | Operation::SetPsks => &[PLAIN],
    }
}

/// A cell.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cell {
    Yes,
    No,
    Depends,
}

impl Cell {
    const fn name(self) -> &'static str {
        match self {
            Self::Yes => "permit",
            Self::No => "deny",
            Self::Depends => "depends",
        }
    }

    const fn mark(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "-",
            Self::Depends => "state",
        }
    }
}

impl From<&Ruling> for Cell {
    fn from(ruling: &Ruling) -> Self {
        match ruling {
            Ruling::Permit(_) => Self::Yes,
            Ruling::Deny(_) => Self::No,
            Ruling::NeedsState => Self::Depends,
        }
    }
}

struct Row {
    what: String,
    cells: Vec<Cell>,
}

pub(super) fn run(matrix: &Matrix, env: &Env, out: &mut dyn Write) -> Result<Exit, Stop> {
    let account = AccountId::parse(&matrix.account)
        .ok_or_else(|| Stop::usage("--account must be 1 to 32 lower-case hex digits"))?;
    let authorizer = load(&matrix.from, env)?;
    let mut roles: Vec<String> = matrix.role.clone();
    if roles.is_empty() {
        roles.extend(authorizer.roles().iter().cloned());
        roles.push(String::new());
    }
    let callers: Vec<Caller> = roles
        .iter()
        .map(|role| {
            let held: Vec<String> =
                role.split('+').filter(|one| !one.is_empty()).map(str::to_owned).collect();
            caller(&matrix.subject, &matrix.issuer, &held, &matrix.team)
        })
        .collect();
    let rows = rows(&authorizer, matrix, account, &callers, env);
    if matrix.json {
        json(&roles, &rows, out)?
    } else {
        table(&roles, &rows, out)?
    }
    Ok(Exit::Good)
}

fn rows(
    authorizer: &Authorizer,
    matrix: &Matrix,
    account: AccountId,
    callers: &[Caller],
    env: &Env,
) -> Vec<Row> {
    let time = env.clock.now();
    let weak = Change { changed: [WEAKENED.to_owned()].into(), weakened: [WEAKENED.to_owned()].into() };
    let none = Change::default();
    let mut rows = Vec::new();
    for operation in Operation::ALL {
        let on_tunnel = !matches!(operation, Operation::List | Operation::Create);
        for variant in variants(operation) {
            let element = Element {
                tunnel: TunnelId::parse("0").filter(|_| on_tunnel),
                sets_psk: variant.sets_psk,
                change: Some(if variant.weakens { &weak } else { &none }),
                ..Element::default()
            };
            let cell = |caller: &Caller| {
                Cell::from(&authorizer.decide(&Question {
                    caller,
                    operation,
                    account,
                    validate_only: matrix.validate_only,
                    source: matrix.source,
                    time,
                    elements: &[element],
                }))
            };
            rows.push(Row {
                what: format!("{}{}", operation.name(), variant.name),
                cells: callers.iter().map(cell).collect(),
            });
        }
    }
    for depth in Depth::ALL {
        let audit =
            |caller: &Caller| Cell::from(&authorizer.decide_audit(caller, depth, matrix.source, time));
        rows.push(Row { what: depth.action().into(), cells: callers.iter().map(audit).collect() });
    }
    rows
}

fn title(role: &str) -> &str {
    if role.is_empty() { "(no role)" } else { role }
}

fn table(roles: &[String], rows: &[Row], out: &mut dyn Write) -> io::Result<()> {
    let first = rows.iter().map(|row| row.what.len()).max().unwrap_or(0);
    let width = |role: &str| title(role).chars().count().max(5);
    write!(out, "{:first$}", "")?;
    for role in roles {
        write!(out, "  {:width$}", plain(title(role)), width = width(role))?;
    }
    writeln!(out)?;
    for row in rows {
        let mut line = format!("{:first$}", row.what);
        for (role, cell) in roles.iter().zip(&row.cells) {
            line.push_str(&format!("  {:width$}", cell.mark(), width = width(role)));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    if rows.iter().any(|row| row.cells.contains(&Cell::Depends)) {
        writeln!(out, "state: depends on the tunnel, which is read first")?;
    }
    Ok(())
}

fn json(roles: &[String], rows: &[Row], out: &mut dyn Write) -> io::Result<()> {
    let row = |row: &Row| {
        let mut object = Object::new();
        object.set("call", row.what.as_str());
        let cells = roles.iter().zip(&row.cells).map(|(role, cell)| (role.clone(), cell.name()));
        object.set("roles", cells.collect::<Object>());
        Json::Object(object)
    };
    writeln!(out, "{}", Json::Array(rows.iter().map(row).collect()))
}
