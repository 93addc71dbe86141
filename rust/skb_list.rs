// SPDX-License-Identifier: GPL-2.0
//! Lists of packets, linked through the packets themselves.
//!
//! Wraps the `next` link of `struct sk_buff`
//! ([`include/linux/skbuff.h`](srctree/include/linux/skbuff.h)). No locks, no allocation, any
//! context.
//!
//! Safety review: `Documentation/safety.md#skb_listrs`.

use crate::{
    drop_reason::{
        DropReason,
        Lossy, //
    },
    skbuff::{
        RawSkb,
        Segment,
        SkBuff, //
    }, //
};
use core::{
    marker::PhantomData,
    mem,
    ptr, //
};

/// A list of packets that it owns; dropping it frees them, and they count as lost.
///
/// # Invariants
///
/// From `ends.0` along `next` there are `len` valid `sk_buff`s, the last of them is `ends.1`, and
/// its `next` is null. Each is one that an [`SkBuff`] could own, and the list does. `ends` is `None`
/// if and only if `len` is 0.
pub struct SkbList {
    ends: Option<(RawSkb, RawSkb)>,
    len: usize,
}

// SAFETY: Owns packets, which are `Send`.
unsafe impl Send for SkbList {}
// SAFETY: Methods with `&self` only read.
unsafe impl Sync for SkbList {}

impl Default for SkbList {
    fn default() -> Self {
        Self::new()
    }
}

impl SkbList {
    /// An empty list.
    #[inline]
    pub const fn new() -> Self {
        // INVARIANT: Empty.
        Self { ends: None, len: 0 }
    }

    /// Takes over a chain.
    ///
    /// # Safety
    ///
    /// The type invariants must hold of the chain, and the caller give it up. `len > 0`.
    #[inline]
    pub(crate) unsafe fn from_raw(head: RawSkb, tail: RawSkb, len: usize) -> Self {
        // INVARIANT: By the requirement.
        Self {
            ends: Some((head, tail)),
            len,
        }
    }

    /// Gives the chain up: first, last, length.
    #[inline]
    pub(crate) fn into_raw(mut self) -> Option<(RawSkb, RawSkb, usize)> {
        let len = mem::take(&mut self.len);
        self.ends.take().map(|(head, tail)| (head, tail, len))
    }

