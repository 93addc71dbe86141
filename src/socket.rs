// SPDX-License-Identifier: GPL-2.0
//! The device's UDP sockets, one per address family, and what is sent through them.

use core::ffi::CStr;

use kernel::prelude::*;

use wgk::{
    atomic::Relaxed,
    drop_reason::Lossy,
    errno::ENONET,
    rcu::{
        read_lock,
        RcuArc, //
    },
    skb_list::SkbList,
    skbuff::{
        SkBuff,
        DATA_HEADROOM, //
    },
    trace,
    udp_tunnel::{
        self,
        Bound,
        Endpoint,
        How,
        Pieces,
        SocketPair,
        Way,
        Xmit, //
    }, //
};

use zerocopy::IntoBytes;

use crate::{
    device::Device,
    drops::{
        Reason,
        NOBODY, //
    },
    failure::Failure,
    messages::{
        classify,
        data_len,
        kind_name,
        Kind,
        Macs, //
    },
    peer::Peer, //
};

/// Bytes in front of a handshake message for the outer headers.
const HEADROOM: usize = DATA_HEADROOM;

/// Opens sockets on `port` (0: a free one) in the namespace in which the device was created, bound as
/// `bound` says, and puts them in the place of the present ones. Process context, device lock held; may
/// sleep.
///
/// On an error the present sockets stay: `ENONET` that namespace is gone, `EADDRINUSE` the port is
/// taken, or what else the socket layer says.
pub(crate) fn init(device: &RcuArc<Device>, bound: &Bound, port: u16) -> Result {
    let net = device.creating_net.get().ok_or(ENONET)?;
    let pair = SocketPair::open(&net, port, bound, device).map_err(|(family, e)| {
        wgk::pr_err!("{}: Could not create {} socket\n", device.name(), family);
        e
    })?;
    let pair = KBox::new(pair, GFP_KERNEL)?;
    device.listen_port.store(pair.port().into(), Relaxed);
    device.sockets.replace(Some(pair));
    Ok(())
}

/// Closes the device's sockets. Process context; returns when nobody uses them any more.
pub(crate) fn close(device: &Device) {
    device.sockets.replace(None);
}

/// Sends encrypted messages to their peer. True if they could be sent and are not just keepalives.
/// Process context or softirq.
pub(crate) fn send_messages(peer: &RcuArc<Peer>, messages: SkbList) -> bool {
    let device = &peer.device;
    let guard = read_lock();
    let (Some(pair), Some(dev)) = (device.sockets.load(&guard), device.dev.get(&guard)) else {
        peer.lose(Reason::TxNoSocket, messages);
        return false;
    };
    let mark = device.fwmark.load(Relaxed);
    let mut bytes = 0;
    let mut has_data = false;
    for len in messages.lens() {
        bytes += len;
        has_data |= len != data_len(0);
    }
    let pieces = if peer.fit.is_on() {
        Pieces::One
    } else {
        Pieces::Any
    };
    let (sent, stale) = {
        let path = peer.path.read();
        let how = How {
            mark,
            pieces,
            way: path.way(),
        };
        let Xmit {
            result,
            unsent,
            lost,
            clear_src,
            longest,
        } = udp_tunnel::xmit_list(pair, messages, &path.endpoint, dev, &how, Some(&path.cache));
        if let Some(longest) = longest {
            // With the path still locked: it is that of this endpoint.
            peer.fit.learn(longest);
        }
        if result.is_err() {
            peer.lose(Reason::TxNoRoute, unsent);
        } else if lost != 0 {
            peer.note_lost(Reason::TxMemory, lost);
        }
        (result.is_ok(), clear_src.then_some(path.endpoint))
    };
    forget_source(peer, stale);
    if sent {
        peer.count_tx(bytes);
    }
    sent && has_data
}

/// Has [`Peer::fit`] learn from the route that there is now, if it can be looked at. Process context or
/// softirq, also while a packet of ours is being sent.
#[cold]
pub(crate) fn learn_path(peer: &Peer) {
    let device = &peer.device;
    let guard = read_lock();
    let (Some(pair), Some(dev)) = (device.sockets.load(&guard), device.dev.get(&guard)) else {
        return;
    };
    // Who sends that packet may have this lock.
    let Some(path) = peer.path.try_read() else {
        return;
    };
    let how = How {
        mark: device.fwmark.load(Relaxed),
        pieces: Pieces::One,
        way: path.way(),
    };
    let looked_up = udp_tunnel::xmit_list(
        pair,
        SkbList::new(),
        &path.endpoint,
        dev,
        &how,
        Some(&path.cache),
    );
    if let Some(longest) = looked_up.longest {
        peer.fit.learn(longest);
    }
}

