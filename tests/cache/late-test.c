/* SPDX-License-Identifier: MIT */
/*
 * What a late close() may not do: bring back a name that was removed here
 * [O.6], overwrite what is newer [P1.10], take a change of this node's own for
 * another node's [P9.1].
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "tests/cache/gate.h"
#include "tests/cache/nodes.h"
#include "tests/lib/unit.h"

struct rig {
	struct node n;	   /* through the gate */
	struct node other; /* the same store */
	struct gate *g;
};

static void
rig_start(struct rig *r, bool in_place)
{
	struct cache_config cfg = { .cto = true, .whole_max = 1u << 20 };
	struct backend *be, *other, *gated;
	struct be_caps caps;

	backend_mem_caps(&caps, in_place);
	assert_int_equal(backend_mem_open_as(&caps, &be), 0);
	assert_int_equal(backend_mem_share(be, &other), 0);
	r->g = gate_new(&be, &gated);
	node_start(&r->n, gated, &cfg);
	node_start(&r->other, other, &cfg);
}

static void
rig_stop(struct rig *r)
{
	node_stop(&r->n);
	node_stop(&r->other);
}

static uint64_t
conflicts(struct node *n)
{
	struct cache_stats st;

	cache_stats_get(n->c, &st);
	return st.conflicts;
}

static void
replace(struct node *n, const char *path, const char *text)
{
	assert_int_equal(cache_unlink(n->c, &n->ctx, path), 0);
	node_put(n, path, text);
}

/* A handle of a file that another node replaced; the name was opened anew and
 * then removed, or replaced by a rename. */
static void
removed_here(bool in_place, bool by_rename)
{
	struct cfile *old, *new;
	struct rig r;

	rig_start(&r, in_place);
	node_put(&r.n, "f", "first");
	old = node_open(&r.n, "f", O_RDWR);
	replace(&r.other, "f", "second, longer");
	/* The kernel is told to look again, and does. */
	if (cache_open(r.n.c, &r.n.ctx, "f", O_RDONLY, &new, &(bool){ 0 }) < 0)
		new = node_open(&r.n, "f", O_RDONLY);
	if (by_rename) {
		node_put(&r.n, "g", "third");
		assert_int_equal(cache_rename(r.n.c, &r.n.ctx, "g", "f", 0), 0);
	} else {
		assert_int_equal(cache_unlink(r.n.c, &r.n.ctx, "f"), 0);
	}
	node_write(&r.n, old, 0, "FIRST");
	assert_int_equal(node_close(&r.n, old), 0);
	node_close(&r.n, new);
	if (by_rename)
		node_is(&r.other, "f", "third");
	else
		assert_int_equal(node_stat(&r.other, "f", NULL), -ENOENT);
	rig_stop(&r);
}

static void
unlinked(bool in_place)
{
	removed_here(in_place, false);
}

static void
renamed_over(bool in_place)
{
	removed_here(in_place, true);
}

/* close() failed; then another node wrote: a drain must not undo that. */
static void
failed_then_newer(bool in_place)
{
	struct cache_stats st;
	struct cfile *f;
	struct rig r;

	rig_start(&r, in_place);
	node_put(&r.n, "f", "first");
	node_put(&r.n, "alone", "first");
	f = node_open(&r.n, "f", O_WRONLY);
	node_write(&r.n, f, 0, "FIRST");
	gate_fail(r.g, GATE_COMMIT, 2, -EACCES, false);
	assert_int_equal(node_close(&r.n, f), -EACCES);
	f = node_open(&r.n, "alone", O_WRONLY);
	node_write(&r.n, f, 0, "FIRST");
	gate_fail(r.g, GATE_COMMIT, 2, -EACCES, false);
	assert_int_equal(node_close(&r.n, f), -EACCES);
	gate_fail(r.g, GATE_COMMIT, 0, 0, false);
	/* [P1.10] the node shows what the store has */
	node_is(&r.n, "f", "first");
	f = node_open(&r.other, "f", O_WRONLY | O_TRUNC);
	node_write(&r.other, f, 0, "newer");
	assert_int_equal(node_close(&r.other, f), 0);
	cache_stats_get(r.n.c, &st);
	assert_int_equal(st.pending_files, 2);
	assert_true(cache_drain(r.n.c, &r.n.ctx) < 0);
	node_is(&r.other, "f", "newer");
	/* What nobody touched is sent. */
	node_is(&r.other, "alone", "FIRST");
	cache_stats_get(r.n.c, &st);
	assert_int_equal(st.pending_files, 1);
	rig_stop(&r);
}

/* Attributes of a file that is open with unsent bytes. */
static void
own_changes(bool in_place)
{
	struct be_attr a = { .mode = 0600 }, out;
	struct cfile *f;
	struct rig r;

	rig_start(&r, in_place);
	node_put(&r.n, "f", "first");
	f = node_open(&r.n, "f", O_RDWR);
	node_write(&r.n, f, 0, "F");
	assert_int_equal(cache_setxattr(r.n.c, &r.n.ctx, "f", "user.x", "1", 1,
					0), 0);
	assert_int_equal(cache_flush(f, &r.n.ctx), 0);
	assert_int_equal(conflicts(&r.n), 0);
	/* Also when nothing is remembered of the name. */
	node_write(&r.n, f, 1, "I");
	assert_int_equal(cache_mkdir(r.n.c, &r.n.ctx, "d", 0755, &out), 0);
	gate_fail(r.g, GATE_CHANGE, 1, -EIO, false);
	cache_setattr(r.n.c, &r.n.ctx, "f", NULL, BE_SET_MODE, &a, &out);
	assert_int_equal(cache_setxattr(r.n.c, &r.n.ctx, "f", "user.x", "2", 1,
					0), 0);
	assert_int_equal(cache_flush(f, &r.n.ctx), 0);
	assert_int_equal(conflicts(&r.n), 0);
	node_write(&r.n, f, 2, "R");
	assert_int_equal(cache_setattr(r.n.c, &r.n.ctx, "f", NULL, BE_SET_MODE,
				       &a, &out), 0);
	assert_int_equal(node_close(&r.n, f), 0);
	assert_int_equal(conflicts(&r.n), 0);
	node_is(&r.other, "f", "FIRst");
	rig_stop(&r);
}

#define BOTH(name)                                                             \
	static void name##_whole(void **state) { name(false); }                \
	static void name##_in_place(void **state) { name(true); }
BOTH(unlinked)
BOTH(renamed_over)
BOTH(failed_then_newer)
BOTH(own_changes)

int
main(void)
{
#define T(name)                                                                \
	cmocka_unit_test(name##_whole), cmocka_unit_test(name##_in_place)
	const struct CMUnitTest tests[] = {
		T(unlinked), T(renamed_over), T(failed_then_newer),
		T(own_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
