// SPDX-License-Identifier: GPL-2.0
//! Takes files of rust/ and src/ as they are, but for what they are built on: the crates `core`,
//! `kernel` and `wgk` are modules of this crate, with loom's atomics, which can't be made in
//! constants; nothing is pinned. Each replacement must still fit, and keeps the number of lines:
//! a place in the file under test is the same place in the repository.

use std::{
    env,
    fs,
    path::{
        Path,
        PathBuf, //
    }, //
};

/// A file under test.
struct File {
    /// In the repository.
    path: &'static str,
    /// Whether other files of `FILES` are its modules.
    parent: bool,
    /// Where it ends; what follows is not needed.
    end: &'static str,
    /// What is put after that.
    tail: &'static str,
    /// What is replaced by what, wherever it occurs.
    changes: &'static [(&'static str, &'static str)],
}

const FILES: &[File] = &[
    File {
        path: "rust/sched_list.rs",
        parent: false,
        end: "#[cfg(CONFIG_KUNIT",
        tail: "",
        changes: &[
            // Who has the node has its link: no access races with another.
            (
                "    next: HotAtomic<*mut SchedNode<ID>>,",
                "    next: crate::atomic::Owned<*mut SchedNode<ID>>,",
            ),
            (
                "next: HotAtomic::new(ptr::null_mut()),\n            state",
                "next: crate::atomic::Owned::new(ptr::null_mut()),\n            state",
            ),
        ],
    },
    File {
        path: "rust/batch.rs",
        parent: true,
        end: "",
        tail: "",
        changes: &[],
    },
    File {
        path: "rust/batch/order.rs",
        parent: false,
        end: "",
        tail: "",
        changes: &[
            // Loom's atomics are larger.
            (
                "const _: () = assert!(size_of::<OrderQueue<()>>() <= 48);",
                "",
            ),
            // What was there before is a link, too, of which loom may know other users.
            (
                "link.write(Link {\n                next: HotAtomic::new(ptr::null_mut()),\n            })",
                "*link = Link {\n                next: HotAtomic::new(ptr::null_mut()),\n            }",
            ),
        ],
    },
    File {
        path: "rust/batch/cell.rs",
        parent: false,
        end: "",
        tail: "",
        changes: &[],
    },
    File {
        path: "rust/skbuff/raw.rs",
        parent: false,
        // From here on it is about what is in a packet.
        end: "    /// # Safety\n    ///\n    /// The `sk_buff` must be valid and not be used meanwhile.\n    \
              #[inline]\n    pub(crate) unsafe fn set_dev(",
        tail: "}\n",
        changes: &[
            (
                "use super::{\n    ETH_P_IP,\n    ETH_P_IPV6,\n    L3,\n    MAX_HEADROOM, //\n};",
                "\n\n\n\n\n",
            ),
            (
                "const _: () = assert!(size_of::<Cb>() <= 48 && align_of::<Cb>() <= 8);",
                "",
            ),
        ],
    },
    File {
        path: "rust/skb_list.rs",
        parent: false,
        end: "",
        tail: "",
        changes: &[("|raw| unsafe { raw.len() }", "|_| 0")],
    },
    File {
        path: "rust/rcu_cell.rs",
        parent: false,
        end: "",
        tail: "",
        changes: &[],
    },
    File {
        path: "rust/rcu_barrier.rs",
        parent: false,
        end: "#[cfg(CONFIG_KUNIT",
        tail: "",
        changes: &[
            (
                "static DROPPED: Atomic<usize> = Atomic::new(0);",
                "loom::lazy_static! { static ref DROPPED: Atomic<usize> = Atomic::new(0); }",
            ),
            (
                "static DESTROYED: Atomic<usize> = Atomic::new(0);",
                "loom::lazy_static! { static ref DESTROYED: Atomic<usize> = Atomic::new(0); }",
            ),
            (
                "static CHAINED: Atomic<usize> = Atomic::new(0);",
                "loom::lazy_static! { static ref CHAINED: Atomic<usize> = Atomic::new(0); }",
            ),
        ],
    },
    File {
        path: "rust/rcu.rs",
        parent: false,
        end: "#[cfg(CONFIG_KUNIT",
        tail: "",
        changes: &[
            // Loom reports by panicking.
            (
                "unsafe extern \"C\" fn free",
                "unsafe extern \"C-unwind\" fn free",
            ),
        ],
    },
    File {
        path: "src/allowedips.rs",
        parent: true,
        end: "#[cfg(any(test, CONFIG_KUNIT",
        tail: "",
        changes: &[],
    },
    File {
        path: "src/allowedips/arena.rs",
        parent: false,
        end: "#[cfg(any(test, CONFIG_KUNIT",
        tail: "",
        changes: &[
            // What is written before readers know a node and does not change while they may, or is
            // the writer's only.
            ("HotAtomic<u64>", "crate::atomic::Owned<u64>"),
            ("HotAtomic<i8>", "crate::atomic::Owned<i8>"),
            ("HotAtomic::new(0)", "crate::atomic::Owned::new(0)"),
            (
                "    parent: HotAtomic<u32>,\n    previous: HotAtomic<u32>,\n    next: HotAtomic<u32>,",
                "    parent: crate::atomic::Owned<u32>,\n    previous: crate::atomic::Owned<u32>,\n    \
                 next: crate::atomic::Owned<u32>,",
            ),
            (
                "parent: HotAtomic::new(NIL),",
                "parent: crate::atomic::Owned::new(NIL),",
            ),
            (
                "previous: HotAtomic::new(NIL),",
                "previous: crate::atomic::Owned::new(NIL),",
            ),
            (
                "next: HotAtomic::new(NIL),",
                "next: crate::atomic::Owned::new(NIL),",
            ),
            // Small, so that chunks come and go.
            ("OFFSET_BITS: u32 = 26;", "OFFSET_BITS: u32 = 30;"),
            ("MIN_CHUNK: usize = 16;", "MIN_CHUNK: usize = 2;"),
            (
                "[const { RcuCell::empty() }; CHUNKS]",
                "::core::array::from_fn(|_| RcuCell::empty())",
            ),
        ],
    },
    File {
        path: "src/allowedips/prefix.rs",
        parent: false,
        end: "",
        tail: "",
        changes: &[],
    },
    File {
        path: "src/allowedips/trie.rs",
        parent: false,
        end: "",
        tail: "",
        changes: &[],
    },
    File {
        path: "src/rx_schedule.rs",
        parent: false,
        end: "",
        tail: "",
        changes: &[
            // Small, so that shares end.
            ("FAIR_SHARE: usize = 16;", "FAIR_SHARE: usize = 1;"),
        ],
    },
    File {
        path: "src/finished.rs",
        parent: false,
        end: "#[cfg(test)]",
        tail: "",
        // Small, so that bursts end.
        changes: &[("BURST: usize = 16;", "BURST: usize = 2;")],
    },
    File {
        path: "src/workers.rs",
        parent: false,
        end: "#[cfg(test)]",
        tail: "",
        changes: &[],
    },
];

