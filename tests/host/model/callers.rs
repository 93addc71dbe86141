// SPDX-License-Identifier: GPL-2.0
//! A model of the calls that are kept which is too simple to be wrong: a list, looked through each time, and a
//! number of tokens.

use std::net::IpAddr;

use wireguard_rs_core::{
    callers::{
        Callers,
        KEPT_NS,
        MAX_KEPT,
        MAX_OF_SOURCE,
        TOLD_AT_ONCE,
        TOLD_PER_SECOND, //
    },
    messages::Initiation, //
};
use zerocopy::FromZeros;

const SECOND: u64 = 1_000_000_000;
const COST: u64 = SECOND / TOLD_PER_SECOND;

/// Who shares what one source may have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum User {
    V4([u8; 4]),
    V6([u8; 8]),
}

fn user(ip: IpAddr) -> User {
    match ip {
        IpAddr::V4(ip) => User::V4(ip.octets()),
        IpAddr::V6(ip) => User::V6(ip.octets()[..8].try_into().unwrap()),
    }
}

struct Kept {
    key: u8,
    message: u16,
    user: User,
    since: u64,
    wanted: bool,
    /// How many calls there were before it, noted or not.
    number: usize,
}

struct Model {
    kept: Vec<Kept>,
    tokens: u64,
    counted: u64,
}

impl Model {
    fn wait(&mut self, now: u64) {
        self.tokens = (TOLD_AT_ONCE * COST).min(self.tokens + (now - self.counted));
        self.counted = now;
        self.kept.retain(|k| now - k.since < KEPT_NS);
    }

    fn note(&mut self, key: u8, message: u16, source: IpAddr, number: usize) -> bool {
        let user = user(source);
        let of_source = self.kept.iter().filter(|k| k.user == user).count();
        let known = self.kept.iter().any(|k| k.message == message);
        if known || of_source >= MAX_OF_SOURCE || self.tokens < COST {
            return false;
        }
        self.tokens -= COST;
        if self.kept.len() == MAX_KEPT {
            self.kept.remove(0);
        }
        self.kept.push(Kept {
            key,
            message,
            user,
            since: self.counted,
            wanted: false,
            number,
        });
        true
    }

    fn want(&mut self, key: u8) -> bool {
        let mut any = false;
        for k in &mut self.kept {
            k.wanted |= k.key == key;
            any |= k.key == key;
        }
        any
    }

    fn take(&mut self) -> Option<Kept> {
        let at = self.kept.iter().rposition(|k| k.wanted)?;
        Some(self.kept.remove(at))
    }
}

/// What may happen.
#[derive(Clone, Debug)]
pub enum Step {
    /// So many nanoseconds pass.
    Wait(u64),
    /// Somebody calls with this key, with this message, from there; index and MACs are what the last number says.
    Call(u8, u16, IpAddr, u8),
    /// The peer with this key was made: was it somebody who called?
    Has(u8),
    /// It is configured: its calls are to be answered.
    Want(u8),
    /// One is.
    Take,
    /// The device goes down.
    Clear,
}

fn message(number: u16, varied: u8) -> Initiation {
    let mut message = Initiation::new_zeroed();
    message.ephemeral[..2].copy_from_slice(&number.to_le_bytes());
    message.sender_index = u32::from(varied).into();
    message.macs.mac1[0] = varied;
    message
}

/// Takes the steps with both.
pub fn run(steps: &[Step]) {
    let mut now = 1000 * SECOND;
    let mut callers = Callers::new();
    let mut model = Model {
        kept: vec![],
        tokens: TOLD_AT_ONCE * COST,
        counted: now,
    };
    for (number, step) in steps.iter().enumerate() {
        model.wait(now);
        match *step {
            Step::Wait(ns) => {
                now += ns;
                model.wait(now);
                assert_eq!(callers.expire(now), !model.kept.is_empty(), "{number}");
            }
            Step::Call(key, n, source, varied) => assert_eq!(
                callers.note(&[key; 32], &message(n, varied), source, number, now),
                model.note(key, n, source, number),
                "{number}: {step:?}"
            ),
            Step::Has(key) => assert_eq!(
                callers.has(&[key; 32], now),
                model.kept.iter().any(|k| k.key == key),
                "{number}"
            ),
            Step::Want(key) => {
                assert_eq!(callers.want(&[key; 32], now), model.want(key), "{number}");
            }
            Step::Take => {
                let found = callers.take(now);
                let found = found.map(|call| (call.key, call.place));
                let should = model.take().map(|k| ([k.key; 32], k.number));
                assert_eq!(found, should, "{number}");
            }
            Step::Clear => {
                callers.clear();
                model.kept.clear();
            }
        }
    }
}
