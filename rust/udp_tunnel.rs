// SPDX-License-Identifier: GPL-2.0
//! UDP sockets of the kernel, as the outer side of a tunnel.
//!
//! Wraps [`include/net/udp_tunnel.h`](srctree/include/net/udp_tunnel.h). A [`UdpSocket`] hands what
//! it receives to a [`UdpReceiver`], in softirq context; [`xmit`] and [`xmit_list`] send.
//!
//! # Namespaces
//!
//! A kernel socket holds no reference to its network namespace (one in the other direction exists
//! through the device, so neither would ever go). Therefore sockets must be closed in the
//! namespace's exit hook, [`PernetHandler::exit_rtnl`](crate::netns::PernetHandler), at the latest;
//! without a registered hook none can be opened. One that is dropped later is leaked with a
//! warning, for closing it would touch what is gone. Sending into a namespace that is going fails
//! with `ENONET`.
//!
//! Safety review: `Documentation/safety.md#udp_tunnelrs`.

use crate::{
    bindings,
    drop_reason::DropReason,
    dst_cache::DstCache,
    errno::{
        EADDRINUSE,
        EAFNOSUPPORT,
        ENONET, //
    },
    module::SocketGuest,
    netdevice::RegisteredDevice,
    netns::{
        Net,
        WeakNet, //
    },
    rcu::{
        Guard,
        RcuArc,
        RcuObject, //
    },
    route::{
        in6,
        Flow4,
        Flow6,
        Route, //
    },
    skb_list::SkbList,
    skbuff::{
        Chain,
        Datagrams,
        SkBuff,
        Together,
        L3,
        MIN_MESSAGES, //
    },
};
use core::{
    ffi::c_int,
    mem::{
        offset_of,
        ManuallyDrop, //
    },
    net::IpAddr,
    ptr::NonNull, //
};
use kernel::prelude::*;

mod bound;
mod endpoint;
mod how;
#[cfg(CONFIG_KUNIT = "y")]
mod kunit;

use bound::create;

pub use bound::Bound;
pub use endpoint::Endpoint;
pub use how::{
    How,
    Pieces,
    Way, //
};

// What is accessed as a field is where C has it.
const _: () = {
    use bindings::udp_tunnel_sock_cfg;
    assert!(
        offset_of!(udp_tunnel_sock_cfg, encap_rcv) == bindings::WGK_UDP_TUNNEL_CFG_RCV as usize
    );
    assert!(size_of::<udp_tunnel_sock_cfg>() == bindings::WGK_UDP_TUNNEL_CFG_SIZE as usize);
};

/// How often another free port is tried if one is free for IPv4 only.
const PORT_RETRIES: usize = 100;

/// What a socket gives its packets to. Must be aligned to 8 bytes at least (checked when compiled).
pub trait UdpReceiver: RcuObject {
    /// Takes datagrams that came together. Softirq context, under RCU; several CPUs at once.
    fn receive(this: &Self, datagrams: Datagrams);
}

/// Whether this kernel has IPv6, and has it enabled.
pub fn ipv6_enabled() -> bool {
    // SAFETY: No preconditions.
    unsafe { bindings::ipv6_enabled() }
}

/// A UDP socket that listens on one port, of all addresses if it is not bound to one.
///
/// Dropping it closes it: process context, sleeps. Packets may still be received until then; the
/// receiver is freed a grace period later.
///
/// # Invariants
///
/// `sk` is an open UDP tunnel socket that this object owns, whose callback is `receive::<T>` and
/// whose user data is `ctx`, cleared before the reference goes.
pub struct UdpSocket<T: UdpReceiver> {
    sk: NonNull<bindings::sock>,
    port: u16,
    net: WeakNet,
    ctx: ManuallyDrop<RcuArc<T>>,
    _guest: SocketGuest,
}

// SAFETY: Sockets are bound to no context.
unsafe impl<T: UdpReceiver> Send for UdpSocket<T> {}
// SAFETY: Sending locks what it needs to.
unsafe impl<T: UdpReceiver> Sync for UdpSocket<T> {}

