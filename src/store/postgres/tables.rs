//! Whether functions, triggers and views on a server are those that this version makes.
//!
//! A changed function or view shows what no entry says, a trigger that is off lets entries be changed by their owner's mistake.
//! Functions are held against the migration's text as it is. A view's text the server does not keep: it is made once more, as a
//! temporary one, and what the server says of both is compared. Not here: making them (`store::postgres::schema`).

use std::collections::BTreeMap;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Row as _};

/// What makes the record's tables.
const TEXT: &str = include_str!("../../../migrations/postgres/0001_record.sql");

/// In what they differ, one line each; empty where they do not.
pub(super) async fn differences(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let mut lines = rules(connection).await?;
    let functions = "
        SELECT proname::text, concat_ws('|', prosrc, prosecdef, provolatile, proisstrict, array_to_string(proconfig, ';'))
        FROM pg_catalog.pg_proc WHERE pronamespace = 'tunnelwarden'::regnamespace";
    lines.extend(compare("function", functions_made(), texts(connection, functions).await?));
    let triggers = "SELECT tgname::text, CASE WHEN tgenabled IN ('O', 'A') AND tgfoid = 'tunnelwarden.refuse'::regproc THEN 'on' ELSE 'off' END
                    FROM pg_catalog.pg_trigger JOIN pg_catalog.pg_class ON pg_class.oid = tgrelid
                    WHERE relnamespace = 'tunnelwarden'::regnamespace AND NOT tgisinternal AND NOT relispartition";
    let expected =
        parts("CREATE TRIGGER ", " ", " ").into_keys().map(|name| (name, "on".to_owned())).collect();
    lines.extend(compare("trigger", expected, texts(connection, triggers).await?));
    let told = "SELECT pg_get_expr(adbin, adrelid) FROM pg_catalog.pg_attrdef
                JOIN pg_catalog.pg_attribute ON attrelid = adrelid AND attnum = adnum
                WHERE adrelid = 'tunnelwarden.log_entries'::regclass AND attname = 'told' AND attgenerated = 's'";
    let told: Option<String> =
        sqlx::query(told).fetch_optional(&mut *connection).await?.map(|row| row.try_get(0)).transpose()?;
    if told.as_deref() != Some("tunnelwarden.tells(entry)") {
        lines.push("column told of log_entries was changed".to_owned());
    }
    Ok(lines)
}

/// What keeps rows from being shown, or shows others: there is none of it in what this version makes.
async fn rules(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let query = "
        SELECT 'row security of ' || relname FROM pg_catalog.pg_class
        WHERE relnamespace = 'tunnelwarden'::regnamespace AND (relrowsecurity OR relforcerowsecurity)
        UNION ALL SELECT 'policy ' || polname FROM pg_catalog.pg_policy JOIN pg_catalog.pg_class ON pg_class.oid = polrelid
        WHERE relnamespace = 'tunnelwarden'::regnamespace
        UNION ALL SELECT 'rule ' || rulename FROM pg_catalog.pg_rewrite JOIN pg_catalog.pg_class ON pg_class.oid = ev_class
        WHERE relnamespace = 'tunnelwarden'::regnamespace AND rulename <> '_RETURN'
        UNION ALL SELECT 'trigger ' || tgname || ' of ' || relname
        FROM pg_catalog.pg_trigger JOIN pg_catalog.pg_class ON pg_class.oid = tgrelid
        WHERE relnamespace = 'tunnelwarden'::regnamespace AND NOT tgisinternal AND tgfoid <> 'tunnelwarden.refuse'::regproc";
    let rows = sqlx::query(query).fetch_all(connection).await?;
    rows.iter().map(|row| Ok(format!("{} was added", row.try_get::<String, _>(0)?))).collect()
}

/// The functions as the server tells them: text, whose rights, what it may depend on, settings.
fn functions_made() -> BTreeMap<String, String> {
    let part = |part: &str| {
        let name = part.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next()?;
        let (head, body) = part.split_once("$$")?;
        let (body, _) = body.split_once("$$")?;
        let flag = |word: &str| if head.contains(word) { "t" } else { "f" };
        let volatility = if head.contains(" IMMUTABLE") { "i" } else { "v" };
        let settings = if head.contains("SET search_path") { "|search_path=pg_catalog, pg_temp" } else { "" };
        let told = format!("{body}|{}|{volatility}|{}{settings}", flag("SECURITY DEFINER"), flag(" STRICT"));
        Some((name.to_owned(), told))
    };
    TEXT.split("CREATE FUNCTION tunnelwarden.").skip(1).filter_map(part).collect()
}

/// The same of the views, which takes the right to make temporary ones; none where that is missing.
pub(super) async fn view_differences(connection: &mut PgConnection) -> Option<Vec<String>> {
    let made = parts("CREATE VIEW tunnelwarden.", " AS\n", ";\n");
    let mut transaction = connection.begin().await.ok()?;
    let mut expected = BTreeMap::new();
    for (name, text) in made {
        let again = format!("CREATE TEMPORARY VIEW view_as_made AS {text}");
        sqlx::raw_sql(AssertSqlSafe(again)).execute(&mut *transaction).await.ok()?;
        let row = sqlx::query("SELECT pg_get_viewdef('pg_temp.view_as_made'::regclass)");
        let definition = row.fetch_one(&mut *transaction).await.ok()?.try_get(0).ok()?;
        expected.insert(name, definition);
        sqlx::raw_sql("DROP VIEW pg_temp.view_as_made").execute(&mut *transaction).await.ok()?;
    }
    let views = "SELECT relname::text, pg_get_viewdef(oid) FROM pg_catalog.pg_class
                 WHERE relnamespace = 'tunnelwarden'::regnamespace AND relkind IN ('v', 'm')";
    let found = texts(&mut transaction, views).await.ok()?;
    transaction.rollback().await.ok()?;
    Some(compare("view", expected, found))
}

async fn texts(
    connection: &mut PgConnection,
    query: &'static str,
) -> Result<BTreeMap<String, String>, sqlx::Error> {
    let rows = sqlx::query(query).fetch_all(connection).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

fn compare(
    what: &str,
    mut expected: BTreeMap<String, String>,
    found: BTreeMap<String, String>,
) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, text) in found {
        match expected.remove(&name) {
            Some(known) if known == text => {}
            Some(_) => lines.push(format!("{what} {name} was changed")),
            None => lines.push(format!("{what} {name} was added")),
        }
    }
    lines.extend(expected.into_keys().map(|name| format!("{what} {name} is missing")));
    lines
}

/// What the migration makes with these words: its name, and the text between a begin and an end.
fn parts(words: &str, begin: &str, end: &str) -> BTreeMap<String, String> {
    let part = |part: &str| {
        let name = part.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next()?;
        let (_, body) = part.split_once(begin)?;
        Some((name.to_owned(), body.split_once(end)?.0.to_owned()))
    };
    TEXT.split(words).skip(1).filter_map(part).collect()
}
