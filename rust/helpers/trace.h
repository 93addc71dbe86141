/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The tracepoints wireguard_rs:*. rust/trace.rs calls them, and nobody else.
 *
 * @peer is the number that the log has for it (Peer 3), 0 for nobody. Nothing
 * here tells a key or an index. Documentation/observability.md is for readers.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM wireguard_rs

#if !defined(_WGK_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _WGK_TRACE_H

#include <linux/if.h>
#include <linux/string.h>
#include <linux/tracepoint.h>

/*
 * Words are arrays: of one that is elsewhere in the record, as __string() has
 * it, perf trace prints the address, and bpftrace 0.23, which Debian 13 has,
 * looks in the wrong place. The longest there is has 20 letters.
 */
#define WGK_WORD 24

/*
 * A record is where others were before: what its fields leave of it, behind the
 * last one, is not to be theirs. (The largest fields come first, so that there
 * is nothing between them.)
 */
#define WGK_CLEAR(entry)                                         \
	memset((char *)(entry) + sizeof((entry)->ent), 0,        \
	       sizeof(*(entry)) - sizeof((entry)->ent))

TRACE_EVENT(packet_dropped,
	TP_PROTO(u32 ifindex, const char *ifname, u64 peer, const char *reason,
		 u32 packets),
	TP_ARGS(ifindex, ifname, peer, reason, packets),
	TP_STRUCT__entry(
		__field(u64, peer)
		__field(u32, ifindex)
		__array(char, ifname, IFNAMSIZ)
		__array(char, reason, WGK_WORD)
		__field(u32, packets)
	),
	TP_fast_assign(
		WGK_CLEAR(__entry);
		__entry->ifindex = ifindex;
		strscpy_pad(__entry->ifname, ifname);
		__entry->peer = peer;
		strscpy_pad(__entry->reason, reason);
		__entry->packets = packets;
	),
	TP_printk("ifname=%s ifindex=%u peer=%llu reason=%s packets=%u",
		  __entry->ifname, __entry->ifindex, __entry->peer,
		  __entry->reason, __entry->packets)
);

TRACE_EVENT(queue_full,
	TP_PROTO(u32 ifindex, const char *ifname, u64 peer, const char *queue),
	TP_ARGS(ifindex, ifname, peer, queue),
	TP_STRUCT__entry(
		__field(u64, peer)
		__field(u32, ifindex)
		__array(char, ifname, IFNAMSIZ)
		__array(char, queue, WGK_WORD)
	),
	TP_fast_assign(
		WGK_CLEAR(__entry);
		__entry->ifindex = ifindex;
		strscpy_pad(__entry->ifname, ifname);
		__entry->peer = peer;
		strscpy_pad(__entry->queue, queue);
	),
	TP_printk("ifname=%s ifindex=%u peer=%llu queue=%s",
		  __entry->ifname, __entry->ifindex, __entry->peer,
		  __entry->queue)
);

DECLARE_EVENT_CLASS(handshake,
	TP_PROTO(u32 ifindex, const char *ifname, u64 peer, const char *kind,
		 const char *outcome),
	TP_ARGS(ifindex, ifname, peer, kind, outcome),
	TP_STRUCT__entry(
		__field(u64, peer)
		__field(u32, ifindex)
		__array(char, ifname, IFNAMSIZ)
		__array(char, kind, WGK_WORD)
		__array(char, outcome, WGK_WORD)
	),
	TP_fast_assign(
		WGK_CLEAR(__entry);
		__entry->ifindex = ifindex;
		strscpy_pad(__entry->ifname, ifname);
		__entry->peer = peer;
		strscpy_pad(__entry->kind, kind);
		strscpy_pad(__entry->outcome, outcome);
	),
	TP_printk("ifname=%s ifindex=%u peer=%llu kind=%s outcome=%s",
		  __entry->ifname, __entry->ifindex, __entry->peer,
		  __entry->kind, __entry->outcome)
);

DEFINE_EVENT(handshake, handshake_sent,
	TP_PROTO(u32 ifindex, const char *ifname, u64 peer, const char *kind,
		 const char *outcome),
	TP_ARGS(ifindex, ifname, peer, kind, outcome)
);

DEFINE_EVENT(handshake, handshake_received,
	TP_PROTO(u32 ifindex, const char *ifname, u64 peer, const char *kind,
		 const char *outcome),
	TP_ARGS(ifindex, ifname, peer, kind, outcome)
);

DECLARE_EVENT_CLASS(session,
	TP_PROTO(u32 ifindex, const char *ifname, u64 peer, u64 session,
		 const char *side),
	TP_ARGS(ifindex, ifname, peer, session, side),
	TP_STRUCT__entry(
		__field(u64, peer)
		__field(u64, session)
		__field(u32, ifindex)
		__array(char, ifname, IFNAMSIZ)
		__array(char, side, WGK_WORD)
	),
	TP_fast_assign(
		WGK_CLEAR(__entry);
		__entry->ifindex = ifindex;
		strscpy_pad(__entry->ifname, ifname);
		__entry->peer = peer;
		__entry->session = session;
		strscpy_pad(__entry->side, side);
	),
	TP_printk("ifname=%s ifindex=%u peer=%llu session=%llu side=%s",
		  __entry->ifname, __entry->ifindex, __entry->peer,
		  __entry->session, __entry->side)
);

DEFINE_EVENT(session, session_begun,
	TP_PROTO(u32 ifindex, const char *ifname, u64 peer, u64 session,
		 const char *side),
	TP_ARGS(ifindex, ifname, peer, session, side)
);

DEFINE_EVENT(session, session_ended,
	TP_PROTO(u32 ifindex, const char *ifname, u64 peer, u64 session,
		 const char *side),
	TP_ARGS(ifindex, ifname, peer, session, side)
);

TRACE_EVENT(timer_fired,
	TP_PROTO(u32 ifindex, const char *ifname, u64 peer, const char *timer),
	TP_ARGS(ifindex, ifname, peer, timer),
	TP_STRUCT__entry(
		__field(u64, peer)
		__field(u32, ifindex)
		__array(char, ifname, IFNAMSIZ)
		__array(char, timer, WGK_WORD)
	),
	TP_fast_assign(
		WGK_CLEAR(__entry);
		__entry->ifindex = ifindex;
		strscpy_pad(__entry->ifname, ifname);
		__entry->peer = peer;
		strscpy_pad(__entry->timer, timer);
	),
	TP_printk("ifname=%s ifindex=%u peer=%llu timer=%s",
		  __entry->ifname, __entry->ifindex, __entry->peer,
		  __entry->timer)
);

TRACE_EVENT(worker_called,
	TP_PROTO(u32 ifindex, const char *ifname, const char *stage, u32 cpu),
	TP_ARGS(ifindex, ifname, stage, cpu),
	TP_STRUCT__entry(
		__field(u32, ifindex)
		__array(char, ifname, IFNAMSIZ)
		__array(char, stage, WGK_WORD)
		__field(u32, cpu)
	),
	TP_fast_assign(
		WGK_CLEAR(__entry);
		__entry->ifindex = ifindex;
		strscpy_pad(__entry->ifname, ifname);
		strscpy_pad(__entry->stage, stage);
		__entry->cpu = cpu;
	),
	TP_printk("ifname=%s ifindex=%u stage=%s cpu=%u",
		  __entry->ifname, __entry->ifindex, __entry->stage,
		  __entry->cpu)
);

#endif

/* Kbuild says where this file is. It is read several times over. */
#undef TRACE_INCLUDE_PATH
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_PATH .
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
