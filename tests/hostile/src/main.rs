// SPDX-License-Identifier: GPL-2.0
//! What the tests in virtual machines send at the driver when they mean harm.
//!
//! hostile packets account|flood ...: datagrams to its port
//! hostile netlink ...: configuration
//! hostile flood serve|beat|over|handshakes ...: initiations at a rate, and one who wants in meanwhile
//! hostile keys ...: sets keys, and keeps none
//! hostile scan ...: looks for keys in a guest's memory, on the host
//!
//! tests/sanitize/*.py and tests/flood/*.py know the arguments. Each prints a line of JSON at its end.

mod args;
mod ears;
mod flood;
mod inner;
mod keys;
mod netlink;
mod nlmsg;
mod packets;
mod rng;
mod scan;
mod second;
mod sock;
mod wire;

fn main() {
    let args = args::Args::new();
    match (args.word(0), args.word(1)) {
        (Some("packets"), Some(how @ ("account" | "flood"))) => packets::main(how, &args),
        (Some("flood"), Some(what @ ("serve" | "beat" | "over" | "handshakes"))) => {
            flood::main(what, &args)
        }
        (Some("netlink"), None) => netlink::main(&args),
        (Some("keys"), None) => keys::main(&args),
        (Some("scan"), None) => scan::main(&args),
        _ => {
            eprintln!("hostile: tests/hostile/src/main.rs says what it takes");
            std::process::exit(2);
        }
    }
}
