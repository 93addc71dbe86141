// SPDX-License-Identifier: GPL-2.0
//! Faults that `build.rs` puts into the files under test, to be asked for by tests: a checker that
//! does not find them finds nothing.

use std::cell::Cell;

/// A fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seed {
    /// None.
    None,
    /// A worker that has no memory or randomness for an initiation leaves it at that.
    FailureForgotten,
    /// Who wants an initiation too soon after a handshake message leaves it at that.
    TooSoonForgotten,
    /// The same for the worker.
    TooSoonForgottenByWorker,
    /// Where initiations went to is not remembered.
    PlacesForgotten,
    /// Initiations are not repeated.
    NoRetransmission,
    /// A keepalive for which there is no memory is not tried again, and a persistent one is followed
    /// by another only if it was sent.
    KeepaliveForgotten,
    /// The timers believe that the kernel's timer is still armed after it fired.
    StaleArming,
    /// The initiator does not keep its session.
    SessionLost,
    /// Keys of any age are sent with.
    KeysLiveForEver,
    /// The session that has followed another is not looked at.
    SuccessorUnwatched,
    /// Nobody looks at sessions after a sleep.
    SleepUnnoticed,
    /// Every counter is new.
    ReplaysAccepted,
}

thread_local! {
    static SEEDED: Cell<Seed> = const { Cell::new(Seed::None) };
}

/// Has this thread's code under test show `seed` from now on.
pub fn sow(seed: Seed) {
    SEEDED.set(seed);
}

/// Whether `seed` is to be shown.
pub fn seeded(seed: Seed) -> bool {
    SEEDED.get() == seed
}
