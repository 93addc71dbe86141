// SPDX-License-Identifier: GPL-2.0
//! Arguments.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::failure::Failure;
use crate::netlink::attribute;
use crate::schema::SET_DEVICE;

/// What WireGuard does, and why not, with the module wireguard_rs
#[derive(Parser)]
#[command(
    name = "wgrs",
    version,
    after_help = "Interfaces are those of the network namespace it runs in. See wgrs(8) for exit statuses."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What it can do.
#[derive(Subcommand)]
pub enum Command {
    /// A line for each peer: up since when, or why not
    Show {
        /// Only this interface
        interface: Option<String>,
        /// One array of interfaces with all that is known
        #[arg(long)]
        json: bool,
    },
    /// A line for each event as it comes, until it is stopped
    Monitor {
        /// Only events of the interface that is called so
        interface: Option<String>,
        /// One object a line
        #[arg(long)]
        json: bool,
        /// Begin with what is there, as if it had just been added
        #[arg(long)]
        initial: bool,
        /// Room for events that are not read yet
        #[arg(long, value_name = "KIB", default_value_t = 16384, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
        room: u32,
    },
    /// Everything that can be counted, in OpenMetrics
    Metrics,
    /// Change settings of an interface that 'wg set' has not got
    Set {
        /// Which one
        interface: String,
        /// Names and values: local-gso on|off, copy-dscp on|off
        #[arg(required = true, num_args = 2.., value_names = ["SETTING", "VALUE"])]
        settings: Vec<String>,
    },
    /// Bind the sockets of an interface to a network device, to addresses, or to nothing
    Bind {
        /// Which one
        interface: String,
        /// What to: dev DEVICE, addr ADDRESS (one of IPv4, one of IPv6), or none
        #[arg(required = true, num_args = 1.., value_names = ["WHAT"])]
        to: Vec<String>,
    },
    /// Whether packets too long for the path to a peer are refused
    Mtu {
        /// Which one
        interface: String,
        /// What comes next
        #[arg(value_enum)]
        word: Word,
        /// The peer's public key, as 'wg show' has it
        key: String,
        /// auto: their senders are told what fits; off: they leave in fragments
        #[arg(value_enum)]
        how: Mtu,
    },
    /// Add peers of an interface when they call, until it is stopped
    OnDemand {
        /// Which one
        interface: String,
        /// Peers that may call, as for 'wg setconf'; read anew when it has changed
        #[arg(
            long,
            value_name = "FILE",
            required_unless_present = "exec",
            conflicts_with = "exec"
        )]
        config: Option<PathBuf>,
        /// Run with key and endpoint behind its words, it prints the [Peer] section, or nothing; comes last
        #[arg(long, value_names = ["CMD", "WORD"], num_args = 1.., allow_hyphen_values = true)]
        exec: Vec<OsString>,
        /// One object a line
        #[arg(long)]
        json: bool,
        /// Room for events that are not read yet
        #[arg(long, value_name = "KIB", default_value_t = 16384, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
        room: u32,
    },
    /// Completion for a shell, to be sourced by it
    Completion {
        /// For which
        shell: Shell,
    },
}

/// What stands before a peer's key, as with wg.
#[derive(Clone, Copy, ValueEnum)]
pub enum Word {
    /// A public key
    Peer,
}

/// What becomes of packets that are too long.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mtu {
    /// Refused
    Auto,
    /// Fragmented
    Off,
}

/// Shells that there is completion for.
#[derive(Clone, Copy, ValueEnum)]
pub enum Shell {
    /// bash
    Bash,
}

/// What is on or off.
pub const SWITCHES: [&str; 2] = ["local-gso", "copy-dscp"];

/// Attributes of `device-set` for names and values.
pub fn settings(words: &[String]) -> Result<Vec<(u16, Vec<u8>)>, Failure> {
    let mut found: Vec<(u16, Vec<u8>)> = Vec::new();
    for pair in words.chunks(2) {
        let [name, value] = pair else {
            return Err(Failure::Usage(format!(
                "'{}' has no value; see 'wgrs set --help'",
                pair[0]
            )));
        };
        if !SWITCHES.contains(&name.as_str()) {
            return Err(Failure::Usage(format!(
                "there is no setting '{name}'; there are {}",
                SWITCHES.join(" and ")
            )));
        }
        let on = match value.as_str() {
            "on" => 1,
            "off" => 0,
            _ => {
                return Err(Failure::Usage(format!(
                    "{name} is on or off, not '{value}'"
                )))
            }
        };
        let setting = (attribute(&SET_DEVICE, name), vec![on]);
        if found.iter().any(|(kind, _)| *kind == setting.0) {
            return Err(Failure::Usage(format!("'{name}' is there twice")));
        }
        found.push(setting);
    }
    Ok(found)
}

