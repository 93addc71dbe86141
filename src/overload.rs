// SPDX-License-Identifier: GPL-2.0
//! A device's load begins and ends, and who listens is told.
//!
//! Messages are what tells of load (`load.rs`), but a flood may end with its last one. So while there
//! is load a timer has a worker look once a second: that its end is told, what was made for it given
//! back, and the room in the queue everybody's again, although nothing comes any more.

use kernel::workqueue::WorkItem;

use wgk::{
    rcu::{
        read_lock,
        RcuArc, //
    },
    time::{
        boottime_coarse_ns,
        mono_coarse_ns, //
    },
    timer::{
        Timer,
        TimerCallback, //
    }, //
};

use crate::{
    device::{
        Device,
        WORK_LOAD, //
    },
    events,
    load::State,
    messages::UNDER_LOAD_LINGER_NS, //
};

/// Whether the device is under load, with `queued` handshake messages waiting. May sleep.
pub(crate) fn under_load(device: &RcuArc<Device>, queued: usize, now_ns: u64) -> bool {
    let state = device.admission.under_load(queued, now_ns);
    if matches!(state, State::Began | State::Over) {
        changed(device);
    }
    state.is_loaded()
}

/// Tells, unless somebody else has, how it is now: who changes it comes here after that, so the last
/// who does tells what is so.
fn changed(device: &RcuArc<Device>) {
    let mut told = device.load_told.lock();
    let on = device.admission.load.is_on();
    if *told != on {
        *told = on;
        if on {
            events::load_begins(device);
        } else {
            events::load_ends(device);
        }
    }
    drop(told);
    if on {
        look_later(device);
    }
}

fn look_later(device: &RcuArc<Device>) {
    Timer::<Device, 1>::arm(
        device,
        mono_coarse_ns().saturating_add(UNDER_LOAD_LINGER_NS),
    );
}

/// It may be over.
impl TimerCallback<1> for Device {
    fn fired(this: RcuArc<Device>) {
        // Giving back what was made for the load sleeps.
        Device::call::<WORK_LOAD>(&this);
    }
}

impl WorkItem<WORK_LOAD> for Device {
    type Pointer = RcuArc<Device>;

    fn run(this: RcuArc<Device>) {
        let queued = {
            let guard = read_lock();
            let Some(resources) = this.resources.load(&guard) else {
                return;
            };
            resources.handshake.len()
        };
        if under_load(&this, queued, boottime_coarse_ns()) {
            look_later(&this);
        }
    }
}
