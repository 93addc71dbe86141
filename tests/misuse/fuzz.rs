// SPDX-License-Identifier: GPL-2.0
//! Random sequences of safe calls.
//!
//! Workers make, use, keep and drop objects of every kind; so do the callbacks of these objects, of
//! devices, sockets and namespaces, which the guest makes and deletes meanwhile (`apifuzz.py`). What is
//! kept lies in [`Pool`]s, statics that all of them share: objects are taken out, used without a
//! lock, and put back somewhere else, or not.
//!
//! The calls of a worker depend on the seed and its number alone, those of a callback on the seed and
//! how many there were; how they interleave is up to the machine. What may sleep is called by workers
//! only, for a safe function that sleeps in atomic context is a limit that no type of ours lifts
//! (Documentation/safety.md); and nothing waits for the callback it is called from, which is a
//! deadlock by contract.

use crate::{
    attempt::Attempt,
    device::{
        napi,
        Device,
        Poller, //
    },
    module_parameters,
    namespaces::{
        loopback4,
        loopback6, //
    },
    Misuse, //
};
use core::sync::atomic::{
    AtomicBool,
    AtomicU32,
    AtomicU64,
    Ordering::Relaxed, //
};
use kernel::{
    prelude::*,
    sync::Arc,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};
use wgk::{
    dst_cache::DstCache,
    napi::Napi,
    netdevice::RegisteredDevice,
    netns::{
        NetRef,
        WeakNet, //
    },
    percpu::{
        new_percpu_work,
        PerCpuCounters,
        PerCpuWork,
        PerCpuWorker, //
    },
    rcu::{
        read_lock,
        synchronize_net,
        GracePeriod,
        RcuArc, //
    },
    rtnl::{
        for_each_device,
        Rtnl, //
    },
    skb_list::SkbList,
    skbuff::{
        Datagram,
        RxPacket,
        SkBuff,
        TxPacket, //
    },
    udp_tunnel::{
        self,
        How,
        Pieces,
        Way, //
    },
    workqueue::{
        WorkQueue,
        WqFlags, //
    },
};

mod events;
mod objects;
mod pool;
mod rng;

use pool::Pool;
use rng::{
    times,
    Kind,
    Rng, //
};

/// Not tried like the others: by `apifuzz.py`.
pub(crate) static FUZZ: Attempt = Attempt {
    name: "fuzz",
    scene: "fuzz",
    load: |_| start(),
    setup: |setup| {
        let mut rng = Rng::of(Kind::Setup);
        setup.tunnel(1420, 65535);
        if rng.below(2) == 0 {
            setup.mtu(rng.next() as u32, rng.next() as u32);
            setup.room(rng.next() as u16, rng.next() as u16);
            setup.tso_max_size(rng.next() as u32);
        }
    },
    newlink: |_, dev, this| {
        let mut rng = Rng::of(Kind::Newlink);
        if rng.below(4) != 0 {
            NAPIS.put(&mut rng, napi(dev)?);
        }
        DEVICES.put(&mut rng, this.clone());
        quick(&mut rng, None);
        let _ = (dev.name(), dev.mtu(), dev.ifindex());
        if rng.below(8) == 0 {
            return Err(EINVAL);
        }
        Ok(())
    },
    registered: |dev, this| {
        quick(&mut Rng::of(Kind::Registered), Some((dev, this)));
    },
    open: |_, this, dev| {
        let mut rng = Rng::of(Kind::Open);
        quick(&mut rng, Some((dev, this)));
        if rng.below(8) == 0 {
            return Err(EBUSY);
        }
        Device::open_sockets(this)
    },
    stop: |_, this, dev| {
        quick(&mut Rng::of(Kind::Stop), Some((dev, this)));
        this.sockets.replace(None);
    },
    xmit: |this, dev, packet| {
        let mut rng = Rng::of(Kind::Xmit);
        transmit(&mut rng, this, dev, packet);
        quick(&mut rng, None);
        Ok(())
    },
    arrived: |_, mut datagrams| {
        let mut rng = Rng::of(Kind::Receive);
        // What is not taken is dropped with what it is in.
        let most = 1 + rng.below(8);
        for received in datagrams.by_ref().take(most) {
            match rng.below(3) {
                0 => DATAGRAMS.put(&mut rng, received),
                _ => payload(&mut rng, received),
            }
        }
        quick(&mut rng, None);
    },
    poll: |ctx| {
        let mut rng = Rng::of(Kind::Poll);
        let mut done = 0;
        for _ in 0..rng.below(4) {
            if let Some(packet) = RECEIVED.take(&mut rng) {
                ctx.gro_receive(packet);
                done += 1;
            }
        }
        quick(&mut rng, None);
        done
    },
    uninit: |_, _, dev| {
        let mut rng = Rng::of(Kind::Uninit);
        quick(&mut rng, None);
        if rng.below(4) == 0 {
            if let Ok(napi) = napi(dev) {
                NAPIS.put(&mut rng, napi);
            }
        }
    },
    destroyed: |_| quick(&mut Rng::of(Kind::Destroyed), None),
    exit: |_, _| quick(&mut Rng::of(Kind::Exit), None),
    unload: stop,
    ..Attempt::NONE
};

