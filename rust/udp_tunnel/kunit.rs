// SPDX-License-Identifier: GPL-2.0
//! Tests of routes and their caches, with real sockets and routes over the loopback interface.
//!
//! Safety review: `Documentation/safety.md#udp_tunnelkunitrs`.

#[kernel::macros::kunit_tests(wgk_routes)]
mod tests {
    use super::super::*;
    use crate::route::{
        AF_INET,
        AF_INET6, //
    };

    /// Takes packets that nobody sends.
    struct Sink(#[expect(dead_code, reason = "for its alignment")] u64);

    impl RcuObject for Sink {}

    impl UdpReceiver for Sink {
        fn receive(_this: &Self, _datagrams: Datagrams) {}
    }

    fn socket(family: L3) -> Result<UdpSocket<Sink>> {
        UdpSocket::open(
            Net::init(),
            family,
            0,
            &Bound::ANY,
            RcuArc::new(Sink(0), GFP_KERNEL)?,
        )
    }

    const LOCAL: [u8; 4] = [127, 0, 0, 1];
    const LOCAL6: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

    /// A route for a datagram to ourselves.
    fn route4(socket: &UdpSocket<Sink>, net: &WeakNet, cache: &DstCache) -> Result<Route> {
        let mut flow = Flow4::new(
            (LOCAL, socket.port()),
            (LOCAL, 9),
            0,
            &How::PLAIN,
            &Bound::ANY,
        );
        let _bh = Section::new();
        // SAFETY: An IPv4 socket; the namespace it is in never goes, and `net` is that.
        unsafe { flow.route(socket.sk.as_ptr(), net, Some(cache), &mut false) }
    }

    /// The same over IPv6.
    fn route6(socket: &UdpSocket<Sink>, net: &WeakNet, cache: &DstCache) -> Result<Route> {
        let mut flow = Flow6::new(
            (&LOCAL6, socket.port()),
            (&LOCAL6, 9),
            0,
            0,
            &How::PLAIN,
            &Bound::ANY,
        );
        let _bh = Section::new();
        // SAFETY: As above.
        unsafe { flow.route(socket.sk.as_ptr(), net, Some(cache), &mut false) }
    }

    /// Whether a route of `net` would be kept.
    fn takes(cache: &DstCache, net: &WeakNet) -> bool {
        let _bh = Section::new();
        // SAFETY: In a read-side critical section; what is returned is not used.
        unsafe { cache.fill(net) }.is_some()
    }

    /// Keeps the test on one CPU, for the routes that it looks for are that CPU's.
    struct OneCpu;

    impl OneCpu {
        fn new() -> Self {
            // SAFETY: Undone when dropped, by the same thread: tests don't hand it on.
            unsafe { kernel::bindings::migrate_disable() };
            Self
        }
    }

    impl Drop for OneCpu {
        fn drop(&mut self) {
            // SAFETY: Pairs with `new`.
            unsafe { kernel::bindings::migrate_enable() };
        }
    }

    /// Whether this CPU has a route there, whatever it is of.
    ///
    /// # Safety
    ///
    /// `routes` must be complete, and nobody else use it.
    unsafe fn kept(routes: *mut bindings::dst_cache) -> bool {
        let mut saddr = 0;
        let _bh = Section::new();
        // SAFETY: By the requirement initialised, and with bottom halves disabled. Whatever is
        // there is valid, and comes with a reference.
        let dst = unsafe { bindings::dst_cache_get_ip4(routes, &mut saddr) };
        if !dst.is_null() {
            // SAFETY: As above.
            unsafe { bindings::dst_release(dst.cast()) };
        }
        !dst.is_null()
    }

    /// Asks for routes until one was kept that is not of the very moment in which the cache was
    /// made.
    fn fill(socket: &UdpSocket<Sink>, net: &WeakNet, cache: &DstCache) -> Result {
        for _ in 0..5 {
            drop(route4(socket, net, cache)?);
            kernel::time::delay::fsleep(kernel::time::Delta::from_millis(10));
        }
        Ok(())
    }

    fn routes(cache: &DstCache, net: &WeakNet) -> Result<*mut bindings::dst_cache> {
        let _bh = Section::new();
        // SAFETY: In a read-side critical section; the pointer is used by callers who know that the
        // cache is there, and used by nobody else.
        Ok(unsafe { cache.of(net) }.ok_or(EINVAL)?.as_ptr())
    }

    /// What nobody gives back is emptied, and nobody is waited for.
    #[test]
    fn the_end_of_a_namespace_empties_caches_that_are_held() -> Result {
        let _cpu = OneCpu::new();
        let socket = socket(L3::V4)?;
        let net = WeakNet::unlisted(Net::init())?;
        let (one, other, mut closed) = (DstCache::new(), DstCache::new(), DstCache::new());
        for cache in [&one, &closed, &other] {
            fill(&socket, &net, cache)?;
        }
        closed.close();
        let parts = [routes(&one, &net)?, routes(&other, &net)?];
        for part in parts {
            // SAFETY: Nobody else uses it.
            assert!(unsafe { kept(part) });
        }
        net.end();
        for part in parts {
            // SAFETY: As above; both caches are still there.
            assert!(!unsafe { kept(part) });
        }
        assert!(!takes(&one, &net));
        assert!(route4(&socket, &net, &other).is_ok());
        Ok(())
    }

    #[test]
    fn a_cache_is_of_one_namespace() -> Result {
        let (one, other) = (
            WeakNet::unlisted(Net::init())?,
            WeakNet::unlisted(Net::init())?,
        );
        let mut cache = DstCache::new();
        assert!(takes(&cache, &one));
        assert!(!takes(&cache, &other));
        one.end();
        assert!(!takes(&cache, &one));
        assert!(!takes(&cache, &other));
        cache.reset_now();
        assert!(takes(&cache, &other));
        cache.close();
        assert!(!takes(&cache, &other));
        cache.reset_now();
        assert!(!takes(&cache, &other));
        Ok(())
    }

    /// One that was used with both families gives each its own.
    #[test]
    fn a_cached_route_is_of_the_family_that_is_asked_for() -> Result {
        if !ipv6_enabled() {
            return Ok(());
        }
        let _cpu = OneCpu::new();
        let (v4, v6) = (socket(L3::V4)?, socket(L3::V6)?);
        let net = WeakNet::unlisted(Net::init())?;
        let cache = DstCache::new();
        fill(&v4, &net, &cache)?;
        for _ in 0..20 {
            let route = route6(&v6, &net, &cache)?;
            assert!(route.is_of(AF_INET6));
            let route = route4(&v4, &net, &cache)?;
            assert!(route.is_of(AF_INET));
            kernel::time::delay::fsleep(kernel::time::Delta::from_millis(10));
        }
        net.end();
        Ok(())
    }
}
