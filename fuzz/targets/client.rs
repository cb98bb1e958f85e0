//! Whose connection and whose request it is: another reader of PROXY protocol names the same address and ends at the same byte,
//! and nothing that a client itself puts into a list of addresses changes who it is.
#![no_main]

use std::net::IpAddr;
use std::sync::OnceLock;

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use ppp::v2::{Addresses, Command, Header, Protocol};
use tokio::runtime::{Builder, Runtime};
use tunnelwarden::config::Cidr;
use tunnelwarden::listen::{behind_balancer, behind_hops};

const HEAD: usize = 16;
const MOST: usize = 2048;
const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
const LIST: HeaderName = HeaderName::from_static("x-forwarded-for");

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Builder::new_current_thread().build().expect("a runtime"))
}

/// The source as another reader has it; `None` where it is none for TCP.
fn source(header: &Header<'_>) -> Option<IpAddr> {
    if header.protocol != Protocol::Stream {
        return None;
    }
    match header.addresses {
        Addresses::IPv4(both) => Some(both.source_address.into()),
        Addresses::IPv6(both) => Some(IpAddr::from(both.source_address).to_canonical()),
        Addresses::Unix(_) | Addresses::Unspecified => None,
    }
}

fn check_connection(bytes: &[u8]) {
    let ours = runtime().block_on(behind_balancer(bytes, PEER));
    let other = Header::try_from(bytes);
    match (&ours, &other) {
        (Ok((client, read)), Ok(header)) if header.command == Command::Proxy => {
            assert_eq!(
                (Some(*client), *read),
                (source(header), header.len()),
                "another reader says otherwise"
            );
        }
        // A balancer that speaks for itself: what else it says is to be read and ignored, of whatever kind it is.
        (Ok((client, read)), _) => {
            assert_eq!((*client, bytes[12]), (PEER, 0x20), "nobody else is there");
            let length = usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
            assert_eq!(*read, HEAD + length, "it ends elsewhere");
        }
        (Err(_), Ok(header)) => {
            let is_for_us = header.command == Command::Local || source(header).is_some();
            assert!(!is_for_us || header.len() > HEAD + MOST, "another reader takes {header:?}: {ours:?}");
        }
        (Err(_), Err(_)) => {}
    }
}

fn list(fields: &[&[u8]]) -> Option<HeaderMap> {
    let value = |field: &&[u8]| HeaderValue::from_bytes(field).ok();
    fields.iter().map(|field| Some((LIST, value(field)?))).collect()
}

/// The first line is what a client sends, the others are fields that hops made.
fn check_request(bytes: &[u8]) {
    let hops = Cidr::parse("10.0.0.0/8").expect("a range");
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let (Some(all), Some((forged, honest))) = (list(&lines), lines.split_first()) else { return };
    let Some(honest) = list(honest) else { return };
    let without = behind_hops(hops, PEER, &honest);
    let with = behind_hops(hops, PEER, &all);
    match (without, with) {
        (Ok(sender), with) if !hops.contains(sender) => {
            assert_eq!(with.ok(), Some(sender), "{forged:?} made another client of it");
        }
        (Err(_), with) => assert!(with.is_err(), "{forged:?} made a client of it"),
        // All of them are hops: what comes next is what the farthest one was told.
        (Ok(_), _) => {}
    }
    let stranger = IpAddr::from([192, 0, 2, 1]);
    assert_eq!(behind_hops(hops, stranger, &all).ok(), Some(stranger), "a stranger is believed");
}

fuzz_target!(|bytes: &[u8]| {
    check_connection(bytes);
    check_request(bytes);
});
