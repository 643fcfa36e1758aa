//! The address guard: webhooks go to public addresses alone, unless the operator allows a network.
//!
//! Every address that a name resolves to is judged, and the connection is made to a judged one; there is no
//! second resolution that could answer differently. Addresses that carry an IPv4 address (mapped, NAT64) are
//! judged by what they lead to; 6to4 is refused. Source of the ranges: IANA's special-purpose registries.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Judges addresses.
#[derive(Debug, Clone)]
pub(crate) struct AddressGuard {
    allowed: Vec<IpNet>,
}

impl AddressGuard {
    /// Allows these networks beside the public ones.
    pub(crate) fn new(allowed: Vec<IpNet>) -> Self {
        Self { allowed }
    }

    /// Whether a webhook may be sent there.
    pub(crate) fn permits(&self, address: IpAddr) -> bool {
        self.allowed.iter().any(|network| network.contains(&address)) || is_public(address)
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (18..20).contains(&b));
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return is_public_v4(mapped);
    }
    let [first, second, third, fourth, fifth, sixth, seventh, eighth] = address.segments();
    let is_nat64 = first == 0x64 && second == 0xff9b;
    if is_nat64 && [third, fourth, fifth, sixth] == [0; 4] {
        let [a, b] = seventh.to_be_bytes();
        let [c, d] = eighth.to_be_bytes();
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    // Of 2000::/3, the only unicast range in use, without protocol assignments (2001::/23, Teredo among
    // them), documentation (2001:db8::/32, 3fff::/20) and 6to4 (2002::/16).
    let is_global = first & 0xe000 == 0x2000;
    let is_protocol = first == 0x2001 && second < 0x200;
    let is_documentation = (first == 0x2001 && second == 0xdb8) || (first == 0x3fff && second < 0x1000);
    is_global && !is_protocol && !is_documentation && first != 0x2002
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_permitted() {
        let guard = AddressGuard::new(Vec::new());
        for (address, permitted) in [
            ("1.1.1.1", true),
            ("93.184.216.34", true),
            ("192.88.100.1", true),
            ("2606:4700:4700::1111", true),
            ("2001:200::1", true),
            ("::ffff:8.8.8.8", true),
            ("64:ff9b::808:808", true),
            ("0.0.0.0", false),
            ("10.254.0.1", false),
            ("100.64.0.1", false),
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("172.16.5.4", false),
            ("192.0.0.8", false),
            ("192.0.2.1", false),
            ("192.88.99.1", false),
            ("192.168.1.1", false),
            ("198.18.0.1", false),
            ("224.0.0.1", false),
            ("240.0.0.1", false),
            ("255.255.255.255", false),
            ("::", false),
            ("::1", false),
            ("::7f00:1", false),
            ("::ffff:127.0.0.1", false),
            ("64:ff9b::7f00:1", false),
            ("64:ff9b:1::1", false),
            ("100::1", false),
            ("2001::1", false),
            ("2001:db8::1", false),
            ("2002:7f00:1::1", false),
            ("3fff::1", false),
            ("5f00::1", false),
            ("fc00::1", false),
            ("fe80::1", false),
            ("fec0::1", false),
            ("ff02::1", false),
        ] {
            assert_eq!(guard.permits(address.parse().expect("an address")), permitted, "{address}");
        }
    }

    #[test]
    fn the_operator_may_allow_a_network() {
        let guard = AddressGuard::new(vec!["127.0.0.0/8".parse().expect("a network")]);
        assert!(guard.permits("127.0.0.1".parse().expect("an address")));
        assert!(!guard.permits("10.0.0.1".parse().expect("an address")));
    }
}
