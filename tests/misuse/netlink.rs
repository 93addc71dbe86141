// SPDX-License-Identifier: GPL-2.0
//! Misuses of generic netlink: requests' attributes, what is put into answers, and events.

use crate::{
    attempt::Attempt,
    report, //
};
use core::sync::atomic::{
    AtomicU32,
    Ordering::Relaxed, //
};
use kernel::prelude::*;
use wgk::{
    genetlink::{
        policy,
        DoOp,
        DumpMsg,
        DumpOp,
        DumpStatus,
        Family,
        Group,
        Info,
        NoSpace,
        Op,
        Permission,
        Policy,
        Registration, //
    },
    netns::Net,
    rcu::read_lock, //
};

pub(crate) static ATTEMPTS: &[&Attempt] = &[
    &Attempt {
        name: "netlink",
        scene: "genl",
        load: |_| {
            let registration = FAMILY.register()?;
            match FAMILY.register() {
                Err(e) => report!(refused, "a second time: {:?}", e),
                Ok(_) => report!(broken, "registered twice"),
            }
            REGISTRATION.put(registration);
            Ok(())
        },
        unload: || drop(REGISTRATION.take()),
        ..Attempt::NONE
    },
    &Attempt {
        name: "events",
        scene: "events",
        load: |_| {
            tell(Net::init(), "before there is a family", 0);
            let registration = FAMILY.register()?;
            for again in [&FAMILY, &OTHER] {
                match again.register() {
                    Err(e) => report!(refused, "a group of two registrations: {:?}", e),
                    Ok(_) => report!(broken, "registered twice"),
                }
            }
            REGISTRATION.put(registration);
            Ok(())
        },
        registered: |dev, _| {
            let guard = read_lock();
            for round in 0..6 {
                tell(dev.net_rcu(&guard), "of a new device", round);
            }
        },
        xmit: |_, dev, _| {
            let guard = read_lock();
            tell(dev.net_rcu(&guard), "while sending", 5);
            Ok(())
        },
        uninit: |rtnl, _, dev| tell(dev.net(rtnl), "of a device that goes", 0),
        exit: |_, net| tell(net, "in a namespace that ends", 0),
        unload: || {
            tell(Net::init(), "at the end", 0);
            drop(REGISTRATION.take());
            tell(Net::init(), "of a family that is gone", 0);
            if EVENTS.has_listeners(Net::init()) {
                report!(broken, "somebody listens to a family that is gone");
            }
            // And what was refused may be done now.
            match OTHER.register() {
                Ok(other) => drop(other),
                Err(e) => report!(broken, "the group is not free: {:?}", e),
            }
        },
        ..Attempt::NONE
    },
];

/// Sends an event, in one of several wrong ways.
fn tell(net: &Net, when: &str, round: u32) {
    let mut called = false;
    EVENTS.send(net, 3, |msg| {
        called = true;
        match round {
            1 => {
                // Until nothing fits, and on.
                while msg.put(1, &[0x55; 100]).is_ok() {}
                while msg.put_u8(1, 5).is_ok() {}
                let more = (
                    msg.put(1, &[0; 70_000]).is_err(),
                    msg.nest_start(1).is_err(),
                );
                report!(refused, "{}: {:?} after {} bytes", when, more, msg.len());
                Err(NoSpace)
            }
            2 => {
                msg.cancel();
                msg.put_u8(1, 1)
            }
            3 => {
                // Sent all the same, without what comes too late.
                let _ = msg.nest_start(1)?;
                msg.end();
                let late = msg.put_u8(1, 1).is_err();
                msg.cancel();
                report!(refused, "{}: ended, {}", when, late);
                Ok(())
            }
            4 => {
                msg.cancel();
                Ok(())
            }
            5 => {
                // One in the other, and to another namespace.
                EVENTS.send(Net::init(), 4, |inner| inner.put_u32(1, 2));
                let nest = msg.nest_start(1)?;
                EVENTS.send(net, 5, |inner| {
                    inner.put_str(1, b"inside")?;
                    Ok(())
                });
                msg.put_u64(2, u64::MAX, 3)?;
                msg.nest_end(nest);
                Ok(())
            }
            _ => msg.put(1, b"event"),
        }
    });
    report!(harmless, "{}, {}: {}", when, round, called);
}

/// The group of two families.
static EVENTS: Group = Group::new(c"events");

/// Has the same group.
static OTHER: Family = Family::with_events(
    wgk::module::this_module(),
    c"misuse_other",
    1,
    &OPS,
    &EVENTS,
);

static REGISTRATION: crate::kept::Kept<Registration> = crate::kept::Kept::new();