/// Sends one handshake message to its peer; if `only` is a place, only if that is where the peer is:
/// else `false`. Failure is like loss: a timer tries again; it is counted, and noted.
pub(crate) fn send_message(peer: &Peer, only: Option<u64>, message: &[u8], ds: u8) -> bool {
    let result = try_send_message(peer, only, message, ds);
    trace::handshake_sent(|| {
        let outcome = match result {
            Ok(true) => c"sent",
            Ok(false) => c"moved",
            Err(why) => why.name(),
        };
        let kind = classify(message, message.len());
        (peer.device.traced(), peer.id, kind_name(kind), outcome)
    });
    result.unwrap_or_else(|why| {
        peer.note_lost(Reason::TxHandshake, 1);
        peer.handshake_failed(why);
        true
    })
}

fn try_send_message(
    peer: &Peer,
    only: Option<u64>,
    message: &[u8],
    ds: u8,
) -> Result<bool, Failure> {
    let device = &peer.device;
    let skb = SkBuff::with_payload(message, HEADROOM, GFP_KERNEL).map_err(|_| Failure::NoMemory)?;
    let guard = read_lock();
    let (Some(pair), Some(dev)) = (device.sockets.load(&guard), device.dev.get(&guard)) else {
        skb.drop_for(Reason::TxNoSocket.core());
        return Err(Failure::NoSocket);
    };
    let mark = device.fwmark.load(Relaxed);
    let (sent, stale) = {
        let path = peer.path.read();
        let how = How {
            mark,
            pieces: Pieces::Any,
            way: path.way(),
        };
        // Both change under the lock.
        if only.is_some_and(|place| place != peer.place()) {
            // No loss: it is for somewhere else.
            skb.consume();
            return Ok(false);
        }
        let Xmit {
            result,
            unsent,
            lost,
            clear_src,
            longest: _,
        } = udp_tunnel::xmit(pair, skb, &path.endpoint, dev, &how, ds, Some(&path.cache));
        if result.is_ok() {
            peer.count_tx(message.len());
        }
        let sent = match result {
            Ok(()) if lost == 0 => Ok(true),
            Ok(()) => Err(Failure::NoMemory),
            Err(_) if matches!(path.endpoint, Endpoint::None) => {
                unsent.drop_for(Reason::TxNoEndpoint.core());
                Err(Failure::NoEndpoint)
            }
            Err(_) => {
                unsent.drop_for(Reason::TxNoRoute.core());
                Err(Failure::NoRoute)
            }
        };
        (sent, clear_src.then_some(path.endpoint))
    };
    forget_source(peer, stale);
    sent
}

/// Answers a handshake message that came without a valid cookie while under load with a cookie.
pub(crate) fn send_cookie(
    device: &RcuArc<Device>,
    to: &Endpoint,
    macs: &Macs,
    sender_index: u32,
    now_ns: u64,
) {
    wgk::net_dbg_ratelimited!(
        "{}: Sending cookie response for denied handshake message for {}\n",
        device.name(),
        to
    );
    let Some(reply) = device
        .admission
        .cookie_reply(&macs.mac1, to, sender_index, now_ns)
    else {
        return;
    };
    let Ok(skb) = SkBuff::with_payload(reply.as_bytes(), HEADROOM, GFP_KERNEL) else {
        device.note_lost(Reason::TxHandshake, 1);
        return;
    };
    let outcome = try_send_cookie(device, to, skb);
    let kind = Some(Kind::CookieReply);
    trace::handshake_sent(|| (device.traced(), NOBODY, kind_name(kind), outcome));
}

/// What became of a cookie.
fn try_send_cookie(device: &RcuArc<Device>, to: &Endpoint, skb: SkBuff) -> &'static CStr {
    let guard = read_lock();
    let (Some(pair), Some(dev)) = (device.sockets.load(&guard), device.dev.get(&guard)) else {
        device.note_lost(Reason::TxHandshake, 1);
        skb.drop_for(Reason::TxNoSocket.core());
        return Failure::NoSocket.name();
    };
    let how = How {
        mark: device.fwmark.load(Relaxed),
        pieces: Pieces::Any,
        way: Way::Back,
    };
    // Whether it arrives is the network's affair: the sender repeats its message.
    let sent = udp_tunnel::xmit(pair, skb, to, dev, &how, 0, None);
    if sent.result.is_err() {
        device.lose(Reason::TxHandshake, sent.unsent);
        Failure::NoRoute.name()
    } else if sent.lost != 0 {
        device.note_lost(Reason::TxHandshake, 1);
        Failure::NoMemory.name()
    } else {
        c"sent"
    }
}

/// If sending found that our address on the peer's path is no longer ours: forgets it, unless the
/// path has changed meanwhile.
fn forget_source(peer: &Peer, stale: Option<Endpoint>) {
    let Some(stale) = stale else {
        return;
    };
    let mut path = peer.path.write();
    if path.endpoint.same_path(&stale) {
        path.endpoint.clear_src();
        path.cache.reset();
    }
}
