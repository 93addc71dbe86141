// SPDX-License-Identifier: GPL-2.0

//! Generic netlink families: operations with policies, requests, and dumps in parts.
//!
//! A family is a `static`, and a list of operations is, too. An operation is a type that
//! implements [`DoOp`], [`GetOp`] or [`DumpOp`]:
//!
//! ```ignore
//! static OPS: [Op; 2] = [Op::dump::<GetDevice>(), Op::act::<SetDevice>()];
//! static FAMILY: Family = Family::new(wgk::module::this_module(), c"wireguard", 1, &OPS);
//! let registration = FAMILY.register()?;
//! ```
//!
//! A family may have a [`Group`], to which events are sent. Callbacks run in process context and may
//! sleep. All callbacks of one family exclude each other, and RTNL may be taken in them.
//!
//! C header: [`include/net/genetlink.h`](srctree/include/net/genetlink.h)
//!
//! Safety review: `Documentation/safety.md#genetlinkrs`.

pub mod attr;
pub mod mcast;
pub mod msg;
pub mod policy;

pub use attr::{
    Attr,
    Attrs,
    Parsed, //
};
pub use mcast::Group;
pub use msg::{
    DumpMsg,
    Message,
    Nest,
    NoSpace, //
};
pub use policy::Policy;

use crate::{
    bindings,
    module::GenetlinkGuest,
    netns::Net, //
};
use core::{
    marker::PhantomData,
    ptr, //
};
use kernel::{
    error::{
        from_result,
        to_result, //
    },
    prelude::*,
    types::Opaque, //
};

/// Who may use an operation.
#[derive(Clone, Copy)]
pub enum Permission {
    /// Everybody.
    All,
    /// `CAP_NET_ADMIN` in the initial user namespace (`GENL_ADMIN_PERM`).
    Admin,
    /// `CAP_NET_ADMIN` in the user namespace that owns the socket's network namespace
    /// (`GENL_UNS_ADMIN_PERM`).
    NetnsAdmin,
}

impl Permission {
    const fn flags(self) -> u32 {
        match self {
            Self::All => 0,
            Self::Admin => bindings::GENL_ADMIN_PERM,
            Self::NetnsAdmin => bindings::GENL_UNS_ADMIN_PERM,
        }
    }
}

/// A request, while it is handled.
///
/// # Invariants
///
/// `info` is the one of a running callback, whose attributes are a table of `max + 1` entries (or
/// null); it is valid for `'a`, and used by this thread alone.
pub struct Info<'a> {
    info: *const bindings::genl_info,
    max: u16,
    _p: PhantomData<&'a bindings::genl_info>,
}

impl<'a> Info<'a> {
    /// # Safety
    ///
    /// As the type invariants say.
    unsafe fn new(info: *const bindings::genl_info, max: u16) -> Self {
        Self {
            info,
            max,
            _p: PhantomData,
        }
    }

