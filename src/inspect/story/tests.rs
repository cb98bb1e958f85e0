use super::*;

#[track_caller]
fn check(entries: &[&str], expected: &str) {
    let entries: Vec<(u64, Json)> = (7..)
        .zip(entries)
        .map(|(seq, entry)| (seq, super::super::read_entry(entry.as_bytes()).unwrap()))
        .collect();
    let story = story(&entries);
    let lines: Vec<&str> = story.lines().map(str::trim_end).collect();
    assert_eq!(lines.join("\n"), expected.trim(), "{story}");
}

const INTENT: &str = r#"{"kind":"intent","id":"i","time":"2026-01-01T10:20:30.123456Z","request_id":"r",
        "subject":"ann","teams":["net"],"roles":[],"issuer":"https://idp","jti":"t","client_address":"192.0.2.1",
        "operation":"update","account":"0a","validate_only":false,"tunnels":[{"id":"0f","name":"paris"}],
        "decision":"allow","policies":["p","q"],"policy_digest":"0123456789abcdef","changed":["name"],"weakened":[],
        "request":{"size":2,"body":{"name":"lyon"}},"state_before":[{"id":"0f","name":"paris"}]}"#;

const HEAD: &str = r#"
request    r
what       update of paris (0f), account 0a
when       2026-01-01T10:20:30.123456Z"#;

const WHO: &str = r#"
who        ann (roles: none; teams: net)
           token t of https://idp, key without an id
from       192.0.2.1
decision   allowed by p, q (policy text 0123456789ab)
touches    name"#;

const BODIES: &str = r#"
asked      {
             "name": "lyon"
           }
before     {
             "id": "0f",
             "name": "paris"
           }"#;

#[test]
fn a_write_tells_what_was_asked_what_changed_and_what_the_upstream_said() {
    let outcome = r#"{"kind":"outcome","request_id":"r","status":200,"sent":"yes","duration_us":9859,"stages_us":{"identify":41,"forward":9200},
            "upstream":{"status":200,"cf_ray":"ray"},"before_after_diff":[{"tunnel":"0f","patch":[
            {"op":"replace","path":"/name","value":"lyon","old":"paris"},{"op":"add","path":"/x/y","value":1},
            {"op":"remove","path":"/z","old":"\u001b[2J"}]}],"client_gone":true}"#;
    let end = r#"
result     200
upstream   answered 200, cf-ray ray
note       the client had hung up before its answer was ready
changed    paris (0f)
             name: "paris" → "lyon"
             + x/y: 1
             - z: "\u001b[2J""#;
    let took = ", took 9.8 ms\nstages     identify 0.0 ms, forward 9.2 ms";
    let expected = format!("{HEAD}{took}{WHO}{end}{BODIES}\nentries    7 intent, 8 outcome");
    check(&[INTENT, outcome], &expected);
}

#[test]
fn a_call_without_an_end_is_told_as_such_and_a_lost_one_with_what_became_of_it() {
    let expected =
        format!("{HEAD}{WHO}\nresult     not known yet: it may have happened{BODIES}\nentries    7 intent");
    check(&[INTENT], &expected);
    let resolved = r#"{"kind":"resolved","request_id":"r","resolution":"applied","evidence":{"etag":"e"}}"#;
    let end = r#"
result     no outcome was recorded; looked up later: applied
evidence   {
             "etag": "e"
           }"#;
    let expected = format!("{HEAD}{WHO}{end}{BODIES}\nentries    7 intent, 8 resolved");
    check(&[INTENT, resolved], &expected);
}

#[test]
fn a_refusal_names_the_rule_and_what_was_said() {
    check(
        &[
            r#"{"kind":"refusal","time":"x","request_id":"r","client_address":"192.0.2.1","user_agent":"a\u202eb",
                "retry_count":2,"method":"GET","path":"/?5","decision":"deny","status":404,
                "refusal":{"name":"unknown_route","code":1,"message":"no operation has this path"}}"#,
        ],
        r#"
request    r
what       GET /?5
when       x
who        nobody was identified
from       192.0.2.1, a\u{202e}b, retry 2
decision   denied
result     404 unknown_route: no operation has this path
entries    7 refusal"#,
    );
}

