// SPDX-License-Identifier: GPL-2.0
/*
 * What the tracepoints of trace.h are made of: an object of its own, as bindgen
 * need not read that.
 */
#define CREATE_TRACE_POINTS
#define CREATE_RUST_TRACE_POINTS
#include "trace.h"
