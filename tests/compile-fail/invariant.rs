// SPDX-License-Identifier: GPL-2.0
//~ E0308
//! An object's type decides where its fields are and what is called for it, and may be named again
//! by whoever takes it out of what it was put into. So no type of the crate that has to do with
//! objects of a type passes for one that has to do with those of a subtype or supertype.
//!
//! There are two for every generic type of the crate: what must not pass for one of a supertype, and
//! what must not pass for one of a subtype.

use kernel::prelude::*;
use wgk::{
    batch::{
        Batch,
        Consumer,
        CryptJob,
        CryptRing,
        Done,
        OrderQueue,
        SubmitError,
        Taken, //
    },
    field::impl_has_field,
    hashtable::{
        IndexNode,
        IndexTable,
        KeyNode,
        PubkeyTable, //
    },
    lock::{
        ReadGuard,
        RwLockBh,
        RwLockBhBackend,
        RwSemaphore,
        SpinLockBh,
        WriteGuard, //
    },
    module::Guarded,
    napi::{
        Napi,
        NapiContext,
        NapiHandle,
        NapiPoll, //
    },
    netdevice::{
        Driver,
        LinkOps,
        NetDevCell,
        NetDevice,
        RegisteredDevice,
        Setup, //
    },
    netns::{
        Net,
        PernetHandler,
        PernetOps, //
    },
    notifier::{
        Notifier,
        Notify,
        Sleep, //
    },
    percpu::{
        PerCpuWork,
        PerCpuWorker, //
    },
    rcu::{
        RcuArc,
        RcuCell,
        RcuObject,
        RcuRef,
        RcuSyncCell, //
    },
    rtnl::{
        Rtnl,
        RtnlCell, //
    },
    sched_list::{
        SchedList,
        SchedNode,
        SchedQueue, //
    },
    skbuff::{Datagrams, TxPacket},
    timer::Timer,
    udp_tunnel::{
        SocketPair,
        UdpReceiver,
        UdpSocket, //
    }, //
};

/// What takes any reference passes for what takes one for ever: a subtype.
#[cfg(misuse)]
type Sub = for<'a> fn(&'a u8);
#[cfg(not(misuse))]
type Sub = Super;

