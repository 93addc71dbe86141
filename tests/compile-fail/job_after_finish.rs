// SPDX-License-Identifier: GPL-2.0
//~ E0382
//! A worker does not touch packets after it has said that it is done with them.

use wgk::batch::CryptJob;

/// Ends the job.
pub fn finish(mut job: CryptJob<()>) -> usize {
    #[cfg(not(misuse))]
    let len = job.segments_mut().count();
    drop(job.finish());
    #[cfg(misuse)]
    let len = job.segments_mut().count();
    len
}
