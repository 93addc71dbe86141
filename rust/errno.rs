// SPDX-License-Identifier: GPL-2.0

//! Error numbers that `kernel::error::code`, and with it the prelude, has since 7.3 only.
//!
//! To be imported by name: where a name is not, a pattern of that name is a variable, which takes any
//! error. (Crates that use this deny `non_snake_case`, which tells the two apart.)
//!
//! C header: [`include/uapi/asm-generic/errno.h`](srctree/include/uapi/asm-generic/errno.h)
//!
//! Safety review: `Documentation/safety.md#errnors`.

use core::mem::transmute;
use kernel::{
    bindings,
    error::{
        code,
        Error, //
    }, //
};

// An `Error` is its number, with the sign of C's return values: so are those at both ends and one
// between. It has no room for anything else.
const _: () = {
    // SAFETY: Of the same size, or this does not compile; and if a byte were not initialised, this
    // would not either.
    let [first, one, last]: [i32; 3] =
        unsafe { transmute([code::EPERM, code::EINVAL, code::ENOGRACE]) };
    assert!(first == -(bindings::EPERM as i32));
    assert!(one == -(bindings::EINVAL as i32));
    assert!(last == -(bindings::ENOGRACE as i32));
};

macro_rules! errnos {
    ($($name:ident $doc:literal;)+) => {
        $(
            #[doc = $doc]
            pub const $name: Error = {
                let number = -(bindings::$name as i32);
                assert!(number < 0 && number >= -(bindings::MAX_ERRNO as i32));
                // SAFETY: As said above; and in an error's range.
                unsafe { transmute(number) }
            };
        )+
    };
}

// `Error::from_errno` is for what is known when it runs.
errnos! {
    EADDRINUSE "The address is in use.";
    EADDRNOTAVAIL "Not an address of this host.";
    EAFNOSUPPORT "Not of an address family that there is.";
    EBADR "The request names its object in no way, or in two.";
    ECANCELED "Called off.";
    EDESTADDRREQ "The address to send to is not known.";
    ELOOP "The way leads back here.";
    ENODATA "There is nothing.";
    ENOKEY "There is no key.";
    ENETUNREACH "There is no way to that network.";
    ENONET "The network is gone.";
    EOPNOTSUPP "Not supported.";
    EPFNOSUPPORT "Not a version of the protocol that there is.";
    EPROTONOSUPPORT "Not a protocol that is carried.";
}
