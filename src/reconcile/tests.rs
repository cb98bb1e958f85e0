//! Which row is whose, over small tables of calls and rows.

use std::collections::BTreeMap;

use super::calls::Calls;
use super::judge::KeyTold;
use super::row::Row;
use super::*;
use crate::audit::guard::Guard;
use crate::json::{MAX_DEPTH, read};
use crate::operation::TunnelId;

const ID: [&str; 2] = ["01990b1c-7c6e-7d2b-8f5e-0c8a5d6b7e10", "01990b1c-7c6e-7d2b-8f5e-0c8a5d6b7e11"];
const RAY: [&str; 3] = ["8e9b1c60ef9e1c90", "8e9b1c60ef9e1c91", "8e9b1c60ef9e1c92"];
const NOW: &str = "2026-01-01T14:00:00Z";

fn account() -> AccountId {
    AccountId::parse("0a").unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// An update of tunnel 0f at noon, with how it ended.
fn call(nth: usize, end: Option<&str>) -> (String, Option<String>) {
    let id = ID[nth];
    let intent = format!(
        r#"{{"kind":"intent","time":"2026-01-01T12:00:00.000000Z","request_id":"{id}","subject":"ann","operation":"update",
            "account":"0a","validate_only":false,"tunnels":[{{"id":"0f"}}],"expected":[{{"tunnel":"0f","replaces_key":false}}]}}"#
    );
    (intent, end.map(str::to_owned))
}

