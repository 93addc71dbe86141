// SPDX-License-Identifier: GPL-2.0
//~ E0277
//! What belongs to a callback, a guard or a borrow is neither sent to another thread nor shared with
//! one; what the matrix calls plain, is.

use wgk::{
    atomic::HotAtomic,
    crypto::Blake2s,
    genetlink::{
        attr::Nested,
        Attr,
        Attrs,
        DumpMsg,
        Info,
        Message,
        Nest,
        NoSpace,
        Parsed, //
    },
    lock::{
        RwLockBh,
        RwSemaphore,
        SpinLockBhGuard, //
    },
    log::Level,
    napi::NapiContext,
    netdevice::{
        Features,
        NetName,
        Setup, //
    },
    netns::NetId,
    rtnl::{
        Rtnl,
        RtnlGuard, //
    },
    siphash::SipKey,
    skb_list::{
        IterMut,
        SkbList, //
    },
    skbuff::{
        Datagram,
        Datagrams,
        Inner,
        InnerError,
        OpenError,
        SealError,
        Segment,
        TxPacket,
        UdpPacket,
        L3, //
    },
    time::RealTime, //
};

fn sent<T: Send>() {}
fn shared<T: Sync>() {}
fn both<T: Send + Sync>() {}

/// Each of them, to another thread.
#[cfg(misuse)]
pub fn send() {
    sent::<Attr<'_>>(); //^ E0277
    sent::<Attrs<'_>>(); //^ E0277
    sent::<Datagrams>(); //^ E0277
    sent::<DumpMsg<'_>>(); //^ E0277
    sent::<Info<'_>>(); //^ E0277
    sent::<IterMut<'_>>(); //^ E0277
    sent::<Message<'_>>(); //^ E0277
    sent::<NapiContext<'_>>(); //^ E0277
    sent::<Nested<'_>>(); //^ E0277
    sent::<Parsed<'_, 4>>(); //^ E0277
    sent::<Rtnl>(); //^ E0277
    sent::<RtnlGuard>(); //^ E0277
    sent::<Segment<'_>>(); //^ E0277
    sent::<Setup<'_>>(); //^ E0277
    sent::<SpinLockBhGuard<'_, u32>>(); //^ E0277
    sent::<TxPacket<'_>>(); //^ E0277
}

/// Each of them, with another thread.
#[cfg(misuse)]
pub fn share() {
    shared::<Attr<'_>>(); //^ E0277
    shared::<Attrs<'_>>(); //^ E0277
    shared::<Datagrams>(); //^ E0277
    shared::<DumpMsg<'_>>(); //^ E0277
    shared::<Info<'_>>(); //^ E0277
    shared::<IterMut<'_>>(); //^ E0277
    shared::<Message<'_>>(); //^ E0277
    shared::<NapiContext<'_>>(); //^ E0277
    shared::<Nested<'_>>(); //^ E0277
    shared::<Parsed<'_, 4>>(); //^ E0277
    shared::<Rtnl>(); //^ E0277
    shared::<RtnlGuard>(); //^ E0277
    shared::<Segment<'_>>(); //^ E0277
    shared::<Setup<'_>>(); //^ E0277
    shared::<TxPacket<'_>>(); //^ E0277
}

/// Locks share what is in them only if that may be shared, and numbers are no place for borrows.
#[cfg(misuse)]
pub fn contents(of: &u32) {
    shared::<RwLockBh<core::cell::Cell<u32>>>(); //^ E0277
    shared::<RwSemaphore<core::cell::Cell<u32>>>(); //^ E0277
    let _ = HotAtomic::new(of); //^ E0277
}

/// Plain ones.
pub fn plain() {
    both::<Blake2s>();
    both::<Datagram>();
    both::<Features>();
    both::<HotAtomic<u32>>();
    both::<Inner>();
    both::<InnerError>();
    both::<L3>();
    both::<Level>();
    both::<Nest>();
    both::<NetId>();
    both::<NetName>();
    both::<NoSpace>();
    both::<OpenError>();
    both::<SealError>();
    both::<RealTime>();
    both::<SipKey>();
    both::<UdpPacket>();
    both::<RwLockBh<u32>>();
    sent::<SkbList>();
    shared::<RwSemaphore<u32>>();
}
