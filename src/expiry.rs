// SPDX-License-Identifier: GPL-2.0
//! What a peer does when its timers expire. The rules are in `timers.rs`; here they act.

use kernel::workqueue::WorkItem;

use wgk::{
    rcu::{
        read_lock,
        RcuArc, //
    },
    timer::TimerCallback, //
};

use crate::{
    messages::{
        NSEC_PER_SEC,
        REKEY_TIMEOUT_NS, //
    },
    peer::{
        Peer,
        WORK_CLEAR, //
    },
    send,
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
            act(&this, action);
        }
    }
}

/// Does what an expired deadline asks for. Softirq.
fn act(peer: &RcuArc<Peer>, action: Action) {
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
            // The address we send from may be what is wrong.
            peer.clear_endpoint_source();
            send::queue_initiation(RcuArc::as_rcu_ref(peer), true);
        }
        Action::GiveUpHandshake => {
            wgk::object_debug!(
                "{}: Handshake for peer {} ({}) did not complete after {} attempts, giving up\n",
                name(),
                peer.id,
                peer.endpoint(),
                GIVE_UP_AFTER
            );
            peer.purge_staged();
        }
        Action::NewHandshake => {
            wgk::object_debug!(
                "{}: Retrying handshake with peer {} ({}) because we stopped hearing back after {} seconds\n",
                name(),
                peer.id,
                peer.endpoint(),
                NEW_HANDSHAKE_AFTER_NS / NSEC_PER_SEC
            );
            peer.clear_endpoint_source();
            send::queue_initiation(RcuArc::as_rcu_ref(peer), false);
        }
        Action::SendKeepalive => send::send_keepalive(RcuArc::as_rcu_ref(peer)),
        Action::PersistentKeepalive => {
            if peer.keepalive_ns() != 0 {
                send::send_keepalive(RcuArc::as_rcu_ref(peer));
            }
        }
        Action::ZeroKeyMaterial => {
            // Taking the handshake's lock sleeps.
            let guard = read_lock();
            if let (false, Some(resources)) = (peer.is_dead(), peer.device.resources.load(&guard)) {
                resources
                    .handshake_send_wq
                    .enqueue::<_, WORK_CLEAR>(peer.clone());
            }
        }
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
    }
}