/// What a request may have: nothing is looked at but that a string ends.
static POLICY: [Policy; 4] = policy::table(&[
    (1, Policy::min_len(0)),
    (2, Policy::U64),
    (3, Policy::nul_string(8)),
]);

static OPS: [Op; 2] = [Op::act::<Look>(), Op::dump::<Fill>()];

static FAMILY: Family =
    Family::with_events(wgk::module::this_module(), c"misuse", 1, &OPS, &EVENTS);

/// Looks at the attributes in all wrong ways.
struct Look;

impl DoOp for Look {
    const CMD: u8 = 1;
    const PERMISSION: Permission = Permission::All;
    const POLICY: &'static [Policy] = &POLICY;

    fn run(info: &Info<'_>) -> Result {
        let attrs = info.attrs();
        let beyond = [4, 0xffff, u32::MAX].map(|ty| attrs.get(ty).is_some());
        if beyond != [false; 3] {
            report!(broken, "attributes beyond the policy");
        }
        let Some(attr) = attrs.get(1) else {
            report!(refused, "no attribute");
            return Err(info.lacks(u16::MAX, c"not there", EINVAL));
        };
        let mut big = [0xff; 300];
        let copied = attr.copy_to(&mut big);
        let mut sum = 0u64;
        for inner in attr.nested() {
            sum = sum.wrapping_add(inner.len() as u64);
            for deeper in inner.nested() {
                sum = sum.wrapping_add(deeper.u32().into());
                deeper.wipe();
            }
        }
        let parsed = attr.parse_nested::<3>().map(|parsed| {
            [0, 1, 2, 3, u32::MAX].map(|ty| parsed.get(ty).map_or(0, |attr| attr.len()))
        });
        let strings = (attr.string::<1>(), attr.string::<64>().is_some());
        let array = attr.array::<7>();
        attr.wipe();
        let again = attr.nested().count();
        // Of one inside, of one that is nothing any more, and to no end: the request is accepted.
        for at_fault in Iterator::chain(attr.nested(), [attr]) {
            let _ = info.refuse(at_fault, c"", EIO);
        }
        report!(
            harmless,
            "{} bytes, {} {:?} {:?} {:?} {}",
            copied,
            sum,
            parsed,
            strings,
            array,
            again
        );
        Ok(())
    }
}

/// Fills messages in all wrong ways, one each time it is called.
struct Fill;

impl DumpOp for Fill {
    const CMD: u8 = 2;
    const PERMISSION: Permission = Permission::All;
    const POLICY: &'static [Policy] = &POLICY;
    type State = AtomicU32;

    fn start(_info: &Info<'_>) -> Result<AtomicU32> {
        Ok(AtomicU32::new(0))
    }

    fn dump(state: &mut AtomicU32, msg: &mut DumpMsg<'_>, _info: &Info<'_>) -> Result<DumpStatus> {
        let round = state.fetch_add(1, Relaxed);
        // Without a message.
        let _ = (msg.put_u8(1, 1).is_err(), msg.nest_start(1).is_err());
        msg.end();
        msg.cancel();
        msg.begin(1, round + 1)?;
        match round {
            0 => {
                // Of another message, in the wrong order, twice taken back.
                let first = msg.nest_start(1)?;
                msg.begin(1, 1)?;
                let second = msg.nest_start(2)?;
                msg.nest_end(first);
                let third = msg.nest_start(3)?;
                msg.nest_cancel(second);
                msg.nest_end(third);
            }
            1 => {
                // Until nothing fits.
                let mut put = 0u32;
                while msg.put(5, &[0x55; 100]).is_ok() {
                    put += 1;
                }
                let more = (
                    msg.put(5, &[0; 70_000]).is_err(),
                    msg.put_str(5, &[b'x'; 300]).is_err(),
                    msg.put_u64(5, 1, 6).is_err(),
                );
                while msg.put_u8(5, 5).is_ok() {
                    put += 1;
                }
                report!(refused, "after {} attributes: {:?}", put, more);
            }
            2 => {
                // A nest that is never ended, and one that is ended after its message was.
                let open = msg.nest_start(1)?;
                let _ = msg.nest_start(u32::MAX)?;
                msg.end();
                msg.nest_end(open);
            }
            3 => {
                msg.put_u16(u32::MAX, 1)?;
                msg.put_str(1, b"\0\0")?;
                msg.cancel();
                msg.cancel();
                msg.begin(0xff, u32::MAX)?;
            }
            _ => return Ok(DumpStatus::Done),
        }
        report!(harmless, "message {}: {} bytes", round, msg.len());
        Ok(DumpStatus::More)
    }
}
