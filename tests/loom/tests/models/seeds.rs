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

/// The models `of` something, with this in the environment.
fn command(of: &str, name: &str, value: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--skip", "seeds::", "--test-threads", "2", of])
        .env(name, value)
        .env("RUST_BACKTRACE", "0");
    command
}

/// What they say, one of which should fail: whether they pass, and who doesn't.
fn models(of: &str, name: &str, value: &str) -> (bool, Vec<String>) {
    let mut command = command(of, name, value);
    // Bounds each test; loom looks at the clock once in so many executions.
    run(command
        .env("LOOM_MAX_DURATION", "20")
        .env("LOOM_CHECKPOINT_INTERVAL", "100"))
}

fn run(command: &mut Command) -> (bool, Vec<String>) {
    let output = command.output().unwrap();
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
    // The models of NAPI meet no others.
    let mut all = command("::", "LOOM_ORDERINGS", path.to_str().unwrap());
    let (ok, failed) = run(all.args(["--skip", "napi::"]));
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

/// The model of NAPI can tell: it goes wrong in turn in each way that would leave batches behind.
#[test]
fn every_step_of_napi_is_needed() {
    for step in ["schedule", "complete", "repoll", "ready"] {
        let (ok, failed) = models("napi::polled_by_a_softirq_with", "LOOM_MUTATE", step);
        println!("with a wrong {step}: {}", failed.join(" "));
        assert!(!ok, "no model fails with a wrong {step}");
    }
}
