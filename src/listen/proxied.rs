//! The PROXY protocol, version 2: what a balancer says in front of a connection about who is behind it.
//!
//! Binary, and before TLS. Sixteen bytes say what follows and how long it is; then come two addresses with their ports,
//! and fields that are not needed here. Version 1, a line of text, is not taken: where it ends is for its reader to find.
//! Pure: bytes in, an address out. Not here: from whom it is taken (`server`), the header of HTTP that says the same
//! (`request`).
//!
//! Source: <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>, section 2.2.

use std::net::IpAddr;

/// Bytes of the part that is always there.
pub(super) const HEAD: usize = 16;

/// What it begins with: what neither HTTP nor TLS can begin with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes after the head, at most. The addresses are 36; balancers add names and certificates' names, some hundred bytes.
const MOST: usize = 2048;

/// Version 2, and one of its two commands.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

/// TCP over one of two families.
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

/// What there is instead where a balancer says nothing.
const NONE: &str =
    "it did not begin with PROXY protocol, version 2, as listen.proxy_protocol wants it from this address";

/// What the head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// Bytes that follow the head and are to be read before anything else.
    pub(super) rest: usize,
    family: Option<Family>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

/// Reads the head.
///
/// # Errors
/// It is not this protocol, or not for TCP, or too long: in our words, with the remedy.
pub(super) fn head(head: [u8; HEAD]) -> Result<Said, &'static str> {
    if head.starts_with(b"PROXY ") {
        return Err("this is version 1 of PROXY protocol, and version 2 is wanted (haproxy: send-proxy-v2)");
    }
    let Some((signature, [command, family, high, low])) = head.split_last_chunk::<4>() else {
        return Err(NONE);
    };
    if signature != SIGNATURE {
        return Err(NONE);
    }
    let rest = usize::from(u16::from_be_bytes([*high, *low]));
    let family = match (*command, *family) {
        // The balancer speaks for itself, to see whether we are there: what else it says is without meaning.
        (LOCAL, _) => None,
        (PROXY, TCP4) if rest >= 12 => Some(Family::V4),
        (PROXY, TCP6) if rest >= 36 => Some(Family::V6),
        _ => return Err("its header of PROXY protocol is none for TCP over IPv4 or IPv6"),
    };
    if rest <= MOST { Ok(Said { rest, family }) } else { Err("its header of PROXY protocol is too long") }
}

impl Said {
    /// Who is behind the balancer, by what followed the head; `None` for the balancer itself.
    pub(super) fn source(self, rest: &[u8]) -> Option<IpAddr> {
        let address = match self.family? {
            Family::V4 => IpAddr::from(*rest.first_chunk::<4>()?),
            Family::V6 => IpAddr::from(*rest.first_chunk::<16>()?),
        };
        Some(address.to_canonical())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(command: u8, family: u8, length: u16) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        head[..12].copy_from_slice(&SIGNATURE);
        head[12] = command;
        head[13] = family;
        head[14..].copy_from_slice(&length.to_be_bytes());
        head
    }

    #[test]
    fn the_source_is_the_first_address() {
        let said = head(bytes(PROXY, TCP4, 12)).unwrap();
        let rest = [[192, 0, 2, 1], [198, 51, 100, 1], [1, 2, 3, 4]].concat();
        assert_eq!((said.rest, said.source(&rest)), (12, Some(IpAddr::from([192, 0, 2, 1]))));
        let said = head(bytes(PROXY, TCP6, 36)).unwrap();
        let v6: IpAddr = "2001:db8::1".parse().unwrap();
        let IpAddr::V6(octets) = v6 else { unreachable!() };
        assert_eq!(said.source(&[octets.octets().as_slice(), &[9; 20]].concat()), Some(v6));
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        let IpAddr::V6(octets) = mapped else { unreachable!() };
        let source = said.source(&[octets.octets().as_slice(), &[9; 20]].concat());
        assert_eq!(source, Some(IpAddr::from([192, 0, 2, 1])), "one address has one name");
    }

    #[test]
    fn more_fields_are_read_and_mean_nothing() {
        let said = head(bytes(PROXY, TCP4, 2048)).unwrap();
        assert_eq!(said.rest, 2048);
        assert_eq!(said.source(&[7; 2048]), Some(IpAddr::from([7; 4])));
    }

    #[test]
    fn a_balancer_that_speaks_for_itself_names_nobody() {
        for (family, length) in [(0, 0), (TCP4, 12), (0xff, 100)] {
            let said = head(bytes(LOCAL, family, length)).unwrap();
            assert_eq!(said.rest, usize::from(length));
            assert_eq!(said.source(&[1; 100]), None);
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for (what, bytes) in [
            ("version 1", *b"PROXY TCP4 192.0"),
            ("HTTP", *b"GET / HTTP/1.1\r\n"),
            ("TLS", [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 0, 0, 0, 0, 0]),
            ("version 3", bytes(0x31, TCP4, 12)),
            ("an unknown command", bytes(0x22, TCP4, 12)),
            ("no family", bytes(PROXY, 0, 0)),
            ("UDP", bytes(PROXY, 0x12, 12)),
            ("UDP6", bytes(PROXY, 0x22, 36)),
            ("a UNIX socket", bytes(PROXY, 0x31, 216)),
            ("addresses that are not there", bytes(PROXY, TCP4, 11)),
            ("addresses that are not there, IPv6", bytes(PROXY, TCP6, 35)),
            ("too much", bytes(PROXY, TCP4, 2049)),
            ("too much for itself", bytes(LOCAL, 0, u16::MAX)),
        ] {
            let why = head(bytes).unwrap_err();
            assert_eq!(why.contains("send-proxy-v2"), what == "version 1", "{what}: {why}");
        }
    }
}
