// SPDX-License-Identifier: GPL-2.0
//! Misuses of packets, lists, batches.

use crate::{
    attempt::Attempt,
    device::{
        napi,
        Device,
        Poller, //
    },
    kept::Kept,
    namespaces::{
        loopback4,
        loopback6, //
    },
    report, //
};
use kernel::prelude::*;
use wgk::{
    batch::{
        Batch,
        CryptJob,
        CryptRing,
        OrderQueue, //
    },
    napi::{
        Napi,
        NapiContext, //
    },
    rcu::{
        read_lock,
        RcuArc,
        RcuObject, //
    },
    skb_list::SkbList,
    skbuff::{
        RxPacket,
        SkBuff, //
    },
    udp_tunnel::{
        self,
        How,
        Pieces,
        Way, //
    }, //
};

pub(crate) static ATTEMPTS: &[&Attempt] = &[
    // That it keeps its route: tx_packet_kept, route_of_a_kept_packet in tests/compile-fail.
    &Attempt {
        name: "packets-beyond-namespace",
        scene: "netns",
        xmit: |_, _, packet| {
            let mtu = packet.dst_mtu();
            if let Ok(list) = packet.gso_segment() {
                report!(harmless, "kept, its route's MTU was {:?}", mtu);
                LIST.put(list);
            }
            Ok(())
        },
        poke: |_| {
            if let Some(list) = LIST.take() {
                report!(
                    harmless,
                    "still there: {} bytes",
                    list.lens().sum::<usize>()
                );
            }
        },
        unload: || drop(LIST.take()),
        ..Attempt::NONE
    },
    // An IPv6 packet's payload, an IPv4 packet, is received with nothing left of its way out.
    &Attempt {
        name: "other-family-received",
        scene: "link",
        newlink: |_, dev, _| {
            NAPI.put(napi(dev)?);
            Ok(())
        },
        open: |_, this, _| Device::open_sockets(this),
        xmit: |this, dev, packet| {
            // Through sockets of our own, as a tunnel would.
            let guard = read_lock();
            let (Ok(list), Some(pair)) = (packet.gso_segment(), this.sockets.load(&guard)) else {
                return Err(EINVAL);
            };
            let to = loopback6(pair.port());
            let in_one_piece = How {
                pieces: Pieces::One,
                way: Way::Back,
                ..How::PLAIN
            };
            let _ = udp_tunnel::xmit_list(pair, list, &to, dev, &in_one_piece, None);
            Ok(())
        },
        receive: |_, packet| {
            let Ok(packet) = packet.udp_payload() else {
                report!(refused, "no payload");
                return;
            };
            let mut skb = packet.into_inner();
            let Ok(inner) = skb.inner() else {
                report!(refused, "no inner packet");
                return;
            };
            match skb.prepare_rx(0xff, inner.total_len) {
                Ok(packet) => {
                    report!(harmless, "received from {}", wgk::log::Text(inner.src));
                    RECEIVED.put(packet);
                    NAPI.with(|napi| napi.schedule());
                }
                Err(_) => report!(refused, "not prepared"),
            }
        },
        poll: poll_one,
        uninit: |_, _, _| {
            drop(NAPI.take());
            drop(RECEIVED.take());
        },
        ..Attempt::NONE
    },
    &Attempt {
        name: "icmp-for-any-packet",
        scene: "netns",
        xmit: |_, _, mut packet| {
            packet.icmp_unreachable();
            packet.icmp_unreachable();
            report!(harmless, "sent two errors");
            Ok(())
        },
        ..Attempt::NONE
    },
    &Attempt {
        name: "opened-and-sealed-often",
        scene: "link",
        newlink: |_, dev, _| {
            NAPI.put(napi(dev)?);
            Ok(())
        },
        registered: |_, _| {
            often(1 << 15, 34_000, false);
            for headroom in [0, 128, 1 << 15] {
                often(headroom, 100, true);
            }
        },
        poll: poll_one,
        uninit: |_, _, _| {
            drop(NAPI.take());
            drop(RECEIVED.take());
        },
        ..Attempt::NONE
    },
    // That one which stands for several gets into a list: unsegmented_to_list in tests/compile-fail.
    &Attempt {
        name: "sealed-twice-and-sent",
        scene: "link",
        open: |_, this, _| Device::open_sockets(this),
        xmit: |this, dev, packet| {
            let Ok(mut list) = packet.gso_segment() else {
                return Err(EINVAL);
            };
            let mut sealed = true;
            for mut segment in list.iter_mut() {
                sealed &= segment.seal(&[0; 16], 0, 0, &[0; 32]).is_ok();
                sealed &= segment.seal(&[0; 16], 0, 0, &[0; 32]).is_ok();
                segment.scrub(true);
            }
            let guard = read_lock();
            if let (true, Some(pair)) = (sealed, this.sockets.load(&guard)) {
                let sent = udp_tunnel::xmit_list(pair, list, &loopback4(9), dev, &How::PLAIN, None);
                report!(harmless, "sent {:?}", sent.result);
            } else {
                report!(refused, "not sealed");
            }
            Ok(())
        },
        ..Attempt::NONE
    },
    &Attempt {
        name: "sent-as-it-came",
        scene: "link",
        open: |_, this, _| Device::open_sockets(this),
        xmit: |this, dev, packet| {
            let guard = read_lock();
            if let (Ok(list), Some(pair)) = (packet.gso_segment(), this.sockets.load(&guard)) {
                let sent = udp_tunnel::xmit_list(pair, list, &loopback6(9), dev, &How::PLAIN, None);
                report!(harmless, "sent {:?}", sent.result);
            }
            Ok(())
        },
        ..Attempt::NONE
    },
    &Attempt {
        name: "steps-out-of-order",
        scene: "link",
        xmit: |_, _, packet| {
            let Ok(mut list) = packet.gso_segment() else {
                return Err(EINVAL);
            };
            while let Some(mut skb) = list.pop_front() {
                let source = skb.outer_source();
                let inner = skb.inner();
                report!(harmless, "{:?} {:?}", source, inner);
                drop(skb.prepare_rx(0xff, 0));
            }
            Ok(())
        },
        ..Attempt::NONE
    },
    &Attempt {
        name: "absurd-rooms",
        scene: "load",
        load: |_| {
            let rooms = [
                (1 << 15, 1 << 16),
                ((1 << 15) + 1, 0),
                (0, (1 << 16) + 1),
                (usize::MAX, usize::MAX),
            ];
            for (head, tail) in rooms {
                match SkBuff::empty(head, tail, GFP_KERNEL) {
                    Ok(skb) => report!(harmless, "{}+{}: {} bytes", head, tail, skb.len()),
                    Err(e) => report!(refused, "{}+{}: {:?}", head, tail, e),
                }
            }
            Ok(())
        },
        ..Attempt::NONE
    },
    &Attempt {
        name: "order-queue-dropped-early",
        scene: "load",
        load: |_| {
            let (ring, order) = stage()?;
            drop(order);
            while let Some(job) = ring.pop() {
                drop(job);
            }
            report!(harmless, "left to its jobs");
            Ok(())
        },
        ..Attempt::NONE
    },
    &Attempt {
        name: "ring-dropped-early",
        scene: "load",
        load: |_| {
            let (ring, order) = stage()?;
            drop(ring);
            let mut dead = 0;
            if let Some(mut consumer) = order.try_consume() {
                while consumer.next().is_some() {
                    dead += 1;
                }
            }
            report!(harmless, "{} came back", dead);
            Ok(())
        },
        ..Attempt::NONE
    },
    &Attempt {
        name: "job-forgotten",
        scene: "load",
        load: |_| {
            let (ring, order) = stage()?;
            core::mem::forget(ring.pop());
            match order.try_consume().map(|mut consumer| consumer.has_ready()) {
                Some(false) => report!(refused, "the queue stalls"),
                _ => report!(broken, "it is ready"),
            }
            Ok(())
        },
        ..Attempt::NONE
    },
    &Attempt {
        name: "job-beyond-everything",
        scene: "load",
        load: |_| {
            let (ring, order) = stage()?;
            if let Some(job) = ring.pop() {
                JOB.put(job);
            }
            drop((ring, order));
            Ok(())
        },
        unload: || {
            report!(harmless, "dropped: {}", JOB.take().is_some());
        },
        ..Attempt::NONE
    },
    &Attempt {
        name: "two-consumers",
        scene: "load",
        load: |_| {
            let (ring, order) = stage()?;
            let consumer = order.try_consume();
            match order.try_consume() {
                None => report!(refused, "there is one"),
                Some(_) => report!(broken, "there are two"),
            }
            core::mem::forget(consumer);
            drop(ring);
            Ok(())
        },
        ..Attempt::NONE
    },
];

