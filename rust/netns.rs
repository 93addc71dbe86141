// SPDX-License-Identifier: GPL-2.0

//! Network namespaces: borrowed, owned, and remembered without being kept alive.
//!
//! A device must not keep the namespace alive that it was created in: that could be the very one
//! it lives in, and the two would hold each other for ever. It remembers a [`WeakNet`], which
//! turns into an owned [`NetRef`] for as long as the namespace still has users.
//!
//! What makes a [`WeakNet`] sound is that this file is told of a namespace's end before its memory
//! goes: [`PernetOps`] registers the hooks, and without that registration a [`WeakNet`] cannot be
//! made. There is one token per namespace that has one; it holds the pointer, and the hook clears
//! it. See [`Token`] for the argument.
//!
//! C header: [`include/net/net_namespace.h`](srctree/include/net/net_namespace.h)
//!
//! Safety review: `Documentation/safety.md#netnsrs`.

use crate::{
    atomic::{
        Acquire,
        Atomic,
        Relaxed,
        Release, //
    },
    bindings,
    dst_cache::CacheList,
    field::Invariant,
    module::PernetGuest,
    netfilter::HookCount,
    rtnl::Rtnl, //
};
use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    ops::Deref,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    error::to_result,
    prelude::*,
    sync::{
        rcu,
        Arc, //
    },
    types::Opaque, //
};

/// A borrowed network namespace.
///
/// # Invariants
///
/// A `&Net` points to a `struct net` that is initialised and not freed while the borrow lasts. It
/// may be one whose last user is gone and that is being torn down.
#[repr(transparent)]
pub struct Net(Opaque<bindings::net>);

// SAFETY: All methods are fine from any thread at any time.
unsafe impl Sync for Net {}

impl Net {
    /// # Safety
    ///
    /// `ptr` must point to a namespace that stays allocated for `'a`.
    #[inline]
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::net) -> &'a Self {
        // SAFETY: By the safety requirements; `Net` is a transparent wrapper.
        unsafe { &*ptr.cast() }
    }

    /// The C object.
    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut bindings::net {
        self.0.get()
    }

    /// The namespace that the system booted with.
    #[inline]
    pub fn init() -> &'static Self {
        // SAFETY: `init_net` is never freed.
        unsafe { Self::from_raw(&raw mut bindings::init_net) }
    }

    /// A number that no other namespace has while this one exists. Only good for comparing.
    #[inline]
    pub fn id(&self) -> NetId {
        NetId(self.as_ptr() as usize)
    }

    /// Whether the current process has `CAP_NET_ADMIN` in the user namespace that owns this
    /// network namespace. Process context.
    ///
    /// Asks of a namespace with users; one that is being torn down has no owner any more, and the
    /// answer is no.
    pub fn ns_capable_admin(&self) -> bool {
        self.try_get().is_some_and(|net| {
            // SAFETY: We own a reference, and so `user_ns` of the namespace is valid.
            unsafe { bindings::net_ns_capable(net.as_ptr(), bindings::CAP_NET_ADMIN as c_int) }
        })
    }

    /// Takes a reference, unless the namespace has lost its last user.
    #[inline]
    pub fn try_get(&self) -> Option<NetRef> {
        // SAFETY: The namespace is allocated by the type invariants; that is all that
        // `maybe_get_net` asks for.
        let ptr = unsafe { bindings::maybe_get_net(self.as_ptr()) };
        // INVARIANT: `maybe_get_net` returned a reference, which we own now.
        NonNull::new(ptr).map(NetRef)
    }
}

/// See [`Net::id`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NetId(usize);

/// An owned reference to a network namespace: keeps it alive, and its sockets usable.
///
/// # Invariants
///
/// Owns one of the references that the namespace counts as users.
pub struct NetRef(NonNull<bindings::net>);

// SAFETY: A reference may be used and dropped anywhere.
unsafe impl Send for NetRef {}
// SAFETY: As for `Net`.
unsafe impl Sync for NetRef {}

impl Deref for NetRef {
    type Target = Net;

    #[inline]
    fn deref(&self) -> &Net {
        // SAFETY: The reference that we own keeps the namespace for as long as `self`.
        unsafe { Net::from_raw(self.0.as_ptr()) }
    }
}

