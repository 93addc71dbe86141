// SPDX-License-Identifier: GPL-2.0
//! Routes for UDP datagrams of our sockets.
//!
//! Wraps output routing of [`include/net/route.h`](srctree/include/net/route.h) and
//! [`ip6_route.h`](srctree/include/net/ip6_route.h). Internal to the crate:
//! [`udp_tunnel`](crate::udp_tunnel) is the user. All with bottom halves disabled, under RCU.
//!
//! Our own address and the interface are those that the peer last talked to. If they are not ours
//! any more, or routing would not use them, they are forgotten and routing chooses; the caller is
//! told so. What the socket is bound to stays: without that, there is no route.
//!
//! Safety review: `Documentation/safety.md#routers`.

use crate::{
    bindings,
    dst_cache::DstCache,
    errno::{
        EADDRNOTAVAIL,
        ENETUNREACH, //
    },
    netns::WeakNet,
    skbuff::{
        Together,
        IPV4_HEADER,
        IPV6_HEADER,
        L3,
        UDP_HEADER, //
    },
    udp_tunnel::{
        Bound,
        How,
        Way, //
    }, //
};
use core::{
    mem::{
        offset_of,
        ManuallyDrop, //
    },
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    error::from_err_ptr,
    prelude::*, //
};

// What is accessed as a field is where C has it, and a route to an IPv4 address begins with what
// all routes are.
const _: () = assert!(
    offset_of!(bindings::dst_entry, __bindgen_anon_1) == bindings::WGK_DST_DEV as usize
        && bindings::WGK_RTABLE_DST == 0
);

const IPPROTO_UDP: u8 = 17;
pub(crate) const AF_INET: u16 = 2;
pub(crate) const AF_INET6: u16 = 10;

/// A counted reference to a route.
///
/// # Invariants
///
/// Owns a reference to a valid `dst_entry`.
pub(crate) struct Route(NonNull<bindings::dst_entry>);

impl Route {
    /// # Safety
    ///
    /// `dst` must be null or come with a reference, which passes on.
    unsafe fn from_raw(dst: *mut bindings::dst_entry) -> Option<Self> {
        // INVARIANT: By the requirement.
        NonNull::new(dst).map(Self)
    }

    /// Whether it leaves by that device, or by one that is in that VRF. Under RCU.
    fn leaves_by(&self, ifindex: i32) -> bool {
        // SAFETY: Valid by the type invariants.
        self.ifindex() == ifindex || unsafe { bindings::dst_in_l3mdev(self.0.as_ptr(), ifindex) }
    }

    fn ifindex(&self) -> i32 {
        // SAFETY: Valid by the type invariants. A route whose device goes is given another one, and
        // the old one is not freed before those that have read it, under RCU, are done.
        unsafe {
            let dev = (&raw const (*self.0.as_ptr()).__bindgen_anon_1.dev).read_volatile();
            (&raw const (*dev).ifindex).read_volatile()
        }
    }

    /// Whether it is one for packets of the family. The caller of a cache may have changed between
    /// families, and each sends by a route's own functions, which go by what they expect.
    #[inline]
    pub(crate) fn is_of(&self, family: u16) -> bool {
        // SAFETY: Valid by the type invariants; its operations stay as long as it does.
        unsafe { (*(*self.0.as_ptr()).ops).family == family }
    }

    /// What goes this way together. Under RCU.
    #[inline]
    pub(crate) fn takes(&self, l3: L3) -> Together {
        let (mut packet, mut bytes, mut segments, mut whole) = (0, 0, 0, false);
        // SAFETY: Valid by the type invariants; the pointers are to locals.
        let taken = unsafe {
            bindings::dst_takes(
                self.0.as_ptr(),
                &mut packet,
                &mut bytes,
                &mut segments,
                &mut whole,
            )
        };
        if !taken {
            return Together::NOT;
        }
        let headers = headers(l3);
        Together {
            message: (packet as usize).saturating_sub(headers),
            bytes: (bytes as usize).saturating_sub(headers),
            messages: segments as usize,
            whole,
        }
    }

