// SPDX-License-Identifier: GPL-2.0
//! Stand-ins for packets and for `ptr_ring`.
//!
//! A packet's data is one number, in memory that loom watches; its control buffer and links are
//! those of `rust/skbuff/raw.rs`. A ring orders only what a pointer that is put in is after
//! with what is done by who takes it out; its locks are left out, so as to hide nothing.

pub(crate) use crate::raw::{
    Cb,
    Link,
    RawSkb, //
};
use crate::{
    atomic::HotAtomic,
    drop_reason::{
        DropReason,
        Lossy, //
    },
    twin_alloc::{
        count,
        keep,
        Flags, //
    }, //
};
use loom::{
    cell::UnsafeCell,
    sync::atomic::{
        AtomicBool,
        AtomicPtr,
        Ordering::{
            Acquire,
            Relaxed,
            Release, //
        }, //
    }, //
};
use std::{
    cell::RefCell,
    ffi::{
        c_int,
        c_void, //
    },
    marker::PhantomData,
    mem::MaybeUninit,
    ptr, //
};

/// `next`, as deep down as in C.
pub struct Outer {
    pub(crate) __bindgen_anon_1: Inner,
}

/// As above.
pub struct Inner {
    pub(crate) next: *mut sk_buff,
}

/// A packet.
pub struct sk_buff {
    pub(crate) __bindgen_anon_1: Outer,
    pub(crate) cb: MaybeUninit<Cb>,
    data: UnsafeCell<u32>,
}

/// A packet of which this is the only user.
pub struct SkBuff(RawSkb);

// SAFETY: Owns it.
unsafe impl Send for SkBuff {}
// SAFETY: Only reads with `&self`.
unsafe impl Sync for SkBuff {}

#[allow(missing_docs, reason = "as in wgk, but for what is in a packet")]
impl SkBuff {
    /// With this in it.
    pub fn new(value: u32) -> Self {
        let skb = Box::leak(Box::new(sk_buff {
            __bindgen_anon_1: Outer {
                __bindgen_anon_1: Inner {
                    next: ptr::null_mut(),
                },
            },
            cb: MaybeUninit::zeroed(),
            data: UnsafeCell::new(value),
        }));
        skb.data.with_mut(|_| ());
        count(1);
        let raw = RawSkb::from(ptr::NonNull::from(skb));
        // SAFETY: Ours. What is rewritten later must be there for loom before.
        unsafe {
            let cb = raw.cb();
            (&raw mut (*cb).state).write(HotAtomic::new(u32::MAX));
            (&raw mut (*cb).link).write(Link {
                next: HotAtomic::new(ptr::dangling_mut()),
            });
        }
        Self(raw)
    }

    pub(crate) unsafe fn from_raw(ptr: *mut sk_buff) -> Self {
        let raw = RawSkb::new(ptr).expect("a packet");
        // SAFETY: By the requirement.
        unsafe { raw.set_next(ptr::null_mut()) };
        Self(raw)
    }

    pub(crate) fn raw(&self) -> RawSkb {
        self.0
    }

    pub(crate) fn drop_as_marked(self) {}

    /// What is in it.
    pub fn value(&self) -> u32 {
        // SAFETY: Ours.
        unsafe { (*self.0.as_ptr()).data.with(|v| *v) }
    }
}

impl Lossy for SkBuff {
    type Left = ();

    fn packets(&self) -> usize {
        1
    }

    fn drop_for(self, _: DropReason) {}
}

impl Drop for SkBuff {
    fn drop(&mut self) {
        /// Memory of a packet.
        struct Memory(*mut sk_buff);

        impl Drop for Memory {
            fn drop(&mut self) {
                // SAFETY: From a box; nothing in it needs to be dropped any more.
                drop(unsafe { Box::from_raw(self.0.cast::<MaybeUninit<sk_buff>>()) });
            }
        }

        if std::thread::panicking() {
            return;
        }
        // SAFETY: Ours, if the code under test is right; and if not, loom sees it here.
        unsafe {
            (*self.0.as_ptr()).data.with_mut(|_| ());
            (&raw mut (*self.0.cb()).state).drop_in_place();
            (&raw mut (*self.0.cb()).link).drop_in_place();
        }
        count(-1);
        keep(Memory(self.0.as_ptr()));
    }
}

/// A packet on a list.
pub struct Segment<'a> {
    raw: RawSkb,
    _list: PhantomData<&'a mut SkBuff>,
}

impl Segment<'_> {
    pub(crate) unsafe fn new(raw: RawSkb) -> Self {
        Self {
            raw,
            _list: PhantomData,
        }
    }

    /// Changes what is in it.
    pub fn update(&mut self, f: impl FnOnce(u32) -> u32) {
        // SAFETY: Ours by the borrow.
        unsafe { (*self.raw.as_ptr()).data.with_mut(|v| *v = f(*v)) }
    }
}

/// A ring.
pub struct ptr_ring {
    order: AtomicBool,
    slots: Vec<AtomicPtr<c_void>>,
    /// Pointers that went in and came out.
    ends: RefCell<(usize, usize)>,
}

pub(crate) unsafe fn ptr_ring_init(ring: *mut ptr_ring, size: c_int, _gfp: Flags) -> c_int {
    let slots = (0..size).map(|_| AtomicPtr::new(ptr::null_mut()));
    // SAFETY: By the requirement.
    unsafe {
        ring.write(ptr_ring {
            order: AtomicBool::new(false),
            slots: slots.collect(),
            ends: RefCell::new((0, 0)),
        });
    }
    0
}

pub(crate) unsafe fn ptr_ring_cleanup(ring: *mut ptr_ring) {
    // SAFETY: By the requirement.
    unsafe { ring.drop_in_place() }
}

pub(crate) unsafe fn ptr_ring_produce_bh(ring: *mut ptr_ring, ptr: *mut c_void) -> c_int {
    // SAFETY: By the requirement.
    let ring = unsafe { &*ring };
    ring.order.swap(true, Relaxed);
    let slot = {
        let mut ends = ring.ends.borrow_mut();
        if ends.0 - ends.1 == ring.slots.len() {
            return -28;
        }
        ends.0 += 1;
        (ends.0 - 1) % ring.slots.len()
    };
    // An exchange, as loom may forget a store that comes after another thread's exchange.
    ring.slots[slot].swap(ptr, Release);
    0
}

pub(crate) unsafe fn ptr_ring_seems_empty(ring: *mut ptr_ring) -> bool {
    let ring = unsafe { &*ring };
    ring.slots.iter().all(|slot| slot.load(Relaxed).is_null())
}

pub(crate) unsafe fn ptr_ring_consume_bh(ring: *mut ptr_ring) -> *mut c_void {
    // SAFETY: By the requirement.
    let ring = unsafe { &*ring };
    ring.order.swap(true, Relaxed);
    let (tail, head) = *ring.ends.borrow();
    if head == tail {
        return ptr::null_mut();
    }
    // Null: another one took it just now, or it is still being put there.
    let ptr = ring.slots[head % ring.slots.len()].swap(ptr::null_mut(), Acquire);
    if !ptr.is_null() {
        ring.ends.borrow_mut().1 += 1;
    }
    ptr
}
