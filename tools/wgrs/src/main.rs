// SPDX-License-Identifier: GPL-2.0
//! `wgrs`: what WireGuard does, and why not, with the module wireguard_rs. See wgrs(8).

#![forbid(unsafe_code)]

mod cli;
mod clock;
mod command;
mod failure;
mod metrics;
mod mirror;
mod monitor;
mod netlink;
mod on_demand;
mod schema;
mod section;
mod show;
mod wire;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use cli::{Cli, Command, Mtu, Shell, Word};
use clock::Clock;
use failure::{Failure, SETTING, SETTING_PEER};
use netlink::Family;
use on_demand::Source;

/// How often a dump that was changed under is begun anew.
const ATTEMPTS: u32 = 5;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        // Who reads has had enough.
        Err(e) if e.is_closed_pipe() => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("wgrs: {e}");
            e.status().into()
        }
    }
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|e| Failure::System("printing", e))
}

/// Changes an interface.
fn set(interface: &str, settings: &[(u16, Vec<u8>)]) -> Result<(), Failure> {
    let name = [interface.as_bytes(), b"\0"].concat();
    let mut attributes = vec![(
        netlink::attribute(&schema::SET_DEVICE, "ifname"),
        name.as_slice(),
    )];
    attributes.extend(
        settings
            .iter()
            .map(|(kind, value)| (*kind, value.as_slice())),
    );
    Family::open()?
        .ask(
            SETTING,
            "device-set",
            wire::ACK,
            Some(interface),
            &attributes,
        )
        .map(drop)
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Show { interface, json } => {
            let devices = Family::open()?.devices(interface.as_deref(), ATTEMPTS)?;
            let clock = Clock::now();
            print(&if json {
                format!("{}\n", show::json(devices, &clock))
            } else {
                show::text(&devices, &clock)
            })
        }
        Command::Monitor {
            interface,
            json,
            initial,
            room,
        } => {
            let mut monitor = monitor::Monitor {
                out: io::stdout().lock(),
                json,
                interface: interface.as_deref(),
                initial,
                room: room as usize * 1024,
            };
            monitor.run(&mut Family::open()?)
        }
        Command::Metrics => print(&metrics::text(&Family::open()?.devices(None, ATTEMPTS)?)),
        Command::Set {
            interface,
            settings,
        } => set(&interface, &cli::settings(&settings)?),
        Command::Bind { interface, to } => set(&interface, &cli::binding(&to)?),
        Command::Mtu {
            interface,
            word: Word::Peer,
            key,
            how,
        } => {
            let key = wire::key(&key).ok_or_else(|| {
                Failure::Usage(format!("'{key}' is no key: 44 characters of base64"))
            })?;
            let name = [interface.as_bytes(), b"\0"].concat();
            let on = [u8::from(how == Mtu::Auto)];
            let attribute = |name| netlink::attribute(&schema::SET_PEER, name);
            Family::open()?
                .ask(
                    SETTING_PEER,
                    "peer-set",
                    wire::ACK,
                    Some(&interface),
                    &[
                        (attribute("ifname"), &name),
                        (attribute("public-key"), &key),
                        (attribute("auto-mtu"), &on),
                    ],
                )
                .map(drop)
        }
        Command::OnDemand {
            interface,
            config,
            exec,
            json,
            room,
        } => {
            let mut on_demand = on_demand::OnDemand {
                out: io::stdout().lock(),
                json,
                interface: &interface,
                room: room as usize * 1024,
            };
            on_demand.run(config.map_or(Source::Exec(exec), Source::Config))
        }
        Command::Completion { shell: Shell::Bash } => {
            let mut out = Vec::new();
            clap_complete::generate(
                clap_complete::Shell::Bash,
                &mut Cli::command(),
                "wgrs",
                &mut out,
            );
            print(&String::from_utf8_lossy(&out))
        }
    }
}