impl<T: UdpReceiver> UdpSocket<T> {
    /// Opens a socket on `port`, or on any free one if it is 0; errors as for [`SocketPair::open`]. Sleeps.
    pub fn open(net: &Net, family: L3, port: u16, bound: &Bound, ctx: RcuArc<T>) -> Result<Self> {
        // The lowest three bits of a socket's user data are flags of the kernel's.
        const { assert!(align_of::<T>() >= 8) };
        let weak = WeakNet::new(net)?;
        let guest = SocketGuest::new();
        let sk = create(net, family, port, bound)?;
        let mut config: bindings::udp_tunnel_sock_cfg = pin_init::zeroed();
        config.sk_user_data = RcuArc::as_raw(&ctx).as_ptr().cast();
        config.encap_type = 1;
        config.encap_rcv = Some(receive::<T>);
        config.gro_complete = Some(bindings::udp_gro_complete);
        // SAFETY: The namespace is alive while borrowed, the socket is a new one. The callback fits
        // the user data, which lives until a grace period after the socket was closed.
        unsafe {
            bindings::setup_udp_tunnel_sock(net.as_ptr().cast(), sk.as_ptr(), &mut config);
            bindings::udp_take_aggregates(sk.as_ptr());
        }
        // SAFETY: The socket is open, and one of an internet protocol: this is where its port is.
        let port = u16::from_be(unsafe {
            sk.cast::<u8>()
                .add(bindings::WGK_INET_SOCK_SPORT as usize)
                .cast::<u16>()
                .read()
        });
        // INVARIANT: Opened just now.
        Ok(Self {
            sk,
            port,
            net: weak,
            ctx: ManuallyDrop::new(ctx),
            _guest: guest,
        })
    }

    /// The port, in host order.
    #[inline]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl<T: UdpReceiver> Drop for UdpSocket<T> {
    fn drop(&mut self) {
        // SAFETY: The socket keeps the memory of its namespace (`sk_alloc()` of a kernel socket takes
        // a passive reference), if no more of it.
        let net = unsafe { Net::from_raw(bindings::sk_net(self.sk.as_ptr()).cast()) };
        let closed = self.net.before_teardown(net, || {
            // SAFETY: Ours and open by the type invariants, and the namespace is not torn down
            // before this returns. It clears the user data.
            unsafe {
                bindings::sk_clear_memalloc(self.sk.as_ptr());
                bindings::udp_tunnel_sock_release(self.sk.as_ptr());
            }
        });
        if closed.is_none() {
            pr_warn!("UDP socket outlived its network namespace\n");
            // It is still there.
            core::mem::forget(SocketGuest::new());
            return;
        }
        // SAFETY: Callbacks that read the user data before it was cleared run under RCU, and the
        // receiver outlives them, for its memory is freed by RCU after this, which happens once.
        unsafe { ManuallyDrop::drop(&mut self.ctx) };
    }
}

/// Called by the UDP layer for every packet.
///
/// # Safety
///
/// `sk` must be null or a `UdpSocket<T>`'s, and `skb` be given away by the UDP layer: on no list,
/// and nobody else's. Under RCU.
unsafe extern "C" fn receive<T: UdpReceiver>(
    sk: *mut bindings::sock,
    skb: *mut kernel::bindings::sk_buff,
) -> c_int {
    // SAFETY: By the requirement; so it is not null either.
    let datagrams = unsafe { Datagrams::from_raw(NonNull::new_unchecked(skb)) };
    if sk.is_null() {
        return 0;
    }
    // SAFETY: The socket is valid during the callback. Its user data is null, or a `T` that is not
    // freed before this read-side critical section ends.
    match unsafe { bindings::sk_user_data(sk).cast::<T>().as_ref() } {
        Some(ctx) => T::receive(ctx, datagrams),
        None => datagrams.drop_for(DropReason::SocketClose),
    }
    0
}

/// The sockets of one device: the same port for both protocols.
///
/// # Invariants
///
/// `v4` is an IPv4 socket, `v6` an IPv6 one, if the kernel has that. (Both are `UdpSocket`s; so they
/// are private, for routing looks into the part of a socket that only its family has.)
pub struct SocketPair<T: UdpReceiver> {
    v4: UdpSocket<T>,
    v6: Option<UdpSocket<T>>,
    bound: Bound,
}

impl<T: UdpReceiver> SocketPair<T> {
    /// Opens both on `port`, or on any port that is free for both if it is 0. Sleeps.
    ///
    /// An error comes with the protocol that the socket could not be opened for: `EADDRINUSE` the port
    /// is taken, `EADDRNOTAVAIL` the address to be bound to is not one of this host's (or not of that
    /// device), `EAFNOSUPPORT` one of IPv6 without IPv6, or what else the socket layer says. Whether there is
    /// a device of the index that they are bound to is not looked at.
    pub fn open(net: &Net, port: u16, bound: &Bound, ctx: &RcuArc<T>) -> Result<Self, (L3, Error)> {
        let mut retries = 0;
        loop {
            let v4 =
                UdpSocket::open(net, L3::V4, port, bound, ctx.clone()).map_err(|e| (L3::V4, e))?;
            let bound = *bound;
            // INVARIANT: Opened with these families.
            if !ipv6_enabled() {
                return if bound.v6.is_unspecified() {
                    Ok(Self {
                        v4,
                        v6: None,
                        bound,
                    })
                } else {
                    Err((L3::V6, EAFNOSUPPORT))
                };
            }
            match UdpSocket::open(net, L3::V6, v4.port(), &bound, ctx.clone()) {
                Ok(v6) => {
                    return Ok(Self {
                        v4,
                        v6: Some(v6),
                        bound,
                    })
                }
                Err(EADDRINUSE) if port == 0 && retries < PORT_RETRIES => retries += 1,
                Err(e) => return Err((L3::V6, e)),
            }
        }
    }

