// SPDX-License-Identifier: GPL-2.0
//! Looks for keys in a guest's memory.
//!
//! A secret is found by either half of it, at any address. A private key of which only the public
//! half is known is found by trying: whatever could be one (clamped, random enough) is multiplied.
//! That takes time, so pages are passed over that another guest has as well, which ran apart from
//! this one: such pages come from the kernel's image and from files, not from a handshake.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::File,
    hash::{DefaultHasher, Hasher},
    io::{BufRead, BufReader, Read},
};

use x25519_dalek::{PublicKey, StaticSecret};

use crate::{args::Args, wire};

const CHUNK: usize = 1 << 20;
const LAP: usize = 64;

const PAGE: usize = 4096;

/// As in 32 bytes of chance: fewer different ones are very rare.
const DIFFERENT: usize = 24;
/// And so are more of these, which code and pointers are full of.
const ZEROS: usize = 3;

fn random_enough(bytes: &[u8]) -> bool {
    let zeros = bytes.iter().filter(|b| **b == 0).count();
    let ones = bytes.iter().filter(|b| **b == 0xff).count();
    if zeros > ZEROS || ones > ZEROS {
        return false;
    }
    let mut seen = [0u64; 4];
    for b in bytes {
        seen[usize::from(b >> 6)] |= 1 << (b & 63);
    }
    seen.iter().map(|w| w.count_ones() as usize).sum::<usize>() >= DIFFERENT
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, b| text + &format!("{b:02x}"))
}

fn digest(page: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(page);
    hasher.finish()
}

/// What the pages of a guest's memory hold.
fn pages(path: &str) -> HashSet<u64> {
    let mut file = File::open(path).expect("the other memory can be read");
    let mut pages = HashSet::new();
    let mut page = [0; PAGE];
    while file.read_exact(&mut page).is_ok() {
        pages.insert(digest(&page));
    }
    pages
}

/// hostile scan --memory FILE --other FILE --needles FILE: lines "secret NAME HEX" and
/// "public NAME HEX"; the other file is the memory of another guest
pub fn main(args: &Args) {
    let mut halves: HashMap<[u8; 16], (String, char)> = HashMap::new();
    let mut publics: HashMap<[u8; 32], String> = HashMap::new();
    let mut starts = vec![false; 1 << 16];
    let needles = File::open(args.text("--needles")).expect("the needles can be read");
    for line in BufReader::new(needles).lines() {
        let line = line.expect("text");
        let words: Vec<_> = line.split(' ').collect();
        let &[kind, name, text] = &words[..] else {
            panic!("a line of three words, not: {line}");
        };
        let key = wire::key(text).expect("64 hex digits");
        if kind == "public" {
            publics.insert(key, name.to_owned());
            continue;
        }
        for (half, which) in [(&key[..16], 'a'), (&key[16..], 'b')] {
            let half: [u8; 16] = half.try_into().expect("16 bytes");
            starts[usize::from(u16::from_le_bytes([half[0], half[1]]))] = true;
            halves.insert(half, (name.to_owned(), which));
        }
    }
    let common = pages(&args.text("--other"));
    let mut memory = File::open(args.text("--memory")).expect("the memory can be read");
    let mut buffer = vec![0; CHUNK + LAP];
    let (mut base, mut kept) = (0usize, 0);
    let mut found: BTreeMap<String, Vec<(usize, String)>> = BTreeMap::new();
    let (mut tried, mut used) = (0u64, 0u64);
    loop {
        let mut n = 0;
        while kept + n < buffer.len() {
            match memory
                .read(&mut buffer[kept + n..])
                .expect("the memory can be read")
            {
                0 => break,
                more => n += more,
            }
        }
        let end = kept + n;
        let data = &buffer[..end];
        if data.iter().any(|b| *b != 0) {
            used += n as u64;
            // Of each page that lies in here, or a part of it, whether it may hold a new key.
            let first = base / PAGE;
            let own: Vec<bool> = (first..(base + end).div_ceil(PAGE))
                .map(|page| {
                    let from = (page * PAGE).checked_sub(base);
                    let page = from.and_then(|from| data.get(from..from + PAGE));
                    page.is_none_or(|page| !common.contains(&digest(page)))
                })
                .collect();
            // What begins in the last bytes is looked at with the next chunk.
            for at in 0..end.saturating_sub(if n == 0 { 15 } else { LAP - 4 }) {
                let word = u16::from_le_bytes([data[at], data[at + 1]]);
                if starts[usize::from(word)] {
                    if let Some((name, which)) = data.get(at..at + 16).and_then(|w| halves.get(w)) {
                        let around = hex(&data[at.saturating_sub(32)..(at + 48).min(end)]);
                        found
                            .entry(format!("{name}.{which}"))
                            .or_default()
                            .push((base + at, around));
                    }
                }
                let Some(window) = data.get(at..at + 32) else {
                    continue;
                };
                if window[0] & 7 == 0
                    && window[31] & 0xc0 == 0x40
                    && !publics.is_empty()
                    && (own[(base + at) / PAGE - first] || own[(base + at + 31) / PAGE - first])
                    && random_enough(window)
                {
                    tried += 1;
                    let secret: [u8; 32] = window.try_into().expect("32 bytes");
                    if let Some(name) =
                        publics.get(PublicKey::from(&StaticSecret::from(secret)).as_bytes())
                    {
                        let around = hex(&data[at.saturating_sub(32)..(at + 64).min(end)]);
                        found
                            .entry(name.clone())
                            .or_default()
                            .push((base + at, around));
                    }
                }
            }
        }
        if n == 0 {
            break;
        }
        // The last bytes once more, with what follows them.
        kept = end.min(LAP - 4);
        base += end - kept;
        buffer.copy_within(end - kept..end, 0);
    }
    let list: Vec<_> = found
        .iter()
        .map(|(name, places)| {
            let places: Vec<_> = places
                .iter()
                .map(|(at, around)| format!("[{at}, \"{around}\"]"))
                .collect();
            format!("\"{name}\": [{}]", places.join(", "))
        })
        .collect();
    println!(
        "{{\"bytes\": {}, \"used\": {used}, \"tried\": {tried}, \"found\": {{{}}}}}",
        base + kept,
        list.join(", ")
    );
}
