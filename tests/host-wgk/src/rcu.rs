// SPDX-License-Identifier: GPL-2.0

//! Host twin of `wgk::rcu`, which checks what the kernel's RCU can only be trusted with.
//!
//! Nothing is unsafe here, so a mistake of the code under test is not undefined behaviour but a
//! panic or a count that does not come out:
//!
//! - an object is destroyed only when every [`Guard`] that was alive when its last reference went
//!   has been dropped; a look at it ([`RcuRef`]) that outlives that panics;
//! - a [`GracePeriod`] elapses only when every [`Guard`] that was alive at its start was dropped;
//! - waiting for readers ([`synchronize_net`], [`barrier`]) while holding a [`Guard`], a deadlock
//!   in the kernel, panics;
//! - [`Domain::alive`] counts objects that were made and not destroyed: leaks.
//!
//! A [`Domain`] is a set of guards and objects of its own, so that tests that run in parallel do
//! not prolong each other's grace periods. A thread is in the process-wide domain until it enters
//! another one.
//!
//! Differences from the kernel's: [`RcuRef`] is `Clone`, not `Copy`; there is no `pin_init`.

use crate::alloc::{
    self,
    AllocError,
    Flags, //
};
use std::{
    cell::RefCell,
    collections::{
        BTreeSet,
        VecDeque, //
    },
    marker::PhantomData,
    ops::Deref,
    ptr,
    sync::{
        atomic::{
            AtomicUsize,
            Ordering::SeqCst, //
        },
        Arc,
        Condvar,
        Mutex,
        MutexGuard,
        PoisonError, //
    },
    thread, //
};

/// Locks `m`; a test that panicked does not take the others with it.
fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An object without references, of any type.
trait Unreferenced: Send + Sync {
    /// How many [`RcuRef`] look at it.
    fn looks(&self) -> usize;
}

/// What a domain's guards and pending destructions are.
struct State {
    /// Advances with each event; orders guards, grace periods and last references.
    now: u64,
    /// Guards alive, by the time they were made.
    guards: BTreeSet<u64>,
    /// Objects without references, in the order in which they lost their last one.
    pending: VecDeque<(u64, Arc<dyn Unreferenced>)>,
    /// Objects that are being destroyed right now, outside the lock.
    running: usize,
}

impl State {
    fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    /// Whether all guards made before `time` are gone.
    fn quiescent(&self, time: u64) -> bool {
        self.guards.first().is_none_or(|oldest| *oldest > time)
    }
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    made: AtomicUsize,
    destroyed: AtomicUsize,
}

impl Shared {
    const fn new() -> Self {
        Self {
            state: Mutex::new(State {
                now: 0,
                guards: BTreeSet::new(),
                pending: VecDeque::new(),
                running: 0,
            }),
            changed: Condvar::new(),
            made: AtomicUsize::new(0),
            destroyed: AtomicUsize::new(0),
        }
    }

    /// Destroys what no reader can see any more.
    fn reclaim(&self) {
        loop {
            let mut state = lock(&self.state);
            let due = match state.pending.front() {
                Some((time, _)) if state.quiescent(*time) => state.pending.pop_front(),
                _ => None,
            };
            let Some((_, object)) = due else {
                break;
            };
            state.running += 1;
            // The destructor may drop references, and so get here again.
            drop(state);
            let late = object.looks() != 0;
            // Another thread may be between giving up its reference and its pointer.
            while !late && Arc::strong_count(&object) != 1 {
                thread::yield_now();
            }
            drop(object);
            lock(&self.state).running -= 1;
            assert!(!late, "a reader looks at an object after its grace period");
        }
        self.changed.notify_all();
    }

