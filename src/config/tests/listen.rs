//! `[listen]`: keys that go together.

use super::*;

#[test]
fn clients_are_asked_for_certificates_only_as_it_is_said() {
    let pair = "certificate_file = \"c\"\nprivate_key_file = \"k\"\n";
    let read_with = |more: &str| {
        let text = SMALL.replace("[audit]", &format!("[listen]\n{more}\n[audit]"));
        read(&text, &[]).map_err(|problems| problems[0].key.clone())
    };
    let clients = |more: &str| {
        let config = read_with(&format!("{pair}{more}"))?;
        Ok(config.listen.tls.unwrap().clients.map(|clients| clients.required))
    };
    let ca = "client_ca_file = \"a\"\n";
    let wish = |wish: &str| format!("client_certificate = \"{wish}\"\n");
    assert_eq!(clients(""), Ok(None));
    assert_eq!(clients(&wish("off")), Ok(None));
    assert_eq!(clients(&format!("{ca}{}", wish("optional"))), Ok(Some(false)));
    assert_eq!(clients(&format!("{ca}{}", wish("required"))), Ok(Some(true)));
    assert_eq!(
        clients(ca),
        Err("listen.client_certificate".to_owned()),
        "whoever names roots wants to be asked"
    );
    assert_eq!(clients(&format!("{ca}{}", wish("off"))), Err("listen.client_ca_file".to_owned()));
    assert_eq!(clients(&wish("required")), Err("listen.client_ca_file".to_owned()));
    assert_eq!(clients(&format!("{ca}{}", wish("yes"))), Err("listen.client_certificate".to_owned()));
    let plain = read_with(&format!("{ca}{}", wish("required"))).map(drop);
    assert_eq!(plain, Err("listen.client_ca_file".to_owned()), "without TLS");
}

#[test]
fn a_range_that_is_wrong_is_named() {
    let told = |ranges: &str| {
        let text = SMALL.replace("[audit]", &format!("[listen]\ntrusted_hops = [{ranges}]\n[audit]"));
        read(&text, &[]).map(drop).map_err(|problems| problems[0].what.clone())
    };
    assert_eq!(told("\"10.0.0.0/8\", \"192.0.2.7\", \"2001:db8::/32\""), Ok(()));
    for (ranges, named) in [
        ("\"10.0.0.0/8\", \"10.1.2.3/8\"", "`10.1.2.3/8` is not an address"),
        ("\"balancer\"", "`balancer` is not an address"),
        ("\"0.0.0.0/0\"", "`0.0.0.0/0` is every address"),
        ("\"::/0\"", "`::/0` is every address"),
    ] {
        let what = told(ranges).unwrap_err();
        assert!(what.starts_with(named), "{what}");
    }
}

#[test]
fn one_address_has_no_more_connections_than_there_are() {
    let of = |each: u32| {
        let text = SMALL.replace(
            "[audit]",
            &format!("[listen]\nmax_connections = 10\nconnections_per_address = {each}\n[audit]"),
        );
        read(&text, &[])
            .map(|config| config.listen.connections_per_address)
            .map_err(|problems| problems[0].key.clone())
    };
    assert_eq!(of(10), Ok(10));
    assert_eq!(of(11), Err("listen.connections_per_address".to_owned()));
}
