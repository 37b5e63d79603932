/* SPDX-License-Identifier: MIT */
/* See s3-hedge.h. */
#include <config.h>

#include "backends/s3-hedge.h"

#include <string.h>

#include "common/clock.h"

#define FIRST_NS (NSEC_PER_MSEC / 2) /* the end of bucket 0 */
#define SAMPLES_MIN 20
#define SAMPLES_MAX 1000 /* then all count half */
#define DELAY_MIN (100 * NSEC_PER_MSEC)
#define DELAY_MAX (3 * NSEC_PER_SEC)
#define DELAY_UNKNOWN NSEC_PER_SEC
#define COST 20 /* requests for a second one */
#define TOKENS_START (2 * COST)
#define TOKENS_MAX (10 * COST)

void
s3_hedge_init(struct s3_hedge *h)
{
	memset(h, 0, sizeof(*h));
	pthread_mutex_init(&h->lock, NULL);
	h->tokens = TOKENS_START;
}

void
s3_hedge_release(struct s3_hedge *h)
{
	pthread_mutex_destroy(&h->lock);
}

/* The end of the bucket in which the 95th of 100 is. */
static int64_t
most_take_locked(const struct s3_latency *l)
{
	unsigned want = l->total - l->total / 20, sum = 0;
	int64_t end = FIRST_NS;

	for (int i = 0; i < S3_HEDGE_BUCKETS; i++, end += end / 4) {
		sum += l->bucket[i];
		if (sum >= want)
			break;
	}
	return end;
}

int64_t
s3_hedge_delay(struct s3_hedge *h, enum s3_hedge_kind kind)
{
	int64_t ns = DELAY_UNKNOWN;

	pthread_mutex_lock(&h->lock);
	if (h->tokens < TOKENS_MAX)
		h->tokens++;
	if (h->seen[kind].total >= SAMPLES_MIN)
		ns = 2 * most_take_locked(&h->seen[kind]);
	pthread_mutex_unlock(&h->lock);
	return ns < DELAY_MIN ? DELAY_MIN : ns > DELAY_MAX ? DELAY_MAX : ns;
}

bool
s3_hedge_take(struct s3_hedge *h)
{
	bool yes;

	pthread_mutex_lock(&h->lock);
	yes = h->tokens >= COST;
	if (yes) {
		h->tokens -= COST;
		h->asked++;
	}
	pthread_mutex_unlock(&h->lock);
	return yes;
}

void
s3_hedge_saw(struct s3_hedge *h, enum s3_hedge_kind kind, int64_t ns,
	     bool second)
{
	struct s3_latency *l = &h->seen[kind];
	int64_t end = FIRST_NS;
	int i = 0;

	for (; i < S3_HEDGE_BUCKETS - 1 && ns > end; i++)
		end += end / 4;
	pthread_mutex_lock(&h->lock);
	l->bucket[i]++;
	if (++l->total > SAMPLES_MAX) {
		l->total = 0;
		for (int k = 0; k < S3_HEDGE_BUCKETS; k++)
			l->total += l->bucket[k] /= 2;
	}
	if (second)
		h->won++;
	pthread_mutex_unlock(&h->lock);
}
