// SPDX-License-Identifier: GPL-2.0
/*
 * Shims for inlines and macros that bindgen cannot see, one file per subsystem.
 * `wg_helper_NAME` appears in Rust as `bindings::NAME`.
 */
