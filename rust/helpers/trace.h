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

#include <linux/tracepoint.h>

TRACE_EVENT(packet_dropped,
	TP_PROTO(u32 ifindex, const char *ifname, u64 peer, const char *reason,
		 u32 packets),
	TP_ARGS(ifindex, ifname, peer, reason, packets),
	TP_STRUCT__entry(
		__field(u32, ifindex)
		__string(ifname, ifname)
		__field(u64, peer)
		__string(reason, reason)
		__field(u32, packets)
	),
	TP_fast_assign(
		__entry->ifindex = ifindex;
		__assign_str(ifname);
		__entry->peer = peer;
		__assign_str(reason);
		__entry->packets = packets;
	),
	TP_printk("ifname=%s ifindex=%u peer=%llu reason=%s packets=%u",
		  __get_str(ifname), __entry->ifindex, __entry->peer,
		  __get_str(reason), __entry->packets)
);

TRACE_EVENT(queue_full,
	TP_PROTO(u32 ifindex, const char *ifname, u64 peer, const char *queue),
	TP_ARGS(ifindex, ifname, peer, queue),
	TP_STRUCT__entry(
		__field(u32, ifindex)
		__string(ifname, ifname)
		__field(u64, peer)
		__string(queue, queue)
	),
	TP_fast_assign(
		__entry->ifindex = ifindex;
		__assign_str(ifname);
		__entry->peer = peer;
		__assign_str(queue);
	),
	TP_printk("ifname=%s ifindex=%u peer=%llu queue=%s",
		  __get_str(ifname), __entry->ifindex, __entry->peer,
		  __get_str(queue))
);

DECLARE_EVENT_CLASS(handshake,
	TP_PROTO(u32 ifindex, const char *ifname, u64 peer, const char *kind,
		 const char *outcome),
	TP_ARGS(ifindex, ifname, peer, kind, outcome),
	TP_STRUCT__entry(
		__field(u32, ifindex)
		__string(ifname, ifname)
		__field(u64, peer)
		__string(kind, kind)
		__string(outcome, outcome)
	),
	TP_fast_assign(
		__entry->ifindex = ifindex;
		__assign_str(ifname);
		__entry->peer = peer;
		__assign_str(kind);
		__assign_str(outcome);
	),
	TP_printk("ifname=%s ifindex=%u peer=%llu kind=%s outcome=%s",
		  __get_str(ifname), __entry->ifindex, __entry->peer,
		  __get_str(kind), __get_str(outcome))
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
		__field(u32, ifindex)
		__string(ifname, ifname)
		__field(u64, peer)
		__field(u64, session)
		__string(side, side)
	),
	TP_fast_assign(
		__entry->ifindex = ifindex;
		__assign_str(ifname);
		__entry->peer = peer;
		__entry->session = session;
		__assign_str(side);
	),
	TP_printk("ifname=%s ifindex=%u peer=%llu session=%llu side=%s",
		  __get_str(ifname), __entry->ifindex, __entry->peer,
		  __entry->session, __get_str(side))
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
		__field(u32, ifindex)
		__string(ifname, ifname)
		__field(u64, peer)
		__string(timer, timer)
	),
	TP_fast_assign(
		__entry->ifindex = ifindex;
		__assign_str(ifname);
		__entry->peer = peer;
		__assign_str(timer);
	),
	TP_printk("ifname=%s ifindex=%u peer=%llu timer=%s",
		  __get_str(ifname), __entry->ifindex, __entry->peer,
		  __get_str(timer))
);

TRACE_EVENT(worker_called,
	TP_PROTO(u32 ifindex, const char *ifname, const char *stage, u32 cpu),
	TP_ARGS(ifindex, ifname, stage, cpu),
	TP_STRUCT__entry(
		__field(u32, ifindex)
		__string(ifname, ifname)
		__string(stage, stage)
		__field(u32, cpu)
	),
	TP_fast_assign(
		__entry->ifindex = ifindex;
		__assign_str(ifname);
		__assign_str(stage);
		__entry->cpu = cpu;
	),
	TP_printk("ifname=%s ifindex=%u stage=%s cpu=%u",
		  __get_str(ifname), __entry->ifindex, __get_str(stage),
		  __entry->cpu)
);

#endif

/* Kbuild says where this file is. It is read several times over. */
#undef TRACE_INCLUDE_PATH
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_PATH .
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
