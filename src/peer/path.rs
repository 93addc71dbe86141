// SPDX-License-Identifier: GPL-2.0
//! Where a peer is: who said so, and the route to it.

use wgk::{
    atomic::Relaxed,
    dst_cache::DstCache,
    rcu::RcuArc,
    udp_tunnel::{
        Endpoint,
        Way, //
    }, //
};

use super::Peer;
use crate::{
    conduct,
    events, //
};

/// Where a peer is, and the route to it.
pub(crate) struct Path {
    /// Its address and ours.
    pub(crate) endpoint: Endpoint,
    /// Valid for `endpoint` only.
    pub(crate) cache: DstCache,
    /// How often the peer was heard from another place than before.
    pub(crate) roamed: u32,
    /// Whether the peer said where it is by calling, after the user had.
    pub(crate) called: bool,
}

/// Who says where a peer is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    User,
    /// The peer, by an initiation.
    Call,
    /// The peer, by any other message.
    Message,
}

impl Said {
    /// [`Path::called`], if it was that before.
    fn called(self, before: bool) -> bool {
        match self {
            Self::User => false,
            Self::Call => true,
            Self::Message => before,
        }
    }
}

impl Path {
    /// That of a peer that nobody has said anything of.
    pub(super) fn nowhere() -> Self {
        Self {
            endpoint: Endpoint::None,
            cache: DstCache::new(),
            roamed: 0,
            called: false,
        }
    }

    /// Which way messages go: who calls is answered the way it came.
    pub(crate) fn way(&self) -> Way {
        if self.called {
            Way::Back
        } else {
            Way::Best
        }
    }
}

impl Peer {
    /// A copy of where the peer is.
    pub(crate) fn endpoint(&self) -> Endpoint {
        self.path.read().endpoint
    }

    /// Whether there is an address to send to.
    #[inline]
    pub(crate) fn has_endpoint(&self) -> bool {
        self.place() != 0
    }

    /// The number of the address and port to send to ([`conduct::place`]), 0 if there are none.
    #[inline]
    pub(crate) fn place(&self) -> u64 {
        self.place.load(Relaxed)
    }

    /// Takes an endpoint that the user has set.
    pub(crate) fn configure_endpoint(&self, endpoint: &Endpoint) {
        self.move_to(endpoint, Said::User);
    }

    /// Follows the peer to where an accepted initiation of its came from. Process context.
    pub(crate) fn called_from(this: &RcuArc<Self>, endpoint: &Endpoint) {
        Self::follow(this, endpoint, Said::Call);
    }

    /// Follows the peer to where an authentic message of its came from. Any context.
    #[inline]
    pub(crate) fn set_endpoint(this: &RcuArc<Self>, endpoint: &Endpoint) {
        Self::follow(this, endpoint, Said::Message);
    }

    #[inline]
    fn follow(this: &RcuArc<Self>, endpoint: &Endpoint, said: Said) {
        let moved = this.move_to(endpoint, said);
        if moved && events::heard(&this.device) {
            Self::tell_endpoint(this);
        }
    }

    /// Tells where the peer is, now or when a second has passed since it was told last.
    #[cold]
    fn tell_endpoint(this: &RcuArc<Self>) {
        if Self::on_timers(this, |s, now| s.timers.endpoint_changed(now)) {
            events::endpoint_changed(this);
        }
    }

    /// Whether that is another place than before.
    fn move_to(&self, endpoint: &Endpoint, said: Said) -> bool {
        if matches!(endpoint, Endpoint::None) {
            return false;
        }
        {
            // Packets come in bursts from one place: look first, with the shared lock.
            let path = self.path.read();
            if path.endpoint.same_path(endpoint) && said.called(path.called) == path.called {
                return false;
            }
        }
        let mut path = self.path.write();
        path.called = said.called(path.called);
        let known = !matches!(path.endpoint, Endpoint::None);
        let moved = !path.endpoint.same_place(endpoint);
        if said != Said::User && known && moved {
            path.roamed = path.roamed.saturating_add(1);
        }
        path.endpoint = *endpoint;
        path.cache.reset();
        let place = endpoint
            .ip()
            .map_or(0, |ip| conduct::place(ip, endpoint.port()));
        self.place.store(place, Relaxed);
        // What came back was sent elsewhere, and what fitted, too.
        self.looped_s.store(0, Relaxed);
        self.fit.forget();
        moved
    }

    /// Forgets which of our addresses the peer was last heard on, and the route that went with it.
    pub(crate) fn clear_endpoint_source(&self) {
        let mut path = self.path.write();
        path.endpoint.clear_src();
        path.cache.reset_now();
    }
}
