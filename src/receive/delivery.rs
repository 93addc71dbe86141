// SPDX-License-Identifier: GPL-2.0
//! The last step of a message's way in: what it tells about the peer, and its packet to the stack.
//!
//! Messages of one peer come in runs, as many as a poll finds ready. What each of them says about
//! the peer is the same most of the time: from where it is, that it is alive, what to count. That is
//! said once for a run, and before any of it is delivered: a packet may be answered at once, and the
//! timers have to see the answer after the question.

use wgk::{
    log::Text,
    napi::NapiContext,
    netdevice::{
        Counter,
        RegisteredDevice, //
    },
    rcu::{
        Guard,
        RcuArc, //
    },
    skb_list::SkbList,
    skbuff::{
        InnerError,
        SkBuff, //
    },
    udp_tunnel::Endpoint, //
};

use crate::{
    conduct,
    drops::Reason,
    messages::data_len,
    peer::Peer,
    session::Session, //
};

/// Authentic messages of one peer that are delivered in one poll.
pub(super) struct Run<'a> {
    peer: &'a RcuArc<Peer>,
    messages: SkbList,
    /// How many of them have data.
    data: usize,
    /// Where the last one came from.
    from: Endpoint,
}

impl<'a> Run<'a> {
    pub(super) fn new(peer: &'a RcuArc<Peer>) -> Self {
        Self {
            peer,
            messages: SkbList::new(),
            data: 0,
            from: Endpoint::None,
        }
    }

    /// Takes in a message that was opened under `session`, its counter accepted.
    pub(super) fn add(&mut self, session: &Session, skb: SkBuff) {
        let Some(endpoint) = skb.outer_source() else {
            self.peer.lose(Reason::RxHeader, skb);
            return;
        };
        if !self.from.same_path(&endpoint) {
            Peer::set_endpoint(self.peer, &endpoint);
            self.from = endpoint;
        }
        if self.peer.confirm_session(session) {
            conduct::session_confirmed(self.peer);
        }
        self.data += usize::from(skb.len() != 0);
        self.messages.push_back(skb);
    }

    /// Tells what the messages tell, and delivers what is in them.
    pub(super) fn deliver(mut self, napi: &NapiContext<'_>, guard: &Guard) {
        if self.messages.is_empty() {
            return;
        }
        conduct::transport_received(self.peer, self.data);
        let device = &self.peer.device;
        let Some(dev) = device.dev.get(guard) else {
            self.peer.lose(Reason::RxDown, self.messages);
            return;
        };
        let (mut packets, mut bytes) = (0, 0);
        while let Some(skb) = self.messages.pop_front() {
            let len = skb.len();
            let sound = if len == 0 {
                self.keepalive(dev, skb);
                true
            } else {
                self.packet(dev, skb, napi, guard)
            };
            if sound {
                packets += 1;
                bytes += data_len(len);
            }
        }
        if packets != 0 {
            self.peer.count_rx(bytes);
            dev.rx_stats_add(packets, bytes as u64);
        }
    }

    fn keepalive(&self, dev: &RegisteredDevice, skb: SkBuff) {
        wgk::net_dbg_ratelimited!(
            "{}: Receiving keepalive packet from peer {} ({})\n",
            dev.name(),
            self.peer.id,
            self.from
        );
        skb.consume();
    }

    /// Delivers the packet in a message. False if there is none that the peer may send.
    #[inline]
    fn packet(
        &self,
        dev: &RegisteredDevice,
        mut skb: SkBuff,
        napi: &NapiContext<'_>,
        guard: &Guard,
    ) -> bool {
        let device = &self.peer.device;
        let ds = skb.ds();
        let inner = match skb.inner() {
            Ok(inner) => inner,
            Err(error) => {
                self.unsound(dev, skb, error);
                return false;
            }
        };
        let packet = match skb.prepare_rx(ds, inner.total_len) {
            Ok(packet) => packet,
            Err(skb) => {
                self.peer.lose(Reason::RxMemory, skb);
                return false;
            }
        };
        // Cryptokey routing: the sender must be the peer that packets to this address would go to.
        let routed = device.allowed_ips.lookup(inner.src, guard);
        if routed.is_none_or(|r| r.id != self.peer.id) {
            wgk::net_dbg_ratelimited!(
                "{}: Packet has unallowed src IP ({}) from peer {} ({})\n",
                dev.name(),
                Text(inner.src),
                self.peer.id,
                self.from
            );
            dev.count(Counter::RxErrors, 1);
            dev.count(Counter::RxFrameErrors, 1);
            self.peer.lose(Reason::RxSource, packet);
            return false;
        }
        napi.gro_receive(packet);
        true
    }

    /// What is in the message is no IP packet.
    #[cold]
    fn unsound(&self, dev: &RegisteredDevice, skb: SkBuff, error: InnerError) {
        let (what, counter, reason) = match error {
            InnerError::Type => (
                "is neither ipv4 nor ipv6",
                Counter::RxFrameErrors,
                Reason::RxInnerType,
            ),
            InnerError::Size => (
                "has incorrect size",
                Counter::RxLengthErrors,
                Reason::RxInnerLength,
            ),
        };
        wgk::net_dbg_ratelimited!(
            "{}: Packet {} from peer {} ({})\n",
            dev.name(),
            what,
            self.peer.id,
            self.from
        );
        dev.count(Counter::RxErrors, 1);
        dev.count(counter, 1);
        self.peer.lose(reason, skb);
    }
}
