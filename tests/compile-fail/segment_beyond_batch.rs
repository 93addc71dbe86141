// SPDX-License-Identifier: GPL-2.0
//~ E0505
//! A segment is not used when its batch was handed on.

use wgk::batch::CryptJob;

/// The length of the first.
pub fn first(mut job: CryptJob<()>) -> Option<usize> {
    let (_, segment) = job.segments_mut().next()?;
    #[cfg(misuse)]
    drop(job.finish());
    Some(segment.len())
}
