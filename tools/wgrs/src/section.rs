// SPDX-License-Identifier: GPL-2.0
//! Peers as `wg setconf` takes them: `[Peer]` sections of a text, and a file of them that may change.
//!
//! A text is taken whole or not at all. What would depend on who calls first, a key or a network that
//! is there twice, is refused.

use std::collections::HashMap;
use std::fmt;
use std::fs::{File, Metadata};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::wire;

/// Longer files are refused: they are held in memory.
const LONGEST: u64 = 256 << 20;
/// So long after a change a file may change again without its times telling; or is being written.
const GRAIN: Duration = Duration::from_secs(2);

/// A public key.
pub type Key = [u8; 32];
/// An address, and how many of its bits count.
pub type Network = (IpAddr, u8);

/// A peer. Where it is to be sent to is not in it: it is answered where it calls from.
#[derive(Clone, PartialEq)]
pub struct Peer {
    /// Who it is.
    pub key: Key,
    /// With which key besides, if with one.
    pub preshared: Option<[u8; 32]>,
    /// Seconds; 0: off.
    pub keepalive: Option<u16>,
    /// Which addresses it has.
    pub allowed: Box<[Network]>,
}

/// Without secrets.
impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.keepalive, self.allowed)
    }
}

/// A section that is being read.
#[derive(Default)]
struct Draft {
    line: usize,
    key: Option<Key>,
    preshared: Option<[u8; 32]>,
    keepalive: Option<u16>,
    allowed: Vec<Network>,
}

impl Draft {
    /// Takes a line of it.
    fn take(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        if name.eq_ignore_ascii_case("PublicKey") {
            let key = wire::key(value).ok_or("is no key: 44 characters of base64")?;
            if self.key.replace(key).is_some() {
                return Err("is a second PublicKey");
            }
        } else if name.eq_ignore_ascii_case("PresharedKey") {
            self.preshared = Some(wire::key(value).ok_or("is no key: 44 characters of base64")?);
        } else if name.eq_ignore_ascii_case("PersistentKeepalive") {
            self.keepalive = Some(match value {
                "off" => 0,
                seconds => seconds
                    .parse()
                    .map_err(|_| "is neither off nor a number of seconds up to 65535")?,
            });
        } else if name.eq_ignore_ascii_case("AllowedIPs") {
            for one in value.split(',').filter(|one| !one.is_empty()) {
                self.allowed
                    .push(network(one).ok_or("has what is no ADDRESS/BITS")?);
            }
        } else if !name.eq_ignore_ascii_case("Endpoint") {
            return Err("is no setting of a peer");
        }
        Ok(())
    }
}

/// `ADDRESS/BITS`, or an address by itself; bits that do not count are 0 in what is given back.
fn network(text: &str) -> Option<Network> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
        None => (text, None),
    };
    Some(match address.parse().ok()? {
        IpAddr::V4(ip) => {
            let bits = bits.unwrap_or(32);
            let mask = u32::MAX.checked_shl(32u32.checked_sub(bits.into())?);
            let ip = Ipv4Addr::from_bits(ip.to_bits() & mask.unwrap_or(0));
            (ip.into(), bits)
        }
        IpAddr::V6(ip) => {
            let bits = bits.unwrap_or(128);
            let mask = u128::MAX.checked_shl(128u32.checked_sub(bits.into())?);
            let ip = Ipv6Addr::from_bits(ip.to_bits() & mask.unwrap_or(0));
            (ip.into(), bits)
        }
    })
}

/// What has been read of a text.
#[derive(Default)]
struct Reader {
    peers: HashMap<Key, Peer>,
    networks: HashMap<Network, Key>,
}

impl Reader {
    fn finish(&mut self, draft: Draft) -> Result<(), String> {
        let line = draft.line;
        let key = draft
            .key
            .ok_or_else(|| format!("the [Peer] of line {line} has no PublicKey"))?;
        for network in &draft.allowed {
            if self
                .networks
                .insert(*network, key)
                .is_some_and(|k| k != key)
            {
                let (address, bits) = network;
                return Err(format!(
                    "{address}/{bits} of the [Peer] of line {line} is also another's"
                ));
            }
        }
        let peer = Peer {
            key,
            preshared: draft.preshared,
            keepalive: draft.keepalive,
            allowed: draft.allowed.into(),
        };
        match self.peers.insert(key, peer) {
            Some(_) => Err(format!("the [Peer] of line {line} was there before")),
            None => Ok(()),
        }
    }
}

