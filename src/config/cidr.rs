//! Ranges of addresses, as they are typed: `10.0.0.0/8`, `2001:db8::/32`, or one address alone.
//!
//! Not here: what such a range is trusted with (`listen`).

use std::fmt;
use std::net::IpAddr;

/// A range of addresses of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    first: IpAddr,
    bits: u8,
}

/// How such a range is written.
pub(super) const CIDR: &str = "an address such as \"10.0.0.7\", or a range such as \"10.0.0.0/8\" or \"2001:db8::/32\" that begins with its first address";

impl Cidr {
    /// The range; none where the text is none, or where its address is not the first of the range: then nobody knows
    /// which one was meant.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().ok()?;
        // An IPv4 address in an IPv6 coat matches nothing, as no peer is ever called so.
        if first.to_canonical() != first {
            return None;
        }
        let most = if first.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) if bits.bytes().all(|b| b.is_ascii_digit()) => bits.parse().ok()?,
            Some(_) => return None,
            None => most,
        };
        let range = Self { first, bits };
        (bits <= most && range.start(first) == value(first)).then_some(range)
    }

    /// Whether all addresses of its family are within.
    #[must_use]
    pub const fn has_all(&self) -> bool {
        self.bits == 0
    }

    /// Whether an address is within; one of the other family is not.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && self.start(address) == value(self.first)
    }

    /// The first address of the range of this size that has `address`.
    fn start(&self, address: IpAddr) -> u128 {
        let width: u32 = if address.is_ipv4() { 32 } else { 128 };
        let free = width.saturating_sub(u32::from(self.bits));
        let mask = u128::MAX.checked_shl(free).unwrap_or(0);
        value(address) & mask
    }
}

fn value(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_its_addresses_and_no_others() {
        let check = |range: &str, within: &[&str], without: &[&str]| {
            let range = Cidr::parse(range).unwrap();
            let has = |text: &&str| range.contains(text.parse().unwrap());
            assert!(within.iter().all(has), "{range}: {within:?}");
            assert!(!without.iter().any(has), "{range}: {without:?}");
        };
        check(
            "10.0.0.0/8",
            &["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"],
            &["9.255.255.255", "11.0.0.0", "::a00:1"],
        );
        check("192.0.2.7", &["192.0.2.7"], &["192.0.2.6", "192.0.2.8"]);
        check("192.0.2.6/31", &["192.0.2.6", "192.0.2.7"], &["192.0.2.5", "192.0.2.8"]);
        check("0.0.0.0/0", &["0.0.0.0", "255.255.255.255"], &["::", "2001:db8::1"]);
        check("::/0", &["::", "2001:db8::1"], &["192.0.2.1", "::ffff:192.0.2.1"]);
        check("2001:db8::/32", &["2001:db8::1", "2001:db8:ffff::"], &["2001:db9::", "32.1.13.184"]);
        check("::1", &["::1"], &["::2", "127.0.0.1"]);
    }

    #[test]
    fn what_is_no_range_is_none() {
        for text in [
            "",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "10.0.0.0/8/8",
            "10.0.0.1/8",
            "10/8",
            "::/129",
            "2001:db8::1/32",
            "::ffff:10.0.0.0/104",
            "localhost",
            " 10.0.0.0/8",
            "10.0.0.0/256",
        ] {
            assert_eq!(Cidr::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_shown_reads_as_the_same() {
        for text in ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7/32"] {
            assert_eq!(Cidr::parse(text).unwrap().to_string(), text);
        }
    }
}
