// SPDX-License-Identifier: GPL-2.0
//! Why the command ends without having done it: a sentence each, with what to do, and an exit status.

use std::{fmt, io};

/// What went wrong.
#[derive(Debug)]
pub enum Failure {
    /// The arguments are wrong in a way that clap can't tell.
    Usage(String),
    /// The C driver serves WireGuard.
    CDriver,
    /// No driver does.
    NoDriver,
    /// Ours does, and has no such family.
    OldDriver,
    /// `EPERM`.
    Permission,
    /// No interface has that name.
    NoInterface(String),
    /// One has, and it is none of WireGuard's.
    NotWireguard(String),
    /// The kernel said something else: what was asked, errno, its own words.
    Kernel(&'static str, i32, Option<String>),
    /// The machine, or who reads what is printed.
    System(&'static str, io::Error),
}

/// `EPERM`, `ENODEV`, `EOPNOTSUPP`, `ENOENT`, `ENOBUFS`.
pub const EPERM: i32 = 1;
/// No such thing.
pub const ENOENT: i32 = 2;
/// No such device.
pub const ENODEV: i32 = 19;
/// Not for that.
pub const EOPNOTSUPP: i32 = 95;
/// Something was lost.
pub const ENOBUFS: i32 = 105;

impl Failure {
    /// The exit status; wgrs(8) lists them.
    pub fn status(&self) -> u8 {
        match self {
            Self::OldDriver | Self::Kernel(..) | Self::System(..) => 1,
            Self::Usage(_) => 2,
            Self::CDriver => 3,
            Self::NoDriver => 4,
            Self::Permission => 5,
            Self::NoInterface(_) | Self::NotWireguard(_) => 6,
        }
    }

    /// What an errno means to a request about that interface, if it was about one.
    pub fn of(
        doing: &'static str,
        interface: Option<&str>,
        errno: i32,
        said: Option<String>,
    ) -> Self {
        match (errno, interface) {
            (EPERM, _) => Self::Permission,
            (ENODEV, Some(name)) => Self::NoInterface(name.into()),
            (EOPNOTSUPP, Some(name)) if doing != SETTING => Self::NotWireguard(name.into()),
            _ => Self::Kernel(doing, errno, said),
        }
    }

    /// Whether it is only that nobody reads on (`wgrs show | head`).
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::System(_, e) if e.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// `EOPNOTSUPP` of it is about what is set.
pub const SETTING: &str = "changing the interface";
/// What is done for `peer-set`.
pub const SETTING_PEER: &str = "changing the peer";

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what) => f.write_str(what),
            Self::CDriver => f.write_str(
                "the C driver is loaded, which does not tell what this command shows: change to wireguard_rs with 'wireguard-rs-select rust'",
            ),
            Self::NoDriver => f.write_str("no WireGuard driver is loaded: load ours with 'modprobe wireguard_rs'"),
            Self::OldDriver => f.write_str(
                "the module wireguard_rs that is loaded has not got what this command asks: load the one of the same version, and see 'modinfo wireguard_rs'",
            ),
            Self::Permission => {
                f.write_str("this takes CAP_NET_ADMIN in the network namespace (and for 'set' and 'bind' also where the interface was created): run it as root")
            }
            Self::NoInterface(name) => {
                write!(f, "there is no interface {name} in this network namespace: 'wgrs show' lists those of WireGuard")
            }
            Self::NotWireguard(name) => write!(f, "{name} is no WireGuard interface: 'wgrs show' lists those that are"),
            Self::Kernel(doing, errno, said) => {
                write!(f, "{doing}: {}", io::Error::from_raw_os_error(*errno))?;
                said.as_ref().map_or(Ok(()), |said| write!(f, ": {said}"))
            }
            Self::System(doing, error) => write!(f, "{doing}: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_sentence_and_status() {
        let name = || Some("wg7");
        let of = |errno| Failure::of("asking", name(), errno, Some("why".into()));
        assert_eq!(
            [EPERM, ENODEV, EOPNOTSUPP, 12].map(|e| of(e).status()),
            [5, 6, 6, 1]
        );
        // What is set is not to be had: that is not about the interface.
        assert_eq!(Failure::of(SETTING, name(), EOPNOTSUPP, None).status(), 1);
        assert_eq!(Failure::of("asking", None, ENODEV, None).status(), 1);
        assert_eq!(
            of(12).to_string(),
            "asking: Cannot allocate memory (os error 12): why"
        );
        assert!(of(ENODEV).to_string().contains("wg7"));
        for one in [
            Failure::CDriver,
            Failure::NoDriver,
            Failure::OldDriver,
            of(EPERM),
            of(ENODEV),
            of(EOPNOTSUPP),
        ] {
            let said = one.to_string();
            // One sentence, which ends with something to do.
            assert!(
                !said.contains('\n') && !said.ends_with('.') && said.contains(": "),
                "{said}"
            );
        }
        assert!(Failure::System("printing", io::ErrorKind::BrokenPipe.into()).is_closed_pipe());
    }
}
