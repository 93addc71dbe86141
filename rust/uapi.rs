// SPDX-License-Identifier: GPL-2.0

//! Numbers of the interface to userspace.
//!
//! Safety review: `Documentation/safety.md#uapirs`.

/// Address family of IPv4.
pub const AF_INET: u16 = kernel::bindings::AF_INET as u16;
/// Address family of IPv6.
pub const AF_INET6: u16 = kernel::bindings::AF_INET6 as u16;

/// The generic netlink family `wireguard`.
///
/// C header: [`include/uapi/linux/wireguard.h`](srctree/include/uapi/linux/wireguard.h), generated
/// from `Documentation/netlink/specs/wireguard.yaml`, which says what they mean.
#[expect(missing_docs, reason = "documented in the specification")]
pub mod wireguard {
    use crate::bindings;
    use kernel::macros::paste;

    macro_rules! constants {
        ($($group:ident: $($name:ident),+;)+) => { paste! {
            $($(pub const $name: u32 = bindings::[<$group _ $name>] as u32;)+)+
        } };
    }

    constants! {
        wg_cmd: WG_CMD_GET_DEVICE, WG_CMD_SET_DEVICE;
        wgdevice_flag: WGDEVICE_F_REPLACE_PEERS;
        wgpeer_flag: WGPEER_F_REMOVE_ME, WGPEER_F_REPLACE_ALLOWEDIPS, WGPEER_F_UPDATE_ONLY;
        wgallowedip_flag: WGALLOWEDIP_F_REMOVE_ME;
        wgdevice_attribute:
            WGDEVICE_A_IFINDEX, WGDEVICE_A_IFNAME, WGDEVICE_A_PRIVATE_KEY, WGDEVICE_A_PUBLIC_KEY,
            WGDEVICE_A_FLAGS, WGDEVICE_A_LISTEN_PORT, WGDEVICE_A_FWMARK, WGDEVICE_A_PEERS;
        wgpeer_attribute:
            WGPEER_A_UNSPEC, WGPEER_A_PUBLIC_KEY, WGPEER_A_PRESHARED_KEY, WGPEER_A_FLAGS,
            WGPEER_A_ENDPOINT, WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL,
            WGPEER_A_LAST_HANDSHAKE_TIME, WGPEER_A_RX_BYTES, WGPEER_A_TX_BYTES,
            WGPEER_A_ALLOWEDIPS, WGPEER_A_PROTOCOL_VERSION;
        wgallowedip_attribute:
            WGALLOWEDIP_A_FAMILY, WGALLOWEDIP_A_IPADDR, WGALLOWEDIP_A_CIDR_MASK,
            WGALLOWEDIP_A_FLAGS;
    }
}
