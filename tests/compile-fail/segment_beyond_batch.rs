// SPDX-License-Identifier: GPL-2.0
//~ E0505
//! A segment is not used when its batch was taken apart.

use wgk::batch::Batch;

/// The length of the first.
pub fn first(mut batch: Batch<()>) -> Option<usize> {
    let segment = batch.iter_mut().next()?;
    #[cfg(misuse)]
    drop(batch.into_parts());
    Some(segment.len())
}