/// Calls of all.
static CALLS: AtomicU64 = AtomicU64::new(0);
static STOPPED: AtomicBool = AtomicBool::new(false);
static WORKING: AtomicU32 = AtomicU32::new(0);

static DEVICES: Pool<RcuArc<Device>> = Pool::new();
static NAPIS: Pool<Napi<Poller>> = Pool::new();
static CACHES: Pool<DstCache> = Pool::new();
static PACKETS: Pool<SkBuff> = Pool::new();
static LISTS: Pool<SkbList> = Pool::new();
static DATAGRAMS: Pool<Datagram> = Pool::new();
static RECEIVED: Pool<RxPacket> = Pool::new();
static NETS: Pool<NetRef> = Pool::new();
static WEAKS: Pool<WeakNet> = Pool::new();
static QUEUES: Pool<WorkQueue> = Pool::new();
static WORKS: Pool<PerCpuWork<Runner>> = Pool::new();
static COUNTERS: Pool<PerCpuCounters<3>> = Pool::new();
static PERIODS: Pool<GracePeriod> = Pool::new();

struct Runner;

impl PerCpuWorker for Runner {
    fn run(_ctx: &Self, _cpu: u32) {
        quick(&mut Rng::of(Kind::PerCpu), None);
    }
}

/// A device, if the caller has one.
type At<'a> = Option<(&'a RegisteredDevice, &'a RcuArc<Device>)>;

/// A call or two that are fine in any context, and end soon.
fn quick(rng: &mut Rng, at: At<'_>) {
    if STOPPED.load(Relaxed) {
        return;
    }
    for _ in 0..1 + rng.below(3) {
        CALLS.fetch_add(1, Relaxed);
        match rng.below(21) {
            0..6 => objects::quick(rng),
            6 => drop(PACKETS.take(rng)),
            7 => {
                if let Some(skb) = PACKETS.take(rng) {
                    packet(rng, skb);
                }
            }
            8 => list(rng),
            9 => {
                NAPIS.with(rng, |napi| napi.schedule());
            }
            10 => drop(RECEIVED.take(rng)),
            11 => {
                if let Some(net) = WEAKS.with(rng, |weak| weak.get()).flatten() {
                    NETS.put(rng, net);
                }
            }
            12 => drop(NETS.take(rng)),
            13 => {
                COUNTERS.with(rng, |counters| {
                    counters.add(2, 1);
                    counters.sum(0)
                });
            }
            14 => {
                PERIODS.put(rng, GracePeriod::start());
                PERIODS.with(rng, |period| period.elapsed());
            }
            15 => {
                if let Some(device) = DEVICES.take(rng) {
                    look(rng, &device);
                    DEVICES.put(rng, device);
                }
            }
            16 => drop(DEVICES.take(rng)),
            17 => {
                let cpu = rng.next() as u32 % 6;
                WORKS.with(rng, |work| work.enqueue_on(cpu));
            }
            18 => {
                CACHES.with(rng, |cache| cache.reset());
            }
            19 => events::tell(rng),
            _ => {
                if let Some((dev, this)) = at {
                    let _ = (dev.name(), dev.mtu(), dev.ifindex());
                    look(rng, this);
                }
            }
        }
    }
}

/// Looks at a device, by its state, and sends through its sockets if it has some.
fn look(rng: &mut Rng, device: &RcuArc<Device>) {
    let guard = read_lock();
    let Some(dev) = device.cell.get(&guard) else {
        return;
    };
    dev.count(wgk::netdevice::Counter::TxErrors, 1);
    dev.rx_stats_add(1, rng.below(2000) as u64);
    if let Some(pair) = device.sockets.load(&guard) {
        let port = pair.port();
        let to = if rng.below(2) == 0 {
            loopback4(port)
        } else {
            loopback6(port)
        };
        let skb = PACKETS
            .take(rng)
            .or_else(|| SkBuff::with_payload(&[0x45; 100], rng.below(200), GFP_ATOMIC).ok());
        let cache = CACHES.take(rng);
        if let Some(skb) = skb {
            let _ = udp_tunnel::xmit(pair, skb, &to, dev, &how(rng), 0, cache.as_ref());
        }
        if let Some(cache) = cache {
            CACHES.put(rng, cache);
        }
    }
}