impl Clone for NetRef {
    #[inline]
    fn clone(&self) -> Self {
        // SAFETY: We own a reference, so there is at least one.
        unsafe { bindings::get_net(self.0.as_ptr()) };
        // INVARIANT: The reference just taken.
        Self(self.0)
    }
}

impl Drop for NetRef {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: We own the reference. If it is the last one, the teardown is queued as work.
        unsafe { bindings::put_net(self.0.as_ptr()) };
    }
}

/// What the [`WeakNet`]s of one namespace share.
///
/// # Invariants
///
/// While `net` is not null, it points to a namespace whose memory stays for at least a grace
/// period after `net` has become null:
///
/// - it is set, in [`WeakNet::new`], while a user's reference to the namespace is held and the
///   hooks are registered, so that the namespace's teardown can only begin later, and begins with
///   calling [`Hooks::pre_exit`] for it. Unregistering the hooks calls it for every namespace;
/// - `pre_exit` makes it null;
/// - `ops_undo_list()` waits for a grace period between the `pre_exit` hooks and all that follows,
///   in particular what frees the namespace.
///
/// `there` is null, or points to that namespace, which stays until `exit_rtnl` has made it null.
///
/// There is one for a namespace, so that the addresses of two tokens tell whether they are of the
/// same.
#[pin_data]
struct Token {
    net: Atomic<*mut bindings::net>,
    /// The namespace until its exit hook returns; changed under the mutex of the tokens, with which
    /// it may also be followed.
    there: Atomic<*mut bindings::net>,
    hooks: HookCount,
    #[pin]
    caches: CacheList,
}

impl Token {
    fn new(ptr: *mut bindings::net) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                net: Atomic::new(ptr),
                there: Atomic::new(ptr),
                hooks: HookCount::new(),
                caches <- CacheList::new(),
            }),
            GFP_KERNEL,
        )
    }
}

/// All tokens, and whether there may be any.
struct Tokens {
    registered: bool,
    active: bool,
    list: KVec<Arc<Token>>,
}

struct Locked(UnsafeCell<Tokens>);

// SAFETY: Only accessed in `with_tokens`, under a mutex, and `Tokens` is `Send`.
unsafe impl Sync for Locked {}

static TOKENS: Locked = Locked(UnsafeCell::new(Tokens {
    registered: false,
    active: false,
    list: KVec::new(),
}));

/// Runs `f` under the mutex of the tokens, which `f` must not take again; may sleep. Inside RTNL.
fn with_tokens<R>(f: impl FnOnce(&mut Tokens) -> R) -> R {
    // SAFETY: No requirements; the mutex is a static of the shim.
    unsafe { bindings::net_tokens_lock() };
    // SAFETY: This function is the only one to access it, and holds the mutex. None of the
    // closures of this file calls it again.
    let ret = f(unsafe { &mut *TOKENS.0.get() });
    // SAFETY: Locked above, by this thread.
    unsafe { bindings::net_tokens_unlock() };
    ret
}

/// Remembers a network namespace without keeping it alive.
#[derive(Clone)]
pub struct WeakNet(Arc<Token>);

impl WeakNet {
    /// Remembers `net`. Process context, also under RTNL.
    ///
    /// Fails with `ENODEV` if it is being torn down, or if no [`PernetOps`] is registered.
    pub fn new(net: &Net) -> Result<Self> {
        // From here to the end of the function the namespace has a user.
        let net = net.try_get().ok_or(ENODEV)?;
        with_tokens(|tokens| {
            if !tokens.active {
                return Err(ENODEV);
            }
            let known = |t: &&Arc<Token>| ptr::eq(t.net.load(Relaxed), net.as_ptr());
            if let Some(token) = tokens.list.iter().find(known) {
                return Ok(Self(token.clone()));
            }
            // INVARIANT: The hooks are registered and won't be unregistered before `active` is
            // false, for which the mutex is needed; we hold a user's reference.
            let token = Token::new(net.as_ptr())?;
            tokens.list.push(token.clone(), GFP_KERNEL)?;
            Ok(Self(token))
        })
    }

    /// Returns the namespace, unless it has lost its last user. Any context.
    pub fn get(&self) -> Option<NetRef> {
        let _guard = rcu::read_lock();
        let net = NonNull::new(self.0.net.load(Acquire))?;
        // SAFETY: By the invariants of `Token` it is freed a grace period after the pointer has
        // become null at the earliest; it was not null within the read-side critical section that
        // lasts until the end of this function.
        unsafe { Net::from_raw(net.as_ptr()) }.try_get()
    }

