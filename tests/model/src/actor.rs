// SPDX-License-Identifier: GPL-2.0
//! A side at work. [`Party`] is carried out as the driver does it, but at once: what the driver's
//! queues, workers and rings do to the order of packets is shown by other models (`tests/loom`).
//! Steps that wait for a worker in the driver do so here ([`World`](crate::world::World)).

use std::{
    cell::RefCell,
    sync::Arc, //
};

use zerocopy::{
    FromBytes,
    IntoBytes, //
};

use crate::{
    conduct::{
        self,
        Failed,
        Pace,
        Party, //
    },
    cookie::MacState,
    crypto::{
        aead_open,
        aead_seal, //
    },
    keypairs::{
        Confirmed,
        Rotation, //
    },
    life::Origin,
    messages::{
        classify,
        tai64n,
        CookieReply,
        DataHeader,
        Initiation,
        Kind,
        Macs,
        Response,
        KEEPALIVE_TIMEOUT_NS,
        NSEC_PER_SEC,
        REJECT_AFTER_TIME_NS,
        REKEY_TIMEOUT_NS, //
    },
    noise,
    rcu::{
        read_lock,
        RcuArc, //
    },
    side::{
        identity,
        Config,
        Datagram,
        Key,
        Packet,
        Side, //
    },
    timers::Timers, //
};

/// A side at work: its peer's [`Party`].
pub(crate) struct Actor<'a> {
    pub(crate) me: usize,
    pub(crate) now: u64,
    pub(crate) config: &'a Config,
    pub(crate) pace: &'a Pace,
    pub(crate) side: RefCell<&'a mut Side>,
    /// What it sends.
    pub(crate) out: RefCell<&'a mut Vec<Datagram>>,
    pub(crate) broken: RefCell<&'a mut Option<&'static str>>,
}

impl Actor<'_> {
    fn boot(&self) -> u64 {
        self.now + self.side.borrow().slept_ns
    }

    fn transmit(&self, bytes: &[u8]) {
        let mut side = self.side.borrow_mut();
        // A socket, and memory for the packet.
        if side.up && side.allocate() {
            self.out.borrow_mut().push(Datagram {
                from: side.address,
                to: side.endpoint,
                bytes: bytes.to_owned(),
            });
        }
    }

    fn complain(&self, what: &'static str) {
        self.broken.borrow_mut().get_or_insert(what);
    }

    /// An initiation is sent.
    fn check_distance(&self) {
        let (now, side) = (self.boot(), &mut **self.side.borrow_mut());
        side.initiated.retain(|(_, at)| now - at < REKEY_TIMEOUT_NS);
        for (to, at) in &side.initiated {
            if *to == side.endpoint {
                self.complain("two initiations to one place in five seconds");
            }
            if now - at < NSEC_PER_SEC {
                self.complain("two initiations in one second");
            }
        }
        side.initiated.push((side.endpoint, now));
    }

    /// The keys of `origin` are used.
    fn check_age(&self, origin: Origin) {
        if self.boot() >= origin.birthdate_ns + REJECT_AFTER_TIME_NS {
            self.complain("keys are used past their life");
        }
    }
}

