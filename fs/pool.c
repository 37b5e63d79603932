/* SPDX-License-Identifier: MIT */
/*
 * See pool.h.  One queue and one condition; a thread is added when a job comes
 * and nobody is idle, and leaves after a while without work.
 */
#include <config.h>

#include "fs/pool.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/log.h"
#include "common/thread.h"
#include "common/xalloc.h"

#define IDLE_SECONDS 20

struct pool {
	char name[16];	      /* of its threads; the kernel takes no more */
	pthread_mutex_t lock; /* all below */
	unsigned max, spare;
	pthread_cond_t work;  /* a job came, or stopping */
	pthread_cond_t gone;  /* threads went down */
	struct pool_job *first, **last;
	unsigned queued;  /* in the list */
	unsigned running; /* being run */
	unsigned idle;	  /* waiting in `work` */
	unsigned threads;
	bool stopping;
};

struct pool *
pool_new(const char *name, unsigned max_threads)
{
	struct pool *p = xcalloc(1, sizeof(*p));

	assert(max_threads > 0);
	strncat(p->name, name, sizeof(p->name) - 1);
	p->max = max_threads;
	p->last = &p->first;
	pthread_mutex_init(&p->lock, NULL);
	cond_init_mono(&p->work);
	pthread_cond_init(&p->gone, NULL);
	return p;
}

static struct pool_job *
next_job_locked(struct pool *p)
{
	struct pool_job *job = p->first;

	if (!job)
		return NULL;
	p->first = job->next;
	if (!p->first)
		p->last = &p->first;
	p->queued--;
	return job;
}

/* false: nothing came for a long time, or the pool ends. */
static bool
wait_for_work_locked(struct pool *p)
{
	struct timespec until;
	int rc = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += IDLE_SECONDS;
	p->idle++;
	while (!p->first && !p->stopping && rc != ETIMEDOUT)
		rc = pthread_cond_timedwait(&p->work, &p->lock, &until);
	p->idle--;
	return p->first;
}

static void *
pool_thread(void *arg)
{
	struct pool *p = arg;

	pthread_setname_np(pthread_self(), p->name);
	pthread_mutex_lock(&p->lock);
	for (;;) {
		struct pool_job *job = next_job_locked(p);

		if (!job) {
			if (wait_for_work_locked(p))
				continue;
			break;
		}
		p->running++;
		pthread_mutex_unlock(&p->lock);
		job->run(job);
		pthread_mutex_lock(&p->lock);
		p->running--;
		/* Not one that was woken up: its job would wait. */
		if (p->threads > p->max + p->spare)
			break;
	}
	p->threads--;
	pthread_cond_broadcast(&p->gone);
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* One more if it has something to do.  false: no. */
static bool
grow_locked(struct pool *p)
{
	int rc;

	if (p->queued <= p->idle || p->threads >= p->max + p->spare)
		return false;
	rc = thread_start(NULL, pool_thread, p);
	if (rc == 0) {
		p->threads++;
		return true;
	}
	if (p->threads == 0) {
		log_error("pool", "no thread can be started: %s", strerror(rc));
		abort(); /* the next worker may have more luck */
	}
	return false;
}

void
pool_add(struct pool *p, struct pool_job *job)
{
	job->next = NULL;
	pthread_mutex_lock(&p->lock);
	assert(!p->stopping || p->threads > 0);
	*p->last = job;
	p->last = &job->next;
	p->queued++;
	grow_locked(p);
	pthread_cond_signal(&p->work);
	pthread_mutex_unlock(&p->lock);
}

void
pool_set_max(struct pool *p, unsigned max_threads)
{
	assert(max_threads > 0);
	pthread_mutex_lock(&p->lock);
	p->max = max_threads;
	pthread_mutex_unlock(&p->lock);
}

void
pool_set_spare(struct pool *p, unsigned threads)
{
	unsigned n = 0;

	pthread_mutex_lock(&p->lock);
	p->spare = threads;
	/* A new one counts as idle only when it runs. */
	while (n < p->queued && grow_locked(p))
		n++;
	pthread_mutex_unlock(&p->lock);
}

unsigned
pool_queued(struct pool *p)
{
	unsigned n;

	pthread_mutex_lock(&p->lock);
	n = p->queued + p->running;
	pthread_mutex_unlock(&p->lock);
	return n;
}

void
pool_free(struct pool *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stopping = true;
	pthread_cond_broadcast(&p->work);
	while (p->threads)
		pthread_cond_wait(&p->gone, &p->lock);
	assert(!p->first);
	pthread_mutex_unlock(&p->lock);
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->work);
	pthread_cond_destroy(&p->gone);
	free(p);
}