/// The peers of a text. `[Interface]` is passed over, with all that is in it.
pub fn peers(text: &str) -> Result<HashMap<Key, Peer>, String> {
    let mut reader = Reader::default();
    let mut draft: Option<Draft> = None;
    let mut outside = true;
    for (line, text) in (1..).zip(text.lines()) {
        // As `wg` reads it: no blank counts, wherever it is.
        let text = text.split('#').next().unwrap_or_default();
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        if text.is_empty() {
            continue;
        }
        if text.starts_with('[') {
            draft.take().map_or(Ok(()), |d| reader.finish(d))?;
            outside = false;
            if text.eq_ignore_ascii_case("[Peer]") {
                draft = Some(Draft {
                    line,
                    ..Draft::default()
                });
            } else if !text.eq_ignore_ascii_case("[Interface]") {
                return Err(format!("line {line} is neither [Peer] nor [Interface]"));
            }
        } else if let Some(draft) = &mut draft {
            let (name, value) = text
                .split_once('=')
                .ok_or_else(|| format!("line {line} is no NAME = VALUE"))?;
            draft
                .take(name, value)
                .map_err(|why| format!("line {line} {why}"))?;
        } else if outside {
            return Err(format!("line {line} is in no section"));
        }
    }
    draft.map_or(Ok(()), |d| reader.finish(d))?;
    Ok(reader.peers)
}

/// What tells that a file is another, or has changed.
#[derive(PartialEq)]
struct Stamp {
    file: (u64, u64),
    length: u64,
    changed: (i64, i64),
    written: (i64, i64),
}

impl Stamp {
    fn of(data: &Metadata) -> Self {
        Self {
            file: (data.dev(), data.ino()),
            length: data.size(),
            changed: (data.ctime(), data.ctime_nsec()),
            written: (data.mtime(), data.mtime_nsec()),
        }
    }
}

/// A file of peers, read anew when it has changed: at once if another has its name, as by rename(2); if it was
/// written to, when nobody has for [`GRAIN`], for until then it may be half of one.
pub struct Config {
    path: PathBuf,
    stamp: Option<Stamp>,
    /// It had just changed when it was read: it is read once more when that is over.
    young: bool,
    wrong: Option<String>,
    peers: HashMap<Key, Peer>,
}

impl Config {
    /// Reads it.
    pub fn open(path: PathBuf) -> Result<Self, String> {
        let mut config = Self {
            path,
            stamp: None,
            young: false,
            wrong: None,
            peers: HashMap::new(),
        };
        config.refresh()?;
        Ok(config)
    }

    /// Reads it anew if it has changed; how many peers it has then. If it can't be read, or not be
    /// understood, the peers are those from before, and why is said once.
    pub fn refresh(&mut self) -> Result<Option<usize>, String> {
        match self.look() {
            Ok(None) => Ok(None),
            Ok(Some(peers)) => {
                let same = self.wrong.is_none() && self.peers == peers;
                self.wrong = None;
                self.peers = peers;
                Ok((!same).then_some(self.peers.len()))
            }
            Err(why) if self.wrong.as_ref() == Some(&why) => Ok(None),
            Err(why) => {
                self.wrong = Some(why.clone());
                Err(why)
            }
        }
    }

