/* SPDX-License-Identifier: MIT */
/* fs/pool.h: order, growth up to the limit, and that nothing queued is lost. */
#include <config.h>

#include "tests/lib/unit.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "common/xalloc.h"
#include "fs/pool.h"

struct counted {
	struct pool_job job; /* first: run() gets the job's address */
	struct world *w;
	unsigned n;
};

struct world {
	atomic_uint done, inside, most;
	unsigned order[64];
	sem_t started, go;
};

static void
run_ordered(struct pool_job *job)
{
	struct counted *c = (struct counted *)job;

	c->w->order[atomic_fetch_add(&c->w->done, 1)] = c->n;
	free(c);
}

static void
run_held(struct pool_job *job)
{
	struct counted *c = (struct counted *)job;
	unsigned in = atomic_fetch_add(&c->w->inside, 1) + 1;
	unsigned most = atomic_load(&c->w->most);

	while (in > most && !atomic_compare_exchange_weak(&c->w->most, &most, in))
		;
	sem_post(&c->w->started);
	while (sem_wait(&c->w->go) < 0)
		;
	atomic_fetch_sub(&c->w->inside, 1);
	atomic_fetch_add(&c->w->done, 1);
	free(c);
}

static void
add(struct pool *p, struct world *w, unsigned n,
    void (*run)(struct pool_job *job))
{
	struct counted *c = xcalloc(1, sizeof(*c));

	c->job.run = run;
	c->w = w;
	c->n = n;
	pool_add(p, &c->job);
}

static void
jobs_start_in_order(void **state)
{
	struct world w = { 0 };
	struct pool *p = pool_new("test", 1);

	for (unsigned i = 0; i < 64; i++)
		add(p, &w, i, run_ordered);
	pool_free(p);
	assert_int_equal(w.done, 64);
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(w.order[i], i);
}

static void
it_grows_to_its_limit_and_no_further(void **state)
{
	struct world w = { 0 };
	struct pool *p = pool_new("test", 4);

	sem_init(&w.started, 0, 0);
	sem_init(&w.go, 0, 0);
	for (unsigned i = 0; i < 10; i++)
		add(p, &w, i, run_held);
	for (unsigned i = 0; i < 4; i++)
		sem_wait(&w.started);
	assert_int_equal(pool_queued(p), 10);
	for (unsigned i = 0; i < 10; i++)
		sem_post(&w.go);
	pool_free(p);
	assert_int_equal(w.done, 10);
	assert_int_equal(w.most, 4);
	sem_destroy(&w.started);
	sem_destroy(&w.go);
}

static void
spare_threads_take_what_waits(void **state)
{
	struct world w = { 0 };
	struct pool *p = pool_new("test", 2);

	sem_init(&w.started, 0, 0);
	sem_init(&w.go, 0, 0);
	for (unsigned i = 0; i < 5; i++)
		add(p, &w, i, run_held);
	for (unsigned i = 0; i < 2; i++)
		sem_wait(&w.started);
	pool_set_spare(p, 4);
	for (unsigned i = 0; i < 3; i++)
		sem_wait(&w.started);
	add(p, &w, 5, run_held);
	add(p, &w, 6, run_held);
	sem_wait(&w.started);
	assert_int_equal(w.most, 6);
	pool_set_spare(p, 0);
	for (unsigned i = 0; i < 7; i++)
		sem_post(&w.go);
	pool_free(p);
	assert_int_equal(w.done, 7);
	assert_int_equal(w.most, 6);
	sem_destroy(&w.started);
	sem_destroy(&w.go);
}

struct adder {
	struct pool *p;
	struct world *w;
};

static void
run_counted(struct pool_job *job)
{
	struct counted *c = (struct counted *)job;

	atomic_fetch_add(&c->w->done, 1);
	free(c);
}

static void *
adder_thread(void *arg)
{
	struct adder *a = arg;

	for (unsigned i = 0; i < 5000; i++)
		add(a->p, a->w, i, run_counted);
	return NULL;
}

static void
many_may_add_and_free_runs_all(void **state)
{
	struct world w = { 0 };
	struct pool *p = pool_new("test", 8);
	struct adder a = { p, &w };
	pthread_t t[4];

	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, adder_thread, &a),
				 0);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	pool_free(p);
	assert_int_equal(w.done, 20000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(jobs_start_in_order),
		cmocka_unit_test(it_grows_to_its_limit_and_no_further),
		cmocka_unit_test(spare_threads_take_what_waits),
		cmocka_unit_test(many_may_add_and_free_runs_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
