// SPDX-License-Identifier: GPL-2.0
//! Stand-ins for what the files under test use of the crate `kernel`, and of C.
//!
//! Except for RCU they order nothing in loom's eyes: what an algorithm relies on, it must do itself.

pub use super::twin_alloc as alloc;

/// C, as `kernel` sees it.
pub mod bindings {
    pub use crate::twin_alloc::GFP_KERNEL;
    pub use crate::twin_packet::sk_buff;
    pub use crate::twin_rcu::{
        call_rcu,
        callback_head,
        poll_state_synchronize_rcu,
        rcu_barrier,
        start_poll_synchronize_rcu, //
    };
    use core::ffi::c_int;

    /// What is wrong with a count.
    pub type refcount_saturation_type = u32;
    /// Too many.
    pub const refcount_saturation_type_REFCOUNT_ADD_OVF: u32 = 1;
    /// None left.
    pub const refcount_saturation_type_REFCOUNT_ADD_UAF: u32 = 2;
    /// Less than none.
    pub const refcount_saturation_type_REFCOUNT_SUB_UAF: u32 = 3;

    /// Ends the test.
    ///
    /// # Safety
    ///
    /// None.
    pub unsafe fn refcount_warn_saturate(_count: *mut c_int, why: refcount_saturation_type) {
        panic!("a reference count went wrong: {why}");
    }
}

macro_rules! pr_warn {
    ($($message:tt)*) => { panic!($($message)*) };
}
pub(crate) use pr_warn;

/// Errors.
pub mod error {
    /// `kernel::error::Error`.
    pub use super::prelude::Error;

    /// An errno as an error.
    pub fn to_result(errno: core::ffi::c_int) -> Result<(), Error> {
        if errno == 0 {
            Ok(())
        } else {
            Err(Error(errno))
        }
    }
}

/// `kernel::prelude`.
pub mod prelude {
    pub use crate::twin_alloc::{
        Flags,
        KBox,
        KVVec, //
    };
    pub use core::{
        ffi::c_ulong,
        pin::Pin, //
    };
    use core::{
        mem::MaybeUninit,
        ptr::NonNull, //
    };

    /// An errno.
    #[derive(Debug, PartialEq, Eq)]
    pub struct Error(pub i32);

    impl From<core::convert::Infallible> for Error {
        fn from(never: core::convert::Infallible) -> Self {
            match never {}
        }
    }

    impl From<crate::twin_alloc::AllocError> for Error {
        fn from(_: crate::twin_alloc::AllocError) -> Self {
            Self(-12)
        }
    }

    /// Invalid argument.
    pub const EINVAL: Error = Error(-22);

    /// `kernel::error::Result`.
    pub type Result<T = (), E = Error> = core::result::Result<T, E>;

    /// How to make a value in its place.
    pub trait PinInit<T, E = core::convert::Infallible>: Sized {
        /// Makes it there.
        ///
        /// # Safety
        ///
        /// `slot` must be valid for writes, and what is made not be moved if it minds.
        unsafe fn make(self, slot: NonNull<T>);
    }

    impl<T, F: FnOnce(NonNull<T>) -> T> PinInit<T> for F {
        unsafe fn make(self, slot: NonNull<T>) {
            // SAFETY: By the requirement.
            unsafe { slot.write(self(slot)) }
        }
    }

    /// Makes a value that does not mind being moved.
    pub fn made<T, E>(init: impl PinInit<T, E>) -> T {
        let mut slot = MaybeUninit::uninit();
        // SAFETY: Made, and then there.
        unsafe {
            init.make(NonNull::from(&mut slot).cast());
            slot.assume_init()
        }
    }

    /// Makes a value in a box, where it stays.
    pub fn boxed<T>(init: impl PinInit<T>) -> Box<T> {
        let mut slot = Box::<T>::new_uninit();
        // SAFETY: Made, and then there.
        unsafe {
            init.make(NonNull::from(&mut *slot).cast());
            slot.assume_init()
        }
    }

    macro_rules! pin_init {
        (&$this:ident in $type:ident { $($fields:tt)* }) => {
            |$this: ::core::ptr::NonNull<$type>| $type { $($fields)* }
        };
        ($type:ident { $($fields:tt)* }) => {
            |_: ::core::ptr::NonNull<$type>| $type { $($fields)* }
        };
    }
    macro_rules! try_pin_init {
        ($type:ident { rcu: $rcu:expr, refcount: $count:expr, value <- $init:expr, }? Error) => {
            || $type {
                rcu: $rcu,
                refcount: $count,
                value: $crate::kernel::prelude::made($init),
            }
        };
    }
    macro_rules! pr_err {
        ($($message:tt)*) => { panic!($($message)*) };
    }
    pub(crate) use {
        pin_init,
        pr_err,
        try_pin_init, //
    };
}

/// `kernel::types`.
pub mod types {
    use core::{
        cell::UnsafeCell,
        mem::MaybeUninit, //
    };

    /// Memory that C looks after.
    #[repr(transparent)]
    pub struct Opaque<T>(UnsafeCell<MaybeUninit<T>>);

    impl<T> Opaque<T> {
        /// With anything in it.
        pub const fn uninit() -> Self {
            Self(UnsafeCell::new(MaybeUninit::uninit()))
        }

        /// With zeroes in it.
        pub const fn zeroed() -> Self {
            Self(UnsafeCell::new(MaybeUninit::zeroed()))
        }

        /// Where it is.
        pub const fn get(&self) -> *mut T {
            self.0.get().cast()
        }

        /// Where it is.
        pub const fn cast_into(this: *const Self) -> *mut T {
            this.cast::<T>().cast_mut()
        }
    }
}

/// `kernel::sync`.
pub mod sync {
    /// `kernel::sync::rcu`.
    pub mod rcu {
        pub use crate::twin_rcu::{
            read_lock,
            Guard, //
        };
    }
}