    /// Whether this remembers `net`; also true while `net` is being torn down, until
    /// [`PernetHandler::exit_rtnl`] has returned, and never afterwards.
    #[inline]
    pub fn is(&self, net: &Net) -> bool {
        ptr::eq(self.0.there.load(Relaxed), net.as_ptr())
    }

    /// Runs `f` if the namespace `net`, which this remembers, is not torn down before it returns;
    /// for what must be given back to a namespace before it ends. Process context, may sleep.
    ///
    /// `f` must not make or drop a [`WeakNet`], nor take RTNL.
    pub(crate) fn before_teardown<R>(&self, net: &Net, f: impl FnOnce() -> R) -> Option<R> {
        if let Some(_user) = net.try_get() {
            // With a user, teardown does not begin.
            return Some(f());
        }
        // It has begun. The exit hook takes this mutex after the handler has returned and before it
        // returns itself; so either `f` is over by then, or this finds the number cleared.
        with_tokens(|_| self.is(net).then(f))
    }

    /// Runs `f` with the namespace and its hooks, if it is still there: not before `f` returns can its
    /// teardown end. Process context, may sleep; one at a time, in all namespaces.
    ///
    /// `f` must not make or drop a [`WeakNet`], nor take RTNL.
    pub(crate) fn with_hooks<R>(&self, f: impl FnOnce(&Net, &HookCount) -> R) -> Option<R> {
        with_tokens(|_| {
            let net = NonNull::new(self.0.there.load(Relaxed))?;
            // SAFETY: By the invariants of `Token`: the exit hook waits for the mutex before it ends.
            Some(f(unsafe { Net::from_raw(net.as_ptr()) }, &self.0.hooks))
        })
    }

    /// Whether the namespace is not going yet. In a read-side critical section in which this was
    /// true, the namespace, its routes, and what its exit hook takes away are there to the end.
    #[inline]
    pub(crate) fn is_alive(&self) -> bool {
        !self.0.net.load(Relaxed).is_null()
    }

    /// Whether both remember the same namespace. Any context.
    #[inline]
    pub(crate) fn same(&self, other: &Self) -> bool {
        ptr::eq(&raw const *self.0, &raw const *other.0)
    }

    /// The route caches of the namespace.
    pub(crate) fn caches(&self) -> &CacheList {
        &self.0.caches
    }
}

/// For tests: a namespace that ends for who remembers it, and goes on for all others.
#[cfg(CONFIG_KUNIT = "y")]
impl WeakNet {
    /// Remembers `net`, apart from everybody else who does. It must be [`end`](Self::end)ed.
    pub(crate) fn unlisted(net: &'static Net) -> Result<Self> {
        Ok(Self(Token::new(net.as_ptr())?))
    }

    /// Does what the hooks do.
    pub(crate) fn end(&self) {
        self.0.net.store(ptr::null_mut(), Release);
        crate::rcu::synchronize_net();
        // SAFETY: As in `Hooks::exit_rtnl`.
        unsafe { self.0.caches.empty() };
    }
}

/// What a module does when a network namespace goes.
pub trait PernetHandler: 'static {
    /// Called under RTNL for a namespace that has no users left, and for each one when the
    /// registration is dropped. The devices in it are still there.
    ///
    /// At this time [`WeakNet::get`] returns nothing for the namespace, and [`WeakNet::is`] still
    /// recognises it. Route caches ([`DstCache`](crate::dst_cache::DstCache)) need no care: those
    /// of the namespace take nothing in any more, and are emptied when this has returned.
    fn exit_rtnl(rtnl: &Rtnl, net: &Net);
}

/// The C callbacks.
struct Hooks<H>(PhantomData<H>);

impl<H: PernetHandler> Hooks<H> {
    /// # Safety
    ///
    /// Called by the kernel as `pernet_operations::pre_exit`.
    unsafe extern "C" fn pre_exit(net: *mut bindings::net) {
        with_tokens(|tokens| {
            for token in tokens.list.iter() {
                if ptr::eq(token.net.load(Relaxed), net) {
                    token.net.store(ptr::null_mut(), Release);
                }
            }
        });
    }

