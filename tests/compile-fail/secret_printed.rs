// SPDX-License-Identifier: GPL-2.0
//~ E0277
//! Nor printed.

use kernel::prelude::*;
use wgk::crypto::Secret;

const __LOG_PREFIX: &[u8] = b"test\0";

/// Says something.
pub fn say(secret: &Secret<32>) {
    #[cfg(misuse)]
    pr_info!("{:?}\n", secret);
    #[cfg(not(misuse))]
    pr_info!("{:?}\n", secret.is_zero_ct());
}
