/* SPDX-License-Identifier: MIT */
/*
 * When a request that changes nothing is asked a second time, on a new
 * connection: when the first has had no answer for twice as long as 95 of 100
 * take, and at most for one in 20 of them.  Who answers first wins.  Any
 * thread.
 */
#ifndef BACKENDS_S3_HEDGE_H
#define BACKENDS_S3_HEDGE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define S3_HEDGE_BUCKETS 64

/* How long answers of one kind took to begin. */
struct s3_latency {
	unsigned bucket[S3_HEDGE_BUCKETS]; /* each a quarter longer */
	unsigned total;
};

enum s3_hedge_kind { S3_HEDGE_GET, S3_HEDGE_HEAD, S3_HEDGE_LIST, S3_HEDGE_N };

struct s3_hedge {
	pthread_mutex_t lock; /* all below; a leaf */
	struct s3_latency seen[S3_HEDGE_N];
	unsigned tokens;
	uint64_t asked, won; /* second requests; those that were faster */
};

void s3_hedge_init(struct s3_hedge *h);
void s3_hedge_release(struct s3_hedge *h);
/* A request begins: after how many ns without an answer it may be asked
 * again. */
int64_t s3_hedge_delay(struct s3_hedge *h, enum s3_hedge_kind kind);
/* It has come to that: is there a second request left in the bound? */
bool s3_hedge_take(struct s3_hedge *h);
/* An answer began after ns; second: to the second request. */
void s3_hedge_saw(struct s3_hedge *h, enum s3_hedge_kind kind, int64_t ns,
		  bool second);

#endif
