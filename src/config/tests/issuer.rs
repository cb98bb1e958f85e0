//! What an issuer may ask of its tokens.

use super::*;

#[test]
fn bound_tokens_need_clients_that_can_show_a_certificate() {
    let bound = SMALL.replacen("[[issuer]]", "[[issuer]]\nbound_tokens_only = true", 1);
    let key = |text: &str| read(text, &[]).map(drop).map_err(|problems| problems[0].key.clone());
    assert_eq!(key(&bound), Err("issuer.0.bound_tokens_only".to_owned()));
    let tls = "certificate_file = \"c\"\nprivate_key_file = \"k\"\nclient_ca_file = \"a\"\nclient_certificate = \"optional\"\n";
    assert_eq!(key(&bound.replace("[audit]", &format!("[listen]\n{tls}\n[audit]"))), Ok(()));
}

#[test]
fn tokens_that_are_good_once_end_within_a_day() {
    let told = |lines: &str| {
        let text =
            SMALL.replacen("[[issuer]]", &format!("[[issuer]]\none_use_for_secrets = true\n{lines}"), 1);
        read(&text, &[]).map(drop).map_err(|problems| problems[0].key.clone())
    };
    assert_eq!(told(""), Ok(()));
    assert_eq!(told("max_lifetime = \"24h\"\n"), Ok(()));
    assert_eq!(told("max_lifetime = \"25h\"\n"), Err("issuer.0.one_use_for_secrets".to_owned()));
}