    /// Bytes of the longest UDP payload that leaves in one piece: by the MTU of the route, or what it
    /// was told of a link further on.
    pub(crate) fn longest(&self, l3: L3) -> usize {
        // SAFETY: Valid by the type invariants.
        let mtu = unsafe { bindings::dst_mtu(self.0.as_ptr()) };
        (mtu as usize).saturating_sub(headers(l3))
    }

    pub(crate) fn as_ptr(&self) -> *mut bindings::dst_entry {
        self.0.as_ptr()
    }

    /// Gives the reference up.
    pub(crate) fn into_raw(self) -> *mut bindings::dst_entry {
        ManuallyDrop::new(self).0.as_ptr()
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        // SAFETY: The reference is ours by the type invariants.
        unsafe { bindings::dst_release(self.0.as_ptr()) }
    }
}

/// Bytes of the headers in front of a UDP payload.
const fn headers(l3: L3) -> usize {
    UDP_HEADER
        + match l3 {
            L3::V4 => IPV4_HEADER,
            L3::V6 => IPV6_HEADER,
        }
}

/// What to route, over IPv4: addresses and ports.
pub(crate) struct Flow4 {
    pub(crate) fl: bindings::flowi4,
    /// Where the route is to leave; 0: anywhere.
    src_ifindex: i32,
    /// Our address is the one that the socket is bound to.
    fixed: bool,
    way: Way,
}

/// What to route, over IPv6.
pub(crate) struct Flow6 {
    pub(crate) fl: bindings::flowi6,
    /// As for [`Flow4`].
    src_ifindex: i32,
    fixed: bool,
    way: Way,
}

fn common(mark: u32, oif: i32) -> bindings::flowi_common {
    bindings::flowi_common {
        flowic_oif: oif,
        flowic_mark: mark,
        flowic_proto: IPPROTO_UDP,
        ..pin_init::zeroed()
    }
}

fn ports(source: u16, dest: u16) -> bindings::flowi_uli {
    bindings::flowi_uli {
        ports: bindings::flowi_uli__bindgen_ty_1 {
            dport: dest.to_be(),
            sport: source.to_be(),
        },
    }
}

pub(crate) fn in6(addr: &[u8; 16]) -> bindings::in6_addr {
    bindings::in6_addr {
        in6_u: bindings::in6_addr__bindgen_ty_1 { u6_addr8: *addr },
    }
}

impl Flow4 {
    /// `source`, `dest`: ports in host order.
    pub(crate) fn new(
        (src, source): ([u8; 4], u16),
        (addr, dest): ([u8; 4], u16),
        src_ifindex: i32,
        how: &How,
        bound: &Bound,
    ) -> Self {
        let fixed = !bound.v4.is_unspecified();
        let src = if fixed { bound.v4.octets() } else { src };
        Self {
            fl: bindings::flowi4 {
                __fl_common: common(how.mark, bound.ifindex as i32),
                saddr: u32::from_ne_bytes(src),
                daddr: u32::from_ne_bytes(addr),
                uli: ports(source, dest),
            },
            // With a VRF, that one is what the peer was heard on, and a device in it what the route is of.
            src_ifindex: if fixed || bound.ifindex != 0 {
                0
            } else {
                src_ifindex
            },
            fixed,
            way: how.way,
        }
    }

    fn forget_src(&mut self, cache: Option<&DstCache>, cleared: &mut bool) {
        self.fl.saddr = 0;
        self.src_ifindex = 0;
        *cleared = true;
        if let Some(cache) = cache {
            cache.reset();
        }
    }