    /// The port, in host order.
    #[inline]
    pub fn port(&self) -> u16 {
        self.v4.port()
    }

    /// Whether the address is one of this host's, where the sockets are: one that they send from. Any
    /// context.
    pub fn has_address(&self, addr: IpAddr, _: &Guard) -> bool {
        // SAFETY: The sockets are open while borrowed, and of these families; under RCU, their
        // namespace stays if it is alive.
        unsafe {
            match addr {
                IpAddr::V4(addr) => {
                    let (sk, addr) = (self.v4.sk.as_ptr(), u32::from_ne_bytes(addr.octets()));
                    addr != 0 && check_net(sk).is_ok() && Flow4::confirm(sk, addr)
                }
                IpAddr::V6(addr) => self.v6.as_ref().is_some_and(|socket| {
                    let sk = socket.sk.as_ptr();
                    !addr.is_unspecified()
                        && check_net(sk).is_ok()
                        && bindings::confirm_addr6(sk, &in6(&addr.octets()))
                }),
            }
        }
    }
}

/// What became of a packet, or of a list.
pub struct Xmit {
    /// Whether it was sent, that is, handed to a route.
    pub result: Result,
    /// What was to be sent, if `result` is an error; else there is nothing in it.
    pub unsent: SkbList,
    /// Packets that were not, although `result` is `Ok`, since memory for their headers was short.
    pub lost: usize,
    /// Our end of the path is no longer valid: the endpoint's source is to be cleared.
    pub clear_src: bool,
    /// Bytes of the longest payload that leaves in one piece by the route that there is, if
    /// [`Pieces::One`] was asked for.
    pub longest: Option<usize>,
}

/// Sends a packet.
///
/// `ds`: the DS field of the outer header.
/// Process or softirq context.
#[inline]
pub fn xmit<T: UdpReceiver>(
    pair: &SocketPair<T>,
    mut skb: SkBuff,
    endpoint: &Endpoint,
    dev: &RegisteredDevice,
    how: &How,
    ds: u8,
    cache: Option<&DstCache>,
) -> Xmit {
    skb.set_ds(ds);
    let mut list = SkbList::new();
    list.push_back(skb);
    xmit_list(pair, list, endpoint, dev, how, cache)
}

