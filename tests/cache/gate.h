/* SPDX-License-Identifier: MIT */
/*
 * A backend that tests can look through and hold: counts the calls that reach
 * the store, stops them before or after, and lets them fail.
 */
#ifndef TESTS_CACHE_GATE_H
#define TESTS_CACHE_GATE_H

#include "backends/backend.h"

struct gate;

enum gate_call {
	GATE_GETATTR,
	GATE_LIST,
	GATE_FETCH,
	GATE_READ,
	GATE_COMMIT,
	GATE_CREATE,
	GATE_CHANGE, /* all other mutations */
	GATE_N,
};

/* Takes over *below.  The gate lives as long as *out. */
struct gate *gate_new(struct backend **below, struct backend **out);

unsigned gate_calls(struct gate *g, enum gate_call call);
unsigned gate_all_calls(struct gate *g);
void gate_reset(struct gate *g);	/* counters */
uint64_t gate_bytes(struct gate *g);	/* delivered by fetch and read */
/* Did two reads of one path at the same time ask for the same byte (C8)? */
bool gate_overlapped(struct gate *g);

/* The next n calls of the kind wait before they reach the store, or with its
 * answer in hand; later ones pass.  gate_wait returns when n wait. */
void gate_shut(struct gate *g, enum gate_call call, unsigned n, bool after);
void gate_wait(struct gate *g, enum gate_call call, unsigned n);
void gate_open(struct gate *g, enum gate_call call);

/* The next n calls fail; `after`: they happen, and the answer is lost. */
void gate_fail(struct gate *g, enum gate_call call, unsigned n, int err,
	       bool after);
/* Each call fails with chance 1/one_in (0: none). */
void gate_fail_random(struct gate *g, unsigned one_in, unsigned seed);

#endif
