//! Whose request it is: the peer's, or that of whoever trusted peers say is behind them.
//!
//! A balancer says it once for a connection (`proxied`), a proxy that reads HTTP for each request, in
//! `X-Forwarded-For`. Each is believed from the addresses that the configuration names, and from no others. What comes out
//! is the client's address for everything: limits, policy, record. Not here: the bytes of PROXY protocol (`proxied`).

use std::net::IpAddr;

use http::{HeaderMap, HeaderName};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::proxied;
use crate::config::Cidr;
use crate::refusal::Refusal;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Who is believed.
#[derive(Debug)]
pub(super) struct Trusted {
    /// Those whose connections must begin with PROXY protocol.
    pub(super) proxies: Vec<Cidr>,
    /// Those who add to `X-Forwarded-For`.
    pub(super) hops: Vec<Cidr>,
}

impl Trusted {
    fn is_proxy(&self, address: IpAddr) -> bool {
        self.proxies.iter().any(|range| range.contains(address))
    }

    fn is_hop(&self, address: IpAddr) -> bool {
        self.hops.iter().any(|range| range.contains(address))
    }

    /// Whether connections from there may be those of many clients.
    pub(super) fn is_shared(&self, address: IpAddr) -> bool {
        self.is_proxy(address) || self.is_hop(address)
    }

    /// Who a connection is from: of a balancer's, its header is read, and nothing beyond it.
    ///
    /// # Errors
    /// The header is missing or is none that we take: why, in our words. Nothing where the balancer went before it was whole.
    pub(super) async fn client(
        &self,
        tcp: &mut (impl AsyncRead + Unpin),
        peer: IpAddr,
    ) -> Result<IpAddr, Option<&'static str>> {
        if !self.is_proxy(peer) {
            return Ok(peer);
        }
        let mut head = [0; proxied::HEAD];
        tcp.read_exact(&mut head).await.map_err(|_| None)?;
        let said = proxied::head(head).map_err(Some)?;
        let mut rest = vec![0; said.rest];
        tcp.read_exact(&mut rest).await.map_err(|_| None)?;
        Ok(said.source(&rest).unwrap_or(peer))
    }

    /// Who a request on a connection from `address` is from. Each trusted hop added the address that it saw at the right, so
    /// the list is read from there for as long as it names trusted hops; what stands to the left of the first other one
    /// is that one's own word, and never looked at. Several fields are one list, in their order (RFC 9110 section 5.3):
    /// some proxies add a field of their own.
    ///
    /// # Errors
    /// [`Refusal::BadHeader`] where what is to be read is no address.
    pub(super) fn sender(&self, address: IpAddr, headers: &HeaderMap) -> Result<IpAddr, Refusal> {
        let mut sender = address;
        for field in headers.get_all(FORWARDED_FOR).iter().rev() {
            for entry in field.as_bytes().rsplit(|byte| *byte == b',') {
                if !self.is_hop(sender) {
                    return Ok(sender);
                }
                let text = std::str::from_utf8(entry).ok().map(|text| text.trim_matches([' ', '\t']));
                let Some(next) = text.and_then(|text| text.parse::<IpAddr>().ok()) else {
                    let what = "has something at its end that is no address, such as a name or a port";
                    return Err(Refusal::BadHeader { name: "x-forwarded-for", what });
                };
                sender = next.to_canonical();
            }
        }
        Ok(sender)
    }
}

/// Who a connection that begins with these bytes is from, if a balancer at `peer` made it, and how many bytes that takes.
///
/// # Errors
/// As for a connection.
#[cfg(any(test, fuzzing))]
pub async fn behind_balancer(
    mut bytes: &[u8],
    peer: IpAddr,
) -> Result<(IpAddr, usize), Option<&'static str>> {
    let whole = bytes.len();
    let trusted = Trusted { proxies: Vec::from_iter(Cidr::parse(&peer.to_string())), hops: Vec::new() };
    let client = trusted.client(&mut bytes, peer).await?;
    Ok((client, whole - bytes.len()))
}

