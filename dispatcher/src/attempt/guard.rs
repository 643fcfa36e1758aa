//! The address guard: webhooks go to public addresses alone, unless the operator allows a network.
//!
//! Every address that a name resolves to is judged, and the connection is made to a judged one; there is no
//! second resolution that could answer differently. Addresses that carry an IPv4 address (mapped, NAT64) are
//! judged by what they lead to; 6to4 and every other transition form is refused. Source of the ranges: IANA's
//! special-purpose registries.

#[cfg(test)]
mod tests;

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
        // A mapped address is the IPv4 host itself, for the operator's networks as well.
        let address = address.to_canonical();
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
    if let Some(carried) = carried_v4(address) {
        return is_public_v4(carried);
    }
    let [first, second, ..] = address.segments();
    // The only unicast range in use, 2000::/3.
    let is_global = first & 0xe000 == 0x2000;
    // 2001::/23, Teredo, benchmarks and the first ORCHID among them.
    let is_protocol = first == 0x2001 && second < 0x200;
    let is_documentation = (first == 0x2001 && second == 0xdb8) || (first == 0x3fff && second < 0x1000);
    let is_six_to_four = first == 0x2002;
    is_carved_out(address) || (is_global && !is_protocol && !is_documentation && !is_six_to_four)
}

/// The IPv4 address that an IPv6 address leads to: mapped, or behind NAT64 under its well-known prefix. Prefixes
/// that a network may choose for its own NAT64 (64:ff9b:1::/48) say nothing of where they lead.
fn carried_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, seventh, eighth] => {
            let [a, b] = seventh.to_be_bytes();
            let [c, d] = eighth.to_be_bytes();
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => address.to_ipv4_mapped(),
    }
}

/// What IANA's registry takes out of the ranges that are refused as a whole.
const fn is_carved_out(address: Ipv6Addr) -> bool {
    match address.segments() {
        // Anycast of the Port Control Protocol (RFC 7723) and of TURN (RFC 8155).
        [0x2001, 1, 0, 0, 0, 0, 0, 1 | 2] => true,
        // Automatic Multicast Tunneling (RFC 7450), 2001:3::/32.
        [0x2001, 3, ..] => true,
        // The name servers that take queries for private addresses (RFC 7535), 2001:4:112::/48.
        [0x2001, 4, 0x112, ..] => true,
        // ORCHIDv2 (RFC 7343) and identities of drones (RFC 9374), 2001:20::/28 and 2001:30::/28: names of hosts
        // that no router knows.
        [0x2001, 0x20..=0x3f, ..] => true,
        // The dummy prefix (RFC 9780), 100:0:0:1::/64, beside the one that discards: no packet gets anywhere.
        [0x100, 0, 0, 1, ..] => true,
        _ => false,
    }
}
