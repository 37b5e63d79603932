/* SPDX-License-Identifier: MIT */
/* Files that the kernel writes by itself, seen from cache.h.  A descriptor
 * that is open for writing stands for the kernel's handle or mapping. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cache/cache-priv.h"
#include "tests/cache/gate.h"
#include "tests/cache/nodes.h"
#include "tests/lib/unit.h"

/* A new file, written as the kernel does; its handle is closed, and what is
 * returned can still write to it.  -1: this disk's files can't be exposed. */
static int
put_mapped(struct node *n, const char *path, const char *text)
{
	struct cfile *f = node_create(n, path, O_WRONLY);
	char self[32];
	int fd, map = -1;

	if (cache_expose(f, &n->ctx, false, &fd) == 0) {
		snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
		map = open(self, O_RDWR | O_CLOEXEC);
		assert_true(map >= 0);
		assert_int_equal(write(map, text, strlen(text)), strlen(text));
	}
	assert_int_equal(node_close(n, f), 0);
	return map;
}

struct opener {
	struct node *n;
	struct cfile *f;
	pthread_t id;
};

static void *
open_for_append(void *arg)
{
	struct opener *o = arg;
	struct cache_ctx ctx = { 0 };
	bool keep;

	if (cache_open(o->n->c, &ctx, "f", O_WRONLY | O_APPEND, &o->f, &keep))
		o->f = NULL;
	return NULL;
}

/* The mapping ends, and the keeper sees it, while an open() that has found
 * the content waits for the store (rule 17). */
static void
mapping_ends_while_opening(void **state)
{
	struct backend *be, *other_be, *gated;
	struct be_caps caps;
	struct node n, other;
	struct opener o = { .n = &n };
	struct content *k;
	struct gate *g;
	int map, canary;

	backend_mem_caps(&caps, false);
	assert_int_equal(backend_mem_open_as(&caps, &be), 0);
	assert_int_equal(backend_mem_share(be, &other_be), 0);
	g = gate_new(&be, &gated);
	node_start(&n, gated, NULL);
	node_start(&other, other_be, NULL);
	map = put_mapped(&n, "f", "begin ");
	/* The keeper looks at them in this order. */
	canary = put_mapped(&n, "canary", "x");
	if (map < 0 || canary < 0) {
		print_message("SKIP: ctime does not move with each write\n");
		node_stop(&n);
		node_stop(&other);
		skip();
	}

	gate_shut(g, GATE_FETCH, 1, false);
	assert_int_equal(pthread_create(&o.id, NULL, open_for_append, &o), 0);
	gate_wait(g, GATE_FETCH, 1);
	close(map);
	close(canary);
	while ((k = content_find(n.c, "canary"))) { /* until it is clean */
		content_put(k);
		sched_yield();
	}
	gate_open(g, GATE_FETCH);
	pthread_join(o.id, NULL);
	assert_non_null(o.f);
	node_append(&n, o.f, "end");
	assert_int_equal(node_close(&n, o.f), 0);
	node_is(&n, "f", "begin end");
	node_is(&other, "f", "begin end");
	node_stop(&n);
	node_stop(&other);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mapping_ends_while_opening),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