/// Has a device transmit a packet, somehow.
fn transmit(rng: &mut Rng, this: &Device, dev: &RegisteredDevice, mut packet: TxPacket<'_>) {
    CALLS.fetch_add(1, Relaxed);
    match rng.below(4) {
        0 => packet.icmp_unreachable(),
        1 => {
            let _ = (packet.dst_mtu(), packet.dst_addr(), packet.l3_protocol());
        }
        _ => (),
    }
    let Ok(mut list) = packet.gso_segment() else {
        return;
    };
    for mut segment in list.iter_mut() {
        segment.set_mtu(rng.below(2000) as u32);
        segment.set_ds(rng.next() as u8);
        if rng.below(4) != 0 {
            let sealed = segment.seal(&[4; 16], rng.below(40), rng.next(), &[7; 32]);
            if sealed.is_err() {
                return;
            }
        }
        match rng.below(3) {
            0 => segment.orphan(),
            1 => segment.scrub(true),
            _ => segment.scrub(false),
        }
    }
    match rng.below(3) {
        0 => {
            let guard = read_lock();
            if let Some(pair) = this.sockets.load(&guard) {
                let port = pair.port();
                let to = if rng.below(2) == 0 {
                    loopback4(port)
                } else {
                    loopback6(port)
                };
                let _ = udp_tunnel::xmit_list(pair, list, &to, dev, &how(rng), None);
            }
        }
        1 => LISTS.put(rng, list),
        _ => (),
    }
}

/// Looks at what a socket received.
fn payload(rng: &mut Rng, received: Datagram) {
    if let Ok(mut packet) = received.udp_payload() {
        let head = packet.head(rng.below(100)).map(|head| head.len());
        let _ = (packet.source(), packet.ecn_dsfield(), head, packet.len());
        PACKETS.put(rng, packet.into_inner());
    }
}

/// Something with a packet.
fn packet(rng: &mut Rng, mut skb: SkBuff) {
    match rng.below(6) {
        0 => skb.consume(),
        1 => {
            let mut head = [0; 64];
            let _ = (skb.outer_source(), skb.copy_data(&mut head), skb.len());
            PACKETS.put(rng, skb);
        }
        2 => {
            let mut list = LISTS.take(rng).unwrap_or_default();
            list.push_back(skb);
            LISTS.put(rng, list);
        }
        3 => {
            let len = match skb.inner() {
                Ok(inner) if rng.below(8) != 0 => inner.total_len,
                _ => rng.below(3000),
            };
            if let Ok(packet) = skb.prepare_rx(rng.next() as u8, len) {
                RECEIVED.put(rng, packet);
            }
        }
        4 => {
            if let Some(received) = DATAGRAMS.take(rng) {
                payload(rng, received);
            }
            PACKETS.put(rng, skb);
        }
        _ => PACKETS.put(rng, skb),
    }
}

/// Something with a list.
fn list(rng: &mut Rng) {
    let mut list = LISTS.take(rng).unwrap_or_default();
    match rng.below(5) {
        0 => {
            if let Some(skb) = list.pop_front() {
                PACKETS.put(rng, skb);
            }
        }
        1 => {
            if let Some(other) = LISTS.take(rng) {
                if list.len() + other.len() < 100 {
                    list.append(other);
                }
            }
        }
        2 => {
            for mut segment in list.iter_mut() {
                match rng.below(4) {
                    0 => {
                        let _ = segment.seal(&[4; 16], rng.below(100), rng.next(), &[7; 32]);
                    }
                    1 => {
                        let _ = segment.open(rng.next(), &[7; 32]);
                    }
                    2 => segment.scrub(true),
                    _ => segment.orphan(),
                }
            }
        }
        3 => {
            objects::submit(rng, list);
            return;
        }
        _ => {
            let room = (rng.below(1 << 16), rng.below(1 << 11));
            if let Ok(skb) = SkBuff::empty(room.0, room.1, GFP_ATOMIC) {
                list.push_back(skb);
            }
        }
    }
    LISTS.put(rng, list);
}

