// SPDX-License-Identifier: GPL-2.0
//! Peers that are added when they call: who listens to the events hears of a caller, and if he adds it
//! in time, the call is answered then.
//!
//! What is kept, and for how long, is decided in `callers.rs`; if nobody listens, nothing is. A call
//! is answered by a worker, not by who adds the peer with RTNL held, and like any other initiation:
//! it is opened once more, authenticated, and refused if it repeats an older one.

use kernel::workqueue::WorkItem;

use wgk::{
    cpu,
    rcu::RcuArc,
    time::{
        boottime_coarse_ns,
        mono_coarse_ns, //
    },
    timer::{
        Timer,
        TimerCallback, //
    },
    udp_tunnel::Endpoint, //
};

use crate::{
    callers::KEPT_NS,
    device::{
        Device,
        WORK_ANSWER, //
    },
    events,
    messages::Initiation,
    peer::Peer,
    receive, //
};

/// An initiation opened to a key that no peer has. Process context, with the device's identity locked:
/// whoever changes that finds the call, and forgets it.
pub(crate) fn unknown(
    device: &RcuArc<Device>,
    key: &[u8; 32],
    message: &Initiation,
    source: &Endpoint,
    now_ns: u64,
) {
    if !events::heard(device) {
        return;
    }
    let Some(ip) = source.ip() else {
        return;
    };
    let mut callers = device.callers.lock();
    // Looked at with the lock: who takes it down forgets them after that.
    let told = device.is_up() && callers.note(key, message, ip, *source, now_ns);
    drop(callers);
    if !told {
        return;
    }
    Timer::<Device>::arm(device, mono_coarse_ns().saturating_add(KEPT_NS));
    events::unknown_peer(device, key, source);
    // Added while this was on its way here: then who did that has not seen it.
    if device.peer_by_key(key).is_some() {
        wanted(device, key);
    }
}

/// A peer was just made, and not configured yet. If it has called it will be answered: an initiation of
/// ours would cross that, and each side give up its own for the other's. So it waits for its time.
pub(crate) fn expected(device: &Device, peer: &Peer) {
    let now = boottime_coarse_ns();
    if device.callers.lock().has(peer.public_key(), now) {
        peer.pace.hold(now);
    }
}

/// The peer with this key is there, and configured: its calls are answered, if there are any. Any
/// context.
pub(crate) fn wanted(device: &RcuArc<Device>, key: &[u8; 32]) {
    if device.callers.lock().want(key, boottime_coarse_ns()) {
        Device::call::<WORK_ANSWER>(device);
    }
}

/// Answers the calls of peers that are there by now.
impl WorkItem<WORK_ANSWER> for Device {
    type Pointer = RcuArc<Device>;

    fn run(this: RcuArc<Device>) {
        loop {
            let now = boottime_coarse_ns();
            let Some(call) = this.callers.lock().take(now) else {
                return;
            };
            receive::answer(&this, &call.message, &call.place, now);
            cpu::cond_resched();
        }
    }
}

/// Nobody wanted them.
impl TimerCallback for Device {
    fn fired(this: RcuArc<Device>) {
        let left = this.callers.lock().expire(boottime_coarse_ns());
        // Of two who armed it the earlier one may have been the last to do so.
        if left {
            Timer::<Device>::arm(&this, mono_coarse_ns().saturating_add(KEPT_NS));
        }
    }
}