    /// Finds a route, and the source address to use with it. Sets `cleared` if our end of the path
    /// was forgotten.
    ///
    /// # Safety
    ///
    /// `sk` must be a valid IPv4 socket in a live namespace, which is `net`; bottom halves must be
    /// disabled, under RCU.
    pub(crate) unsafe fn route(
        &mut self,
        sk: *mut bindings::sock,
        net: &WeakNet,
        cache: Option<&DstCache>,
        cleared: &mut bool,
    ) -> Result<Route> {
        let fl = &raw mut self.fl;
        // SAFETY: The socket and the context by the requirement, the cache by its type. Each route
        // that is returned comes with a reference.
        unsafe {
            if let Some(routes) = cache.and_then(|cache| cache.of(net)) {
                let mut saddr = self.fl.saddr;
                let cached = bindings::dst_cache_get_ip4(routes.as_ptr(), &mut saddr);
                if let Some(route) = Route::from_raw(cached.cast()).filter(|r| r.is_of(AF_INET)) {
                    self.fl.saddr = saddr;
                    return Ok(route);
                }
            }
            bindings::flow4_classify(sk, fl);
            if !Self::confirm(sk, self.fl.saddr) {
                if self.fixed {
                    return Err(EADDRNOTAVAIL);
                }
                self.forget_src(cache, cleared);
            }
            let asked = self.fl;
            let mut route = self.lookup(sk);
            let unusable = match &route {
                Ok(route) => route.ifindex() != self.src_ifindex,
                Err(e) => *e == EINVAL,
            };
            if self.src_ifindex != 0 && unusable {
                let back = match (&route, self.way) {
                    (Ok(_), Way::Back) => self.lookup_back(sk, asked),
                    _ => None,
                };
                route = match back {
                    Some(back) => Ok(back),
                    None => {
                        self.forget_src(cache, cleared);
                        drop(route);
                        self.lookup(sk)
                    }
                };
            }
            let route = route?;
            if let Some(routes) = cache.and_then(|cache| cache.fill(net)) {
                bindings::dst_cache_set_ip4(routes.as_ptr(), route.as_ptr(), self.fl.saddr);
            }
            Ok(route)
        }
    }

    /// # Safety
    ///
    /// As for [`Flow4::route`].
    unsafe fn lookup(&mut self, sk: *mut bindings::sock) -> Result<Route> {
        // SAFETY: By the requirement. The route comes with a reference.
        unsafe {
            let net = bindings::sk_net(sk);
            let route = from_err_ptr(bindings::ip_route_output_flow(net, &mut self.fl, sk))?;
            Route::from_raw(route.cast()).ok_or(EINVAL)
        }
    }

    /// A route by the device that the other end was heard by, if there is one in the table that answers
    /// anyhow, or in the device's VRF. Then it is that of `fl`.
    ///
    /// # Safety
    ///
    /// As for [`Flow4::route`].
    unsafe fn lookup_back(
        &mut self,
        sk: *mut bindings::sock,
        mut asked: bindings::flowi4,
    ) -> Option<Route> {
        // SAFETY: By the requirement.
        unsafe {
            // Where there is none, output routing makes one up, to a neighbour.
            if !bindings::route4_has(bindings::sk_net(sk), &asked, self.src_ifindex) {
                return None;
            }
            asked.__fl_common.flowic_oif = self.src_ifindex;
            let best = core::mem::replace(&mut self.fl, asked);
            let route = self.lookup(sk).ok();
            let back = route.filter(|route| route.leaves_by(self.src_ifindex));
            if back.is_none() {
                self.fl = best;
            }
            back
        }
    }

    /// Whether the address is (still) one of this host's.
    ///
    /// # Safety
    ///
    /// As for [`Flow4::route`].
    pub(crate) unsafe fn confirm(sk: *mut bindings::sock, addr: u32) -> bool {
        let scope = bindings::rt_scope_t_RT_SCOPE_HOST as c_int;
        // SAFETY: By the requirement; null stands for any device.
        unsafe {
            bindings::inet_confirm_addr(bindings::sk_net(sk), ptr::null_mut(), 0, addr, scope) != 0
        }
    }
}