fn ended(ray: &str) -> String {
    format!(r#"{{"sent":"yes","status":200,"cf_ray":"{ray}-FRA"}}"#)
}

/// A row of an update of tunnel 0f, with these members of `raw`.
fn row(time: &str, raw: &str) -> Row {
    let path = "/client/v4/accounts/0a/magic/ipsec_tunnels/0f";
    whole_row(&format!(
        r#"{{"id":"{time}{raw_id}","action":{{"time":"{time}"}},"raw":{{"method":"PUT","uri":"{path}"{raw}}}}}"#,
        raw_id = raw.len()
    ))
}

fn whole_row(text: &str) -> Row {
    Row::read(&read(text.as_bytes(), MAX_DEPTH).unwrap(), account(), &Guard::new([])).unwrap()
}

fn judged(
    calls: &[(String, Option<String>)],
    rows: Vec<Row>,
    keys: &[KeyTold],
) -> Vec<(&'static str, String)> {
    let calls = Calls::read(calls);
    let rows = rows.into_iter().map(|row| (row.key.clone(), row)).collect();
    let span = Span { since: at("2026-01-01T10:00:00Z"), until: at(NOW) };
    let judged = judge(&Evidence {
        account: account(),
        rows: &rows,
        read: &std::iter::once(span).collect(),
        keys,
        calls: &calls,
        names: &BTreeMap::new(),
        now: at(NOW),
        grace: SignedDuration::from_hours(1),
    });
    let what = |found: Finding| {
        let time = found.time.map_or_else(String::new, |time| time.to_string());
        (found.what.name(), time)
    };
    judged.findings.into_iter().map(what).collect()
}

#[track_caller]
fn check(calls: &[(String, Option<String>)], rows: &[(&str, String)], expected: &[(&str, &str)]) {
    let rows: Vec<Row> = rows.iter().map(|(time, raw)| row(time, raw)).collect();
    let got = judged(calls, rows, &[]);
    let got: Vec<(&str, &str)> = got.iter().map(|(what, time)| (*what, time.as_str())).collect();
    assert_eq!(got, expected);
}

fn with(ray: &str) -> String {
    format!(r#","cf_ray_id":"{ray}","user_agent":"curl""#)
}

fn named(ray: &str, id: &str) -> String {
    format!(r#","cf_ray_id":"{ray}","user_agent":"sdk tunnelwarden/0.1.0 ({id})""#)
}

const NOON: &str = "2026-01-01T12:00:01Z";
const LATER: &str = "2026-01-01T12:00:02Z";
const ONE: &str = "2026-01-01T13:00:00Z";

#[test]
fn a_row_is_ours_by_its_ray_and_a_call_without_one_is_missing() {
    let done = call(0, Some(&ended(RAY[0])));
    check(std::slice::from_ref(&done), &[(NOON, with(RAY[0]))], &[]);
    check(std::slice::from_ref(&done), &[], &[("unknown", "2026-01-01T12:00:00Z")]);
    let expected = [("bypass", NOON), ("unknown", "2026-01-01T12:00:00Z")];
    check(std::slice::from_ref(&done), &[(NOON, with(RAY[1]))], &expected);
    check(&[], &[(NOON, with(RAY[0]))], &[("bypass", NOON)]);
}

#[test]
fn a_ray_that_meets_again_explains_no_other_operation() {
    let done = call(0, Some(&ended(RAY[0])));
    let path = "/client/v4/accounts/0a/magic/ipsec_tunnels/0f/psk_generate";
    let raw = format!(r#""method":"POST","uri":"{path}","cf_ray_id":"{}""#, RAY[0]);
    let other = whole_row(&format!(r#"{{"action":{{"time":"{ONE}"}},"raw":{{{raw},"user_agent":"x"}}}}"#));
    let got = judged(&[done], vec![row(NOON, &with(RAY[0])), other], &[]);
    assert_eq!(got, [("bypass", ONE.to_owned())]);
}

#[test]
fn an_open_intent_explains_the_one_row_that_names_it_in_its_time() {
    for end in [None, Some(r#"{"sent":"unknown","status":null}"#), Some(r#"{"resolution":"applied"}"#)] {
        let open = call(0, end);
        check(std::slice::from_ref(&open), &[(NOON, named(RAY[0], ID[0]))], &[]);
        let rows = [(NOON, named(RAY[0], ID[0])), (LATER, named(RAY[1], ID[0]))];
        check(std::slice::from_ref(&open), &rows, &[("bypass", LATER)]);
        let missing = end.is_some_and(|end| end.contains("applied"));
        let unknown = missing.then_some(("unknown", "2026-01-01T12:00:00Z"));
        let expected: Vec<_> = [("bypass", ONE)].into_iter().chain(unknown).collect();
        check(std::slice::from_ref(&open), &[(ONE, named(RAY[0], ID[0]))], &expected);
        let expected: Vec<_> = [("bypass", NOON)].into_iter().chain(unknown).collect();
        check(std::slice::from_ref(&open), &[(NOON, with(RAY[0]))], &expected);
    }
    // Of this one no byte went out, and that one's ray is another.
    check(&[call(0, Some(r#"{"sent":"no"}"#))], &[(NOON, named(RAY[0], ID[0]))], &[("bypass", NOON)]);
    let rows = [(NOON, named(RAY[0], ID[0])), (LATER, named(RAY[1], ID[0]))];
    check(&[call(0, Some(&ended(RAY[0])))], &rows, &[("bypass", LATER)]);
}

#[test]
fn a_row_that_does_not_say_who_made_it_is_explained_by_whatever_may_have_been_it() {
    let silent = |ray: &str| format!(r#","cf_ray_id":"{ray}""#);
    check(&[call(0, None)], &[(NOON, silent(RAY[0]))], &[]);
    check(&[call(0, None)], &[(NOON, silent(RAY[0])), (LATER, silent(RAY[1]))], &[("bypass", LATER)]);
    check(&[call(0, None), call(1, None)], &[(NOON, silent(RAY[0])), (LATER, silent(RAY[1]))], &[]);
    check(&[call(0, None)], &[(ONE, silent(RAY[0]))], &[("bypass", ONE)]);
    // The upstream's own rows that follow a call of ours.
    let done = call(0, Some(&ended(RAY[0])));
    check(&[done], &[(NOON, with(RAY[0])), (LATER, String::new())], &[]);
}

#[test]
fn a_key_is_explained_by_a_call_or_a_row_of_its_time() {
    let tunnel = TunnelId::parse("0f").unwrap();
    let key = |time: &str| [KeyTold { tunnel, time: at(time) }];
    let minted = |end: Option<&str>| {
        let (intent, end) = call(0, end);
        (intent.replace("\"replaces_key\":false", "\"replaces_key\":true"), end)
    };
    assert_eq!(judged(&[], Vec::new(), &key(NOON)), [("key", NOON.to_owned())]);
    assert_eq!(judged(&[minted(None)], Vec::new(), &key(NOON)), []);
    assert_eq!(judged(&[minted(None)], Vec::new(), &key("2026-01-01T12:30:00Z")).len(), 1);
    assert_eq!(judged(&[call(0, None)], Vec::new(), &key(NOON)).len(), 1, "it replaced no key");
    // The upstream said itself when it was made.
    let exact = format!(r#"{{"sent":"unknown","key_made":"{NOON}"}}"#);
    assert_eq!(judged(&[minted(Some(&exact))], Vec::new(), &key(NOON)), []);
    assert_eq!(judged(&[minted(Some(&exact))], Vec::new(), &key("2026-01-01T12:02:00Z")).len(), 1);
    let rows = vec![row(NOON, &with(RAY[0]))];
    assert_eq!(judged(&[], rows, &key(NOON)), [("bypass", NOON.to_owned())], "told once, as what the row is");
    assert_eq!(judged(&[], Vec::new(), &key("2026-01-01T13:30:00Z")), [], "its row may still come");
}