    /// The attributes.
    #[inline]
    pub fn attrs(&self) -> Attrs<'a> {
        // SAFETY: By the type invariants; the attributes are part of the request, which was copied
        // from userspace into a buffer that only its handler writes to.
        unsafe { Attrs::new((*self.info).attrs, self.max) }
    }

    /// The network namespace of the socket that the request came by.
    #[inline]
    pub fn net(&self) -> &'a Net {
        // SAFETY: The socket keeps its namespace, and lives for longer than the callback.
        unsafe { Net::from_raw(bindings::genl_info_net(self.info)) }
    }

    /// Where the answer to the request says what was wrong with it, if the kernel asked for that.
    fn extack(&self) -> Option<*mut bindings::netlink_ext_ack> {
        // SAFETY: By the type invariants.
        let extack = unsafe { (*self.info).extack };
        (!extack.is_null()).then_some(extack)
    }

    /// Has the answer name the attribute for which the request is refused, and say why
    /// (`NL_SET_ERR_MSG_ATTR`). Returns `error`.
    pub fn refuse(&self, attr: Attr<'_>, why: &'static CStr, error: Error) -> Error {
        if let Some(extack) = self.extack() {
            // SAFETY: By the type invariants it is that of a running callback, of this thread's
            // alone. The text is `'static`, and read before the module can go. Of the attribute only
            // the address is used, which C compares with the bounds of the request.
            unsafe {
                (*extack)._msg = kernel::str::as_char_ptr_in_const_context(why);
                (*extack).bad_attr = attr.header();
                (*extack).policy = ptr::null();
            }
        }
        error
    }

    /// Has the answer say which attribute the request lacks (`NL_SET_ERR_ATTR_MISS`), and why it
    /// wants it. Returns `error`.
    pub fn lacks(&self, ty: u16, why: &'static CStr, error: Error) -> Error {
        if let Some(extack) = self.extack() {
            // SAFETY: As in `refuse`.
            unsafe {
                (*extack)._msg = kernel::str::as_char_ptr_in_const_context(why);
                (*extack).miss_type = ty;
                (*extack).miss_nest = ptr::null();
            }
        }
        error
    }
}

/// An operation that does something.
pub trait DoOp: 'static {
    /// The command.
    const CMD: u8;
    /// Who may.
    const PERMISSION: Permission;
    /// How the request's attributes are validated; not empty.
    const POLICY: &'static [Policy];

    /// Handles a request.
    fn run(info: &Info<'_>) -> Result;
}

/// An operation that answers with one message.
pub trait GetOp: 'static {
    /// The command, of the request and of the answer.
    const CMD: u8;
    /// Who may.
    const PERMISSION: Permission;
    /// How the request's attributes are validated; not empty.
    const POLICY: &'static [Policy];

    /// Handles a request by appending attributes to the answer, which has room for 4000 bytes at
    /// least. On an error none is sent.
    fn get(info: &Info<'_>, reply: &mut Message<'_>) -> Result;
}

/// Whether a dump has more to say.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum DumpStatus {
    /// Call again, with an empty buffer; but if this one is empty as well, the dump is over.
    More,
    /// This was the last part.
    Done,
}

/// An operation that answers with any number of messages, in as many buffers as it takes.
pub trait DumpOp: 'static {
    /// The command.
    const CMD: u8;
    /// Who may.
    const PERMISSION: Permission;
    /// How the request's attributes are validated; not empty.
    const POLICY: &'static [Policy];

    /// What is kept between the parts. Dropped when the dump is over, or when the socket is closed
    /// before, in process context and without RTNL.
    type State: Send + 'static;

    /// Handles the request.
    fn start(info: &Info<'_>) -> Result<Self::State>;

    /// Fills a buffer.
    ///
    /// An error ends the dump and is reported to userspace; but `EMSGSIZE` only if the buffer is
    /// empty, else the call is repeated with the next one.
    fn dump(state: &mut Self::State, msg: &mut DumpMsg<'_>, info: &Info<'_>) -> Result<DumpStatus>;
}

/// An operation of a family, as C knows it.
#[repr(transparent)]
pub struct Op(bindings::genl_split_ops);

// SAFETY: Immutable data.
unsafe impl Sync for Op {}

impl Op {
    /// The operation that `T` implements.
    pub const fn act<T: DoOp>() -> Self {
        let flags = T::PERMISSION.flags() | bindings::GENL_CMD_CAP_DO;
        Self::new(T::CMD, flags, T::POLICY, doit(DoAdapter::<T>::doit))
    }

    /// The operation with an answer that `T` implements.
    pub const fn get<T: GetOp>() -> Self {
        let flags = T::PERMISSION.flags() | bindings::GENL_CMD_CAP_DO;
        Self::new(T::CMD, flags, T::POLICY, doit(GetAdapter::<T>::doit))
    }

