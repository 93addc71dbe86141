// SPDX-License-Identifier: GPL-2.0
//! What sockets are bound to, and how one is made.
//!
//! Wraps `udp_sock_create()` of [`include/net/udp_tunnel.h`](srctree/include/net/udp_tunnel.h).
//!
//! Safety review: `Documentation/safety.md#udp_tunnelboundrs`.

use crate::{
    bindings,
    netns::Net,
    route::{
        in6,
        AF_INET,
        AF_INET6, //
    },
    skbuff::L3, //
};
use core::{
    ffi::c_int,
    mem::{
        offset_of,
        MaybeUninit, //
    },
    net::{
        Ipv4Addr,
        Ipv6Addr, //
    },
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    error::to_result,
    prelude::*, //
};

// What is accessed as a field is where C has it. (Of `struct sock` nothing is: bindgen
// leaves the named struct of a lock out of a union there, which with lockdep is its largest member.)
const _: () = {
    use bindings::{
        socket,
        udp_port_cfg, //
    };
    assert!(offset_of!(socket, sk) == bindings::WGK_SOCKET_SK as usize);
    assert!(
        offset_of!(udp_port_cfg, __bindgen_anon_1) == bindings::WGK_UDP_PORT_CFG_LOCAL as usize
    );
    assert!(offset_of!(udp_port_cfg, local_udp_port) == bindings::WGK_UDP_PORT_CFG_PORT as usize);
    assert!(offset_of!(udp_port_cfg, bind_ifindex) == bindings::WGK_UDP_PORT_CFG_IFINDEX as usize);
    assert!(size_of::<udp_port_cfg>() == bindings::WGK_UDP_PORT_CFG_SIZE as usize);
};

/// What sockets are bound to besides their port: they get what comes that way, and send by it only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bound {
    /// Index of a network device of the sockets' namespace; of a VRF's, it stands for all that are in
    /// that. 0: any.
    pub ifindex: u32,
    /// Our IPv4 address; unspecified: any.
    pub v4: Ipv4Addr,
    /// Our IPv6 address; unspecified: any.
    pub v6: Ipv6Addr,
}

impl Bound {
    /// To nothing.
    pub const ANY: Self = Self {
        ifindex: 0,
        v4: Ipv4Addr::UNSPECIFIED,
        v6: Ipv6Addr::UNSPECIFIED,
    };
}

/// A socket that is bound to `port`, or any free one if it is 0. It sends from any context, never waits
/// for its own buffer, and may use the memory reserves, for a swap device could be behind it. Sleeps.
pub(super) fn create(
    net: &Net,
    family: L3,
    port: u16,
    bound: &Bound,
) -> Result<NonNull<bindings::sock>> {
    // SAFETY: Numbers only. (Which does not follow from the bindings: addresses are the kernel's.)
    let mut config = unsafe { MaybeUninit::<bindings::udp_port_cfg>::zeroed().assume_init() };
    config.local_udp_port = port.to_be();
    config.bind_ifindex = c_int::try_from(bound.ifindex).map_err(|_| ENODEV)?;
    match family {
        L3::V4 => {
            config.family = AF_INET as u8;
            config.__bindgen_anon_1.local_ip.s_addr = u32::from_ne_bytes(bound.v4.octets());
            config.set_use_udp_checksums(1);
        }
        L3::V6 => {
            config.family = AF_INET6 as u8;
            config.__bindgen_anon_1.local_ip6 = in6(&bound.v6.octets());
            config.set_use_udp6_tx_checksums(1);
            config.set_use_udp6_rx_checksums(1);
            config.set_ipv6_v6only(1);
        }
    }
    let mut socket = ptr::null_mut();
    // SAFETY: The namespace is alive while borrowed, and the pointers are valid for the call.
    to_result(unsafe { bindings::udp_sock_create(net.as_ptr().cast(), &mut config, &mut socket) })?;
    // SAFETY: A new socket with all that belongs to it. It is bound, so others may find it, but
    // these fields are its maker's to set. The offsets are those of fields of these types.
    unsafe {
        let sk = NonNull::new((*socket).sk).ok_or(EINVAL)?;
        sk.byte_add(bindings::WGK_SOCK_ALLOCATION as usize)
            .cast::<kernel::bindings::gfp_t>()
            .write(kernel::bindings::GFP_ATOMIC);
        sk.byte_add(bindings::WGK_SOCK_SNDBUF as usize)
            .cast::<c_int>()
            .write(c_int::MAX);
        bindings::sk_set_memalloc(sk.as_ptr());
        Ok(sk)
    }
}
