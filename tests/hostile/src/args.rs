// SPDX-License-Identifier: GPL-2.0
//! `--name value` on the command line.

use std::{env, fmt::Debug, str::FromStr};

/// All of them.
pub struct Args(Vec<String>);

impl Args {
    pub fn new() -> Self {
        Self(env::args().skip(1).collect())
    }

    /// The words that are neither names nor values of those.
    pub fn word(&self, n: usize) -> Option<&str> {
        self.0
            .get(n)
            .map(String::as_str)
            .filter(|w| !w.starts_with("--"))
    }

    /// The text behind a name, which must be there.
    pub fn text(&self, name: &str) -> String {
        let at = self
            .0
            .iter()
            .position(|w| w == name)
            .unwrap_or_else(|| panic!("{name} is missing"));
        self.0
            .get(at + 1)
            .unwrap_or_else(|| panic!("{name} wants a value"))
            .clone()
    }

    /// The value behind a name, which must be there.
    pub fn value<T: FromStr<Err: Debug>>(&self, name: &str) -> T {
        let text = self.text(name);
        text.parse()
            .unwrap_or_else(|e| panic!("{name} {text}: {e:?}"))
    }
}
