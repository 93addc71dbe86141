// SPDX-License-Identifier: GPL-2.0
//! The family's numbers, made of its specification: nobody can write them down wrong here.

use std::fmt::Write;
use std::{env, fs, path::Path};

use yaml_rust2::{Yaml, YamlLoader};

const SPEC: &str = "../../Documentation/netlink/specs/wireguard_rs.yaml";

fn main() {
    println!("cargo:rerun-if-changed={SPEC}");
    let text = fs::read_to_string(SPEC).unwrap_or_else(|e| panic!("{SPEC}: {e}"));
    let spec = &YamlLoader::load_from_str(&text).unwrap_or_else(|e| panic!("{SPEC}: {e}"))[0];
    let out = Path::new(&env::var("OUT_DIR").unwrap()).join("family.rs");
    fs::write(out, generated(spec)).unwrap();
}

/// The name of a constant.
fn constant(name: &str) -> String {
    name.replace('-', "_").to_uppercase()
}

fn text<'a>(yaml: &'a Yaml, key: &str) -> &'a str {
    yaml[key]
        .as_str()
        .unwrap_or_else(|| panic!("{SPEC}: no {key} in {yaml:?}"))
}

/// Members of a list with their numbers, which go on by one from where one is given.
fn numbered(list: &Yaml, first: i64) -> impl Iterator<Item = (i64, &Yaml)> {
    let mut next = first;
    list.as_vec().into_iter().flatten().map(move |member| {
        let number = member["value"].as_i64().unwrap_or(next);
        next = number + 1;
        (number, member)
    })
}

/// A paragraph as one line.
fn doc(yaml: &Yaml) -> String {
    yaml["doc"]
        .as_str()
        .unwrap_or("")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace("``", "")
}

/// How an attribute is written down.
fn kind(attribute: &Yaml) -> String {
    let name = text(attribute, "name");
    match text(attribute, "type") {
        "u8" | "u16" | "u32" | "u64" | "uint" => "Kind::Number".into(),
        "string" => "Kind::Text".into(),
        "flag" => "Kind::Flag".into(),
        "nest" => format!(
            "Kind::Nest(&SET_{})",
            constant(text(attribute, "nested-attributes"))
        ),
        "binary" if name == "public-key" => "Kind::Key".into(),
        "binary" if name == "endpoint" => "Kind::Address".into(),
        "binary"
            if attribute["display-hint"]
                .as_str()
                .is_some_and(|h| h.starts_with("ipv")) =>
        {
            "Kind::Host".into()
        }
        // What this does not know is shown as it is.
        _ => "Kind::Bytes".into(),
    }
}

fn generated(spec: &Yaml) -> String {
    let mut out = String::new();
    let name = text(spec, "name");
    writeln!(out, "/// The family.\npub const FAMILY: &str = {name:?};").unwrap();
    writeln!(
        out,
        "/// Its version.\npub const VERSION: u8 = {};",
        spec["version"].as_i64().unwrap_or(1)
    )
    .unwrap();
    for definition in spec["definitions"].as_vec().into_iter().flatten() {
        if definition["type"].as_str() != Some("enum") {
            continue;
        }
        let name = text(definition, "name");
        writeln!(
            out,
            "/// Values of `{name}`.\npub static ENUM_{}: &[Named] = &[",
            constant(name)
        )
        .unwrap();
        for (number, entry) in numbered(&definition["entries"], 0) {
            writeln!(
                out,
                "Named {{ number: {number}, name: {:?}, doc: {:?} }},",
                text(entry, "name"),
                doc(entry)
            )
            .unwrap();
        }
        writeln!(out, "];").unwrap();
    }
    for set in spec["attribute-sets"].as_vec().into_iter().flatten() {
        let name = text(set, "name");
        writeln!(
            out,
            "/// Attributes of `{name}`.\npub static SET_{}: Set = Set(&[",
            constant(name)
        )
        .unwrap();
        for (number, attribute) in numbered(&set["attributes"], 1) {
            let values = attribute["enum"]
                .as_str()
                .map_or("&[]".into(), |name| format!("ENUM_{}", constant(name)));
            writeln!(
                out,
                "Attribute {{ number: {number}, name: {:?}, kind: {}, values: {values}, doc: {:?} }},",
                text(attribute, "name"),
                kind(attribute),
                doc(attribute)
            )
            .unwrap();
        }
        writeln!(out, "]);").unwrap();
    }
    writeln!(
        out,
        "/// Requests and events.\npub static OPERATIONS: &[Operation] = &["
    )
    .unwrap();
    for (number, operation) in numbered(&spec["operations"]["list"], 1) {
        writeln!(
            out,
            "Operation {{ number: {number}, name: {:?}, set: &SET_{}, event: {} }},",
            text(operation, "name"),
            constant(text(operation, "attribute-set")),
            !operation["event"].is_badvalue()
        )
        .unwrap();
    }
    writeln!(out, "];").unwrap();
    let group = text(&spec["mcast-groups"]["list"][0], "name");
    writeln!(
        out,
        "/// The group of the events.\npub const GROUP: &str = {group:?};"
    )
    .unwrap();
    out
}