impl Party for Actor<'_> {
    type Packets = Vec<Packet>;

    fn timers(&self, event: impl FnOnce(&mut Timers, u64)) {
        let mut side = self.side.borrow_mut();
        event(&mut side.timers, self.now);
        if let Some(at) = side.timers.rearm() {
            side.armed = Some(at);
        }
    }

    fn jitter(&self) -> u64 {
        self.config.jitter_ns[self.me]
    }

    fn boottime(&self) -> u64 {
        self.boot()
    }

    fn pace(&self) -> &Pace {
        self.pace
    }

    fn keepalive_ns(&self) -> u64 {
        self.config.keepalive_ns[self.me]
    }

    fn place(&self) -> u64 {
        u64::from(self.side.borrow().endpoint)
    }

    fn packets_wait(&self) -> bool {
        !self.side.borrow().staged.is_empty()
    }

    fn take_staged(&self) -> Option<Vec<Packet>> {
        let mut side = self.side.borrow_mut();
        Some(std::mem::take(&mut side.staged)).filter(|list| !list.is_empty())
    }

    fn submit(&self, packets: Vec<Packet>) -> Result<(), Vec<Packet>> {
        let now = self.boot();
        let mut messages = vec![];
        {
            let side = self.side.borrow();
            let Some((session, keys, origin)) = side.current().and_then(|n| side.established(n))
            else {
                return Err(packets);
            };
            let Some(first) = session.life.take_nonces(origin, packets.len() as u64, now) else {
                return Err(packets);
            };
            self.check_age(origin);
            if !side.told {
                self.complain("a session is used whose end was told");
            }
            for (counter, packet) in (first..).zip(&packets) {
                let header = DataHeader {
                    kind: Kind::Data.word(),
                    receiver_index: keys.remote_index.into(),
                    counter: counter.into(),
                };
                let plain: Vec<u8> = packet.iter().copied().collect();
                let mut sealed = vec![0; plain.len() + 16];
                let ok = aead_seal(&mut sealed, &plain, &[], counter, &keys.sending);
                assert!(ok, "of that length");
                messages.push([header.as_bytes(), &sealed].concat());
            }
        }
        conduct::transport_leaves(self, || {
            messages.iter().for_each(|m| self.transmit(m));
            packets.iter().any(|p| p.is_some())
        });
        Ok(())
    }

    fn restage(&self, packets: Vec<Packet>) {
        self.side.borrow_mut().staged.splice(0..0, packets);
    }

    fn has_session(&self) -> bool {
        let side = self.side.borrow();
        let current = side.current().and_then(|n| side.established(n));
        current.is_some_and(|(session, _, origin)| {
            session.life.may_send(origin, self.now + side.slept_ns)
        })
    }

    fn worn_by_sending(&self) -> bool {
        let side = self.side.borrow();
        let current = side.current().and_then(|n| side.established(n));
        current.is_some_and(|(session, _, origin)| {
            let now = self.now + side.slept_ns;
            session.life.wants_rekey_on_send(origin, now)
        })
    }

    fn expires_soon(&self) -> bool {
        let side = self.side.borrow();
        let current = side.current().and_then(|n| side.established(n));
        current.is_some_and(|(session, _, origin)| {
            let now = self.now + side.slept_ns;
            let age = REJECT_AFTER_TIME_NS - KEEPALIVE_TIMEOUT_NS - REKEY_TIMEOUT_NS;
            session.life.initiator_older_than(origin, age, now)
        })
    }

    fn stage_keepalive(&self) -> bool {
        let mut side = self.side.borrow_mut();
        if side.staged.is_empty() {
            if !side.allocate() {
                return false;
            }
            side.staged.push(None);
        }
        true
    }

    fn purge_staged(&self) {
        self.side.borrow_mut().staged.clear();
    }

    fn call_initiator(&self) {
        self.side.borrow_mut().initiator_called = true;
    }

    fn call_clearer(&self) {
        self.side.borrow_mut().clearer_called = true;
    }

    fn announce(&self, _response: bool) {}

    fn create_initiation(&self) -> Result<Initiation, Failed> {
        let mut side = self.side.borrow_mut();
        if !side.ready {
            return Err(Failed::ForNow);
        }
        let index = side.new_pending(self.me)?;
        let ephemeral = side.ephemeral(self.me);
        let stamp = tai64n(
            (self.now / NSEC_PER_SEC) as i64,
            (self.now % NSEC_PER_SEC) as i32,
        );
        side.handshake
            .create_initiation(&identity(self.me), index, ephemeral, stamp)
            .ok_or(Failed::ForGood)
    }

    fn create_response(&self) -> Result<Response, Failed> {
        let mut side = self.side.borrow_mut();
        if !side.ready {
            return Err(Failed::ForNow);
        }
        if !side.handshake.owes_response() {
            return Err(Failed::ForGood);
        }
        let index = side.new_pending(self.me)?;
        let ephemeral = side.ephemeral(self.me);
        side.handshake
            .create_response(index, ephemeral)
            .ok_or(Failed::ForGood)
    }

    fn add_macs(&self, message: &mut [u8]) {
        let now = self.boot();
        let mut side = self.side.borrow_mut();
        side.cookie
            .add_macs(identity(1 - self.me).public(), message, now);
    }

    fn begin_session(&self) -> bool {
        let now = self.boot();
        let mut side = self.side.borrow_mut();
        let Some(keys) = side.handshake.begin_session() else {
            return false;
        };
        let Some(number) = side.pending.take() else {
            return false;
        };
        let initiator = keys.initiator;
        let origin = Origin {
            birthdate_ns: now,
            initiator,
        };
        let Some(session) = side.sessions.get_mut(&number) else {
            self.complain("the pending session is in no table");
            return false;
        };
        session.established = Some((keys, origin));
        let dropped = side.keypairs.add(
            &mut Rotation::default(),
            RcuArc::new(Key(number)),
            initiator,
        );
        side.forget(&dropped);
        true
    }

    fn note_completed(&self, _: conduct::Side) {
        self.side.borrow_mut().told = true;
    }

    fn session_left(&self) -> u64 {
        self.side.borrow().session_left(self.now)
    }

    fn tell_unless_session(&self) -> u64 {
        let left = self.session_left();
        if left == 0 {
            if !self.side.borrow().told {
                self.complain("the end of a session is told twice");
            }
            self.side.borrow_mut().told = false;
        }
        left
    }

    fn send(&self, message: &[u8]) {
        if matches!(classify(message, message.len()), Some(Kind::Initiation)) {
            self.check_distance();
        }
        self.transmit(message);
    }

    fn send_to(&self, place: u64, message: &[u8]) -> bool {
        // Nobody comes between.
        assert_eq!(place, self.place());
        self.send(message);
        true
    }

    fn forget_source(&self) {}
}

