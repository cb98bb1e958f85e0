use super::*;
use crate::json::{MAX_DEPTH, read};
use crate::operation::Operation;

const CANARY: &str = "canary-of-a-key";

fn parse(text: &str) -> Json {
    read(text.as_bytes(), MAX_DEPTH).unwrap()
}

fn object(text: &str) -> Object {
    parse(text).as_object().unwrap().clone()
}

fn heard<'a>(body: &'a str, json: &'a Json) -> End<'a> {
    End::Answered(Heard {
        status: 200,
        cf_ray: None,
        content_type: Some("application/json"),
        body: body.as_bytes(),
        json: Some(json),
    })
}

#[test]
fn nothing_shows_a_body_or_a_state() {
    let body = format!(r#"{{"success":true,"result":{{"psk":"{CANARY}"}}}}"#);
    let json = parse(&body);
    let plan = Plan {
        asked: Asked::read(Operation::Create, None, Some(parse(&format!(r#"{{"psk":"{CANARY}"}}"#)))).unwrap(),
        before: vec![object(&format!(r#"{{"bgp":{{"md5_key":"{CANARY}"}}}}"#))],
        expected: vec![object(&format!(r#"{{"name":"{CANARY}"}}"#))],
    };
    let shown = format!("{:?} {plan:?}", heard(&body, &json));
    let in_digits = format!("{:?}", CANARY.as_bytes());
    assert!(!shown.contains(CANARY) && !shown.contains(in_digits.trim_matches(['[', ']'])), "{shown}");
}