/// The supertype.
type Super = fn(&'static u8);

/// An object, which is a subtype of another if its function is.
#[repr(C, align(8))]
#[pin_data]
pub struct Object<F> {
    function: F,
    #[pin]
    index: IndexNode,
    #[pin]
    key: KeyNode,
    #[pin]
    sched: SchedNode,
}

/// All that an object can be.
pub trait Function: Send + Sync + 'static {}
impl<F: Send + Sync + 'static> Function for F {}

impl<F: Function> RcuObject for Object<F> {}

impl<F: Function> NapiPoll for Object<F> {
    fn poll(_: &Self, _: &NapiContext<'_>, _: usize) -> usize {
        0
    }
}

impl<F: Function> PernetHandler for Object<F> {
    fn exit_rtnl(_: &Rtnl, _: &Net) {}
}

impl<F: Function> Notify<Sleep> for Object<F> {
    fn notify(&self) {}
}

impl<F: Function> PerCpuWorker for Object<F> {
    fn run(_: &Self, _: u32) {}
}

impl<F: Function> UdpReceiver for Object<F> {
    fn receive(_: &Self, _: Datagrams) {}
}

impl<F: Function> kernel::Module for Object<F> {
    fn init(_: &'static ThisModule) -> Result<Self> {
        Err(EINVAL)
    }
}

impl<F: Function> Driver for Object<F> {
    type Device = Object<F>;
    const KIND: &'static CStr = c"none";

    fn setup(_: &mut Setup<'_>) {}
    fn newlink(_: &Rtnl, _: &NetDevice, _: &Net) -> Result<RcuArc<Self>> {
        Err(EINVAL)
    }
    fn dev_cell(_: &Self) -> &NetDevCell {
        unreachable!()
    }
    fn open(_: &Rtnl, _: &RcuArc<Self>, _: &RegisteredDevice) -> Result {
        Err(EINVAL)
    }
    fn stop(_: &Rtnl, _: &RcuArc<Self>, _: &RegisteredDevice) {}
    fn xmit(_: &Self, _: &RegisteredDevice, _: TxPacket<'_>) -> Result {
        Err(EINVAL)
    }
    fn uninit(_: &Rtnl, _: &RcuArc<Self>, _: &NetDevice) {}
}

impl_has_field! {
    impl HasField<IndexNode> for Object<Super> { self.index }
    impl HasField<KeyNode> for Object<Super> { self.key }
    impl HasField<SchedNode> for Object<Super> { self.sched }
}
#[cfg(misuse)]
impl_has_field! {
    impl HasField<IndexNode> for Object<Sub> { self.index }
    impl HasField<KeyNode> for Object<Sub> { self.key }
    impl HasField<SchedNode> for Object<Sub> { self.sched }
}

/// The subtype.
pub type Lower = Object<Sub>;
/// The supertype.
pub type Upper = Object<Super>;

/// Objects themselves may.
pub fn object_to_super(x: Lower) -> Upper {
    x
}

/// `RcuArc`.
pub fn rcu_arc_to_super(x: RcuArc<Lower>) -> RcuArc<Upper> {
    x //^ E0308
}
/// The other way.
pub fn rcu_arc_to_sub(x: RcuArc<Upper>) -> RcuArc<Lower> {
    x //^ E0308
}

/// `RcuRef`.
pub fn rcu_ref_to_super(x: RcuRef<'static, Lower>) -> RcuRef<'static, Upper> {
    x //^ E0308
}
/// The other way.
pub fn rcu_ref_to_sub(x: RcuRef<'static, Upper>) -> RcuRef<'static, Lower> {
    x //^ E0308
}

/// `RcuCell`.
pub fn rcu_cell_to_super(x: RcuCell<Lower>) -> RcuCell<Upper> {
    x //^ E0308
}
/// The other way.
pub fn rcu_cell_to_sub(x: RcuCell<Upper>) -> RcuCell<Lower> {
    x //^ E0308
}

/// `RcuSyncCell`.
pub fn rcu_sync_cell_to_super(x: RcuSyncCell<Lower>) -> RcuSyncCell<Upper> {
    x //^ E0308
}
/// The other way.
pub fn rcu_sync_cell_to_sub(x: RcuSyncCell<Upper>) -> RcuSyncCell<Lower> {
    x //^ E0308
}

/// `SchedList`.
pub fn sched_list_to_super(x: SchedList<Lower>) -> SchedList<Upper> {
    x //^ E0308
}
/// The other way.
pub fn sched_list_to_sub(x: SchedList<Upper>) -> SchedList<Lower> {
    x //^ E0308
}

/// `SchedQueue`.
pub fn sched_queue_to_super(x: SchedQueue<Lower>) -> SchedQueue<Upper> {
    x //^ E0308
}
/// The other way.
pub fn sched_queue_to_sub(x: SchedQueue<Upper>) -> SchedQueue<Lower> {
    x //^ E0308
}

/// `IndexTable`.
pub fn index_table_to_super(x: IndexTable<Lower>) -> IndexTable<Upper> {
    x //^ E0308
}
/// The other way.
pub fn index_table_to_sub(x: IndexTable<Upper>) -> IndexTable<Lower> {
    x //^ E0308
}

/// `PubkeyTable`.
pub fn pubkey_table_to_super(x: PubkeyTable<Lower>) -> PubkeyTable<Upper> {
    x //^ E0308
}
/// The other way.
pub fn pubkey_table_to_sub(x: PubkeyTable<Upper>) -> PubkeyTable<Lower> {
    x //^ E0308
}

/// `Batch`.
pub fn batch_to_super(x: Batch<Lower>) -> Batch<Upper> {
    x //^ E0308
}
/// The other way.
pub fn batch_to_sub(x: Batch<Upper>) -> Batch<Lower> {
    x //^ E0308
}

/// `CryptRing`.
pub fn crypt_ring_to_super(x: CryptRing<Lower>) -> CryptRing<Upper> {
    x //^ E0308
}
/// The other way.
pub fn crypt_ring_to_sub(x: CryptRing<Upper>) -> CryptRing<Lower> {
    x //^ E0308
}

/// `CryptJob`.
pub fn crypt_job_to_super(x: CryptJob<Lower>) -> CryptJob<Upper> {
    x //^ E0308
}
/// The other way.
pub fn crypt_job_to_sub(x: CryptJob<Upper>) -> CryptJob<Lower> {
    x //^ E0308
}

/// `OrderQueue`.
pub fn order_queue_to_super(x: OrderQueue<Lower>) -> OrderQueue<Upper> {
    x //^ E0308
}
/// The other way.
pub fn order_queue_to_sub(x: OrderQueue<Upper>) -> OrderQueue<Lower> {
    x //^ E0308
}

/// `Consumer`.
pub fn consumer_to_super(x: Consumer<'static, Lower>) -> Consumer<'static, Upper> {
    x //^ E0308
}
/// The other way.
pub fn consumer_to_sub(x: Consumer<'static, Upper>) -> Consumer<'static, Lower> {
    x //^ E0308
}

/// `Done`.
pub fn done_to_super(x: Done<Lower>) -> Done<Upper> {
    x //^ E0308
}
/// The other way.
pub fn done_to_sub(x: Done<Upper>) -> Done<Lower> {
    x //^ E0308
}

/// `Taken`.
pub fn taken_to_super(x: Taken<Lower>) -> Taken<Upper> {
    x //^ E0308
}
/// The other way.
pub fn taken_to_sub(x: Taken<Upper>) -> Taken<Lower> {
    x //^ E0308
}

/// `SubmitError`.
pub fn submit_error_to_super(x: SubmitError<Lower>) -> SubmitError<Upper> {
    x //^ E0308
}
/// The other way.
pub fn submit_error_to_sub(x: SubmitError<Upper>) -> SubmitError<Lower> {
    x //^ E0308
}

/// `Timer`.
pub fn timer_to_super(x: Timer<Lower>) -> Timer<Upper> {
    x //^ E0308
}
/// The other way.
pub fn timer_to_sub(x: Timer<Upper>) -> Timer<Lower> {
    x //^ E0308
}

/// `PerCpuWork`.
pub fn per_cpu_work_to_super(x: PerCpuWork<Lower>) -> PerCpuWork<Upper> {
    x //^ E0308
}
/// The other way.
pub fn per_cpu_work_to_sub(x: PerCpuWork<Upper>) -> PerCpuWork<Lower> {
    x //^ E0308
}

/// `Napi`.
pub fn napi_to_super(x: Napi<Lower>) -> Napi<Upper> {
    x //^ E0308
}
/// The other way.
pub fn napi_to_sub(x: Napi<Upper>) -> Napi<Lower> {
    x //^ E0308
}

/// `NapiHandle`.
pub fn napi_handle_to_super(x: NapiHandle<Lower>) -> NapiHandle<Upper> {
    x //^ E0308
}
/// The other way.
pub fn napi_handle_to_sub(x: NapiHandle<Upper>) -> NapiHandle<Lower> {
    x //^ E0308
}

/// `UdpSocket`.
pub fn udp_socket_to_super(x: UdpSocket<Lower>) -> UdpSocket<Upper> {
    x //^ E0308
}
/// The other way.
pub fn udp_socket_to_sub(x: UdpSocket<Upper>) -> UdpSocket<Lower> {
    x //^ E0308
}

/// `SocketPair`.
pub fn socket_pair_to_super(x: SocketPair<Lower>) -> SocketPair<Upper> {
    x //^ E0308
}
/// The other way.
pub fn socket_pair_to_sub(x: SocketPair<Upper>) -> SocketPair<Lower> {
    x //^ E0308
}

/// `Notifier`.
pub fn notifier_to_super(x: Notifier<Sleep, Lower>) -> Notifier<Sleep, Upper> {
    x //^ E0308
}
/// The other way.
pub fn notifier_to_sub(x: Notifier<Sleep, Upper>) -> Notifier<Sleep, Lower> {
    x //^ E0308
}

/// `PernetOps`.
pub fn pernet_ops_to_super(x: PernetOps<Lower>) -> PernetOps<Upper> {
    x //^ E0308
}
/// The other way.
pub fn pernet_ops_to_sub(x: PernetOps<Upper>) -> PernetOps<Lower> {
    x //^ E0308
}

/// `LinkOps`.
pub fn link_ops_to_super(x: LinkOps<Lower>) -> LinkOps<Upper> {
    x //^ E0308
}
/// The other way.
pub fn link_ops_to_sub(x: LinkOps<Upper>) -> LinkOps<Lower> {
    x //^ E0308
}

/// `Guarded`.
pub fn guarded_to_super(x: Guarded<Lower>) -> Guarded<Upper> {
    x //^ E0308
}
/// The other way.
pub fn guarded_to_sub(x: Guarded<Upper>) -> Guarded<Lower> {
    x //^ E0308
}

/// `RtnlCell`.
pub fn rtnl_cell_to_super(x: RtnlCell<Sub>) -> RtnlCell<Super> {
    x //^ E0308
}
/// The other way.
pub fn rtnl_cell_to_sub(x: RtnlCell<Super>) -> RtnlCell<Sub> {
    x //^ E0308
}

/// `SpinLockBh`.
pub fn spin_lock_to_super(x: SpinLockBh<Lower>) -> SpinLockBh<Upper> {
    x //^ E0308
}
/// The other way.
pub fn spin_lock_to_sub(x: SpinLockBh<Upper>) -> SpinLockBh<Lower> {
    x //^ E0308
}

/// `RwLockBh`.
pub fn rw_lock_to_super(x: RwLockBh<Lower>) -> RwLockBh<Upper> {
    x //^ E0308
}
/// The other way.
pub fn rw_lock_to_sub(x: RwLockBh<Upper>) -> RwLockBh<Lower> {
    x //^ E0308
}

/// `RwSemaphore`.
pub fn rw_semaphore_to_super(x: RwSemaphore<Lower>) -> RwSemaphore<Upper> {
    x //^ E0308
}
/// The other way.
pub fn rw_semaphore_to_sub(x: RwSemaphore<Upper>) -> RwSemaphore<Lower> {
    x //^ E0308
}

/// `ReadGuard`.
pub fn read_guard_to_super(
    x: ReadGuard<'static, Lower, RwLockBhBackend>,
) -> ReadGuard<'static, Upper, RwLockBhBackend> {
    x //^ E0308
}
/// The other way.
pub fn read_guard_to_sub(
    x: ReadGuard<'static, Upper, RwLockBhBackend>,
) -> ReadGuard<'static, Lower, RwLockBhBackend> {
    x //^ E0308
}

/// `WriteGuard`.
pub fn write_guard_to_super(
    x: WriteGuard<'static, Lower, RwLockBhBackend>,
) -> WriteGuard<'static, Upper, RwLockBhBackend> {
    x //^ E0308
}
/// The other way.
pub fn write_guard_to_sub(
    x: WriteGuard<'static, Upper, RwLockBhBackend>,
) -> WriteGuard<'static, Lower, RwLockBhBackend> {
    x //^ E0308
}