    /// The dump that `T` implements.
    pub const fn dump<T: DumpOp>() -> Self {
        let mut calls: bindings::genl_split_ops__bindgen_ty_1 = pin_init::zeroed();
        calls.__bindgen_anon_2 = bindings::genl_split_ops__bindgen_ty_1__bindgen_ty_2 {
            start: Some(DumpAdapter::<T>::start),
            dumpit: Some(DumpAdapter::<T>::dumpit),
            done: Some(DumpAdapter::<T>::done),
        };
        let flags = T::PERMISSION.flags() | bindings::GENL_CMD_CAP_DUMP;
        Self::new(T::CMD, flags, T::POLICY, calls)
    }

    const fn new(
        cmd: u8,
        flags: u32,
        policy: &'static [Policy],
        calls: bindings::genl_split_ops__bindgen_ty_1,
    ) -> Self {
        Self(bindings::genl_split_ops {
            __bindgen_anon_1: calls,
            // CAST: `Policy` is a transparent wrapper.
            policy: policy.as_ptr().cast(),
            maxattr: policy::max_attr(policy) as c_uint,
            cmd,
            internal_flags: 0,
            flags: flags as u8,
            validate: 0,
        })
    }
}

/// The calls of an operation that is no dump.
const fn doit(
    call: unsafe extern "C" fn(*mut bindings::sk_buff, *mut bindings::genl_info) -> c_int,
) -> bindings::genl_split_ops__bindgen_ty_1 {
    let mut calls: bindings::genl_split_ops__bindgen_ty_1 = pin_init::zeroed();
    calls.__bindgen_anon_1 = bindings::genl_split_ops__bindgen_ty_1__bindgen_ty_1 {
        pre_doit: None,
        doit: Some(call),
        post_doit: None,
    };
    calls
}

/// The C callback of a [`DoOp`].
struct DoAdapter<T>(PhantomData<T>);

impl<T: DoOp> DoAdapter<T> {
    const MAX: u16 = policy::max_attr(T::POLICY);

    /// # Safety
    ///
    /// Called by generic netlink as `doit` of an [`Op`] made for `T`.
    unsafe extern "C" fn doit(
        _skb: *mut bindings::sk_buff,
        info: *mut bindings::genl_info,
    ) -> c_int {
        from_result(|| {
            // SAFETY: Valid for this callback; parsed with `maxattr` of the op, thus `MAX`.
            let info = unsafe { Info::new(info, Self::MAX) };
            T::run(&info).map(|()| 0)
        })
    }
}

/// The C callback of a [`GetOp`].
struct GetAdapter<T>(PhantomData<T>);

impl<T: GetOp> GetAdapter<T> {
    const MAX: u16 = policy::max_attr(T::POLICY);

    /// # Safety
    ///
    /// Called by generic netlink as `doit` of an [`Op`] made for `T`.
    unsafe extern "C" fn doit(
        _skb: *mut bindings::sk_buff,
        info: *mut bindings::genl_info,
    ) -> c_int {
        from_result(|| {
            let mut reply = msg::Reply::new()?;
            // SAFETY: `info` is valid, and its family registered: a request of it is handled.
            let mut message = unsafe { reply.message((*info).family) };
            // SAFETY: As above.
            let (portid, seq) = unsafe { ((*info).snd_portid, (*info).snd_seq) };
            message.open(portid, seq, 0, T::CMD)?;
            // SAFETY: Valid for this callback; parsed with `maxattr` of the op, thus `MAX`.
            T::get(&unsafe { Info::new(info, Self::MAX) }, &mut message)?;
            message.end();
            // SAFETY: In a callback, and the message was just ended.
            unsafe { reply.send(info) }.map(|()| 0)
        })
    }
}

/// The C callbacks of a [`DumpOp`].
///
/// `args[0]` of the `netlink_callback` is the boxed state: put there by `start` if that succeeds,
/// taken back by `done`, which is called exactly once for every dump whose `start` has succeeded.
struct DumpAdapter<T>(PhantomData<T>);

