// SPDX-License-Identifier: GPL-2.0
//~ E0308
//! The field that a macro is told must be of the type that it is for.

use kernel::prelude::*;
use wgk::hashtable::{
    IndexNode,
    KeyNode, //
};

#[cfg(misuse)]
type Node = KeyNode;
#[cfg(not(misuse))]
type Node = IndexNode;

/// Is in a table.
#[pin_data]
pub struct Object {
    #[pin]
    node: Node,
    #[pin]
    other: KeyNode,
}

wgk::impl_has_index_node! { impl HasIndexNode for Object { self.node } }
