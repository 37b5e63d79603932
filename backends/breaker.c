/* SPDX-License-Identifier: MIT */
/* See breaker.h. */
#include <config.h>

#include "backends/breaker.h"

#include <string.h>

/* Failures in a row that make a store "down". */
#define DOWN_AFTER 3
#define HANG_NS (5 * NSEC_PER_SEC)

void
breaker_init(struct breaker *b)
{
	memset(b, 0, sizeof(*b));
	pthread_mutex_init(&b->lock, NULL);
}

void
breaker_release(struct breaker *b)
{
	pthread_mutex_destroy(&b->lock);
}

void
breaker_begin(struct breaker *b)
{
	pthread_mutex_lock(&b->lock);
	if (b->quick++ == 0)
		b->quick_ns = clock_mono_ns();
	pthread_mutex_unlock(&b->lock);
}

void
breaker_end(struct breaker *b)
{
	pthread_mutex_lock(&b->lock);
	b->quick--;
	b->quick_ns = clock_mono_ns();
	pthread_mutex_unlock(&b->lock);
}

int64_t
breaker_answered(struct breaker *b)
{
	int64_t now = clock_mono_ns(), down = 0;

	pthread_mutex_lock(&b->lock);
	if (b->told)
		down = now - b->since_ns;
	b->failures = 0;
	b->told = false;
	b->quick_ns = now;
	pthread_mutex_unlock(&b->lock);
	return down;
}

bool
breaker_failed(struct breaker *b)
{
	bool tell = false;

	pthread_mutex_lock(&b->lock);
	if (b->failures++ == 0)
		b->since_ns = clock_mono_ns();
	if (b->failures >= DOWN_AFTER && !b->told)
		tell = b->told = true;
	pthread_mutex_unlock(&b->lock);
	return tell;
}

static bool
hangs_locked(const struct breaker *b, int64_t ns)
{
	return b->quick && clock_mono_ns() - b->quick_ns > ns;
}

static void
hangs_down_locked(struct breaker *b)
{
	b->told = true;
	b->since_ns = b->quick_ns;
	b->failures = DOWN_AFTER;
}

enum breaker_word
breaker_ask(struct breaker *b, bool *tell)
{
	int64_t now = clock_mono_ns();
	enum breaker_word word = BREAKER_WAIT;

	*tell = false;
	pthread_mutex_lock(&b->lock);
	if (b->failures < DOWN_AFTER && !hangs_locked(b, HANG_NS)) {
		word = BREAKER_GO;
	} else if (b->looking) {
		/* Whoever looks may hang as well. */
		if (now - b->look_ns > BREAKER_LOOK_LIMIT && !b->told) {
			*tell = true;
			hangs_down_locked(b);
		}
	} else if (now >= b->look_ns) {
		b->looking = true;
		b->look_ns = now;
		b->looks++;
		word = BREAKER_LOOK;
	}
	pthread_mutex_unlock(&b->lock);
	return word;
}

void
breaker_looked(struct breaker *b, int64_t every)
{
	pthread_mutex_lock(&b->lock);
	b->looking = false;
	b->look_ns = clock_mono_ns() + every;
	pthread_mutex_unlock(&b->lock);
}

enum be_health
breaker_health(struct breaker *b, bool *tell)
{
	enum be_health health;

	pthread_mutex_lock(&b->lock);
	/* If all threads hang there is none that could have a look. */
	*tell = !b->told && hangs_locked(b, HANG_NS + BREAKER_LOOK_LIMIT);
	if (*tell)
		hangs_down_locked(b);
	health = b->failures == 0	    ? BE_UP
		 : b->failures < DOWN_AFTER ? BE_DEGRADED
					    : BE_DOWN;
	pthread_mutex_unlock(&b->lock);
	return health;
}

uint64_t
breaker_looks(struct breaker *b)
{
	uint64_t looks;

	pthread_mutex_lock(&b->lock);
	looks = b->looks;
	pthread_mutex_unlock(&b->lock);
	return looks;
}
