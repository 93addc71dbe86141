// SPDX-License-Identifier: GPL-2.0
//! Tests of the trie: lookups, moves, bounds, and both against a list.
//!
//! A module in a module, as the macro of the kernel's KUnit wants the body where it stands.

#[cfg_attr(not(test), kernel::macros::kunit_tests(wg_allowedips))]
mod suite {
    use super::super::*;
    use core::net::{
        Ipv4Addr,
        Ipv6Addr, //
    };
    use wgk::rcu::read_lock;

    struct Peer {
        prefixes: PrefixList,
    }

    impl RcuObject for Peer {}

    impl HasPrefixes for Peer {
        fn prefixes(&self) -> &PrefixList {
            &self.prefixes
        }
    }

    fn peers<const N: usize>() -> [RcuArc<Peer>; N] {
        core::array::from_fn(|_| {
            let prefixes = PrefixList::new();
            match RcuArc::new(Peer { prefixes }, GFP_KERNEL) {
                Ok(peer) => peer,
                Err(AllocError) => unreachable!(),
            }
        })
    }

    fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    }

    fn v6(a: u16, b: u16, c: u16, d: u16) -> IpAddr {
        IpAddr::V6(Ipv6Addr::new(a, b, 0, 0, 0, c, 0, d))
    }

    fn finds(t: &AllowedIps<Peer>, addr: IpAddr, peer: &RcuArc<Peer>) -> bool {
        t.lookup(addr, &read_lock())
            .is_some_and(|found| RcuRef::ptr_eq(found, RcuArc::as_rcu_ref(peer)))
    }

    fn finds_none(t: &AllowedIps<Peer>, addr: IpAddr) -> bool {
        t.lookup(addr, &read_lock()).is_none()
    }

    fn listed(w: &Writer<Peer>, t: &AllowedIps<Peer>, peer: &Peer, want: &[(IpAddr, u8)]) -> bool {
        t.prefixes(w, peer, None)
            .map(|(addr, cidr, _)| (addr, cidr))
            .eq(want.iter().copied())
    }

    #[test]
    fn longest_prefix_wins() {
        let (t, mut w) = AllowedIps::new();
        let [a, b, c, d] = peers();
        let all = [
            (v4(10, 0, 0, 0), 8, &a),
            (v4(10, 1, 0, 0), 16, &b),
            (v4(10, 1, 2, 3), 32, &c),
            (v4(10, 1, 2, 0), 25, &d),
            (v6(0xfd00, 0, 0, 0), 8, &a),
            (v6(0xfd00, 1, 0, 0), 32, &b),
            (v6(0xfd00, 1, 7, 0), 96, &c),
            (v6(0xfd00, 1, 7, 9), 128, &d),
        ];
        for (addr, cidr, peer) in all {
            assert!(t.insert(&mut w, addr, cidr, peer).is_ok());
            assert!(t.audit(&w).is_ok());
        }
        assert!(finds(&t, v4(10, 200, 0, 1), &a));
        assert!(finds(&t, v4(10, 1, 200, 1), &b));
        assert!(finds(&t, v4(10, 1, 2, 3), &c));
        assert!(finds(&t, v4(10, 1, 2, 2), &d));
        assert!(finds(&t, v4(10, 1, 2, 128), &b));
        assert!(finds_none(&t, v4(11, 1, 2, 3)));
        assert!(finds(&t, v6(0xfdff, 0, 0, 0), &a));
        assert!(finds(&t, v6(0xfd00, 1, 8, 9), &b));
        assert!(finds(&t, v6(0xfd00, 1, 7, 8), &c));
        assert!(finds(&t, v6(0xfd00, 1, 7, 9), &d));
        assert!(finds_none(&t, v6(0xfe00, 1, 7, 9)));
        t.remove_all(&mut w);
        assert!(finds_none(&t, v4(10, 1, 2, 3)));
        assert!(finds_none(&t, v6(0xfd00, 1, 7, 9)));
        assert!(w.usage() == Usage::default());
        assert!(a.prefixes.is_empty());
    }

    #[test]
    fn everything_and_single_addresses() {
        let (t, mut w) = AllowedIps::new();
        let [a, b] = peers();
        assert!(finds_none(&t, v4(0, 0, 0, 0)));
        assert!(t.insert(&mut w, v4(255, 1, 2, 3), 0, &a).is_ok());
        assert!(finds(&t, v4(0, 0, 0, 0), &a));
        assert!(finds(&t, v4(255, 255, 255, 255), &a));
        // Families have nothing to do with each other.
        assert!(finds_none(&t, v6(0, 0, 0, 0)));
        assert!(t.insert(&mut w, v6(0xffff, 0, 0, 1), 0, &b).is_ok());
        assert!(finds(&t, v6(0, 0, 0, 0), &b));
        // Beyond the width counts as the width.
        assert!(t.insert(&mut w, v4(255, 255, 255, 255), 99, &b).is_ok());
        assert!(finds(&t, v4(255, 255, 255, 255), &b));
        assert!(finds(&t, v4(255, 255, 255, 254), &a));
        assert!(!t.remove(&mut w, v4(255, 255, 255, 255), 99, &b));
        assert!(t.remove(&mut w, v4(255, 255, 255, 255), 32, &b));
        assert!(finds(&t, v4(255, 255, 255, 255), &a));
        assert!(t.audit(&w).is_ok());
        t.remove_all(&mut w);
    }

    #[test]
    fn host_bits_do_not_count() {
        let (t, mut w) = AllowedIps::new();
        let [a, b] = peers();
        assert!(t.insert(&mut w, v4(192, 168, 5, 77), 27, &a).is_ok());
        assert!(listed(&w, &t, &a, &[(v4(192, 168, 5, 64), 27)]));
        assert!(t.insert(&mut w, v4(192, 168, 5, 80), 27, &b).is_ok());
        assert!(listed(&w, &t, &a, &[]));
        assert!(finds(&t, v4(192, 168, 5, 95), &b));
        assert!(t.remove(&mut w, v4(192, 168, 5, 65), 27, &b));
        assert!(finds_none(&t, v4(192, 168, 5, 95)));
        assert!(w.usage() == Usage::default());
    }

    #[test]
    fn only_the_owner_s_exact_prefix_is_removed() {
        let (t, mut w) = AllowedIps::new();
        let [a, b] = peers();
        assert!(t.insert(&mut w, v4(10, 1, 0, 0), 16, &a).is_ok());
        let seq = w.seq();
        assert!(!t.remove(&mut w, v4(10, 1, 0, 0), 16, &b));
        assert!(!t.remove(&mut w, v4(10, 1, 0, 0), 15, &a));
        assert!(!t.remove(&mut w, v4(10, 1, 0, 0), 17, &a));
        assert!(!t.remove(&mut w, v6(0xa01, 0, 0, 0), 16, &a));
        assert!(w.seq() > seq);
        assert!(finds(&t, v4(10, 1, 9, 9), &a));
        assert!(t.remove(&mut w, v4(10, 1, 0, 0), 16, &a));
        assert!(finds_none(&t, v4(10, 1, 9, 9)));
    }

    #[test]
    fn lists_keep_the_order_of_acquisition() {
        let (t, mut w) = AllowedIps::new();
        let [a, b] = peers();
        let (x, y, z) = (v4(10, 0, 0, 0), v6(0xfd00, 0, 0, 0), v4(10, 0, 0, 1));
        for (addr, cidr) in [(x, 24), (y, 64), (z, 32)] {
            assert!(t.insert(&mut w, addr, cidr, &a).is_ok());
        }
        assert!(listed(&w, &t, &a, &[(x, 24), (y, 64), (z, 32)]));
        // One's own again: it moves to the end.
        assert!(t.insert(&mut w, x, 24, &a).is_ok());
        assert!(listed(&w, &t, &a, &[(y, 64), (z, 32), (x, 24)]));
        assert!(t.insert(&mut w, z, 32, &b).is_ok());
        assert!(listed(&w, &t, &a, &[(y, 64), (x, 24)]));
        assert!(listed(&w, &t, &b, &[(z, 32)]));
        t.remove_by_peer(&mut w, &a);
        assert!(listed(&w, &t, &a, &[]));
        assert!(finds(&t, z, &b));
        assert!(finds_none(&t, v4(10, 0, 0, 2)));
        assert!(t.audit(&w).is_ok());
        t.remove_by_peer(&mut w, &b);
        assert!(w.usage() == Usage::default());
    }

    #[test]
    fn a_cursor_leads_back_until_something_changes() {
        let (t, mut w) = AllowedIps::new();
        let [a, b] = peers();
        for i in 0..5 {
            assert!(t.insert(&mut w, v4(10, 0, 0, i), 32, &a).is_ok());
        }
        let third = t.prefixes(&w, &a, None).nth(2).map(|(_, _, c)| c);
        assert!(t
            .prefixes(&w, &a, third)
            .map(|(addr, _, _)| addr)
            .eq((2..5).map(|i| v4(10, 0, 0, i))));
        assert!(t.prefixes(&w, &b, third).next().is_none());
        assert!(t.remove(&mut w, v4(10, 0, 0, 4), 32, &a));
        assert!(t.prefixes(&w, &a, third).next().is_none());
        t.remove_all(&mut w);
    }

    #[test]
    fn every_change_ends_what_cursors_lead_to() {
        let (t, mut w) = AllowedIps::new();
        let [a, b, c] = peers();
        let mut last = w.seq();
        assert!(last != 0);
        // Whether there was a change since the last look.
        let mut changed = |w: &Writer<Peer>| core::mem::replace(&mut last, w.seq()) < w.seq();
        assert!(t.insert(&mut w, v4(10, 0, 0, 0), 8, &a).is_ok());
        assert!(changed(&w));
        assert!(t.insert(&mut w, v4(10, 0, 0, 1), 32, &b).is_ok());
        assert!(changed(&w));
        assert!(t.remove(&mut w, v4(10, 0, 0, 0), 8, &a));
        assert!(changed(&w));
        // Who has nothing to lose changes nothing.
        t.remove_by_peer(&mut w, &c);
        assert!(!changed(&w));
        t.remove_by_peer(&mut w, &b);
        assert!(changed(&w));
        t.remove_all(&mut w);
        assert!(changed(&w));
    }

    #[test]
    fn deepest_tries() {
        let (t, mut w) = AllowedIps::new();
        let [a, b] = peers();
        for i in 0..=128 {
            let peer = if i % 2 == 0 { &a } else { &b };
            assert!(t.insert(&mut w, v6(0, 0, 0, 0), i, peer).is_ok());
        }
        assert!(t.audit(&w).is_ok());
        for i in 0..=127 {
            let addr = IpAddr::V6(Ipv6Addr::from_bits(1 << (127 - i)));
            assert!(finds(&t, addr, if i % 2 == 0 { &a } else { &b }));
        }
        assert!(finds(&t, v6(0, 0, 0, 0), &a));
        t.remove_by_peer(&mut w, &a);
        assert!(t.audit(&w).is_ok());
        assert!(finds(&t, v6(0, 0, 0, 0), &b));
        assert!(finds_none(&t, v6(0x8000, 0, 0, 0)));
        t.remove_all(&mut w);
    }
}