/// Receiving.
impl Actor<'_> {
    /// A datagram came from `from`; `queued` handshake messages wait.
    pub(crate) fn receive(&self, from: u8, bytes: &[u8], queued: usize) {
        match classify(bytes, bytes.len()) {
            Some(Kind::Data) => self.receive_data(from, bytes),
            Some(Kind::CookieReply) => self.receive_cookie(bytes),
            // Without randomness they are not even queued.
            Some(kind) if self.side.borrow().ready => {
                self.receive_handshake(kind, from, bytes, queued);
            }
            _ => {}
        }
    }

    fn receive_cookie(&self, bytes: &[u8]) {
        let now = self.boot();
        let mut side = self.side.borrow_mut();
        let (reply, _) = CookieReply::ref_from_prefix(bytes).expect("classified");
        if side.sessions.contains_key(&reply.receiver_index.get()) {
            side.cookie
                .consume_reply(identity(1 - self.me).public(), reply, now);
        }
    }

    fn receive_handshake(&self, kind: Kind, from: u8, bytes: &[u8], queued: usize) {
        let now = self.boot();
        {
            let mut side = self.side.borrow_mut();
            let loaded = side.load.check(queued, now).is_loaded();
            if loaded {
                side.checker.renew_secret(now, || [0x55; 32]);
            }
            match side.checker.mac_state(bytes, &[from], loaded, now) {
                MacState::Invalid => return self.complain("a MAC is wrong"),
                MacState::ValidNoCookie if loaded => {
                    side.load.refused();
                    let (macs, sender): (&Macs, u32) = match kind {
                        Kind::Initiation => {
                            let (m, _) = Initiation::ref_from_prefix(bytes).expect("classified");
                            (&m.macs, m.sender_index.get())
                        }
                        _ => {
                            let (m, _) = Response::ref_from_prefix(bytes).expect("classified");
                            (&m.macs, m.sender_index.get())
                        }
                    };
                    let reply = side
                        .checker
                        .make_reply(&macs.mac1, &[from], sender, [0x66; 24], now)
                        .expect("the secret is fresh");
                    self.out.borrow_mut().push(Datagram {
                        from: side.address,
                        to: from,
                        bytes: reply.as_bytes().to_owned(),
                    });
                    return;
                }
                _ => {}
            }
        }
        let accepted = match kind {
            Kind::Initiation => self.consume_initiation(bytes),
            _ => self.consume_response(bytes),
        };
        if accepted.is_none() {
            return;
        }
        self.side.borrow_mut().endpoint = from;
        match kind {
            Kind::Initiation => conduct::initiation_accepted(self),
            _ => conduct::response_accepted(self),
        }
    }

    fn consume_initiation(&self, bytes: &[u8]) -> Option<()> {
        let now = self.boot();
        let id = identity(self.me);
        let (message, _) = Initiation::ref_from_prefix(bytes).ok()?;
        let opened = noise::open_initiation(message, &id)?;
        assert!(opened.remote_static() == identity(1 - self.me).public());
        let mut side = self.side.borrow_mut();
        let shared = side.handshake.static_static(&id)?;
        let authenticated = opened.authenticate(&shared)?;
        side.handshake.commit_initiation(authenticated, now).ok()
    }

    fn consume_response(&self, bytes: &[u8]) -> Option<()> {
        let (message, _) = Response::ref_from_prefix(bytes).ok()?;
        let mut side = self.side.borrow_mut();
        let session = side.sessions.get(&message.receiver_index.get())?;
        if session.established.is_some() {
            return None;
        }
        let context = side.handshake.response_context()?;
        let authenticated = context.open(message, &identity(self.me))?;
        side.handshake.commit_response(authenticated).then_some(())
    }

    fn receive_data(&self, from: u8, bytes: &[u8]) {
        let now = self.boot();
        let (header, sealed) = DataHeader::ref_from_prefix(bytes).expect("classified");
        let (number, counter) = (header.receiver_index.get(), header.counter.get());
        let mut plain = vec![0; sealed.len() - 16];
        let confirms;
        {
            let mut side = self.side.borrow_mut();
            let Some((session, keys, origin)) = side.established(number) else {
                return;
            };
            if !session.life.may_receive(origin, now)
                || !aead_open(&mut plain, sealed, &[], counter, &keys.receiving)
            {
                return;
            }
            if now >= origin.birthdate_ns + REJECT_AFTER_TIME_NS {
                self.complain("keys are used past their life");
            }
            let session = side.sessions.get_mut(&number).expect("just seen");
            let window = Arc::make_mut(&mut session.replay);
            let fresh = window.accept(counter);
            if window.exhausted() {
                session.life.expire_receiving();
            }
            if !fresh {
                return;
            }
            side.endpoint = from;
            let key = side
                .keypairs
                .next(&read_lock())
                .and_then(|k| k.try_get())
                .filter(|k| k.0 == number);
            confirms = key.is_some_and(|key| {
                match side.keypairs.confirm(&mut Rotation::default(), &key) {
                    Confirmed::Nothing => false,
                    Confirmed::Promoted(old) => {
                        side.forget(&[old]);
                        true
                    }
                }
            });
            if !side.told && !confirms {
                self.complain("a session is used whose end was told");
            }
            side.heard = true;
            if let Some(packet) = plain.first() {
                if side.delivered.contains(packet) {
                    self.complain("a packet is delivered twice");
                }
                side.delivered.push(*packet);
            }
        }
        if confirms {
            conduct::session_confirmed(self);
        }
        conduct::transport_received(self, usize::from(!plain.is_empty()));
    }
}