    /// Waits until `done`. The caller holds no guard, or it would wait for itself.
    fn wait(&self, what: &str, done: impl Fn(&State) -> bool) {
        let held = HELD.with_borrow(|held| held.iter().any(|d| ptr::eq(*d, self)));
        assert!(!held, "{what} in a read-side critical section");
        let mut state = lock(&self.state);
        while !done(&state) {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

thread_local! {
    /// Domains that this thread has entered.
    static ENTERED: RefCell<Vec<&'static Shared>> = const { RefCell::new(Vec::new()) };
    /// Domain of each guard that this thread holds.
    static HELD: RefCell<Vec<&'static Shared>> = const { RefCell::new(Vec::new()) };
}

/// The domain of threads that entered none.
static GLOBAL: Shared = Shared::new();

/// The domain that the calling thread is in.
fn current() -> &'static Shared {
    ENTERED.with_borrow(|entered| entered.last().copied().unwrap_or(&GLOBAL))
}

/// A set of objects and readers with grace periods and counts of its own.
///
/// Lives as long as the process: objects may outlast whoever made it.
#[derive(Clone, Copy)]
pub struct Domain(&'static Shared);

impl Domain {
    /// An empty domain.
    #[expect(clippy::new_without_default, reason = "each call makes another one")]
    pub fn new() -> Self {
        static ALL: Mutex<Vec<&'static Shared>> = Mutex::new(Vec::new());
        let shared: &'static Shared = Box::leak(Box::new(Shared::new()));
        // Reachable for ever, so not a leak to leak checkers.
        lock(&ALL).push(shared);
        Self(shared)
    }

    /// The domain that the calling thread is in.
    pub fn here() -> Self {
        Self(current())
    }

    /// Puts the calling thread into this domain until the result is dropped.
    #[must_use = "the thread leaves the domain when this value is dropped"]
    pub fn enter(&self) -> Entered {
        ENTERED.with_borrow_mut(|entered| entered.push(self.0));
        Entered(PhantomData)
    }

    /// Objects that were ever made in this domain.
    pub fn made(&self) -> usize {
        self.0.made.load(SeqCst)
    }

    /// Objects that were made in this domain and are not destroyed.
    pub fn alive(&self) -> usize {
        self.made() - self.0.destroyed.load(SeqCst)
    }

    /// Objects without references that wait for readers.
    pub fn pending(&self) -> usize {
        lock(&self.0.state).pending.len()
    }

    /// Guards alive.
    pub fn readers(&self) -> usize {
        lock(&self.0.state).guards.len()
    }
}

/// The calling thread is in a [`Domain`] while this lives.
pub struct Entered(PhantomData<*const ()>);

impl Drop for Entered {
    fn drop(&mut self) {
        ENTERED.with_borrow_mut(|entered| entered.pop());
    }
}

/// Evidence of a read-side critical section (`kernel::sync::rcu::Guard`).
pub struct Guard {
    domain: &'static Shared,
    since: u64,
    /// As in the kernel, neither `Send` nor `Sync`.
    _not_send: PhantomData<*const ()>,
}

impl Guard {
    /// Begins a read-side critical section.
    pub fn new() -> Self {
        let domain = current();
        let since = {
            let mut state = lock(&domain.state);
            let since = state.tick();
            state.guards.insert(since);
            since
        };
        HELD.with_borrow_mut(|held| held.push(domain));
        Self {
            domain,
            since,
            _not_send: PhantomData,
        }
    }

    /// Ends the critical section.
    pub fn unlock(self) {}
}

impl Default for Guard {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        HELD.with_borrow_mut(|held| {
            if let Some(at) = held.iter().rposition(|d| ptr::eq(*d, self.domain)) {
                held.remove(at);
            }
        });
        lock(&self.domain.state).guards.remove(&self.since);
        self.domain.reclaim();
    }
}

/// Begins a read-side critical section.
pub fn read_lock() -> Guard {
    Guard::new()
}

/// Objects that can live in an [`RcuArc`].
pub trait RcuObject: Send + Sync + 'static {
    /// Called once, when the count has dropped to zero and before the grace period.
    fn on_last_ref(&self) {}
}

/// What references point to.
struct Inner<T> {
    refs: AtomicUsize,
    looks: AtomicUsize,
    domain: &'static Shared,
    value: T,
}

impl<T: RcuObject> Unreferenced for Inner<T> {
    fn looks(&self) -> usize {
        self.looks.load(SeqCst)
    }
}

impl<T> Drop for Inner<T> {
    fn drop(&mut self) {
        self.domain.destroyed.fetch_add(1, SeqCst);
    }
}

/// An owned reference to an object that is destroyed a grace period after its last reference.
///
/// # Invariants
///
/// The pointer is there until the reference is dropped.
pub struct RcuArc<T: RcuObject>(Option<Arc<Inner<T>>>);

impl<T: RcuObject> RcuArc<T> {
    /// Puts `value` on the heap.
    pub fn new(value: T, _flags: Flags) -> Result<Self, AllocError> {
        alloc::allocate()?;
        let domain = current();
        domain.made.fetch_add(1, SeqCst);
        Ok(Self(Some(Arc::new(Inner {
            refs: AtomicUsize::new(1),
            looks: AtomicUsize::new(0),
            domain,
            value,
        }))))
    }