static LIST: Kept<SkbList> = Kept::new();
static RECEIVED: Kept<RxPacket> = Kept::new();
static NAPI: Kept<Napi<Poller>> = Kept::new();
static JOB: Kept<CryptJob<Owner>> = Kept::new();

struct Owner;

impl RcuObject for Owner {}

/// A ring and a queue with one batch of two packets in them.
fn stage() -> Result<(CryptRing<Owner>, Pin<KBox<OrderQueue<Owner>>>)> {
    let ring = CryptRing::new(8)?;
    let order = KBox::pin_init(OrderQueue::new(), GFP_KERNEL)?;
    let mut list = SkbList::new();
    for _ in 0..2 {
        list.push_back(SkBuff::with_payload(&[0; 100], 128, GFP_KERNEL)?);
    }
    let batch = Batch::new(list, RcuArc::new(Owner, GFP_KERNEL)?, 0).ok_or(EINVAL)?;
    ring.submit(&order, batch).map_err(|_| EBUSY)?;
    Ok((ring, order))
}

/// Hands up what was kept.
fn poll_one(ctx: &NapiContext<'_>) -> usize {
    RECEIVED.take().map_or(0, |packet| {
        ctx.gro_receive(packet);
        1
    })
}

/// Fails to open a packet, and with `sealed` seals it before, so often that where its headers are
/// cannot be said in 16 bits if each time were to move them.
fn often(headroom: usize, len: usize, sealed: bool) {
    let payload = KVec::from_elem(0x45u8, len, GFP_KERNEL);
    let Some(skb) = payload
        .ok()
        .and_then(|payload| SkBuff::with_payload(&payload, headroom, GFP_KERNEL).ok())
    else {
        report!(refused, "no memory");
        return;
    };
    let mut list = SkbList::new();
    list.push_back(skb);
    let mut done = 0;
    for mut segment in list.iter_mut() {
        for _ in 0..2100 {
            if sealed && segment.seal(&[0x45; 16], 0, 0, &[0; 32]).is_err() {
                break;
            }
            let _ = segment.open(u64::from(!sealed), &[0; 32]);
            done += 1;
        }
        report!(harmless, "{} times, {} bytes left", done, segment.len());
    }
    let Some(mut skb) = list.pop_front() else {
        return;
    };
    let Ok(inner) = skb.inner() else {
        report!(refused, "no inner packet");
        return;
    };
    match skb.prepare_rx(0, inner.total_len) {
        Ok(packet) => {
            RECEIVED.put(packet);
            NAPI.with(|napi| napi.schedule());
            report!(harmless, "received");
        }
        Err(_) => report!(refused, "not received"),
    }
}