/// For all files; need not occur.
const CHANGES: &[(&str, &str)] = &[
    ("use core::", "use crate::core::"),
    ("use kernel::", "use crate::kernel::"),
    ("use wgk::", "use crate::"),
    (" kernel::bindings::", " crate::kernel::bindings::"),
    ("<kernel::bindings::", "<crate::kernel::bindings::"),
    ("(kernel::bindings::", "(crate::kernel::bindings::"),
    (" kernel::pr_warn!", " crate::kernel::pr_warn!"),
    ("const fn ", "fn "),
    ("#[pin_data]\n", "\n"),
    ("#[pin_data(PinnedDrop)]\n", "\n"),
    ("#[pin]\n", "\n"),
    ("#[pinned_drop]\n", "\n"),
    ("PinnedDrop for", "Drop for"),
    ("fn drop(self: Pin<&mut Self>)", "fn drop(&mut self)"),
];

fn under_test(file: &File, text: &str) -> String {
    let mut text = text.to_owned();
    if !file.end.is_empty() {
        let (kept, _) = text
            .split_once(file.end)
            .unwrap_or_else(|| panic!("{} has no {:?}", file.path, file.end));
        text = format!("{kept}{}", file.tail);
    }
    for (from, to) in file.changes {
        assert!(
            text.contains(from),
            "tests/loom/build.rs no longer fits {}, which has no: {from}",
            file.path
        );
        assert_eq!(
            from.matches('\n').count(),
            to.matches('\n').count(),
            "lines of {from}"
        );
        text = text.replace(from, to);
    }
    for (from, to) in CHANGES {
        text = text.replace(from, to);
    }
    text
}

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    let mut modules = String::new();
    for file in FILES {
        let from = Path::new("../..").join(file.path);
        println!("cargo:rerun-if-changed={}", from.display());
        let text = fs::read_to_string(&from).expect(file.path);
        let mut to = out.join("under-test").join(file.path);
        if file.parent {
            // Where rustc looks for modules of a file that is named by `path`.
            to = to.with_extension("").join("mod.rs");
        }
        fs::create_dir_all(to.parent().expect("not the root")).expect("OUT_DIR is for that");
        fs::write(&to, under_test(file, &text)).expect("OUT_DIR is for that");
        let parents = |p: &&File| Path::new(file.path).starts_with(p.path.trim_end_matches(".rs"));
        if !FILES
            .iter()
            .any(|p| p.parent && parents(&p) && p.path != file.path)
        {
            let name = from.file_stem().and_then(|n| n.to_str()).expect("a name");
            modules += &format!(
                "/// `{}`.\n#[allow(warnings, clippy::all, reason = \"linted elsewhere\")]\n\
                 #[path = {to:?}]\npub mod {name};\n",
                file.path
            );
        }
    }
    fs::write(out.join("modules.rs"), modules).expect("OUT_DIR is for that");
}
