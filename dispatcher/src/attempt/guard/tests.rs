//! The verdict over each kind of address, and what holds for all of a range.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::AddressGuard;

/// Of no public use, by IANA's registries.
const SPECIAL: [&str; 66] = [
    "10.254.0.0",
    "10.0.0.1",
    "192.168.10.65",
    "192.168.1.1",
    "172.16.10.65",
    "172.16.5.4",
    "0.1.2.3",
    "0.0.0.0",
    "127.0.0.1",
    "127.0.0.254",
    "127.254.254.254",
    "169.254.45.1",
    "169.254.169.254",
    "255.255.255.255",
    "224.0.0.1",
    "224.1.2.3",
    "233.252.0.16",
    "239.255.255.250",
    "192.0.0.0",
    "192.0.0.255",
    "192.0.2.255",
    "198.51.100.65",
    "203.0.113.6",
    "100.64.0.1",
    "100.100.0.0",
    "192.88.99.1",
    "192.88.99.3",
    "198.18.0.0",
    "240.240.240.240",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:0.0.0.1",
    "::ffff:169.254.169.254",
    "2001:db8::1",
    "3fff::1",
    "3fff::dead:beef",
    "3fff:fff::1",
    "fe80::1",
    "fe80::dead:beef",
    "febf:ffff::dead:beef",
    "fc00::1",
    "fdee:3a45:9057::1",
    "fd7a:115c:a1e0::1",
    "fd00:ec2::254",
    "2002:c000:204::dead:beef",
    "2002:c0a8:1::dead:beef",
    "2002:a9fe:a9fe::1",
    "2002:7f00:1::1",
    "2002:5db8:d822::1",
    "64:ff9b::c0a8:0",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "64:ff9b::e000:1",
    "64:ff9b::c058:6301",
    "64:ff9b::",
    "64:ff9b:1::1",
    "64:ff9b:1::dead:beef",
    "64:ff9b:0:1::1",
    "5f00::1",
    "5f00::dead:beef",
    "100::1",
    "100::1:2:3:4",
    "ff02::1",
    "ff0e::1",
];

/// Outside of what is in use, or forms of transition that nobody needs.
const OUTSIDE: [&str; 24] = [
    "1::1",
    "0:0:0:1::1",
    "ff:ffff::1",
    "fec0::1",
    "2001::1",
    "2001:1ff::1",
    "::7f00:1",
    "::a9fe:a9fe",
    "::ffff:0:7f00:1",
    "::ffff:0:a9fe:a9fe",
    "::ffff:0:5db8:d822",
    "::5efe:7f00:1",
    "::5efe:a9fe:a9fe",
    "2001:1::",
    "2001:1::3",
    "2001:2::1",
    "2001:4:113::1",
    "2001:10::1",
    "2001:40::1",
    "100:0:0:2::1",
    "64:ff9b::1:0:7f00:1",
    "64:ff9b:ffff::1",
    "4000::1",
    "fe00::1",
];

/// Public, some of them next to what is not.
const PUBLIC: [&str; 17] = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "192.88.98.255",
    "192.88.100.1",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2001:4860:4860::8888",
    "2001:200::",
    "3ffe:ffff::1",
    "2003::1",
    "126.255.255.255",
    "128.0.0.1",
    "172.15.255.255",
    "172.32.0.1",
    "100.63.255.255",
    "100.128.0.1",
];

/// Public in the midst of what is not.
const CARVED_OUT: [&str; 11] = [
    "100:0:0:1::1",
    "2001:1::1",
    "2001:1::2",
    "2001:3::1",
    "2001:4:112::1",
    "2001:20::1",
    "2001:2f::1",
    "2001:200::1",
    "3fff:1000::1",
    "2001:30::1",
    "2001:3f:ffff::1",
];

