// SPDX-License-Identifier: GPL-2.0
//! How packets are to be sent.
//!
//! Safety review: `Documentation/safety.md#udp_tunnelhowrs`.

/// In how many pieces a packet may arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pieces {
    /// Any number: it is fragmented where it is too long, here or on the way.
    Any,
    /// One: a router that would have to fragment it (IPv4, if this host listens to such routers; with IPv6,
    /// no router ever does) tells this host so, whose route remembers. The socket has the mark from then on, by
    /// which that route is found. Only what is too long for the route by which it leaves is
    /// fragmented, here.
    One,
}

/// Which way a packet takes to where several lead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// The one that routing likes best.
    Best,
    /// The one that the other end was heard by, as long as a route leads there; else the best. For who
    /// answers: there is what lets the answer through.
    Back,
}

/// How packets are to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct How {
    /// Mark of the packets, by which they may be routed; 0: none.
    pub mark: u32,
    /// See there.
    pub pieces: Pieces,
    /// See there.
    pub way: Way,
}

impl How {
    /// As datagrams are sent for which nothing was asked.
    pub const PLAIN: Self = Self {
        mark: 0,
        pieces: Pieces::Any,
        way: Way::Best,
    };
}
