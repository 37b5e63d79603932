/* SPDX-License-Identifier: MIT */
/*
 * Is the store there?  A circuit breaker: while it is down (DOWN_AFTER failures
 * in a row, or quick calls that hang for HANG_NS, as in the kernel's NFS client)
 * callers wait outside, and one at a time has a look, so that a dead store gets
 * no threads.
 *
 * Where a function says `tell`, the store was just found to be down, and the
 * caller is the one to log it.  Threads: any.
 */
#ifndef BACKENDS_BREAKER_H
#define BACKENDS_BREAKER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "backends/wrap.h"
#include "common/clock.h"

/* A look takes no longer. */
#define BREAKER_LOOK_LIMIT (2 * NSEC_PER_SEC)

struct breaker {
	pthread_mutex_t lock; /* all below */
	unsigned failures;    /* in a row, of all calls */
	int64_t since_ns;     /* of the first of them */
	bool told;	      /* that it is down */
	unsigned quick;	      /* calls under way that should not take long */
	int64_t quick_ns;     /* since when none of them has come back */
	bool looking;	      /* somebody asks whether the store is there */
	int64_t look_ns;      /* since then; else when to look next */
	uint64_t looks;
};

void breaker_init(struct breaker *b);
void breaker_release(struct breaker *b);

/* A call begins that should not take long, and ends. */
void breaker_begin(struct breaker *b);
void breaker_end(struct breaker *b);

/* The store has answered, be it with an error.  For how long it was down, in
 * ns, if that was told; else 0. */
int64_t breaker_answered(struct breaker *b);
/* It has not.  Returns tell. */
bool breaker_failed(struct breaker *b);

enum breaker_word {
	BREAKER_GO,
	BREAKER_WAIT,
	BREAKER_LOOK, /* go and look; breaker_looked() ends it */
};
enum breaker_word breaker_ask(struct breaker *b, bool *tell);
/* The next look is due in `every` ns. */
void breaker_looked(struct breaker *b, int64_t every);

enum be_health breaker_health(struct breaker *b, bool *tell);
uint64_t breaker_looks(struct breaker *b);

#endif