impl<T: DumpOp> DumpAdapter<T> {
    const MAX: u16 = policy::max_attr(T::POLICY);

    /// # Safety
    ///
    /// `cb` must be that of a running callback of a dump of `T`; the result is for that callback.
    unsafe fn info<'a>(cb: *mut bindings::netlink_callback) -> Info<'a> {
        // SAFETY: `data` of a generic netlink dump is its `genl_dumpit_info`, parsed with
        // `maxattr` of the op.
        unsafe {
            let data = (*cb).data.cast::<bindings::genl_dumpit_info>();
            Info::new(&raw const (*data).info, Self::MAX)
        }
    }

    /// # Safety
    ///
    /// `cb` must be valid.
    unsafe fn slot(cb: *mut bindings::netlink_callback) -> *mut *mut T::State {
        // SAFETY: By the safety requirements. CAST: The array is aligned for `long`, which is as
        // large as a pointer.
        unsafe { (&raw mut (*cb).__bindgen_anon_1.args).cast() }
    }

    /// # Safety
    ///
    /// Called by generic netlink as `start` of an [`Op`] made for `T`.
    unsafe extern "C" fn start(cb: *mut bindings::netlink_callback) -> c_int {
        from_result(|| {
            // SAFETY: In a callback.
            let state = T::start(&unsafe { Self::info(cb) })?;
            let state = KBox::into_raw(KBox::new(state, GFP_KERNEL)?);
            // SAFETY: `cb` is valid, and the space ours.
            unsafe { Self::slot(cb).write(state) };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by generic netlink as `dumpit` of an [`Op`] made for `T`.
    unsafe extern "C" fn dumpit(
        skb: *mut bindings::sk_buff,
        cb: *mut bindings::netlink_callback,
    ) -> c_int {
        from_result(|| {
            // SAFETY: In a callback.
            let info = unsafe { Self::info(cb) };
            // SAFETY: `start` has put it there, and `done` has not been called; the calls of one
            // dump exclude each other (`nl_cb_mutex`).
            let state = unsafe { &mut **Self::slot(cb) };
            // SAFETY: Netlink allocates a linear buffer for this call.
            let mut msg = unsafe { DumpMsg::new(skb, cb, (*info.info).family) };
            match T::dump(state, &mut msg, &info) {
                Ok(status) => {
                    msg.end();
                    match status {
                        DumpStatus::Done => Ok(0),
                        // CAST: Below 64 KiB.
                        DumpStatus::More => Ok(msg.len() as c_int),
                    }
                }
                Err(e) => {
                    msg.cancel();
                    Err(e)
                }
            }
        })
    }

    /// # Safety
    ///
    /// Called by generic netlink as `done` of an [`Op`] made for `T`.
    unsafe extern "C" fn done(cb: *mut bindings::netlink_callback) -> c_int {
        // SAFETY: `cb` is valid.
        let slot = unsafe { Self::slot(cb) };
        // SAFETY: As above; the slot is not used again.
        let state = unsafe { slot.replace(ptr::null_mut()) };
        if !state.is_null() {
            // SAFETY: From `into_raw` in `start`; taken out of the slot, so this happens once.
            drop(unsafe { KBox::from_raw(state) });
        }
        0
    }
}

/// `netnsok = 1, parallel_ops = 0`. What bindgen has for setting bitfields is not `const`;
/// [`Family::register`] checks this against what it has for reading them.
const NETNSOK: bindings::__BindgenBitfieldUnit<[u8; 1]> = {
    let bits: u8 = if cfg!(target_endian = "big") {
        1 << 7
    } else {
        1
    };
    // SAFETY: The unit is a transparent wrapper of one byte without invariants.
    unsafe { core::mem::transmute(bits) }
};

/// A name as a field of C's, which has room for it and a NUL.
const fn c_name<const N: usize>(name: &CStr) -> [c_char; N] {
    let mut field = [0; N];
    let name = name.to_bytes_with_nul();
    assert!(name.len() <= N, "name too long");
    let mut i = 0;
    while i < name.len() {
        field[i] = name[i];
        i += 1;
    }
    field
}

/// A generic netlink family.
pub struct Family {
    c: Opaque<bindings::genl_family>,
    group: Option<&'static Group>,
}

// SAFETY: Registering and unregistering are synchronised by generic netlink.
unsafe impl Sync for Family {}

impl Family {
    /// Makes a family that is usable in all network namespaces. For statics.
    ///
    /// `ops` are sorted by command, and of one command the [`Op::dump`] comes last.
    pub const fn new(
        module: &'static ThisModule,
        name: &'static CStr,
        version: u32,
        ops: &'static [Op],
    ) -> Self {
        Self::build(module, name, version, ops, None)
    }

    /// As [`Family::new`], with a group for its events.
    pub const fn with_events(
        module: &'static ThisModule,
        name: &'static CStr,
        version: u32,
        ops: &'static [Op],
        group: &'static Group,
    ) -> Self {
        Self::build(module, name, version, ops, Some(group))
    }

    const fn build(
        module: &'static ThisModule,
        name: &'static CStr,
        version: u32,
        ops: &'static [Op],
        group: Option<&'static Group>,
    ) -> Self {
        assert!(ops.len() <= u8::MAX as usize, "too many operations");
        // C would warn, and refuse.
        let mut i = 1;
        while i < ops.len() {
            assert!(ops[i - 1].0.cmd <= ops[i].0.cmd, "not sorted by command");
            i += 1;
        }
        let mut family = bindings::genl_family {
            version,
            _bitfield_1: NETNSOK,
            module: module.as_ptr(),
            // CAST: `Op` is a transparent wrapper.
            split_ops: ops.as_ptr().cast(),
            n_split_ops: ops.len() as u8,
            ..pin_init::zeroed()
        };
        if let Some(group) = group {
            family.mcgrps = group.as_ptr();
            family.n_mcgrps = 1;
        }
        family.name = c_name(name);
        Self {
            c: Opaque::new(family),
            group,
        }
    }

    /// Registers the family. Process context, without RTNL, which operations may take. `EBUSY` if its
    /// group has another registration.
    ///
    /// Best the last thing that a module's init does, as requests come at once. (If it fails later,
    /// it waits for the dumps that have begun: they hold a reference to the module.)
    pub fn register(&'static self) -> Result<Registration> {
        // SAFETY: The C side never writes to these bits.
        let flags = unsafe {
            (
                bindings::genl_family::netnsok_raw(self.c.get()),
                bindings::genl_family::parallel_ops_raw(self.c.get()),
            )
        };
        if flags != (1, 0) {
            return Err(EINVAL);
        }
        let guest = GenetlinkGuest::new();
        let claim = self.group.map(Group::claim).transpose()?;
        // SAFETY: A static, as is all that it points to. One that is registered already is
        // refused for its name.
        to_result(unsafe { bindings::genl_register_family(self.c.get()) })?;
        if let Some(claim) = &claim {
            // SAFETY: Registered above with this group as its only one; `Registration` withdraws it
            // before it is unregistered.
            unsafe { claim.publish(self.c.get()) };
        }
        // INVARIANT: Registered above.
        Ok(Registration {
            family: self,
            claim,
            _guest: guest,
        })
    }
}

/// Keeps a [`Family`] registered; when dropped, no operation is running or will be started, except
/// for dumps under way, which hold a reference to the module, and nothing is sent to its group.
/// Process context, without RTNL.
///
/// # Invariants
///
/// `family` is registered.
pub struct Registration {
    family: &'static Family,
    claim: Option<mcast::Claim>,
    _guest: GenetlinkGuest,
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(claim) = &self.claim {
            claim.withdraw();
        }
        // SAFETY: Registered by the type invariants. Can only fail for a family that is not.
        unsafe { bindings::genl_unregister_family(self.family.c.get()) };
    }
}
