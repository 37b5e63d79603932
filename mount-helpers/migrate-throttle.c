/* SPDX-License-Identifier: MIT */
/*
 * How fast the source is read.  Limits are kept by handing out the next moment
 * at which somebody may go on.  The adaptive part watches the disk of the
 * source and the host's pressure (PSI) and lets fewer threads read at a time,
 * and in the end none for a while, when they rise above what they were before
 * anything was copied.  Sending is not held up: it does not touch the source.
 *
 * throttle.lock protects the moments, the number of readers and the end; a
 * leaf.
 */
#include <config.h>

#include "mount-helpers/migrate-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/thread.h"
#include "common/xalloc.h"

#define TICK_MS 250
#define REST_IOS 20	/* fewer tell nothing of the disk's latency */
#define STALL_MORE 0.4	/* part of the time that somebody waits for the disk */
#define CPU_MORE 0.6
#define AWAIT_TIMES 3	/* and at least AWAIT_MORE ms */
#define AWAIT_MORE 5.0
#define PAUSE_MAX_MS 20

struct sample {
	int64_t at;
	double io_us, cpu_us; /* PSI: totals of "some" */
	double io_10s, cpu_10s; /* parts of the last ten seconds */
	double ios, ticks_ms; /* of the disk */
};
struct load {
	double io, cpu; /* parts of the time */
	double await_ms;
};

struct mig_throttle {
	struct mig *m;
	dev_t dev;
	pthread_mutex_t lock;
	pthread_cond_t freed;
	int64_t next_byte, next_op;
	unsigned readers, readers_max;
	int pause_ms;
	bool lifted; /* the adaptive part */
	bool hurry;  /* nothing is held back */
	struct sample begun;
	struct load rest;
	pthread_t thread;
	bool running;
	bool end;
	pthread_cond_t ended;
};

/* --- limits ---------------------------------------------------------------- */

static void
wait_until(struct mig *m, int64_t when)
{
	int64_t left;

	while (!atomic_load(&m->stop) &&
	       (left = when - clock_mono_ns()) > 0)
		poll(NULL, 0,
		     left > 100 * NSEC_PER_MSEC ? 100 :
						  (int)(left / NSEC_PER_MSEC) + 1);
}

/* n units at rate a second. */
static void
take_turn(struct mig_throttle *t, int64_t *next, uint64_t n, uint64_t rate)
{
	int64_t now = clock_mono_ns(), when;

	if (!rate)
		return;
	pthread_mutex_lock(&t->lock);
	if (*next < now)
		*next = now;
	if (!t->hurry)
		*next += (int64_t)((double)n * NSEC_PER_SEC /
				   (double)rate);
	when = *next;
	pthread_mutex_unlock(&t->lock);
	wait_until(t->m, when);
}

void
mig_throttle_bytes(struct mig *m, uint64_t n)
{
	take_turn(m->throttle, &m->throttle->next_byte, n, m->a->bwlimit);
}

void
mig_throttle_enter(struct mig *m)
{
	take_turn(m->throttle, &m->throttle->next_op, 1, m->a->iops);
	mig_throttle_enter_again(m);
}

void
mig_throttle_enter_again(struct mig *m)
{
	struct mig_throttle *t = m->throttle;
	int pause;

	pthread_mutex_lock(&t->lock);
	while (t->readers >= t->readers_max && !atomic_load(&m->stop))
		pthread_cond_wait(&t->freed, &t->lock);
	t->readers++;
	pause = t->pause_ms;
	pthread_mutex_unlock(&t->lock);
	if (pause)
		wait_until(m, clock_mono_ns() + pause * NSEC_PER_MSEC);
}

void
mig_throttle_leave(struct mig *m)
{
	struct mig_throttle *t = m->throttle;

	pthread_mutex_lock(&t->lock);
	t->readers--;
	pthread_cond_signal(&t->freed);
	pthread_mutex_unlock(&t->lock);
}

/* --- watching -------------------------------------------------------------- */

static void
read_psi(const char *file, double *us, double *part_10s)
{
	_cleanup_fclose_ FILE *f = fopen(file, "re");
	unsigned long long total = 0;
	double percent = 0;

	if (!f || fscanf(f, "some avg10=%lf avg60=%*f avg300=%*f total=%llu",
			 &percent, &total) != 2)
		return;
	*us = (double)total;
	*part_10s = percent / 100;
}

static struct sample
take_sample(const struct mig_throttle *t)
{
	struct sample s = { .at = clock_mono_ns() };
	_cleanup_free_ char *path = xasprintf("/sys/dev/block/%u:%u/stat",
					      major(t->dev), minor(t->dev));
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	unsigned long long v[8];

	read_psi("/proc/pressure/io", &s.io_us, &s.io_10s);
	read_psi("/proc/pressure/cpu", &s.cpu_us, &s.cpu_10s);
	if (f && fscanf(f, "%llu %llu %llu %llu %llu %llu %llu %llu", &v[0],
			&v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7]) == 8) {
		s.ios = (double)(v[0] + v[4]);
		s.ticks_ms = (double)(v[3] + v[7]);
	}
	return s;
}

