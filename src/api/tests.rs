//! That the description is what is served: the views' columns, and names that generators can use.

use std::collections::BTreeSet;

use super::described;

/// The columns of a view, as the shipped tables make them.
async fn columns(view: &str) -> BTreeSet<String> {
    use sqlx::{AssertSqlSafe, Connection as _, Row as _};
    let mut connection = sqlx::sqlite::SqliteConnection::connect("sqlite::memory:").await.unwrap();
    let tables = AssertSqlSafe(include_str!("../../migrations/sqlite/0001_record.sql").to_owned());
    sqlx::raw_sql(tables).execute(&mut connection).await.unwrap();
    let query = AssertSqlSafe(format!("SELECT name FROM pragma_table_info('{view}')"));
    let rows = sqlx::query(query).fetch_all(&mut connection).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn the_described_rows_are_the_views_columns() {
    let (_, description) = described();
    let description: serde_json::Value = serde_json::from_str(&description.to_json().unwrap()).unwrap();
    for (schema, view) in [
        ("Call", "requests"),
        ("Change", "changes"),
        ("PskEvent", "psk_events"),
        ("Refused", "refusals"),
        ("Part", "tunnel_history"),
        ("Finding", "findings"),
    ] {
        let properties = description["components"]["schemas"][schema]["properties"].as_object();
        let properties = properties.unwrap_or_else(|| panic!("no schema {schema}")).keys().cloned();
        assert_eq!(properties.collect::<BTreeSet<_>>(), columns(view).await, "{schema}");
    }
}

#[test]
fn the_description_is_openapi_3_1_with_a_name_for_each_operation() {
    let (_, description) = described();
    let description: serde_json::Value = serde_json::from_str(&description.to_json().unwrap()).unwrap();
    assert_eq!(description["openapi"], "3.1.0");
    let mut names = BTreeSet::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        assert!(path.starts_with("/api/v1/"), "{path}");
        for operation in methods.as_object().unwrap().values() {
            let name = operation["operationId"].as_str().unwrap().to_owned();
            assert!(names.insert(name.clone()), "{name} twice");
            assert!(operation["summary"].is_string(), "{name} has no summary");
        }
    }
    assert_eq!(names.len(), 16);
}