/// A call that may sleep.
fn slow(rng: &mut Rng) -> Result {
    CALLS.fetch_add(1, Relaxed);
    match rng.below(17) {
        0..4 => objects::slow(rng)?,
        4 => {
            let flags = [
                WqFlags::UNBOUND,
                WqFlags::PERCPU,
                WqFlags::UNBOUND | WqFlags::MEM_RECLAIM,
            ];
            let (flags, most) = (flags[rng.below(3)], rng.below(3) as u32);
            let queue = WorkQueue::alloc(fmt!("fuzz-{}", rng.below(100)), flags, most)?;
            QUEUES.put(rng, queue);
        }
        5 => drop(QUEUES.take(rng)),
        6 => {
            let queue = WorkQueue::alloc(fmt!("fuzz"), WqFlags::PERCPU, 0)?;
            let queue = Arc::new(queue, GFP_KERNEL)?;
            let work = new_percpu_work!(queue, Arc::new(Runner, GFP_KERNEL)?)?;
            WORKS.put(rng, work);
        }
        7 => drop(WORKS.take(rng)),
        8 => CACHES.put(rng, DstCache::new()),
        9 => {
            if let Some(mut cache) = CACHES.take(rng) {
                match rng.below(4) {
                    0 => cache.close(),
                    _ => cache.reset_now(),
                }
                CACHES.put(rng, cache);
            }
        }
        10 => {
            let payload = KVec::from_elem(rng.next() as u8, rng.below(5000), GFP_KERNEL)?;
            let skb = SkBuff::with_payload(&payload, rng.below(1 << 15), GFP_KERNEL)?;
            PACKETS.put(rng, skb);
        }
        11 => {
            if let Some(device) = DEVICES.take(rng) {
                match rng.below(3) {
                    0 => {
                        // Not later than its end, which closes them.
                        let rtnl = Rtnl::lock();
                        if device.cell.get_rtnl(&rtnl).is_some() {
                            Device::open_sockets(&device)?;
                        }
                    }
                    1 => device.sockets.replace(None),
                    _ => {
                        if let Some(net) = device.net.get() {
                            WEAKS.put(rng, WeakNet::new(&net)?);
                        }
                    }
                }
                DEVICES.put(rng, device);
            }
        }
        12 => drop(NAPIS.take(rng)),
        13 => {
            let rtnl = Rtnl::lock();
            for_each_device::<Misuse>(&rtnl, |device| {
                if let Some(dev) = device.cell.get_rtnl(&rtnl) {
                    let _ = dev.net(&rtnl).id() == wgk::netns::Net::init().id();
                    dev.no_redirects(&rtnl);
                    dev.threaded_napi(&rtnl);
                }
            });
        }
        14 => COUNTERS.put(rng, PerCpuCounters::new()?),
        15 => events::slow(rng)?,
        _ => synchronize_net(),
    }
    Ok(())
}

/// The workers' queue; dropped first.
static WORKERS: Pool<WorkQueue> = Pool::new();

/// One worker: calls until there were enough.
fn work(number: u64) {
    let mut rng = Rng::seeded((Kind::Worker as u64) << 48 | number);
    let limit = *module_parameters::calls.value_ref();
    while CALLS.load(Relaxed) < limit && !STOPPED.load(Relaxed) {
        // Without memory, or a namespace: the next.
        let _ = slow(&mut rng);
        for _ in 0..8 {
            quick(&mut rng, None);
        }
        if rng.below(64) == 0 {
            fsleep(Delta::from_millis(1));
        }
        wgk::cpu::cond_resched();
    }
    if WORKING.fetch_sub(1, Relaxed) == 1 {
        pr_info!("misuse: fuzz: done\n");
    }
}

fn start() -> Result {
    let queue = WorkQueue::alloc(fmt!("misuse-fuzz"), WqFlags::UNBOUND, 8)?;
    objects::open()?;
    let workers = 3;
    WORKING.store(workers, Relaxed);
    for number in 0..workers {
        queue.enqueue(objects::Task::new(number.into())?);
    }
    WORKERS.put(&mut Rng::seeded(0), queue);
    Ok(())
}

/// Ends the workers, then all that is kept.
fn stop() {
    STOPPED.store(true, Relaxed);
    WORKERS.clear();
    // A callback that had looked before the first round may put something in after it.
    for _ in 0..2 {
        events::close();
        QUEUES.close();
        WORKS.close();
        NAPIS.close();
        CACHES.close();
        objects::close();
        DEVICES.close();
        LISTS.close();
        PACKETS.close();
        DATAGRAMS.close();
        RECEIVED.close();
        NETS.close();
        WEAKS.close();
        COUNTERS.close();
        PERIODS.close();
        synchronize_net();
    }
    let seed = *module_parameters::seed.value_ref();
    pr_info!(
        "misuse: fuzz: seed {}: {} calls, callbacks {:?}\n",
        seed,
        CALLS.load(Relaxed),
        times()
    );
}

/// Any way to send.
fn how(rng: &mut Rng) -> How {
    How {
        mark: rng.below(2) as u32,
        pieces: if rng.below(2) == 0 {
            Pieces::Any
        } else {
            Pieces::One
        },
        way: if rng.below(2) == 0 {
            Way::Best
        } else {
            Way::Back
        },
    }
}