static struct load
load_between(const struct sample *a, const struct sample *b)
{
	double us = (double)(b->at - a->at) / 1000;
	double ios = b->ios - a->ios;

	return (struct load){
		.io = us > 0 ? (b->io_us - a->io_us) / us : 0,
		.cpu = us > 0 ? (b->cpu_us - a->cpu_us) / us : 0,
		.await_ms = ios > 0 ? (b->ticks_ms - a->ticks_ms) / ios : 0,
	};
}

/* While nothing was copied, from a on: the less of what was seen since and of
 * the ten seconds before, in which another copy may have run. */
static struct load
load_at_rest(const struct sample *a, const struct sample *b)
{
	struct load l = load_between(a, b);

	if (l.io > a->io_10s)
		l.io = a->io_10s;
	if (l.cpu > a->cpu_10s)
		l.cpu = a->cpu_10s;
	/* Since the host was started, if there was no time to look. */
	if (b->ios - a->ios < REST_IOS)
		l.await_ms = a->ios > 0 ? a->ticks_ms / a->ios : 0;
	return l;
}

static bool
too_much(const struct load *rest, const struct load *now)
{
	return now->io > rest->io + STALL_MORE ||
	       now->cpu > rest->cpu + CPU_MORE ||
	       (now->await_ms > rest->await_ms * AWAIT_TIMES &&
		now->await_ms > rest->await_ms + AWAIT_MORE);
}

/* With the lock. */
static void
hold_nothing_back(struct mig_throttle *t)
{
	t->readers_max = t->m->jobs;
	t->pause_ms = 0;
}

static void
adapt(struct mig_throttle *t, bool back_off)
{
	pthread_mutex_lock(&t->lock);
	if (t->lifted || t->hurry) {
		hold_nothing_back(t);
	} else if (back_off && t->readers_max > 1) {
		t->readers_max = t->readers_max * 3 / 4;
		if (t->readers_max == 0)
			t->readers_max = 1;
	} else if (back_off) {
		t->pause_ms = t->pause_ms ? t->pause_ms * 2 : 5;
		if (t->pause_ms > PAUSE_MAX_MS)
			t->pause_ms = PAUSE_MAX_MS;
	} else if (t->pause_ms) {
		t->pause_ms /= 2;
	} else if (t->readers_max < t->m->jobs) {
		t->readers_max++;
	}
	pthread_cond_broadcast(&t->freed);
	pthread_mutex_unlock(&t->lock);
}

void
mig_throttle_lift(struct mig *m, bool on)
{
	struct mig_throttle *t = m->throttle;

	pthread_mutex_lock(&t->lock);
	t->lifted = on;
	pthread_mutex_unlock(&t->lock);
}

void
mig_throttle_hurry(struct mig *m, bool on)
{
	struct mig_throttle *t = m->throttle;

	pthread_mutex_lock(&t->lock);
	t->hurry = on;
	if (on)
		hold_nothing_back(t);
	t->next_byte = t->next_op = 0;
	pthread_cond_broadcast(&t->freed);
	pthread_mutex_unlock(&t->lock);
}

/* false: that was the end. */
static bool
wait_tick(struct mig_throttle *t)
{
	struct timespec until =
		ns_timespec(clock_mono_ns() + TICK_MS * NSEC_PER_MSEC);
	bool end;
	int rc = 0;

	pthread_mutex_lock(&t->lock);
	while (!t->end && rc != ETIMEDOUT)
		rc = pthread_cond_timedwait(&t->ended, &t->lock, &until);
	end = t->end;
	pthread_mutex_unlock(&t->lock);
	return !end;
}

static void *
watch_thread(void *arg)
{
	struct mig_throttle *t = arg;
	struct sample last = take_sample(t);

	while (wait_tick(t)) {
		struct sample now = take_sample(t);
		struct load load;

		load = load_between(&last, &now);
		/* A stop must wake those that wait, too. */
		if (t->m->a->adaptive)
			adapt(t, too_much(&t->rest, &load));
		else
			adapt(t, false);
		last = now;
	}
	return NULL;
}

/* --- life ------------------------------------------------------------------ */

struct mig_throttle *
mig_throttle_new(struct mig *m)
{
	struct mig_throttle *t = xcalloc(1, sizeof(*t));

	t->m = m;
	t->dev = m->dev;
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->freed, NULL);
	cond_init_mono(&t->ended);
	t->begun = take_sample(t);
	return t;
}

void
mig_throttle_start(struct mig *m)
{
	struct mig_throttle *t = m->throttle;
	struct sample now;

	t->readers_max = m->jobs;
	if (t->dev != m->dev) { /* the tree is where a cut-over left it */
		t->dev = m->dev;
		t->begun = take_sample(t);
	}
	now = take_sample(t);
	t->rest = load_at_rest(&t->begun, &now);
	t->running = pthread_create(&t->thread, NULL, watch_thread, t) == 0;
}

void
mig_throttle_free(struct mig_throttle *t)
{
	if (!t)
		return;
	pthread_mutex_lock(&t->lock);
	t->end = true;
	pthread_cond_signal(&t->ended);
	pthread_mutex_unlock(&t->lock);
	if (t->running)
		pthread_join(t->thread, NULL);
	pthread_cond_destroy(&t->ended);
	pthread_cond_destroy(&t->freed);
	pthread_mutex_destroy(&t->lock);
	free(t);
}
