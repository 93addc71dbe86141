// SPDX-License-Identifier: GPL-2.0
//! What a peer does when its timers expire. The rules are in `timers.rs`; `conduct.rs` says what
//! follows.

use core::ffi::CStr;

use kernel::workqueue::WorkItem;

use wgk::{
    rcu::RcuArc,
    timer::TimerCallback,
    trace, //
};

use crate::{
    conduct,
    events,
    messages::{
        NSEC_PER_SEC,
        REKEY_TIMEOUT_NS, //
    },
    peer::{
        Peer,
        WORK_CLEAR, //
    },
    timers::{
        Action,
        GIVE_UP_AFTER,
        NEW_HANDSHAKE_AFTER_NS,
        ZERO_KEYS_AFTER_NS, //
    }, //
};

impl TimerCallback for Peer {
    /// Softirq. The one timer of a peer stands for the earliest of its deadlines.
    fn fired(this: RcuArc<Self>) {
        while let Some(action) = Peer::next_due(&this) {
            trace::timer_fired(|| (this.device.traced(), this.id, name(action)));
            announce(&this, action);
            note(&this, action);
            conduct::act(&this, action);
        }
    }
}

/// Notes a handshake that came to nothing, and tells who listens if that was the last attempt, or
/// where the peer is by now.
fn note(peer: &Peer, action: Action) {
    match action {
        Action::RetransmitHandshake { .. } => peer.handshake_unanswered(),
        Action::GiveUpHandshake => events::handshake_given_up(peer, peer.handshake_given_up()),
        Action::TellEndpoint => events::endpoint_changed(peer),
        _ => {}
    }
}

/// What tracepoints call a deadline.
fn name(action: Action) -> &'static CStr {
    match action {
        Action::RetransmitHandshake { .. } => c"retransmit-handshake",
        Action::DeferredHandshake => c"deferred-handshake",
        Action::GiveUpHandshake => c"give-up-handshake",
        Action::SendKeepalive => c"send-keepalive",
        Action::NewHandshake => c"new-handshake",
        Action::ZeroKeyMaterial => c"zero-key-material",
        Action::PersistentKeepalive => c"persistent-keepalive",
        Action::TellEndpoint => c"tell-endpoint",
        Action::CheckSession => c"check-session",
    }
}

/// Says what an expired deadline asks for.
fn announce(peer: &Peer, action: Action) {
    let name = || peer.device.name();
    match action {
        Action::RetransmitHandshake { attempt } => {
            wgk::object_debug!(
                "{}: Handshake for peer {} ({}) did not complete after {} seconds, retrying (try {})\n",
                name(),
                peer.id,
                peer.endpoint(),
                REKEY_TIMEOUT_NS / NSEC_PER_SEC,
                attempt
            );
        }
        Action::DeferredHandshake => {
            wgk::object_debug!(
                "{}: Handshake for peer {} ({}) could not begin before, trying again\n",
                name(),
                peer.id,
                peer.endpoint()
            );
        }
        Action::GiveUpHandshake => {
            wgk::object_debug!(
                "{}: Handshake for peer {} ({}) did not complete after {} attempts, giving up\n",
                name(),
                peer.id,
                peer.endpoint(),
                GIVE_UP_AFTER
            );
        }
        Action::NewHandshake => {
            wgk::object_debug!(
                "{}: Retrying handshake with peer {} ({}) because we stopped hearing back after {} seconds\n",
                name(),
                peer.id,
                peer.endpoint(),
                NEW_HANDSHAKE_AFTER_NS / NSEC_PER_SEC
            );
        }
        Action::SendKeepalive
        | Action::PersistentKeepalive
        | Action::ZeroKeyMaterial
        | Action::TellEndpoint
        | Action::CheckSession => {}
    }
}

/// Clear work: wipes keys that no new handshake has replaced in time. Process context.
impl WorkItem<WORK_CLEAR> for Peer {
    type Pointer = RcuArc<Peer>;

    fn run(this: RcuArc<Peer>) {
        wgk::object_debug!(
            "{}: Zeroing out all keys for peer {} ({}), since we haven't received a new one in {} seconds\n",
            this.device.name(),
            this.id,
            this.endpoint(),
            ZERO_KEYS_AFTER_NS / NSEC_PER_SEC
        );
        this.clear_handshake();
        this.clear_keypairs();
        // One that came up after this was called went as well.
        Peer::doubt_session(&this);
    }
}
