/* SPDX-License-Identifier: MIT */
/* backends/s3-send.h: the shares of uploads, and that no unit is lost. */
#include <config.h>

#include "tests/lib/unit.h"

#include <semaphore.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

#include "backends/s3-send.h"

#define PARALLEL 8

/* An upload whose parts end when the test says so. */
struct held {
	struct s3_sendq q;
	sem_t begun, go;
	atomic_uint inside, most, worked, done;
};

static void
work(struct s3_sendq *q)
{
	struct held *h = (struct held *)q;
	unsigned in = atomic_fetch_add(&h->inside, 1) + 1;
	unsigned most = atomic_load(&h->most);

	while (in > most && !atomic_compare_exchange_weak(&h->most, &most, in))
		;
	sem_post(&h->begun);
	while (sem_wait(&h->go) < 0)
		;
	atomic_fetch_sub(&h->inside, 1);
	atomic_fetch_add(&h->worked, 1);
}

static void
done(struct s3_sendq *q)
{
	atomic_fetch_add(&((struct held *)q)->done, 1);
}

static void
held_init(struct held *h)
{
	*h = (struct held){ .q = { .work = work, .done = done } };
	sem_init(&h->begun, 0, 0);
	sem_init(&h->go, 0, 0);
}

static void
held_release(struct held *h)
{
	sem_destroy(&h->begun);
	sem_destroy(&h->go);
}

static void
await(sem_t *s, unsigned n)
{
	while (n--)
		while (sem_wait(s) < 0)
			;
}

static void
let(struct held *h, unsigned n)
{
	while (n--)
		sem_post(&h->go);
}

static void
test_alone(void **state)
{
	struct s3_senders *p = s3_senders_new(PARALLEL);
	struct held a;

	held_init(&a);
	s3_sendq_add(p, &a.q, 100);
	await(&a.begun, PARALLEL);
	assert_int_equal(s3_senders_busy(p), PARALLEL);
	let(&a, 100);
	s3_senders_free(p);
	assert_int_equal(a.done, 100);
	assert_int_equal(a.most, PARALLEL);
	held_release(&a);
}

/* However much an upload has to send: the next one is not behind it. */
static void
test_second_does_not_wait(void **state)
{
	struct s3_senders *p = s3_senders_new(PARALLEL);
	struct held a, b[20];

	held_init(&a);
	s3_sendq_add(p, &a.q, 1000);
	await(&a.begun, PARALLEL);
	for (int i = 0; i < 20; i++) {
		held_init(&b[i]);
		s3_sendq_add(p, &b[i].q, 5);
		await(&b[i].begun, 2); /* nothing of the others has ended */
	}
	assert_int_equal(a.worked, 0);
	for (int i = 0; i < 20; i++)
		let(&b[i], 5);
	let(&a, 1000);
	s3_senders_free(p);
	assert_int_equal(a.done, 1000);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(b[i].done, 5);
		held_release(&b[i]);
	}
	held_release(&a);
}

/* The share of one that had all shrinks to its part when others come. */
static void
test_share_shrinks(void **state)
{
	struct s3_senders *p = s3_senders_new(PARALLEL);
	struct held a, b;

	held_init(&a);
	held_init(&b);
	s3_sendq_add(p, &a.q, 100);
	await(&a.begun, PARALLEL);
	s3_sendq_add(p, &b.q, 100);
	await(&b.begun, PARALLEL / 2);
	let(&a, PARALLEL); /* all that are under way */
	await(&a.begun, PARALLEL / 2);
	let(&a, 100);
	let(&b, 100);
	s3_senders_free(p);
	assert_int_equal(a.done, 100);
	assert_int_equal(b.done, 100);
	held_release(&a);
	held_release(&b);
}

static void
test_drop(void **state)
{
	struct s3_senders *p = s3_senders_new(1);
	struct held a;

	held_init(&a);
	s3_sendq_add(p, &a.q, 10);
	await(&a.begun, 1);
	assert_int_equal(s3_sendq_drop(p, &a.q), 9);
	assert_int_equal(s3_sendq_drop(p, &a.q), 0);
	s3_sendq_add(p, &a.q, 1);
	let(&a, 2);
	s3_senders_free(p);
	assert_int_equal(a.done, 2);
	assert_int_equal(a.most, 1);
	held_release(&a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_alone),
		cmocka_unit_test(test_second_does_not_wait),
		cmocka_unit_test(test_share_shrinks),
		cmocka_unit_test(test_drop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
