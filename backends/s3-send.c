/* SPDX-License-Identifier: MIT */
/* See s3-send.h. */
#include <config.h>

#include "backends/s3-send.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "common/log.h"
#include "common/thread.h"
#include "common/xalloc.h"

#define IDLE_SECONDS 20
#define SHARE_MIN 2 /* parts of each upload, however many there are */

TAILQ_HEAD(sendq_list, s3_sendq);

struct s3_senders {
	unsigned parallel;
	pthread_mutex_t lock; /* all below, and the queues; a leaf */
	pthread_cond_t work;  /* a unit came, or stopping */
	pthread_cond_t gone;  /* a thread left */
	struct sendq_list queues; /* with units waiting; served in turn */
	unsigned active;	  /* queues with units waiting or running */
	unsigned busy, idle, threads;
	bool stopping;
};

struct s3_senders *
s3_senders_new(unsigned parallel)
{
	struct s3_senders *p = xcalloc(1, sizeof(*p));

	p->parallel = parallel;
	TAILQ_INIT(&p->queues);
	pthread_mutex_init(&p->lock, NULL);
	cond_init_mono(&p->work);
	pthread_cond_init(&p->gone, NULL);
	return p;
}

/* The next queue that has not its share on the way. */
static struct s3_sendq *
next_locked(struct s3_senders *p)
{
	unsigned share = p->active ? p->parallel / p->active : p->parallel;
	struct s3_sendq *q;

	/* Alone it is bound by parallel, also if that is 1. */
	if (share < SHARE_MIN && p->active > 1)
		share = SHARE_MIN;
	TAILQ_FOREACH(q, &p->queues, link)
		if (q->running < share)
			break;
	return q;
}

static bool start_locked(struct s3_senders *p);

static struct s3_sendq *
take_locked(struct s3_senders *p)
{
	struct s3_sendq *q = next_locked(p);

	if (!q)
		return NULL;
	TAILQ_REMOVE(&p->queues, q, link);
	q->running++;
	if (--q->waiting)
		TAILQ_INSERT_TAIL(&p->queues, q, link);
	/* Those that were idle when the unit came may have taken others. */
	if (!p->idle && next_locked(p))
		start_locked(p);
	return q;
}

static bool
wait_locked(struct s3_senders *p)
{
	struct timespec until;
	int rc;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += IDLE_SECONDS;
	p->idle++;
	rc = pthread_cond_timedwait(&p->work, &p->lock, &until);
	p->idle--;
	return rc != ETIMEDOUT;
}

static void *
sender(void *arg)
{
	struct s3_senders *p = arg;

	pthread_setname_np(pthread_self(), "send");
	pthread_mutex_lock(&p->lock);
	for (;;) {
		struct s3_sendq *q = take_locked(p);

		if (!q) {
			/* Units that wait for their share are taken by the
			 * threads that are at it. */
			if (p->stopping && TAILQ_EMPTY(&p->queues))
				break;
			if (!wait_locked(p))
				break;
			continue;
		}
		p->busy++;
		pthread_mutex_unlock(&p->lock);
		q->work(q);
		pthread_mutex_lock(&p->lock);
		p->busy--;
		q->running--;
		if (!q->running && !q->waiting) {
			p->active--;
			/* The others' shares have grown. */
			pthread_cond_broadcast(&p->work);
		}
		pthread_mutex_unlock(&p->lock);
		q->done(q);
		pthread_mutex_lock(&p->lock);
	}
	p->threads--;
	pthread_cond_broadcast(&p->gone);
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* One more thread, if all shares together can use it. */
static bool
start_locked(struct s3_senders *p)
{
	if (p->threads >= p->parallel + SHARE_MIN * p->active ||
	    thread_start(NULL, sender, p) != 0)
		return false;
	p->threads++;
	return true;
}

void
s3_sendq_add(struct s3_senders *p, struct s3_sendq *q, unsigned n)
{
	unsigned want = n;

	if (n == 0)
		return;
	pthread_mutex_lock(&p->lock);
	if (!q->waiting && !q->running)
		p->active++;
	if (!q->waiting)
		TAILQ_INSERT_TAIL(&p->queues, q, link);
	q->waiting += n;
	if (want > p->parallel)
		want = p->parallel;
	for (unsigned i = p->idle; i < want && start_locked(p); i++)
		;
	if (!p->threads) {
		log_error("s3", "no thread can be started");
		abort(); /* the next worker may have more luck */
	}
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
}

unsigned
s3_sendq_drop(struct s3_senders *p, struct s3_sendq *q)
{
	unsigned n;

	pthread_mutex_lock(&p->lock);
	n = q->waiting;
	if (n) {
		q->waiting = 0;
		TAILQ_REMOVE(&p->queues, q, link);
		if (!q->running) {
			p->active--;
			pthread_cond_broadcast(&p->work);
		}
	}
	pthread_mutex_unlock(&p->lock);
	return n;
}

unsigned
s3_senders_busy(struct s3_senders *p)
{
	unsigned n;

	pthread_mutex_lock(&p->lock);
	n = p->busy;
	pthread_mutex_unlock(&p->lock);
	return n;
}

void
s3_senders_free(struct s3_senders *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stopping = true;
	pthread_cond_broadcast(&p->work);
	while (p->threads)
		pthread_cond_wait(&p->gone, &p->lock);
	pthread_mutex_unlock(&p->lock);
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->work);
	pthread_cond_destroy(&p->gone);
	free(p);
}
