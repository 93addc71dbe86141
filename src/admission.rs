// SPDX-License-Identifier: GPL-2.0
//! Which handshake messages are worked on: those with the right MACs, and under load only those
//! whose source has proved itself and does not ask too often.
//!
//! The rules are in `cookie.rs`, `load.rs` and `ratelimiter.rs`; here they get locks, a clock's
//! reading and the kernel's randomness.

use core::net::Ipv4Addr;

use kernel::prelude::*;

use wgk::{
    crypto::without_traces,
    lock::{
        new_rwsem,
        new_spinlock_bh,
        RwSemaphore,
        SpinLockBh, //
    },
    memory,
    random,
    rcu::{
        read_lock,
        RcuArc,
        RcuCell,
        RcuObject, //
    },
    siphash::SipKey,
    udp_tunnel::Endpoint, //
};

use crate::{
    cookie::{
        Checker,
        CookieSecret,
        MacState, //
    },
    drops::Reason,
    load::{
        Load,
        State, //
    },
    messages::{
        CookieReply,
        COOKIE_LEN,
        COOKIE_NONCE_LEN, //
    },
    queueing::Proof,
    ratelimiter::{
        capacity_for,
        RateLimiter, //
    }, //
};

impl RcuObject for CookieSecret {}

/// What is to become of a handshake message that may be answered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// It is worked on.
    Work,
    /// Its source is sent a cookie instead, with which it may come again.
    Cookie,
}

/// Who has proved where he is.
enum Asker<'a> {
    /// An address, by a MAC2.
    Source(&'a Endpoint),
    /// Whoever knows this index of ours.
    Index(u32),
}

/// Who gets in, for one device.
#[pin_data]
pub(crate) struct Admission {
    #[pin]
    cookies: RwSemaphore<Checker>,
    /// The secret of `cookies`, for who can't sleep. Only there under load: made by the first that is
    /// judged then, after a change as well; taken back before one, under that lock.
    proofs: RcuCell<CookieSecret>,
    /// Only there under load, as `proofs` is.
    #[pin]
    rate_limiter: SpinLockBh<Option<RateLimiter>>,
    /// Whether handshake messages need a cookie.
    pub(crate) load: Load,
}

impl Admission {
    /// Of a device without identity, which nobody is admitted to.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            cookies <- new_rwsem!(Checker::new(), "Admission::cookies"),
            proofs: RcuCell::empty(),
            rate_limiter <- new_spinlock_bh!(None, "Admission::rate_limiter"),
            load: Load::new(),
        })
    }

    /// Takes the device's public key, or `None` if it has none now. May sleep.
    pub(crate) fn set_identity(&self, public: Option<&[u8; 32]>) {
        let mut cookies = self.cookies.write();
        drop(self.proofs.swap(None));
        cookies.set_identity(public);
    }

    /// Takes a new cookie secret if it is time, and publishes what messages are judged with before they
    /// are queued. Without memory for that nobody can be, and the next one tries again. May sleep.
    fn renew(&self, now_ns: u64) {
        if self.rate_limiter.lock().is_none() {
            let capacity = capacity_for(memory::total_bytes());
            let made = RateLimiter::new(SipKey::random(), capacity).ok();
            // Of two that are made at once, one is dropped: without the lock.
            let _other = core::mem::replace(&mut *self.rate_limiter.lock(), made);
        }
        let mut cookies = self.cookies.write();
        cookies.renew_secret(now_ns, random_bytes);
        let copy = || RcuArc::new(cookies.secret()?, GFP_KERNEL).ok();
        drop(self.proofs.swap(without_traces(copy)));
    }

    /// Judges a handshake message by its MAC2 before it is queued, under load: whether that was made with
    /// a cookie that its source was sent, and how many such came from there; an error if it is to be
    /// dropped. Where this can't be said it is left to the worker. Any context.
    ///
    /// Costs a keyed BLAKE2s of the source, and one of up to 132 bytes. MAC1 is left to the worker: who
    /// was sent a cookie can make that, too, so it tells nothing more, and costs half as much again.
    pub(crate) fn prove(
        &self,
        message: &[u8],
        source: &Endpoint,
        now_ns: u64,
    ) -> Result<Proof, Reason> {
        let mut bytes = [0; SOURCE_LEN];
        let len = source_bytes(source, &mut bytes);
        {
            let guard = read_lock();
            match self.proofs.load(&guard) {
                Some(secret) if secret.is_fresh(now_ns) => {
                    if !secret.proves(message, &bytes[..len], now_ns) {
                        return Ok(Proof::Missing);
                    }
                }
                _ => return Ok(Proof::NotAsked),
            }
        }
        match self.within_rate(Asker::Source(source), now_ns) {
            Some(true) => Ok(Proof::Given),
            Some(false) => Err(self.refuse()),
            None => Ok(Proof::NotAsked),
        }
    }

    /// Judges a cookie reply for an index of ours before it is queued, under load: whoever has seen a
    /// message of ours knows the index, and may send many. Those that are too many wait among others', as
    /// the one that is not junk may be of them. Any context.
    pub(crate) fn prove_reply(&self, index: u32, now_ns: u64) -> Proof {
        match self.within_rate(Asker::Index(index), now_ns) {
            Some(true) => Proof::Given,
            Some(false) => Proof::Missing,
            None => Proof::NotAsked,
        }
    }

    /// Whether the device is under load, with `queued` handshake messages waiting. May sleep.
    pub(crate) fn under_load(&self, queued: usize, now_ns: u64) -> State {
        let state = self.load.check(queued, now_ns);
        if state == State::Over {
            // By now every bucket would be full again.
            let over = self.rate_limiter.lock().take();
            drop(over);
        }
        state
    }

    /// Judges a handshake message, of which `proof` was seen when it was queued, by its MACs and by how
    /// many came from its source; an error if it's to be dropped. May sleep.
    pub(crate) fn check(
        &self,
        message: &[u8],
        source: &Endpoint,
        proof: Proof,
        under_load: bool,
        now_ns: u64,
    ) -> Result<Admitted, Reason> {
        let mut bytes = [0; SOURCE_LEN];
        let len = source_bytes(source, &mut bytes);
        if under_load
            && (self.proofs.is_null()
                || self.rate_limiter.lock().is_none()
                || self.cookies.read().secret_due(now_ns))
        {
            self.renew(now_ns);
        }
        let state = self.cookies.read().mac_state(
            message,
            &bytes[..len],
            under_load && proof == Proof::NotAsked,
            now_ns,
        );
        match state {
            MacState::Invalid => Err(Reason::HandshakeMac),
            MacState::ValidNoCookie if under_load && proof != Proof::Given => Ok(Admitted::Cookie),
            MacState::ValidNoCookie => Ok(Admitted::Work),
            // No memory for the limiter: under load, that is a reason to refuse.
            MacState::ValidWithCookie => match self.within_rate(Asker::Source(source), now_ns) {
                Some(true) => Ok(Admitted::Work),
                _ => Err(self.refuse()),
            },
        }
    }

    /// Whether another handshake message of his may be processed now, which is charged for; `None` if
    /// there is no limiter.
    fn within_rate(&self, asker: Asker<'_>, now_ns: u64) -> Option<bool> {
        // All sources are in one namespace here; each index is like a source in one of its own.
        let (net, ip) = match asker {
            Asker::Source(source) => (0, source.ip()?),
            Asker::Index(index) => (1 + u64::from(index), Ipv4Addr::UNSPECIFIED.into()),
        };
        let mut limiter = self.rate_limiter.lock();
        Some((*limiter).as_mut()?.allow(net, ip, now_ns))
    }

    /// Notes a message that comes too soon after others of its source: who floods with one honest cookie
    /// keeps up the load that holds him off.
    fn refuse(&self) -> Reason {
        self.load.refused();
        Reason::HandshakeRate
    }

    /// A cookie reply to the handshake message with this MAC1 from `to`. May sleep.
    pub(crate) fn cookie_reply(
        &self,
        mac1: &[u8; COOKIE_LEN],
        to: &Endpoint,
        sender_index: u32,
        now_ns: u64,
    ) -> Option<CookieReply> {
        let mut bytes = [0; SOURCE_LEN];
        let len = source_bytes(to, &mut bytes);
        let nonce = random_bytes::<COOKIE_NONCE_LEN>();
        self.cookies
            .read()
            .make_reply(mac1, &bytes[..len], sender_index, nonce, now_ns)
    }
}