/// Addresses that carry a public IPv4 address, over which judges elsewhere differ: unmapped first, and NAT64 under
/// its well-known prefix alone.
const CARRIERS: [&str; 4] = ["::ffff:8.8.8.8", "64:ff9b::808:808", "64:ff9b::5db8:d822", "64:ff9b::101:101"];

fn verdict(address: &str) -> bool {
    AddressGuard::new(Vec::new()).permits(address.parse().expect("an address"))
}

fn permits(address: impl Into<IpAddr>) -> bool {
    AddressGuard::new(Vec::new()).permits(address.into())
}

#[test]
fn only_public_addresses_are_permitted() {
    for (addresses, permitted) in [
        (&SPECIAL[..], false),
        (&OUTSIDE[..], false),
        (&PUBLIC[..], true),
        (&CARVED_OUT[..], true),
        (&CARRIERS[..], true),
    ] {
        for address in addresses {
            assert_eq!(verdict(address), permitted, "{address}");
        }
    }
}

#[test]
fn the_operator_may_allow_a_network() {
    let guard = AddressGuard::new(vec!["127.0.0.0/8".parse().expect("a network")]);
    for (address, permitted) in
        [("127.0.0.1", true), ("::ffff:127.0.0.1", true), ("10.0.0.1", false), ("64:ff9b::7f00:1", false)]
    {
        assert_eq!(guard.permits(address.parse().expect("an address")), permitted, "{address}");
    }
}

/// The IPv4 address under a prefix of 96 bits.
fn carrying(prefix: [u16; 6], address: Ipv4Addr) -> Ipv6Addr {
    let [a, b, c, d] = address.octets();
    let (seventh, eighth) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let [one, two, three, four, five, six] = prefix;
    Ipv6Addr::new(one, two, three, four, five, six, seventh, eighth)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn behind_nat64_and_mapped_an_address_has_its_own_verdict(address in any::<u32>()) {
        let address = Ipv4Addr::from(address);
        prop_assert_eq!(permits(carrying([0x64, 0xff9b, 0, 0, 0, 0], address)), permits(address));
        prop_assert_eq!(permits(carrying([0, 0, 0, 0, 0, 0xffff], address)), permits(address));
    }

    /// But for NAT64's well-known prefix and mapped addresses. Near zero is where the special forms lie.
    #[test]
    fn nothing_below_100_is_permitted(second in 0_u16..0x100, rest in any::<[u16; 7]>(), zeros in 0_usize..8) {
        let mut segments = [second, 0, 0, 0, 0, 0, 0, 0];
        let free = segments.iter_mut().zip(std::iter::once(second).chain(rest)).skip(zeros);
        free.for_each(|(segment, value)| *segment = value);
        let address = Ipv6Addr::from(segments);
        let is_nat64 = segments.starts_with(&[0x64, 0xff9b, 0, 0, 0, 0]);
        prop_assume!(!is_nat64 && address.to_ipv4_mapped().is_none());
        prop_assert!(!permits(address), "{}", address);
    }

    #[test]
    fn nothing_of_6to4_is_permitted(rest in any::<[u16; 7]>()) {
        let [b, c, d, e, f, g, h] = rest;
        prop_assert!(!permits(Ipv6Addr::new(0x2002, b, c, d, e, f, g, h)));
    }

    #[test]
    fn nothing_beside_nat64s_well_known_prefix_is_permitted(
        prefix in any::<[u16; 4]>().prop_filter("another prefix", |prefix| *prefix != [0; 4]),
        mask in 1_u8..16,
        address in any::<u32>(),
    ) {
        // Some of the four are zero, so that single bits beside the prefix are tried as well.
        let masked = |nth: usize, value: u16| if mask & (1 << nth) == 0 { 0 } else { value.max(1) };
        let [c, d, e, f] = prefix;
        let prefix = [0x64, 0xff9b, masked(0, c), masked(1, d), masked(2, e), masked(3, f)];
        prop_assert!(!permits(carrying(prefix, Ipv4Addr::from(address))));
    }
}