/// Who a request is from that a hop of this range sends with these fields.
///
/// # Errors
/// As for a request.
#[cfg(any(test, fuzzing))]
pub fn behind_hops(hops: Cidr, peer: IpAddr, headers: &HeaderMap) -> Result<IpAddr, Refusal> {
    Trusted { proxies: Vec::new(), hops: vec![hops] }.sender(peer, headers)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[tokio::test]
    async fn of_what_a_balancer_sends_its_header_is_read_and_not_a_byte_more() {
        let peer = IpAddr::from([10, 0, 0, 1]);
        let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0e\xc0\0\x02\x01\xc6\x33\x64\x01\0\x50\0\x50tw";
        let with = [header.as_slice(), b"GET / HTTP/1.1"].concat();
        let client = IpAddr::from([192, 0, 2, 1]);
        assert_eq!(behind_balancer(&with, peer).await, Ok((client, header.len())));
        for end in 0..header.len() {
            assert_eq!(behind_balancer(&header[..end], peer).await, Err(None), "{end}");
        }
        let none = behind_balancer(b"GET / HTTP/1.1\r\nHost: a\r\n", peer).await.unwrap_err();
        assert!(none.is_some_and(|why| why.contains("listen.proxy_protocol")), "{none:?}");
    }

    #[test]
    fn what_a_client_puts_into_the_list_itself_changes_nothing() {
        let hops = Cidr::parse("10.0.0.0/8").unwrap();
        let headers =
            HeaderMap::from_iter([(FORWARDED_FOR, HeaderValue::from_static("10.6.6.6, 198.51.100.1"))]);
        let peer = |last| IpAddr::from([10, 0, 0, last]);
        assert_eq!(behind_hops(hops, peer(1), &headers).ok(), Some(IpAddr::from([198, 51, 100, 1])));
    }

    fn ranges(texts: &[&str]) -> Vec<Cidr> {
        texts.iter().map(|text| Cidr::parse(text).unwrap()).collect()
    }

    #[test]
    fn the_list_is_read_from_the_right_past_trusted_hops_and_no_further() {
        let trusted = Trusted { proxies: vec![], hops: ranges(&["10.0.0.0/8", "2001:db8::/32"]) };
        let sender = |peer: &str, fields: &[&'static str]| {
            let mut headers = HeaderMap::new();
            fields.iter().for_each(|field| {
                headers.append(FORWARDED_FOR, HeaderValue::from_bytes(field.as_bytes()).unwrap());
            });
            trusted.sender(peer.parse().unwrap(), &headers).ok().map(|address| address.to_string())
        };
        for (peer, fields, wanted) in [
            ("192.0.2.1", ["198.51.100.1"].as_slice(), Some("192.0.2.1")),
            ("192.0.2.1", &["garbage"], Some("192.0.2.1")),
            ("10.0.0.1", &[], Some("10.0.0.1")),
            ("10.0.0.1", &["198.51.100.1"], Some("198.51.100.1")),
            ("2001:db8::1", &["::ffff:198.51.100.1"], Some("198.51.100.1")),
            ("10.0.0.1", &["203.0.113.9, 198.51.100.1"], Some("198.51.100.1")),
            ("10.0.0.1", &["10.9.9.9,198.51.100.1"], Some("198.51.100.1")),
            ("10.0.0.1", &["garbage, 198.51.100.1 ,\t10.0.0.2"], Some("198.51.100.1")),
            ("10.0.0.1", &["203.0.113.9", "198.51.100.1"], Some("198.51.100.1")),
            ("10.0.0.1", &["198.51.100.1", "10.0.0.2"], Some("198.51.100.1")),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], Some("10.0.0.3")),
            ("10.0.0.1", &["198.51.100.1,"], None),
            ("10.0.0.1", &[""], None),
            ("10.0.0.1", &["198.51.100.1:443"], None),
            ("10.0.0.1", &["[2001:db9::1]"], None),
            ("10.0.0.1", &["unknown"], None),
            ("10.0.0.1", &["198.51.100.1", "\u{e9}"], None),
        ] {
            assert_eq!(sender(peer, fields).as_deref(), wanted, "{peer} {fields:?}");
        }
    }
}