    fn inner(&self) -> &Arc<Inner<T>> {
        self.0.as_ref().expect("invariant of RcuArc")
    }

    /// Whether both are references to the same object.
    pub fn ptr_eq(this: &Self, other: &Self) -> bool {
        Arc::ptr_eq(this.inner(), other.inner())
    }

    /// A borrowed look at the object.
    pub fn as_rcu_ref(this: &Self) -> RcuRef<'_, T> {
        RcuRef::new(this.inner().clone())
    }

    /// References to this object; for tests.
    pub fn count(this: &Self) -> usize {
        this.inner().refs.load(SeqCst)
    }
}

impl<T: RcuObject> Clone for RcuArc<T> {
    fn clone(&self) -> Self {
        self.inner().refs.fetch_add(1, SeqCst);
        Self(self.0.clone())
    }
}

impl<T: RcuObject> Deref for RcuArc<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner().value
    }
}

impl<T: RcuObject> Drop for RcuArc<T> {
    fn drop(&mut self) {
        let Some(inner) = self.0.take() else {
            return;
        };
        if inner.refs.fetch_sub(1, SeqCst) != 1 {
            return;
        }
        inner.value.on_last_ref();
        let domain = inner.domain;
        {
            let mut state = lock(&domain.state);
            let time = state.tick();
            state.pending.push_back((time, inner));
        }
        domain.reclaim();
    }
}

/// A borrowed look at an object whose count may be zero already.
pub struct RcuRef<'g, T: RcuObject> {
    inner: Arc<Inner<T>>,
    _bound: PhantomData<(&'g T, *const ())>,
}

impl<T: RcuObject> RcuRef<'_, T> {
    fn new(inner: Arc<Inner<T>>) -> Self {
        inner.looks.fetch_add(1, SeqCst);
        Self {
            inner,
            _bound: PhantomData,
        }
    }

    /// Takes a reference, unless the last one is gone.
    pub fn try_get(self) -> Option<RcuArc<T>> {
        self.inner
            .refs
            .fetch_update(SeqCst, SeqCst, |n| (n > 0).then_some(n + 1))
            .ok()?;
        Some(RcuArc(Some(self.inner.clone())))
    }

    /// Whether both look at the same object.
    #[expect(clippy::needless_pass_by_value, reason = "as in the kernel")]
    pub fn ptr_eq(this: Self, other: Self) -> bool {
        Arc::ptr_eq(&this.inner, &other.inner)
    }
}

impl<T: RcuObject> Clone for RcuRef<'_, T> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone())
    }
}

impl<T: RcuObject> Deref for RcuRef<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner.value
    }
}

impl<T: RcuObject> Drop for RcuRef<'_, T> {
    fn drop(&mut self) {
        self.inner.looks.fetch_sub(1, SeqCst);
    }
}

/// A pointer to an object, read in read-side critical sections and replaced at any time.
pub struct RcuCell<T: RcuObject>(Mutex<Option<RcuArc<T>>>);

impl<T: RcuObject> RcuCell<T> {
    /// Points to nothing.
    pub const fn empty() -> Self {
        Self(Mutex::new(None))
    }

    /// Points to `value`.
    pub fn new(value: Option<RcuArc<T>>) -> Self {
        Self(Mutex::new(value))
    }

    /// Looks at the object.
    pub fn load<'g>(&self, guard: &'g Guard) -> Option<RcuRef<'g, T>> {
        let value = lock(&self.0);
        let inner = value.as_ref()?.inner();
        assert!(
            ptr::eq(inner.domain, guard.domain),
            "the guard is of another domain than the object"
        );
        Some(RcuRef::new(inner.clone()))
    }

    /// Points to `value` from now on, and returns the reference that it held.
    pub fn swap(&self, value: Option<RcuArc<T>>) -> Option<RcuArc<T>> {
        std::mem::replace(&mut *lock(&self.0), value)
    }

    /// Whether it points to nothing.
    pub fn is_null(&self) -> bool {
        lock(&self.0).is_none()
    }

    /// Whether it points to `object`.
    pub fn points_to(&self, object: &T) -> bool {
        lock(&self.0)
            .as_ref()
            .is_some_and(|v| ptr::eq(&**v, object))
    }
}