    /// # Safety
    ///
    /// Called by the kernel as `pernet_operations::exit_rtnl`, with RTNL held.
    unsafe extern "C" fn exit_rtnl(net: *mut bindings::net, _kill: *mut bindings::list_head) {
        // SAFETY: The caller holds the mutex for the duration of this callback.
        let rtnl = unsafe { Rtnl::assume_held() };
        // SAFETY: A namespace is freed after its exit hooks have returned.
        H::exit_rtnl(&rtnl, unsafe { Net::from_raw(net) });
        let token = with_tokens(|tokens| {
            let this = |t: &&Arc<Token>| ptr::eq(t.there.load(Relaxed), net);
            tokens.list.iter().find(this).cloned()
        });
        if let Some(token) = token {
            // SAFETY: `pre_exit` has cleared it, and a grace period has followed.
            unsafe { token.caches.empty() };
        }
        with_tokens(|tokens| {
            tokens.list.retain(|token| {
                // A namespace whose `pre_exit` has been called gets no new token with its pointer,
                // so all tokens of this address are those of this namespace.
                let other = !ptr::eq(token.there.load(Relaxed), net);
                if !other {
                    // SAFETY: The namespace of the token, which goes after this.
                    token.hooks.end(unsafe { Net::from_raw(net) });
                    token.there.store(ptr::null_mut(), Relaxed);
                }
                other
            });
        });
    }
}

/// Registration of the hooks; unregistered when dropped.
///
/// One at a time per module. Register it before what makes devices, drop it after.
///
/// # Invariants
///
/// `ops` came from a box and is registered.
pub struct PernetOps<H: PernetHandler> {
    ops: NonNull<bindings::pernet_operations>,
    _guest: PernetGuest,
    _p: Invariant<H>,
}

// SAFETY: Can be dropped, which is all one can do with it, by any thread.
unsafe impl<H: PernetHandler> Send for PernetOps<H> {}
// SAFETY: As above; there are no methods.
unsafe impl<H: PernetHandler> Sync for PernetOps<H> {}

impl<H: PernetHandler> PernetOps<H> {
    /// Registers the hooks. Process context, without RTNL.
    ///
    /// As everywhere, the module must drop the registration before it goes.
    pub fn register() -> Result<Self> {
        let guest = PernetGuest::new();
        let ops = KBox::new(
            bindings::pernet_operations {
                pre_exit: Some(Hooks::<H>::pre_exit),
                exit_rtnl: Some(Hooks::<H>::exit_rtnl),
                ..pin_init::zeroed()
            },
            GFP_KERNEL,
        )?;
        with_tokens(|tokens| {
            if tokens.registered {
                return Err(EBUSY);
            }
            tokens.registered = true;
            Ok(())
        })?;
        let ops = KBox::into_raw(ops);
        // SAFETY: `ops` stays where it is until it is unregistered, or until this has failed.
        let ret = to_result(unsafe { bindings::register_pernet_device(ops) });
        with_tokens(|tokens| {
            tokens.registered = ret.is_ok();
            tokens.active = ret.is_ok();
        });
        if let Err(e) = ret {
            // SAFETY: From `into_raw` above, and nobody has kept it.
            drop(unsafe { KBox::from_raw(ops) });
            return Err(e);
        }
        // INVARIANT: Registered above.
        Ok(Self {
            // SAFETY: A box is not null.
            ops: unsafe { NonNull::new_unchecked(ops) },
            _guest: guest,
            _p: PhantomData,
        })
    }
}

impl<H: PernetHandler> Drop for PernetOps<H> {
    fn drop(&mut self) {
        // No new tokens; those there are, the hooks clear, which unregistering calls for every
        // namespace.
        with_tokens(|tokens| tokens.active = false);
        // SAFETY: Registered by the type invariants, and by nobody else unregistered.
        unsafe { bindings::unregister_pernet_device(self.ops.as_ptr()) };
        let list = with_tokens(|tokens| {
            tokens.registered = false;
            core::mem::take(&mut tokens.list)
        });
        drop(list);
        // SAFETY: From `into_raw`, by the type invariants; unregistered, so nobody uses it.
        drop(unsafe { KBox::from_raw(self.ops.as_ptr()) });
    }
}