#[test]
fn who_had_a_token_that_was_not_taken_is_told_as_no_caller() {
    let entry = |token: &str| {
        format!(
            r#"{{"kind":"refusal","time":"x","request_id":"r","refused_token":{token},"client_address":"192.0.2.1",
                    "client_certificate":"AAAA","operation":"list","account":"0a","status":401,
                    "refusal":{{"name":"token_revoked","code":1,"message":"this token has been revoked"}}}}"#
        )
    };
    let told = |owner: &str| {
        format!(
            r#"
request    r
what       list, account 0a
when       x
who        nobody was identified
           by whoever has {owner}
           which is well signed and was not taken: see the result
from       192.0.2.1
           client certificate AAAA (x5t#S256)
result     401 token_revoked: this token has been revoked
entries    7 refusal"#
        )
    };
    let whole = r#"{"subject":"a\u001bnn","issuer":"https://idp","jti":"t","key_id":"k"}"#;
    check(&[&entry(whole)], &told(r"token t of a\u{1b}nn, https://idp, key k"));
    let bare = r#"{"subject":"ann","issuer":"https://idp"}"#;
    check(&[&entry(bare)], &told("token without an id of ann, https://idp, key without an id"));
}

#[test]
fn a_change_that_was_not_taken_is_told_in_words() {
    check(
        &[r#"{"kind":"reload_refused","time":"x","request_id":"r","problems":[
                    {"of":"file","what":"not_good","keys":["policy.file"],"found":"sha256:aa"},
                    {"of":"configuration","what":"missing"}]}"#],
        "
request    r
what       reload_refused
when       x
not taken  the file of policy.file is not good
             sha256:aa, as it was found
           the configuration is missing
entries    7 reload_refused",
    );
}

#[test]
fn what_was_done_with_the_record_itself_is_told_with_who_did_it() {
    let entry = |members: &str| {
        format!(
            r#"{{"kind":"k","id":"i","time":"t","request_id":"r",{members},"operator":{{"uid":7,"user":"ann","sudo_user":"bo\u001b"}}}}"#
        )
    };
    let told = |members: &str| {
        let entry = crate::inspect::read_entry(entry(members).as_bytes()).unwrap();
        story(&[(3, entry)]).lines().skip(3).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(
        told(r#""old_key":"a+1","new_key":"a+2""#),
        "old key    a+1\nnew key    a+2\nwho        user 7 (ann, for bo\\u{1b})\nentries    3 k"
    );
    assert_eq!(
        told(r#""from":0,"to":9,"before":"b","file":{"name":"f","sha256":"s"},"stubs":"h""#),
        "moved out  bodies of entries 0 to 8, before b\ninto       f, sha256 s\nwho        user 7 (ann, for bo\\u{1b})\nentries    3 k"
    );
}

#[test]
fn whose_token_was_used_up_is_told_and_where_it_is_good_again() {
    let intent = r#"{"kind":"intent","time":"x","request_id":"r","subject":"ann","issuer":"i","jti":"t","key_id":"k",
        "token_used":"hmac-sha256:a:b","operation":"generate_psk","account":"0a"}"#;
    let told = |sent: &str| {
        let outcome = format!(r#"{{"kind":"outcome","request_id":"r","status":502,"sent":"{sent}"}}"#);
        let entries =
            [intent, &outcome].map(|text| (7, crate::inspect::read_entry(text.as_bytes()).unwrap()));
        story(&entries)
    };
    for sent in ["yes", "unknown"] {
        assert!(
            told(sent).contains("token t of i, key k\n           which this call used up:"),
            "{}",
            told(sent)
        );
    }
    assert!(told("no").contains("which is good again for a key"), "{}", told("no"));
}
