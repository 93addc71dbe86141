// SPDX-License-Identifier: GPL-2.0
//~ E0609
//! And be in the object itself.

use kernel::prelude::*;
use wgk::hashtable::IndexNode;

/// Is in a table.
#[pin_data]
pub struct Object {
    #[pin]
    node: IndexNode,
}

/// Has one.
pub struct Outer(pub Pin<KBox<Object>>);

impl core::ops::Deref for Outer {
    type Target = Object;

    fn deref(&self) -> &Object {
        &self.0
    }
}

#[cfg(misuse)]
wgk::impl_has_index_node! { impl HasIndexNode for Outer { self.node } }
#[cfg(not(misuse))]
wgk::impl_has_index_node! { impl HasIndexNode for Object { self.node } }
