// SPDX-License-Identifier: GPL-2.0
//! The device's two lookup tables: peers by public key, sessions by our index.
//!
//! Both grow with their content and live in the device's [`Resources`](crate::queueing::Resources);
//! once those are gone, nothing is found and nothing can be added. The index table holds pending
//! handshakes and established sessions alike: both kinds of index come from one space, so that a
//! message can't be taken for one of the other kind.

use kernel::{
    error::code::ENODEV,
    prelude::*, //
};

use wgk::{
    random,
    rcu::{
        read_lock,
        RcuArc, //
    }, //
};

use crate::{
    device::Device,
    peer::Peer,
    session::Session, //
};

impl Device {
    /// Makes `peer` findable by its public key. `EEXIST` if another peer has that key.
    pub(crate) fn add_public_key(&self, peer: RcuArc<Peer>) -> Result {
        let guard = read_lock();
        let resources = self.resources.load(&guard).ok_or(ENODEV)?;
        resources.public_keys.insert(peer)
    }

    /// Undoes [`add_public_key`](Self::add_public_key).
    pub(crate) fn remove_public_key(&self, peer: &Peer) {
        let guard = read_lock();
        if let Some(resources) = self.resources.load(&guard) {
            resources.public_keys.remove(peer);
        }
    }

    /// The peer with this public key.
    pub(crate) fn peer_by_key(&self, key: &[u8; 32]) -> Option<RcuArc<Peer>> {
        let guard = read_lock();
        self.resources
            .load(&guard)?
            .public_keys
            .lookup(key, &guard)?
            .try_get()
    }

    /// Gives `session` an unused random index and makes it findable by that.
    pub(crate) fn add_index(&self, session: RcuArc<Session>) -> Result<u32> {
        let guard = read_lock();
        let resources = self.resources.load(&guard).ok_or(ENODEV)?;
        resources
            .indices
            .insert_random(session, &mut || random::u32())
    }

    /// Makes `session` unfindable: no message for it is accepted from now on.
    pub(crate) fn remove_index(&self, session: &Session) {
        let guard = read_lock();
        if let Some(resources) = self.resources.load(&guard) {
            resources.indices.remove(session);
        }
    }

    /// The peer whose session has this index of ours, if the session is `wanted`.
    pub(crate) fn peer_by_index(
        &self,
        index: u32,
        wanted: impl FnOnce(&Session) -> bool,
    ) -> Option<RcuArc<Peer>> {
        let guard = read_lock();
        let session = self.resources.load(&guard)?.indices.lookup(index, &guard)?;
        wanted(&session).then(|| session.peer.clone())
    }
}