/// Attributes of `device-set` that bind the sockets so, and to nothing else.
pub fn binding(words: &[String]) -> Result<Vec<(u16, Vec<u8>)>, Failure> {
    let wrong = |what: String| Err(Failure::Usage(format!("{what}; see 'wgrs bind --help'")));
    let (mut device, mut v4, mut v6) = (None, None, None);
    let pairs = if words == ["none"] { &[] } else { words };
    for pair in pairs.chunks(2) {
        let twice = match pair {
            [word, name] if word == "dev" => device.replace(name).is_some(),
            [word, address] if word == "addr" => match address.parse() {
                Ok(IpAddr::V4(address)) => v4.replace(address).is_some(),
                Ok(IpAddr::V6(address)) => v6.replace(address).is_some(),
                Err(_) => return wrong(format!("'{address}' is no address")),
            },
            [word, _] => return wrong(format!("'{word}' is neither dev nor addr")),
            _ => return wrong(format!("'{}' has nothing behind it", pair[0])),
        };
        if twice {
            return wrong(format!("'{}' is one too many", pair[1]));
        }
    }
    let attribute = |name| attribute(&SET_DEVICE, name);
    Ok(vec![
        match device {
            Some(name) => (attribute("bind-ifname"), [name.as_bytes(), b"\0"].concat()),
            None => (attribute("bind-ifindex"), vec![0; 4]),
        },
        (
            attribute("bind-ipv4"),
            v4.unwrap_or(Ipv4Addr::UNSPECIFIED).octets().to_vec(),
        ),
        (
            attribute("bind-ipv6"),
            v6.unwrap_or(Ipv6Addr::UNSPECIFIED).octets().to_vec(),
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn arguments() {
        Cli::command().debug_assert();
        let ok = |args: &str| Cli::try_parse_from(args.split(' ')).is_ok();
        assert!(
            ok("wgrs show")
                && ok("wgrs show wg0 --json")
                && ok("wgrs monitor --json --initial")
                && ok("wgrs set wg0 local-gso on")
                && ok("wgrs bind wg0 dev eth1 addr 10.0.0.1")
                && ok("wgrs mtu wg0 peer KEY auto")
                && ok("wgrs mtu wg0 peer KEY off")
                && ok("wgrs on-demand wg0 --config FILE")
                && ok("wgrs on-demand wg0 --json --room 64 --exec CMD -x --json")
        );
        assert!(
            !ok("wgrs")
                && !ok("wgrs show wg0 wg1")
                && !ok("wgrs set wg0 local-gso")
                && !ok("wgrs bind wg0")
                && !ok("wgrs mtu wg0 KEY auto")
                && !ok("wgrs mtu wg0 peer KEY 1280")
                && !ok("wgrs on-demand --config FILE")
                && !ok("wgrs on-demand wg0")
                && !ok("wgrs on-demand wg0 --exec")
                && !ok("wgrs on-demand wg0 --config FILE --exec CMD")
                && !ok("wgrs completion sh")
        );
    }

    #[test]
    fn what_is_set() {
        let of = |words: &str| settings(&words.split(' ').map(String::from).collect::<Vec<_>>());
        assert_eq!(of("local-gso on").unwrap(), [(6, vec![1])]);
        assert_eq!(of("local-gso off").unwrap(), [(6, vec![0])]);
        assert_eq!(
            of("copy-dscp on local-gso off").unwrap(),
            [(14, vec![1]), (6, vec![0])]
        );
        for wrong in [
            "local-gso 1",
            "copy-dscp 46",
            "mtu 7",
            "local-gso on local-gso off",
            "local-gso on local-gso",
        ] {
            assert_eq!(of(wrong).unwrap_err().status(), 2, "{wrong}");
        }
    }

    #[test]
    fn what_is_bound_to() {
        let of = |words: &str| binding(&words.split(' ').map(String::from).collect::<Vec<_>>());
        let any4 = (17, vec![0; 4]);
        let any6 = (18, vec![0; 16]);
        assert_eq!(
            of("none").unwrap(),
            [(15, vec![0; 4]), any4.clone(), any6.clone()]
        );
        assert_eq!(
            of("dev eth1").unwrap(),
            [(16, b"eth1\0".to_vec()), any4, any6.clone()]
        );
        assert_eq!(
            of("addr 10.0.0.1 dev none").unwrap(),
            [(16, b"none\0".to_vec()), (17, vec![10, 0, 0, 1]), any6]
        );
        let both = of("addr fd00::1 addr 10.0.0.1").unwrap();
        assert_eq!((both[0].0, both[1].1[0], both[2].1[0]), (15, 10, 0xfd));
        for wrong in [
            "dev",
            "eth1",
            "none none",
            "dev eth1 none",
            "dev eth1 dev eth2",
            "addr eth1",
            "addr 10.0.0.1 addr 10.0.0.2",
            "addr 10.0.0.1/24",
            "via 10.0.0.1",
        ] {
            assert_eq!(of(wrong).unwrap_err().status(), 2, "{wrong}");
        }
    }

    /// Nothing that can be asked for lacks a word in the manual, and no exit status.
    #[test]
    fn manual() {
        let manual = include_str!("../../../debian/wgrs.8").replace("\\-", "-");
        for command in Cli::command().get_subcommands() {
            assert!(
                manual.contains(&format!("\n.B {}", command.get_name())),
                "wgrs.8 has no {}",
                command.get_name()
            );
            for option in command.get_arguments().filter_map(|a| a.get_long()) {
                assert!(
                    manual.contains(&format!("--{option}")),
                    "wgrs.8 has no --{option}"
                );
            }
        }
        for status in 0..=6 {
            assert!(
                manual.contains(&format!(".B {status}\n")),
                "wgrs.8 has no status {status}"
            );
        }
    }
}