impl Flow6 {
    /// `source`, `dest`: ports in host order.
    pub(crate) fn new(
        (src, source): (&[u8; 16], u16),
        (addr, dest): (&[u8; 16], u16),
        scope_id: u32,
        src_ifindex: i32,
        how: &How,
        bound: &Bound,
    ) -> Self {
        let fixed = !bound.v6.is_unspecified();
        let oif = if scope_id != 0 {
            scope_id
        } else {
            bound.ifindex
        };
        Self {
            fl: bindings::flowi6 {
                __fl_common: common(how.mark, oif as i32),
                daddr: in6(addr),
                saddr: if fixed {
                    in6(&bound.v6.octets())
                } else {
                    in6(src)
                },
                uli: ports(source, dest),
                ..pin_init::zeroed()
            },
            // With one of these, there is nothing to choose.
            src_ifindex: if fixed || oif != 0 { 0 } else { src_ifindex },
            fixed,
            way: how.way,
        }
    }

    /// As [`Flow4::route`].
    ///
    /// # Safety
    ///
    /// `sk` must be a valid IPv6 socket in a live namespace, which is `net`; bottom halves must be
    /// disabled, under RCU.
    pub(crate) unsafe fn route(
        &mut self,
        sk: *mut bindings::sock,
        net: &WeakNet,
        cache: Option<&DstCache>,
        cleared: &mut bool,
    ) -> Result<Route> {
        let fl = &raw mut self.fl;
        // SAFETY: The socket and the context by the requirement, the cache by its type. Each route
        // that is returned comes with a reference.
        unsafe {
            if let Some(routes) = cache.and_then(|cache| cache.of(net)) {
                let mut saddr = self.fl.saddr;
                let cached = bindings::route6_cached(routes.as_ptr(), &mut saddr);
                if let Some(route) = Route::from_raw(cached).filter(|r| r.is_of(AF_INET6)) {
                    self.fl.saddr = saddr;
                    return Ok(route);
                }
            }
            // A link-local address names the device by itself.
            if !bindings::sk_takes_scope(sk, self.fl.__fl_common.flowic_oif) {
                return Err(ENETUNREACH);
            }
            bindings::flow6_classify(sk, fl);
            if !bindings::confirm_addr6(sk, &self.fl.saddr) {
                if self.fixed {
                    return Err(EADDRNOTAVAIL);
                }
                self.fl.saddr = in6(&[0; 16]);
                self.src_ifindex = 0;
                *cleared = true;
                if let Some(cache) = cache {
                    cache.reset();
                }
            }
            let asked = self.fl;
            let best = self.lookup(sk)?;
            let back = if self.way == Way::Back
                && self.src_ifindex != 0
                && !best.leaves_by(self.src_ifindex)
            {
                self.lookup_back(sk, &asked, &best)
            } else {
                None
            };
            let route = back.unwrap_or(best);
            if let Some(routes) = cache.and_then(|cache| cache.fill(net)) {
                bindings::route6_cache(routes.as_ptr(), route.as_ptr(), &self.fl.saddr);
            }
            Ok(route)
        }
    }

    /// # Safety
    ///
    /// As for [`Flow6::route`].
    unsafe fn lookup(&mut self, sk: *mut bindings::sock) -> Result<Route> {
        // SAFETY: By the requirement. The route comes with a reference.
        unsafe {
            let route = from_err_ptr(bindings::route6(sk, &raw mut self.fl))?;
            Route::from_raw(route).ok_or(EINVAL)
        }
    }

    /// As [`Flow4::lookup_back`], where `best` is the way that the table prefers.
    ///
    /// # Safety
    ///
    /// As for [`Flow6::route`].
    unsafe fn lookup_back(
        &self,
        sk: *mut bindings::sock,
        asked: &bindings::flowi6,
        best: &Route,
    ) -> Option<Route> {
        // SAFETY: By the requirement. The route comes with a reference.
        let route = unsafe {
            Route::from_raw(bindings::route6_by(
                sk,
                asked,
                best.as_ptr(),
                self.src_ifindex,
            ))
        };
        route.filter(|route| route.leaves_by(self.src_ifindex))
    }
}
