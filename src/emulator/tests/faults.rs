//! Each fault: what the client sees of it, and whether the call's effect happened.

use std::io::Read as _;

use super::*;

/// What a client sees of a create under a fault.
enum Seen {
    /// No answer.
    Nothing,
    /// An answer that breaks off.
    Half,
    /// An answer of that status.
    Status(u16),
}

#[track_caller]
fn check(fault: &str, seen: &Seen, acted: bool, got: &Result<Answered, String>, rig: &Rig) {
    let fits = match (seen, got) {
        (Seen::Nothing, Err(why)) => why.starts_with("no answer"),
        (Seen::Half, Err(why)) => why.starts_with("half an answer"),
        (Seen::Status(status), Ok(answered)) => answered.status == *status,
        _ => false,
    };
    assert!(fits, "{fault}: {got:?}");
    assert_eq!(rig.emulator.tunnels(account()).len(), usize::from(acted), "{fault}");
    let call = rig.emulator.calls().pop().unwrap();
    assert_eq!(call.acted, acted, "{fault}");
    assert_eq!(call.status.is_none(), matches!(seen, Seen::Nothing), "{fault}");
}

#[tokio::test]
async fn each_fault_does_what_it_says() {
    for (fault, seen, acted) in [
        ("latency=1", Seen::Status(200), true),
        ("unknown-field", Seen::Status(200), true),
        ("drop-before", Seen::Nothing, false),
        ("drop-after", Seen::Nothing, true),
        ("reset-body", Seen::Half, true),
        ("status=503", Seen::Status(503), false),
        ("status-after", Seen::Status(500), true),
        ("html", Seen::Status(502), false),
        ("html-after", Seen::Status(502), true),
        ("malformed", Seen::Status(200), true),
        ("slow-body=1", Seen::Status(200), true),
        ("hang=30", Seen::Nothing, false),
        ("hang-after=30", Seen::Nothing, true),
        ("huge-body=3000000", Seen::Status(200), true),
        ("throttle=7", Seen::Status(429), false),
        ("gzip", Seen::Status(200), true),
        ("wrong-length", Seen::Half, true),
        ("echo-body", Seen::Status(400), false),
    ] {
        let name = fault.split('=').next().unwrap();
        assert!(Fault::NAMES.contains(&name), "{name}");
        for h2 in [false, true] {
            let rig = rig().await;
            let bearer = rig.bearer();
            let headers = [
                ("authorization", bearer.as_str()),
                ("content-type", "application/json"),
                ("x-emulator-fault", fault),
            ];
            let sent = body("one").to_string();
            let stream = TcpStream::connect(rig.emulator.address()).await.unwrap();
            let got = if h2 {
                let uri = format!("http://emulator.test{BASE}");
                over_http2(stream, request(Method::POST, &uri, &sent, &headers)).await
            } else {
                over_http1(stream, request(Method::POST, BASE, &sent, &headers)).await
            };
            check(&format!("{fault}, h2 {h2}"), &seen, acted, &got, &rig);
            if let Ok(answered) = got {
                look(name, &answered, &sent);
            }
        }
    }
}

/// What is special about the answer under a fault that lets one through.
fn look(fault: &str, answered: &Answered, sent: &str) {
    match fault {
        "html" | "html-after" => assert!(answered.header("content-type").starts_with("text/html")),
        "malformed" => assert!(read(&answered.body, 32).is_err()),
        "huge-body" => {
            assert!(answered.body.len() > 3_000_000 && answered.at("/success") == Json::from(true))
        }
        "throttle" => {
            assert_eq!(answered.header("retry-after"), "7");
            assert_eq!(answered.refusal().1, 971);
        }
        "gzip" => {
            assert_eq!(answered.header("content-encoding"), "gzip");
            let mut text = String::new();
            flate2::read::GzDecoder::new(answered.body.as_ref()).read_to_string(&mut text).unwrap();
            assert_eq!(json(&text).get("success"), Some(&Json::from(true)));
        }
        "echo-body" => assert!(answered.at("/errors/0/message").as_str().unwrap().contains(sent)),
        _ => assert_eq!(answered.at("/success"), Json::from(answered.status == 200)),
    }
    assert!(!answered.header("cf-ray").is_empty(), "{fault}");
}

#[tokio::test]
async fn a_small_gzip_answer_can_be_huge_inside() {
    let rig = rig().await;
    let headers = [("x-emulator-fault", "gzip, huge-body=5000000")];
    let answered = rig.ask_with(Method::GET, BASE, "", &headers).await.unwrap();
    assert!(answered.body.len() < 100_000);
    let mut inside = Vec::new();
    flate2::read::GzDecoder::new(answered.body.as_ref()).read_to_end(&mut inside).unwrap();
    assert!(inside.len() > 5_000_000);
}

#[tokio::test]
async fn queued_faults_strike_their_operation_so_many_times() {
    let rig = rig().await;
    rig.emulator.fault(Fault::Html, Operation::Create, 2);
    rig.emulator.fault(Fault::Status(503), None, 1);
    rig.emulator.fault(Fault::Html, Place::TokenVerify, 1);
    let create = async || rig.ask(Method::POST, BASE, &body("one").to_string()).await.status;
    assert_eq!(rig.ask(Method::GET, BASE, "").await.status, 503);
    assert_eq!([create().await, create().await, create().await], [502, 502, 200]);
    let verify = async || rig.ask(Method::GET, "/client/v4/user/tokens/verify", "").await.status;
    assert_eq!([verify().await, verify().await], [502, 200]);
}

#[tokio::test]
async fn an_unknown_fault_is_refused_and_does_nothing() {
    let rig = rig().await;
    let sent = body("one").to_string();
    let got = rig.ask_with(Method::POST, BASE, &sent, &[("x-emulator-fault", "nope")]).await.unwrap();
    assert_eq!(got.status, 400);
    assert!(rig.emulator.effects().is_empty());
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_stop_its_call() {
    let rig = rig_with(|options| options.latency = Duration::from_millis(100)).await;
    let bearer = rig.bearer();
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let stream = TcpStream::connect(rig.emulator.address()).await.unwrap();
    let call =
        tokio::spawn(over_http1(stream, request(Method::POST, BASE, &body("one").to_string(), &headers)));
    until(async || !rig.emulator.calls().is_empty()).await;
    call.abort();
    until(async || !rig.emulator.effects().is_empty()).await;
}
