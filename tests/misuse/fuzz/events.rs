// SPDX-License-Identifier: GPL-2.0
//! A family of generic netlink that comes and goes, while whoever is called tells its listeners something.

use super::{
    Pool,
    Rng,
    CALLS,
    NETS, //
};
use core::sync::atomic::Ordering::Relaxed;
use kernel::prelude::*;
use wgk::{
    genetlink::{
        policy,
        DoOp,
        Family,
        Group,
        Info,
        Message,
        NoSpace,
        Op,
        Permission,
        Policy,
        Registration, //
    },
    netns::Net, //
};

static EVENTS: Group = Group::new(c"fuzz");

static POLICY: [Policy; 2] = policy::table(&[(1, Policy::U32)]);

static OPS: [Op; 1] = [Op::act::<Nothing>()];

static FAMILY: Family =
    Family::with_events(wgk::module::this_module(), c"misuse_fuzz", 1, &OPS, &EVENTS);

static REGISTRATIONS: Pool<Registration> = Pool::new();

/// A family has an operation.
struct Nothing;

impl DoOp for Nothing {
    const CMD: u8 = 1;
    const PERMISSION: Permission = Permission::NetnsAdmin;
    const POLICY: &'static [Policy] = &POLICY;

    fn run(_info: &Info<'_>) -> Result {
        Ok(())
    }
}

/// Sends an event, whole or not, to a namespace that is kept, or to the first one. Any context.
pub(super) fn tell(rng: &mut Rng) {
    CALLS.fetch_add(1, Relaxed);
    let (how, cmd) = (rng.below(8), rng.next() as u8);
    let (len, number) = (rng.below(700), rng.next());
    let send = |net: &Net| {
        if how == 0 {
            let _ = EVENTS.has_listeners(net);
        }
        EVENTS.send(net, cmd, |msg| put(msg, how, len, number));
    };
    if NETS.with(rng, |net| send(net)).is_none() {
        send(Net::init());
    }
}

fn put(msg: &mut Message<'_>, how: usize, len: usize, number: u64) -> Result<(), NoSpace> {
    match how {
        1 => {
            // Until nothing fits.
            while msg.put_uint(1, number).is_ok() {}
            msg.put(2, &[0x55; 700])
        }
        2 => {
            let nest = msg.nest_start(1)?;
            msg.put(2, &[0x55; 700][..len])?;
            msg.nest_end(nest);
            Ok(())
        }
        3 => {
            msg.cancel();
            msg.put_u32(1, number as u32)
        }
        // In the middle of one to the first namespace.
        4 => {
            EVENTS.send(Net::init(), 9, |inner| inner.put_u32(1, 2));
            msg.put_str(3, b"outside")
        }
        5 => Err(NoSpace),
        _ => msg.put(2, &[0x55; 700][..len]),
    }
}

/// The family comes, or goes, or is there already. May sleep.
pub(super) fn slow(rng: &mut Rng) -> Result {
    match rng.below(4) {
        0 | 1 => REGISTRATIONS.put(rng, FAMILY.register()?),
        2 => drop(REGISTRATIONS.take(rng)),
        _ => (0..16).for_each(|_| tell(rng)),
    }
    Ok(())
}

/// It goes for good.
pub(super) fn close() {
    REGISTRATIONS.close();
}
