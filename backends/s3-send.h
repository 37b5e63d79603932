/* SPDX-License-Identifier: MIT */
/*
 * The threads that send parts.  Each upload has a queue; the threads take from
 * them in turn.  One upload alone may have `parallel` parts on their way; of n,
 * each may have its share of that but always two, so that a new upload never
 * waits for the parts of the others; there are at most parallel + 2 n threads.
 * They start when needed and leave when idle.
 */
#ifndef BACKENDS_S3_SEND_H
#define BACKENDS_S3_SEND_H

#include <sys/queue.h>

struct s3_senders;

struct s3_sendq {
	/* One unit of work, in a thread of the pool. */
	void (*work)(struct s3_sendq *q);
	/* The thread has no more to do with q, and it may go. */
	void (*done)(struct s3_sendq *q);
	/* the pool's */
	unsigned waiting, running;
	TAILQ_ENTRY(s3_sendq) link; /* while waiting */
};

struct s3_senders *s3_senders_new(unsigned parallel);
/* Every queue is or will be empty without our doing; waits for that. */
void s3_senders_free(struct s3_senders *p);
/* n more units.  Never blocks; any lock may be held. */
void s3_sendq_add(struct s3_senders *p, struct s3_sendq *q, unsigned n);
/* Takes back what has not begun; how many units that were. */
unsigned s3_sendq_drop(struct s3_senders *p, struct s3_sendq *q);
/* Parts on their way now, for status. */
unsigned s3_senders_busy(struct s3_senders *p);

#endif
