// SPDX-License-Identifier: GPL-2.0
//~ E0080
//! Where a field is, a macro does not ask what the caller's crate has by the name of `core`.

use kernel::prelude::*;
use wgk::{
    field::HasField,
    rcu::RcuObject,
    sched_list::SchedNode, //
};

#[cfg(misuse)]
extern crate core as real_core;
#[cfg(misuse)]
extern crate self as core;
#[cfg(misuse)]
pub use real_core::*;

/// As `core::mem`, but for fields all of which are at the beginning.
#[cfg(misuse)]
pub mod mem {
    pub use real_core::mem::*;
    #[macro_export]
    macro_rules! false_offset {
        ($type:ty, $field:ident) => {
            0
        };
    }
    pub use crate::false_offset as offset_of;
}

/// Is on a list.
#[pin_data]
pub struct Object {
    pub other: [u64; 2],
    #[pin]
    node: SchedNode,
}

impl RcuObject for Object {}
wgk::impl_has_sched_node! { impl HasSchedNode for Object { self.node } }

/// True only if the macro was deceived.
#[cfg(misuse)]
const _: () = assert!(<Object as HasField<SchedNode>>::OFFSET == 0);