/// Sends packets, by a route that is looked up once; each has the DS field that is stored with it.
///
/// Either all are sent or none, and then handed back; but for want of memory. Of none at all, only
/// the route is looked up.
pub fn xmit_list<T: UdpReceiver>(
    pair: &SocketPair<T>,
    mut list: SkbList,
    endpoint: &Endpoint,
    dev: &RegisteredDevice,
    how: &How,
    cache: Option<&DstCache>,
) -> Xmit {
    let mut clear_src = false;
    let mut lost = 0;
    let mut longest = None;
    // `sk` must be open.
    let mut learn = |sk: *mut bindings::sock, route: &Route, l3| {
        if how.pieces == Pieces::One {
            longest = Some(route.longest(l3));
            // SAFETY: Open, as said.
            unsafe { bindings::sk_follow_mark(sk, how.mark) };
        }
    };
    let _section = Section::new();
    let result = match endpoint {
        Endpoint::None => Err(EAFNOSUPPORT),
        Endpoint::V4 {
            addr,
            port,
            pad: _,
            src,
            src_ifindex,
        } => {
            let (from, to) = ((*src, pair.v4.port()), (*addr, *port));
            let mut flow = Flow4::new(from, to, *src_ifindex, how, &pair.bound);
            let (sk, net) = (pair.v4.sk.as_ptr(), &pair.v4.net);
            // SAFETY: The socket is open while borrowed; `_section` provides the context. In `xmit`, the
            // reference to the route is there, and passes on unless `hold`; what is sent is counted
            // by the device, which has counters.
            unsafe {
                check_net(sk)
                    .and_then(|()| flow.route(sk, net, cache, &mut clear_src))
                    .map(|route| {
                        learn(sk, &route, L3::V4);
                        each(list.take(), L3::V4, route, &mut lost, |dst, hold, chain| {
                            let (others, ds) = (chain.messages() as u32 - 1, chain.ds());
                            bindings::udp4_xmit(
                                sk,
                                dst,
                                hold,
                                chain.into_raw(),
                                others,
                                dev.as_ptr(),
                                &flow.fl,
                                how.mark,
                                ds,
                                how.pieces == Pieces::One,
                            )
                        })
                    })
            }
        }
        Endpoint::V6 {
            addr,
            port,
            flowinfo: _,
            scope_id,
            src,
            src_ifindex,
        } => pair.v6.as_ref().ok_or(ENONET).and_then(|socket| {
            let (from, to) = ((src, socket.port()), (addr, *port));
            let mut flow = Flow6::new(from, to, *scope_id, *src_ifindex, how, &pair.bound);
            let (sk, net) = (socket.sk.as_ptr(), &socket.net);
            // SAFETY: As above.
            unsafe {
                check_net(sk)
                    .and_then(|()| flow.route(sk, net, cache, &mut clear_src))
                    .map(|route| {
                        learn(sk, &route, L3::V6);
                        each(list.take(), L3::V6, route, &mut lost, |dst, hold, chain| {
                            let (others, ds) = (chain.messages() as u32 - 1, chain.ds());
                            bindings::udp6_xmit(
                                sk,
                                dst,
                                hold,
                                chain.into_raw(),
                                others,
                                dev.as_ptr(),
                                &flow.fl,
                                how.mark,
                                ds,
                            )
                        })
                    })
            }
        }),
    };
    Xmit {
        result,
        unsent: list,
        lost,
        clear_src,
        longest,
    }
}

/// Calls `send` for each packet that is to leave, which takes it over, and with the last one the
/// route. Counts the messages of those for which it returns `false` in `lost`.
#[inline]
fn each(
    mut list: SkbList,
    l3: L3,
    route: Route,
    lost: &mut usize,
    mut send: impl FnMut(*mut bindings::dst_entry, bool, Chain) -> bool,
) {
    let together = match list.len() {
        0..MIN_MESSAGES => Together::NOT,
        _ => route.takes(l3),
    };
    while let Some(chain) = Chain::take(&mut list, &together) {
        let messages = chain.messages();
        if list.is_empty() {
            *lost += messages * usize::from(!send(route.into_raw(), false, chain));
            return;
        }
        *lost += messages * usize::from(!send(route.as_ptr(), true, chain));
    }
}

/// Fails if the socket's namespace is going: its routes may go with the next grace period.
///
/// # Safety
///
/// `sk` must be a valid socket.
#[inline]
unsafe fn check_net(sk: *mut bindings::sock) -> Result {
    // SAFETY: By the requirement.
    if unsafe { bindings::sk_net_alive(sk) } {
        Ok(())
    } else {
        Err(ENONET)
    }
}

/// Whether a device may have a packet encrypted and sent by who sends it ([`xmit_list`]), in its
/// `ndo_start_xmit`; else, somewhere else and later.
///
/// It may not, if the packet comes from a section of [`xmit_list`] (a tunnel in a tunnel): whoever
/// holds a lock while it sends may rely on that this lock is not wanted there. Nor from another
/// device's `ndo_start_xmit`, from a rule of `tc` (`mirred`), with interrupts off, on a CPU that is
/// isolated, or with `PREEMPT_RT`. Bottom halves off.
#[inline]
pub fn may_send_here() -> bool {
    // SAFETY: Reads what is this CPU's; with bottom halves enabled, what was some CPU's.
    unsafe { bindings::udp_may_work_here(1) }
}

/// Whether a [`UdpReceiver`] may decrypt what it is given before it returns; else, somewhere else and
/// later.
///
/// It may not if what it is given was sent by this CPU just now, in a call that has not returned (by a
/// `tc` rule, say), nor where [`may_send_here`] forbids it. Bottom halves off.
#[inline]
pub fn may_receive_here() -> bool {
    // SAFETY: As above.
    unsafe { bindings::udp_may_work_here(0) }
}

/// A read-side critical section with bottom halves disabled, which sends.
struct Section(());

impl Section {
    #[inline]
    fn new() -> Self {
        // SAFETY: Undone when dropped, which happens in the function that made it.
        unsafe { bindings::udp_send_begin() };
        Self(())
    }
}

impl Drop for Section {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: Pairs with the beginning in `new`.
        unsafe { bindings::udp_send_end() }
    }
}
