// SPDX-License-Identifier: GPL-2.0
//! `wgk`: sound, safe abstractions over the kernel's networking C API.
//!
//! All the `unsafe` of wireguard_rs lives in this crate, one kernel subsystem per file. No safe
//! function of it can be misused into undefined behaviour; the driver in `src/` therefore needs
//! none of its own. The argument for each `unsafe` block stands beside it.
//!
//! Safety review: `Documentation/safety.md#wgkrs`.
#![deny(missing_docs)]
// A pattern that was to be a constant.
#![deny(non_snake_case)]
#![deny(unsafe_op_in_unsafe_fn)]

/// Raw bindings for what `kernel::bindings` lacks.
#[allow(
    warnings,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    non_snake_case,
    unsafe_op_in_unsafe_fn
)]
pub(crate) mod bindings {
    pub(crate) use kernel::bindings::*;
    use kernel::ffi;
    use kernel::prelude::*;
    use pin_init::MaybeZeroable;
    type __kernel_size_t = usize;
    type __kernel_ssize_t = isize;
    type __kernel_ptrdiff_t = isize;
    include!(concat!(env!("WGK_BINDINGS"), "/bindings_generated.rs"));
    include!(concat!(env!("WGK_BINDINGS"), "/helpers_generated.rs"));
    // SAFETY: Transparent around `Storage`. (bindgen derives it for none of its own.)
    unsafe impl<Storage: Zeroable> Zeroable for __BindgenBitfieldUnit<Storage> {}
}

// What one of the two makes room for, and both use, is as large as C says. (bindgen can be wrong: of a union it
// leaves out what it has no name for.)
const _: () = {
    assert!(size_of::<bindings::napi_struct>() == bindings::WGK_NAPI_SIZE as usize);
    assert!(size_of::<bindings::ptr_ring>() == bindings::WGK_PTR_RING_SIZE as usize);
    assert!(size_of::<bindings::dst_cache>() == bindings::WGK_DST_CACHE_SIZE as usize);
    assert!(size_of::<bindings::rtnl_link_ops>() == bindings::WGK_LINK_OPS_SIZE as usize);
    assert!(size_of::<bindings::genl_family>() == bindings::WGK_GENL_FAMILY_SIZE as usize);
    assert!(size_of::<bindings::genl_info>() == bindings::WGK_GENL_INFO_SIZE as usize);
    assert!(size_of::<bindings::genl_split_ops>() == bindings::WGK_GENL_OPS_SIZE as usize);
    assert!(size_of::<bindings::nla_policy>() == bindings::WGK_NLA_POLICY_SIZE as usize);
    assert!(size_of::<bindings::netlink_ext_ack>() == bindings::WGK_EXT_ACK_SIZE as usize);
    assert!(size_of::<bindings::pernet_operations>() == bindings::WGK_PERNET_SIZE as usize);
};

/// Prefix of this crate's own `pr_*!` lines; the name that users of the C driver grep for.
const __LOG_PREFIX: &[u8] = b"wireguard\0";

pub mod alloc;
pub mod atomic;
pub mod batch;
pub mod cpu;
pub mod crypto;
pub mod drop_reason;
pub mod dst_cache;
pub mod errno;
pub mod field;
pub mod genetlink;
pub mod hashtable;
pub mod lock;
pub mod log;
pub mod memory;
pub mod module;
pub mod napi;
pub mod netdevice;
pub mod netfilter;
pub mod netns;
pub mod notifier;
pub mod percpu;
pub mod random;
pub mod rcu;
mod rcu_barrier;
mod rcu_cell;
mod route;
pub mod rtnl;
pub mod sched_list;
pub mod siphash;
pub mod skb_list;
pub mod skbuff;
pub mod slab;
pub mod time;
pub mod timer;
pub mod trace;
pub mod uapi;
pub mod udp_tunnel;
pub mod workqueue;
