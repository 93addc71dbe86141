// SPDX-License-Identifier: GPL-2.0
//! No ordering is there without need, and no model too weak to see that it is gone: each half of
//! each ordering that the models meet is taken away in turn, and then a model must fail.

use std::{
    env,
    fs,
    path::PathBuf,
    process::Command, //
};

/// Which models are about which files.
const ABOUT: &[(&str, &str)] = &[
    ("rust/batch/", "order_queue::"),
    ("rust/rcu", "rcu::"),
    ("rust/sched_list.rs", "sched_list::"),
    ("src/allowedips/", "allowedips::"),
    ("src/workers.rs", "workers::"),
];

/// What the models `of` something say with this in the environment: whether they pass, and who
/// doesn't.
fn models(of: &str, name: &str, value: &str) -> (bool, Vec<String>) {
    let output = Command::new(env::current_exe().unwrap())
        .args(["--skip", "seeds::", "--test-threads", "2", of])
        .env(name, value)
        // Bounds each test; loom looks at the clock once in so many executions.
        .env("LOOM_MAX_DURATION", "20")
        .env("LOOM_CHECKPOINT_INTERVAL", "100")
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let failed = text
        .lines()
        .filter_map(|line| line.strip_prefix("test ")?.split_once(" ... FAILED"))
        .map(|(test, _)| test.to_owned());
    (output.status.success(), failed.collect())
}

#[test]
fn every_ordering_is_needed() {
    let path: PathBuf = [env!("CARGO_TARGET_TMPDIR"), "orderings"].iter().collect();
    let _ = fs::remove_file(&path);
    let (ok, failed) = models("::", "LOOM_ORDERINGS", path.to_str().unwrap());
    assert!(ok, "the models themselves fail: {failed:?}");
    let mut orderings: Vec<String> = fs::read_to_string(&path)
        .unwrap()
        .lines()
        .map(String::from)
        .collect();
    orderings.sort();
    orderings.dedup();
    let mut unneeded = vec![];
    for ordering in &orderings {
        let about = ABOUT.iter().find(|(file, _)| ordering.starts_with(file));
        let (_, of) = about.unwrap_or_else(|| panic!("no model is about {ordering}"));
        let (ok, failed) = models(of, "LOOM_WEAKEN", ordering);
        println!("without {ordering}: {}", failed.join(" "));
        if ok {
            unneeded.push(ordering);
        }
    }
    println!("{} orderings", orderings.len());
    let (ok, failed) = models("allowedips::", "LOOM_WEAKEN", "grace-period");
    println!("without grace period: {}", failed.join(" "));
    assert!(!ok, "no model fails when slots are used again at once");
    assert!(!orderings.is_empty());
    assert!(
        unneeded.is_empty(),
        "no model fails without {unneeded:?}: is a model too weak, or the ordering not needed?"
    );
}