    fn look(&mut self) -> Result<Option<HashMap<Key, Peer>>, String> {
        let name = self.path.display();
        let failed = |e| format!("{name}: {e}");
        let data = std::fs::metadata(&self.path).map_err(failed)?;
        // A pipe that is opened would be waited for.
        if !data.is_file() {
            return Err(format!("{name} is no file that can be read anew"));
        }
        let stamp = Stamp::of(&data);
        let age = data
            .modified()
            .ok()
            .and_then(|at| SystemTime::now().duration_since(at).ok());
        let young = age.is_some_and(|age| age < GRAIN);
        if self.stamp.as_ref() == Some(&stamp) && (young || !self.young) {
            return Ok(None);
        }
        let known = self.stamp.as_ref();
        if young && known.is_some_and(|known| stamp.file == known.file) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        File::open(&self.path)
            .and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes))
            .map_err(failed)?;
        // One that could not be read may be readable the next time, just as it is.
        (self.stamp, self.young) = (Some(stamp), young);
        if bytes.len() as u64 > LONGEST {
            return Err(format!("{name} is longer than {} MiB", LONGEST >> 20));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| format!("{name} is no text"))?;
        peers(text).map(Some).map_err(|e| format!("{name}: {e}"))
    }

    /// The peer with that key.
    pub fn find(&self, key: &Key) -> Option<Peer> {
        self.peers.get(key).cloned()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.peers.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::prelude::{Engine, BASE64_STANDARD};
    use proptest::prelude::*;
    use std::fs;

    fn key(n: u8) -> String {
        BASE64_STANDARD.encode([n; 32])
    }

    #[test]
    fn a_text() {
        let text = format!(
            "# head\n[Interface]\nPrivateKey = x\nAddress = 10.0.0.1/24\n\n[Peer] # a\nPublicKey = {}\nAllowedIPs = 10.0.0.1/24, fd00::1 # b\n \
             Endpoint = name:7\n\n[ peer ]\npresharedkey={}\npublickey={}\nPersistentKeepalive = 25\nAllowedIPs =\nallowedips=0.0.0.0/0,10.0.0.0/25\n[Interface]\nMTU = 7\n",
            key(1), key(9), key(2)
        );
        let found = peers(&text).unwrap();
        assert_eq!(found.len(), 2);
        let network = |text: &str, bits| (text.parse::<IpAddr>().unwrap(), bits);
        let first = &found[&[1; 32]];
        assert_eq!((first.preshared, first.keepalive), (None, None));
        assert_eq!(
            *first.allowed,
            [network("10.0.0.0", 24), network("fd00::1", 128)]
        );
        let second = &found[&[2; 32]];
        assert_eq!(
            (second.preshared, second.keepalive),
            (Some([9; 32]), Some(25))
        );
        assert_eq!(
            *second.allowed,
            [network("0.0.0.0", 0), network("10.0.0.0", 25)]
        );
        // No secret by way of a message.
        assert!(!format!("{second:?}").contains("9, 9"));
        assert!(peers("").unwrap().is_empty() && peers("[Interface]\nx\n").unwrap().is_empty());
    }

    #[test]
    fn what_is_none() {
        let (one, two) = (key(1), key(2));
        for (text, why) in [
            ("[Peer]\nAllowedIPs = 1.2.3.4/32\n".into(), "the [Peer] of line 1 has no PublicKey"),
            (format!("\n[Peer]\nPublicKey={one}\n[Peer]\nPublicKey={one}\n"), "the [Peer] of line 4 was there before"),
            (format!("[Peer]\nPublicKey={one}\nPublicKey={two}\n"), "line 3 is a second PublicKey"),
            (format!("[Peer]\nPublicKey={one}\njunk\n"), "line 3 is no NAME = VALUE"),
            ("[Peer]\nPublicKey = AAAA\n".into(), "line 2 is no key: 44 characters of base64"),
            ("[Peer]\nPresharedKey = AAAA\n".into(), "line 2 is no key: 44 characters of base64"),
            ("[Peer]\nAddress = 10.0.0.1\n".into(), "line 2 is no setting of a peer"),
            ("[Peer]\nAllowedIPs = 10.0.0.0/33\n".into(), "line 2 has what is no ADDRESS/BITS"),
            ("[Peer]\nAllowedIPs = fd00::/129\n".into(), "line 2 has what is no ADDRESS/BITS"),
            ("[Peer]\nAllowedIPs = -10.0.0.0/8\n".into(), "line 2 has what is no ADDRESS/BITS"),
            (
                "[Peer]\nPersistentKeepalive = 65536\n".into(),
                "line 2 is neither off nor a number of seconds up to 65535",
            ),
            ("PublicKey = x\n".into(), "line 1 is in no section"),
            ("[Peers]\n".into(), "line 1 is neither [Peer] nor [Interface]"),
            (
                format!("[Peer]\nPublicKey={one}\nAllowedIPs=10.0.0.1/8\n[Peer]\nPublicKey={two}\nAllowedIPs=10.9.9.9/8"),
                "10.0.0.0/8 of the [Peer] of line 4 is also another's",
            ),
        ] {
            assert_eq!(peers(&text).unwrap_err(), why);
        }
    }

    /// Of a file that becomes wrong it is said once, and what was right before stays.
    #[test]
    fn a_file() {
        let path = std::env::temp_dir().join(format!("wgrs-section-{}", std::process::id()));
        let replace = |bytes: &[u8]| {
            let new = path.with_extension("new");
            fs::write(&new, bytes).unwrap();
            fs::rename(new, &path).unwrap();
        };
        let write = |text: &str| replace(text.as_bytes());
        let section = |n| format!("[Peer]\nPublicKey = {}\n", key(n));
        assert!(Config::open(path.clone())
            .err()
            .unwrap()
            .contains("No such file"));
        write("junk\n");
        let why = Config::open(path.clone()).err().unwrap();
        assert!(why.ends_with(": line 1 is in no section"), "{why}");
        write(&section(1));
        let mut config = Config::open(path.clone()).unwrap();
        assert!(
            config.len() == 1 && config.find(&[1; 32]).is_some() && config.find(&[2; 32]).is_none()
        );
        assert_eq!(config.refresh(), Ok(None));
        write(&(section(1) + "junk\n"));
        assert!(config
            .refresh()
            .unwrap_err()
            .ends_with("line 3 is no NAME = VALUE"));
        assert_eq!(config.refresh(), Ok(None));
        assert!(config.find(&[1; 32]).is_some());
        fs::remove_file(&path).unwrap();
        assert!(config.refresh().unwrap_err().contains("No such file"));
        assert_eq!(config.refresh(), Ok(None));
        assert!(config.find(&[1; 32]).is_some());
        replace(b"\xff");
        assert!(config.refresh().unwrap_err().ends_with(" is no text"));
        write(&(section(3) + &section(2)));
        assert_eq!(config.refresh(), Ok(Some(2)));
        assert!(config.find(&[1; 32]).is_none() && config.find(&[2; 32]).is_some());
        // As if it had been written again at the moment it was read.
        config.peers.clear();
        assert_eq!(config.refresh(), Ok(None));
        let old = SystemTime::now() - 2 * GRAIN;
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(old).unwrap();
        config.stamp = Some(Stamp::of(&file.metadata().unwrap()));
        assert_eq!(config.refresh(), Ok(Some(2)));
        assert_eq!(config.refresh(), Ok(None));
        fs::remove_file(&path).unwrap();
        let why = Config::open("/dev/null".into()).err().unwrap();
        assert!(why.contains("is no file"), "{why}");
    }

    /// What somebody is writing is not taken for the whole, but what he has left there is.
    #[test]
    fn being_written() {
        use std::io::Write;
        let path = std::env::temp_dir().join(format!("wgrs-written-{}", std::process::id()));
        fs::write(&path, "").unwrap();
        let mut config = Config::open(path.clone()).unwrap();
        let text = format!(
            "[Peer]\nPublicKey = {}\nAllowedIPs = 192.168.9.1/32\n",
            key(1)
        );
        let whole = format!("{text}PresharedKey = {}\n", key(9));
        for cut in [text.len() - 2, text.len(), whole.len()] {
            let mut writer = File::create(&path).unwrap();
            writer.write_all(&whole.as_bytes()[..cut]).unwrap();
            assert_eq!(config.refresh(), Ok(None));
            assert_eq!(config.len(), 0);
        }
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() - 2 * GRAIN).unwrap();
        assert_eq!(config.refresh(), Ok(Some(1)));
        assert!(config.find(&[1; 32]).unwrap().preshared.is_some());
        fs::remove_file(&path).unwrap();
    }

    proptest! {
        #[test]
        fn any_text(text in "(\\[Peer\\]|\\[|\\]|#|=|PublicKey|AllowedIPs|1\\.2\\.3\\.4|::|/|,|[0-9]{1,4}|A|\n| ){0,60}") {
            let _ = peers(&text);
        }

        /// No bit that does not count is in a network, and each that does is.
        #[test]
        fn networks(ip in any::<[u8; 16]>(), bits in 0u8..=128) {
            let ip = IpAddr::from(ip);
            let (got, length) = network(&format!("{ip}/{bits}")).unwrap();
            let (IpAddr::V6(got), IpAddr::V6(ip)) = (got, ip) else { panic!() };
            prop_assert_eq!(length, bits);
            let differs = got.to_bits() ^ ip.to_bits();
            prop_assert!(differs.leading_zeros() >= bits.into());
            prop_assert!(got.to_bits().trailing_zeros() >= 128 - u32::from(bits));
        }
    }
}