/// Room for an address and a port.
const SOURCE_LEN: usize = 18;

/// The bytes of an address that a cookie is bound to: address, then port, in network order. Returns
/// how many they are.
fn source_bytes(source: &Endpoint, bytes: &mut [u8; SOURCE_LEN]) -> usize {
    let (addr, port): (&[u8], u16) = match source {
        Endpoint::V4 { addr, port, .. } => (addr, *port),
        Endpoint::V6 { addr, port, .. } => (addr, *port),
        Endpoint::None => (&[], 0),
    };
    let len = addr.len();
    bytes[..len].copy_from_slice(addr);
    bytes[len..len + 2].copy_from_slice(&port.to_be_bytes());
    len + 2
}

/// A fresh secret for cookies, or a fresh nonce for a reply.
fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    random::fill(&mut bytes);
    bytes
}

#[cfg(CONFIG_KUNIT = "y")]
#[kernel::macros::kunit_tests(wg_admission)]
mod tests {
    use super::*;
    use crate::{
        messages::NSEC_PER_SEC,
        ratelimiter::{
            PACKETS_BURSTABLE,
            PACKETS_PER_SECOND, //
        }, //
    };

    /// Under load, of the cookie replies for one index as many are put in front as messages of one source
    /// are, and take nothing from another index, nor from a source. The others may still come in.
    #[test]
    fn replies_for_an_index() -> Result {
        let admission = KBox::pin_init(Admission::new(), GFP_KERNEL)?;
        let mut now = 1000 * NSEC_PER_SEC;
        let reply = |index, now| admission.prove_reply(index, now);
        assert_eq!(reply(7, now), Proof::NotAsked);
        admission.renew(now);

        for index in [7, 8] {
            for _ in 0..PACKETS_BURSTABLE {
                assert_eq!(reply(index, now), Proof::Given);
            }
            assert_eq!(reply(index, now), Proof::Missing);
        }
        let source = Endpoint::V4 {
            addr: [0; 4],
            port: 1,
            pad: [0; 8],
            src: [0; 4],
            src_ifindex: 0,
        };
        assert_eq!(
            admission.within_rate(Asker::Source(&source), now),
            Some(true)
        );
        now += NSEC_PER_SEC / PACKETS_PER_SECOND;
        assert_eq!(reply(7, now), Proof::Given);
        assert_eq!(reply(7, now), Proof::Missing);
        Ok(())
    }
}