    /// Packets in the list.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ends.is_none()
    }

    /// Adds a packet at the end. What is stored with it ([`SkBuff::set_mtu`]) stays.
    #[inline]
    pub fn push_back(&mut self, skb: SkBuff) {
        let raw = skb.raw();
        // INVARIANT: The packet, whose ownership passes to the list, follows the last one.
        mem::forget(skb);
        // SAFETY: Both are ours alone, the one by our invariants, the other by those of `SkBuff`.
        unsafe {
            raw.set_next(ptr::null_mut());
            match &mut self.ends {
                Some((_, tail)) => {
                    tail.set_next(raw.as_ptr());
                    *tail = raw;
                }
                None => self.ends = Some((raw, raw)),
            }
        }
        self.len += 1;
    }

    /// Takes the first packet off.
    #[inline]
    pub fn pop_front(&mut self) -> Option<SkBuff> {
        let (head, tail) = self.ends?;
        // SAFETY: The first is valid and ours by the type invariants; it is unlinked here, so
        // ownership passes on.
        let (next, skb) = unsafe {
            let next = RawSkb::new(head.next());
            (next, SkBuff::from_raw(head.as_ptr()))
        };
        // INVARIANT: The rest of the chain ends where it did.
        self.ends = next.map(|next| (next, tail));
        self.len -= 1;
        Some(skb)
    }

    /// Adds all of `other` at the end.
    #[inline]
    pub fn append(&mut self, other: SkbList) {
        let Some((head, tail, len)) = other.into_raw() else {
            return;
        };
        match &mut self.ends {
            Some((_, last)) => {
                // SAFETY: Ours by the type invariants.
                unsafe { last.set_next(head.as_ptr()) };
                *last = tail;
            }
            None => self.ends = Some((head, tail)),
        }
        // INVARIANT: The two chains are one now.
        self.len += len;
    }

    /// Adds all of `other` at the front.
    #[inline]
    pub fn prepend(&mut self, mut other: SkbList) {
        mem::swap(self, &mut other);
        self.append(other);
    }

    /// Takes everything out.
    #[inline]
    pub fn take(&mut self) -> SkbList {
        mem::take(self)
    }

    /// Visits the packets in order.
    #[inline]
    pub fn iter_mut(&mut self) -> IterMut<'_> {
        // SAFETY: The chain is ours alone, and borrowed for as long as the iterator.
        unsafe { IterMut::new(self.ends.map(|(head, _)| head)) }
    }

    /// The packets in order: valid, and not changed, for as long as the list is borrowed.
    #[inline]
    pub(crate) fn iter_raw(&self) -> impl Iterator<Item = RawSkb> + '_ {
        let mut next = self.ends.map(|(head, _)| head);
        core::iter::from_fn(move || {
            let raw = next?;
            // SAFETY: Valid by the type invariants, and not changed while `self` is borrowed.
            next = RawSkb::new(unsafe { raw.next() });
            Some(raw)
        })
    }

    /// The lengths of the packets, in order, in bytes.
    pub fn lens(&self) -> impl Iterator<Item = usize> + '_ {
        // SAFETY: Valid by the type invariants, and not changed while `self` is borrowed.
        self.iter_raw().map(|raw| unsafe { raw.len() })
    }

    /// Takes the first `n` packets off; all, if there are no more.
    #[inline]
    pub(crate) fn split_front(&mut self, n: usize) -> SkbList {
        if n >= self.len {
            return self.take();
        }
        let Some((head, tail)) = self.ends else {
            return SkbList::new();
        };
        let Some(last) = n.checked_sub(1).and_then(|i| self.iter_raw().nth(i)) else {
            return SkbList::new();
        };
        // INVARIANT: The chain is cut behind the `n`th packet, which has a next one, as there are
        // more; each part ends with a null link.
        // SAFETY: Ours by the type invariants.
        unsafe {
            self.ends = RawSkb::new(last.next()).map(|next| (next, tail));
            last.set_next(ptr::null_mut());
            self.len -= n;
            SkbList::from_raw(head, last, n)
        }
    }
}

impl Lossy for SkbList {
    type Left = ();

    #[inline]
    fn packets(&self) -> usize {
        self.len
    }

    fn drop_for(mut self, why: DropReason) {
        while let Some(skb) = self.pop_front() {
            skb.drop_for(why);
        }
    }
}

impl Drop for SkbList {
    #[inline]
    fn drop(&mut self) {
        while self.pop_front().is_some() {}
    }
}

/// Iterator over the packets of a list or a batch.
///
/// # Invariants
///
/// `next`, if any, starts a null-terminated chain of valid `sk_buff`s, of which nobody else changes
/// anything, and whose data nobody else uses, for `'a`.
pub struct IterMut<'a> {
    next: Option<RawSkb>,
    _list: PhantomData<&'a mut SkbList>,
}

impl IterMut<'_> {
    /// # Safety
    ///
    /// The type invariants must hold for the lifetime that the caller chooses.
    #[inline]
    pub(crate) unsafe fn new(next: Option<RawSkb>) -> Self {
        // INVARIANT: By the requirement.
        Self {
            next,
            _list: PhantomData,
        }
    }
}

impl<'a> Iterator for IterMut<'a> {
    type Item = Segment<'a>;

    #[inline]
    fn next(&mut self) -> Option<Segment<'a>> {
        let raw = self.next?;
        // SAFETY: By the type invariants. Each packet is handed out once.
        unsafe {
            self.next = RawSkb::new(raw.next());
            Some(Segment::new(raw))
        }
    }
}