/// A point in time after which all readers of before have finished, some day.
#[derive(Clone, Copy)]
pub struct GracePeriod {
    domain: &'static Shared,
    start: u64,
}

impl GracePeriod {
    /// Begins now.
    pub fn start() -> Self {
        let domain = current();
        let start = lock(&domain.state).tick();
        Self { domain, start }
    }

    /// Whether all readers that were there at the start have finished.
    pub fn elapsed(&self) -> bool {
        lock(&self.domain.state).quiescent(self.start)
    }
}

/// Waits for all readers of this thread's domain that are there now.
pub fn synchronize_net() {
    let domain = current();
    let start = lock(&domain.state).tick();
    domain.wait("synchronize_net()", |state| state.quiescent(start));
}

/// Waits until all objects of this thread's domain that lost their last reference are destroyed.
pub fn barrier() {
    current().wait("barrier()", |state| {
        state.pending.is_empty() && state.running == 0
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alloc::GFP_KERNEL;
    use std::sync::atomic::AtomicBool;

    struct Thing(Arc<AtomicUsize>);

    impl RcuObject for Thing {
        fn on_last_ref(&self) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    impl Drop for Thing {
        fn drop(&mut self) {
            self.0.fetch_add(10, SeqCst);
        }
    }

    fn thing() -> (Arc<AtomicUsize>, RcuArc<Thing>) {
        let log = Arc::new(AtomicUsize::new(0));
        let thing = RcuArc::new(Thing(log.clone()), GFP_KERNEL).unwrap();
        (log, thing)
    }

    #[test]
    fn destroyed_after_the_readers_of_that_time() {
        let domain = Domain::new();
        let _in = domain.enter();
        let (log, thing) = thing();
        let cell = RcuCell::new(Some(thing));
        let old = read_lock();
        let seen = cell.load(&old).unwrap();
        let gp = {
            drop(cell.swap(None));
            GracePeriod::start()
        };
        // Told at once, destroyed later; nobody gets a reference in between.
        assert_eq!(log.load(SeqCst), 1);
        assert!(seen.clone().try_get().is_none());
        let young = read_lock();
        assert!(cell.load(&young).is_none());
        drop(seen);
        assert_eq!((log.load(SeqCst), domain.alive()), (1, 1));
        assert!(!gp.elapsed());
        drop(old);
        // The younger reader is not waited for.
        assert!(gp.elapsed());
        assert_eq!((log.load(SeqCst), domain.alive()), (11, 0));
        drop(young);
    }

    #[test]
    fn try_get_keeps_the_object() {
        let domain = Domain::new();
        let _in = domain.enter();
        let (log, thing) = thing();
        let cell = RcuCell::new(Some(thing));
        let guard = read_lock();
        let kept = cell.load(&guard).unwrap().try_get().unwrap();
        drop(guard);
        drop(cell);
        assert_eq!((RcuArc::count(&kept), log.load(SeqCst)), (1, 0));
        drop(kept);
        assert_eq!(log.load(SeqCst), 11);
    }

    #[test]
    #[should_panic = "in a read-side critical section"]
    fn waiting_for_oneself_is_reported() {
        let domain = Domain::new();
        let _in = domain.enter();
        let _guard = read_lock();
        synchronize_net();
    }

    #[test]
    fn waits_for_readers_of_other_threads() {
        let domain = Domain::new();
        let _in = domain.enter();
        let (log, thing) = thing();
        let cell = RcuCell::new(Some(thing));
        let (reading, done) = (AtomicBool::new(false), AtomicBool::new(false));
        thread::scope(|s| {
            s.spawn(|| {
                let _in = domain.enter();
                let guard = read_lock();
                let seen = cell.load(&guard).unwrap();
                reading.store(true, SeqCst);
                thread::sleep(std::time::Duration::from_millis(20));
                assert!(seen.0.load(SeqCst) < 10);
                done.store(true, SeqCst);
            });
            while !reading.load(SeqCst) {
                thread::yield_now();
            }
            drop(cell.swap(None));
            synchronize_net();
            assert!(done.load(SeqCst));
            barrier();
            assert_eq!(log.load(SeqCst), 11);
        });
        assert_eq!((domain.alive(), domain.readers()), (0, 0));
    }
}
