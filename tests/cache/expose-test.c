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
#include "common/cleanup.h"
#include "common/xalloc.h"
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

#define BLOCK (128u * 1024)

/* So many blocks of letters; the caller frees. */
static char *
blocks(const char *letters)
{
	size_t n = strlen(letters);
	char *s = xmalloc(n * BLOCK + 1);

	for (size_t i = 0; i < n; i++)
		memset(s + i * BLOCK, letters[i], BLOCK);
	s[n * BLOCK] = '\0';
	return s;
}

static void
put_blocks(struct node *n, const char *letters)
{
	_cleanup_free_ char *s = blocks(letters);

	node_put(n, "f", s);
}

static void
is_blocks(struct node *n, const char *letters)
{
	_cleanup_free_ char *s = blocks(letters);

	node_is(n, "f", s);
}

/* As the kernel writes: a block of that letter. */
static void
kernel_writes(int fd, unsigned block, char letter)
{
	char text[] = { letter, '\0' };
	_cleanup_free_ char *s = blocks(text);

	assert_int_equal(pwrite(fd, s, BLOCK, (off_t)block * BLOCK), BLOCK);
}

/* [P9.1]: the bytes that this node wrote lie over the other node's, also when
 * its kernel wrote them and has the file still. */
static void
conflict_of_kernel(bool in_place)
{
	struct backend *be, *other_be;
	struct be_attr cut = { .size = BLOCK };
	struct cache_stats st;
	struct be_caps caps;
	struct node n, other;
	struct cfile *f;
	int fd;

	backend_mem_caps(&caps, in_place);
	assert_int_equal(backend_mem_open_as(&caps, &be), 0);
	assert_int_equal(backend_mem_share(be, &other_be), 0);
	node_start(&n, be, NULL);
	node_start(&other, other_be, NULL);
	put_blocks(&n, "aaa");
	f = node_open(&n, "f", O_RDWR);
	if (cache_expose(f, &n.ctx, false, &fd) < 0) {
		print_message("SKIP: ctime does not move with each write\n");
		cache_release(f, &n.ctx);
		node_stop(&n);
		node_stop(&other);
		skip();
	}
	kernel_writes(fd, 0, 'N');
	put_blocks(&other, "oooo");
	assert_int_equal(cache_flush(f, &n.ctx), 0);
	is_blocks(&other, "Nooo");
	cache_stats_get(n.c, &st);
	assert_int_equal(st.conflicts, 1);
	/* Who opens it now gets what the store has. */
	assert_int_equal(cache_open(n.c, &n.ctx, "f", O_RDONLY, &(struct cfile *){
				    NULL }, &(bool){ false }), -ESTALE);
	is_blocks(&n, "Nooo");
	/* The kernel goes on; nothing of the other's is taken back by that. */
	kernel_writes(fd, 1, 'M');
	assert_int_equal(cache_flush(f, &n.ctx), 0);
	is_blocks(&other, "NMoo");
	put_blocks(&other, "p");
	kernel_writes(fd, 2, 'L');
	assert_int_equal(cache_flush(f, &n.ctx), 0);
	{
		_cleanup_free_ char *s = blocks("p0L");

		memset(s + BLOCK, 0, BLOCK);
		_cleanup_free_ char *got = xmalloc(3 * BLOCK);
		struct cfile *g = node_open(&other, "f", O_RDONLY);
		size_t len;

		assert_int_equal(cache_read(g, &other.ctx, 0, got, 3 * BLOCK,
					    &len), 0);
		assert_int_equal(len, 3 * BLOCK);
		assert_memory_equal(got, s, len);
		cache_release(g, &other.ctx);
	}
	/* What is cut here stays cut. */
	assert_int_equal(cache_setattr(n.c, &n.ctx, "f", f, CACHE_SET_SIZE,
				       &cut, &cut), 0);
	assert_int_equal(node_close(&n, f), 0);
	is_blocks(&other, "p");
	is_blocks(&n, "p");
	node_stop(&n);
	node_stop(&other);
}

static void
conflict_of_kernel_whole(void **state)
{
	conflict_of_kernel(false);
}

static void
conflict_of_kernel_in_place(void **state)
{
	conflict_of_kernel(true);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mapping_ends_while_opening),
		cmocka_unit_test(conflict_of_kernel_whole),
		cmocka_unit_test(conflict_of_kernel_in_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
