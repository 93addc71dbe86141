// SPDX-License-Identifier: GPL-2.0
//~ E0308
//! A timer is armed for an object that is counted and pinned, not for any borrow.

use kernel::prelude::*;
use wgk::{
    rcu::{
        RcuArc,
        RcuObject, //
    },
    timer::{
        Timer,
        TimerCallback, //
    }, //
};

/// Has a timer.
#[pin_data]
pub struct Object {
    #[pin]
    timer: Timer<Object>,
}

impl RcuObject for Object {}
wgk::impl_has_timer! { impl HasTimer for Object { self.timer } }

impl TimerCallback for Object {
    fn fired(_this: RcuArc<Self>) {}
}

/// Arms it.
pub fn arm(object: &RcuArc<Object>) {
    #[cfg(misuse)]
    Timer::<Object>::arm(&**object, 0);
    #[cfg(not(misuse))]
    Timer::<Object>::arm(object, 0);
}
