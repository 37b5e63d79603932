/* SPDX-License-Identifier: MIT */
/* Two nodes of one share: what docs/semantics.md promises between them, on
 * a store that replaces whole files and on one that writes in place. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/cache-priv.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/xalloc.h"
#include "tests/cache/nodes.h"
#include "tests/lib/unit.h"

struct pair {
	struct node a, b;
	bool in_place;
};

static void
pair_start(struct pair *p, bool in_place, const struct cache_config *cfg)
{
	struct backend *be, *other;
	struct be_caps caps;

	p->in_place = in_place;
	backend_mem_caps(&caps, in_place);
	assert_int_equal(backend_mem_open_as(&caps, &be), 0);
	assert_int_equal(backend_mem_share(be, &other), 0);
	node_start(&p->a, be, cfg);
	node_start(&p->b, other, cfg);
}

static void
pair_stop(struct pair *p)
{
	node_stop(&p->a);
	node_stop(&p->b);
}

static void
close_to_open(bool in_place)
{
	struct pair p;
	char text[32];

	pair_start(&p, in_place, NULL);
	assert_int_equal(node_stat(&p.b, "f", NULL), -ENOENT);
	for (int i = 0; i < 20; i++) {
		/* of the same length, so that only the version differs */
		snprintf(text, sizeof(text), "round %04d", i);
		node_put(&p.a, "f", text);
		node_is(&p.b, "f", text);
	}
	node_put(&p.b, "f", "from b");
	node_is(&p.a, "f", "from b");
	assert_int_equal(cache_unlink(p.a.c, &p.a.ctx, "f"), 0);
	pair_stop(&p);
}

/* "Open handles keep the version they opened, or get ESTALE." */
static void
handles_keep_version(bool in_place)
{
	struct pair p;
	struct cfile *old;
	char buf[16];
	size_t got;

	pair_start(&p, in_place, NULL);
	node_put(&p.a, "f", "first");
	old = node_open(&p.b, "f", O_RDONLY);
	node_put(&p.a, "f", "SECOND");
	node_is(&p.b, "f", "SECOND");
	assert_int_equal(cache_read(old, &p.b.ctx, 0, buf, sizeof(buf), &got),
			 0);
	assert_int_equal(got, 5);
	assert_memory_equal(buf, "first", 5);
	cache_release(old, &p.b.ctx);
	node_is(&p.b, "f", "SECOND");
	pair_stop(&p);
}

/* How long the kernel may believe the entry. */
static int64_t
look_for_open(struct node *n, int32_t walker)
{
	struct cache_life life;
	struct be_attr attr;

	n->ctx.walker = walker;
	cache_entry_begin(n->c, "f");
	assert_int_equal(cache_lookup(n->c, &n->ctx, "f", &attr, &life), 0);
	cache_entry_end(n->c, "f");
	return life.entry_ns;
}

/* [P2.1], [Q.6]: what the lookup of an open() has asked is not asked again, and is
 * good for that open() only. */
static void
lookup_asks_for_open(bool in_place)
{
	struct cache_config cfg = { .cto = true };
	struct pair p;

	pair_start(&p, in_place, &cfg);
	node_put(&p.a, "f", "1");
	/* It was not open here: nothing of it is here. */
	look_for_open(&p.b, 7);
	node_is(&p.b, "f", "1");
	assert_int_equal(look_for_open(&p.b, 7), 0);
	/* After that open() began. */
	node_put(&p.a, "f", "2");
	node_is(&p.b, "f", in_place ? "2" : "1");
	node_is(&p.b, "f", "2");
	/* By another thread. */
	look_for_open(&p.b, 7);
	node_put(&p.a, "f", "3");
	p.b.ctx.walker = 8;
	node_is(&p.b, "f", "3");
	/* Another reply, after which the kernel may believe the entry: begun
	 * later, begun before and on its way, a listing's of either kind. */
	look_for_open(&p.b, 8);
	cache_entry_begin(p.b.c, "f");
	cache_entry_end(p.b.c, "f");
	node_put(&p.a, "f", "4");
	node_is(&p.b, "f", "4");
	cache_entry_begin(p.b.c, "f");
	look_for_open(&p.b, 8);
	cache_entry_end(p.b.c, "f");
	node_put(&p.a, "f", "4a");
	node_is(&p.b, "f", "4a");
	look_for_open(&p.b, 8);
	cache_entries_begin(p.b.c);
	cache_entries_end(p.b.c);
	node_put(&p.a, "f", "4b");
	node_is(&p.b, "f", "4b");
	cache_entries_begin(p.b.c);
	look_for_open(&p.b, 8);
	cache_entries_end(p.b.c);
	node_put(&p.a, "f", "4c");
	node_is(&p.b, "f", "4c");
	/* Another version came here meanwhile. */
	look_for_open(&p.b, 8);
	node_put(&p.b, "f", "5");
	node_put(&p.a, "f", "6");
	node_is(&p.b, "f", "6");
	pair_stop(&p);
}

/* Both nodes believe that the name is absent. */
static void
believed_absence(bool in_place)
{
	struct pair p;
	struct cfile *a, *b;

	pair_start(&p, in_place, NULL);
	a = node_create(&p.a, "log", O_WRONLY | O_APPEND);
	b = node_create(&p.b, "log", O_WRONLY | O_APPEND);
	node_append(&p.a, a, "from a\n");
	node_append(&p.b, b, "from b,");
	node_append(&p.b, b, " twice\n");
	assert_int_equal(node_close(&p.a, a), 0);
	assert_int_equal(node_close(&p.b, b), 0);
	if (!in_place) {
		node_is(&p.a, "log", "from a\nfrom b, twice\n");
		node_is(&p.b, "log", "from a\nfrom b, twice\n");
	}

	/* not appended: what was not written here is the other's */
	a = node_create(&p.a, "data", O_WRONLY);
	b = node_create(&p.b, "data", O_WRONLY);
	node_write(&p.a, a, 0, "aaaaaaaa");
	node_write(&p.b, b, 2, "bb");
	assert_int_equal(node_close(&p.a, a), 0);
	assert_int_equal(node_close(&p.b, b), 0);
	node_is(&p.a, "data", "aabbaaaa");

	/* O_TRUNC: nothing of the other's */
	a = node_create(&p.a, "whole", O_WRONLY | O_TRUNC);
	b = node_create(&p.b, "whole", O_WRONLY | O_TRUNC);
	node_write(&p.a, a, 0, "aaaaaaaa");
	node_write(&p.b, b, 0, "bb");
	assert_int_equal(node_close(&p.a, a), 0);
	assert_int_equal(node_close(&p.b, b), 0);
	node_is(&p.a, "whole", "bb");
	pair_stop(&p);
}

/* Appends to a file that is there: neither node's bytes are lost. */
static void
appends(bool in_place)
{
	struct cache_stats st;
	struct pair p;
	struct cfile *a, *b;

	pair_start(&p, in_place, NULL);
	node_put(&p.a, "log", "start\n");
	a = node_open(&p.a, "log", O_WRONLY | O_APPEND);
	b = node_open(&p.b, "log", O_WRONLY | O_APPEND);
	node_append(&p.a, a, "a1\n");
	node_append(&p.b, b, "b1\n");
	assert_int_equal(cache_flush(a, &p.a.ctx), 0);
	assert_int_equal(cache_flush(b, &p.b.ctx), 0);
	node_append(&p.a, a, "a2\n");
	assert_int_equal(node_close(&p.a, a), 0);
	assert_int_equal(node_close(&p.b, b), 0);
	node_is(&p.a, "log", "start\na1\nb1\na2\n");
	cache_stats_get(p.b.c, &st);
	assert_true(st.conflicts > 0);
	pair_stop(&p);
}

/* P1.1 for descriptors that can't write: close() of one that was opened with
 * O_TRUNC beside a reader, and fsync() by another program. */
static void
sent_by_readers(bool in_place)
{
	struct cfile *reader, *cut, *writer;
	struct pair p;

	pair_start(&p, in_place, NULL);
	node_put(&p.a, "f", "0123456789");
	reader = node_open(&p.a, "f", O_RDONLY);
	cut = node_open(&p.a, "f", O_RDONLY | O_TRUNC);
	assert_int_equal(cache_flush(cut, &p.a.ctx), 0);
	node_is(&p.b, "f", "");
	cache_release(cut, &p.a.ctx);

	writer = node_open(&p.a, "f", O_WRONLY);
	node_write(&p.a, writer, 0, "new");
	assert_int_equal(cache_flush(reader, &p.a.ctx), 0);
	node_is(&p.b, "f", "");
	assert_int_equal(cache_fsync(reader, &p.a.ctx), 0);
	node_is(&p.b, "f", "new");
	assert_int_equal(node_close(&p.a, writer), 0);
	assert_int_equal(node_close(&p.a, reader), 0);
	pair_stop(&p);
}

/* P9: last close wins, or ESTALE; what was not sent stays listed. */
static void
conflicts(bool in_place)
{
	struct cache_config fail = { .actimeo_ns = 1000000000,
				     .cto = true,
				     .conflict_fail = true };
	struct cache_stats st;
	struct pair p;
	struct cfile *a, *b;

	pair_start(&p, in_place, NULL);
	node_put(&p.a, "f", "0123456789");
	a = node_open(&p.a, "f", O_RDWR);
	b = node_open(&p.b, "f", O_RDWR);
	node_write(&p.a, a, 0, "A");
	node_write(&p.b, b, 9, "B");
	assert_int_equal(node_close(&p.a, a), 0);
	assert_int_equal(node_close(&p.b, b), 0);
	node_is(&p.a, "f", "A12345678B");
	pair_stop(&p);

	pair_start(&p, in_place, &fail);
	node_put(&p.a, "f", "0123456789");
	a = node_open(&p.a, "f", O_RDWR);
	b = node_open(&p.b, "f", O_RDWR);
	node_write(&p.a, a, 0, "A");
	node_write(&p.b, b, 9, "B");
	assert_int_equal(node_close(&p.a, a), 0);
	assert_int_equal(node_close(&p.b, b), -ESTALE);
	node_is(&p.a, "f", "A123456789");
	node_is(&p.b, "f", "A123456789");
	cache_stats_get(p.b.c, &st);
	assert_int_equal(st.pending_files, 1);
	assert_int_equal(st.failed_files, 1);
	pair_stop(&p);
}

/* The other node removed what is being written. */
/* Not all of a file is here when it is written, and then the version that the
 * rest would come from is gone: close() does not wait for it, and the other
 * node's bytes are the rest. */
static void
base_gone(bool in_place)
{
	struct cache_config cfg = { .actimeo_ns = 1000000000,
				    .cto = true,
				    .whole_max = 4096 };
	enum { SIZE = 200000, AT = 100000 };
	_cleanup_free_ char *p = xcalloc(1, SIZE + 1);
	struct pair pair;
	struct cfile *f;

	pair_start(&pair, in_place, &cfg);
	memset(p, 'a', SIZE);
	node_put(&pair.a, "f", p);
	f = node_open(&pair.b, "f", O_RDWR);
	node_write(&pair.b, f, AT, "mine");
	memset(p, 'b', SIZE);
	node_put(&pair.a, "f", p);
	alarm(60); /* it waited for itself */
	assert_int_equal(node_close(&pair.b, f), 0);
	alarm(0);
	memcpy(p + AT, "mine", 4);
	node_is(&pair.a, "f", p);
	node_is(&pair.b, "f", p);
	pair_stop(&pair);
}

static void
removed(bool in_place)
{
	struct pair p;
	struct cfile *b;

	pair_start(&p, in_place, NULL);
	node_put(&p.a, "f", "old");
	b = node_open(&p.b, "f", O_RDWR | O_TRUNC);
	node_write(&p.b, b, 0, "new");
	assert_int_equal(cache_unlink(p.a.c, &p.a.ctx, "f"), 0);
	assert_int_equal(node_close(&p.b, b), 0);
	node_is(&p.a, "f", "new");
	pair_stop(&p);
}

static enum cache_wanted
everything(void *arg, const char *path, uint64_t node)
{
	return CACHE_WANTED;
}

/* A worker that was killed while it moved appended bytes behind another node's:
 * where they are nobody knows, so close() must not return 0 (P1). */
static void
joining_cut_short(bool in_place)
{
	struct journal_rec rec = { .path = (char *)"log",
				   .state = JOURNAL_JOINING,
				   .cond.pre = BE_ANY,
				   .size = 4,
				   .mode = S_IFREG | 0644 };
	struct pair p;
	struct cfile *f;
	char *name;
	int fd;

	pair_start(&p, in_place, NULL);
	node_put(&p.b, "log", "from b");
	assert_int_equal(store_private_new(p.a.c->store, &fd, &name), 0);
	assert_int_equal(write(fd, "mine", 4), 4);
	assert_int_equal(journal_put(p.a.c->store, name, &rec, NULL), 0);
	cache_takeover(p.a.c, everything, NULL);
	f = node_open(&p.a, "log", O_WRONLY | O_APPEND);
	assert_int_equal(node_close(&p.a, f), -EIO);
	node_is(&p.b, "log", "from b");
	node_is(&p.a, "log", "from b");
	close(fd);
	free(name);
	pair_stop(&p);
}

static void
is_still_sending(void *arg, const char *name, struct journal_rec *r)
{
	unsigned *n = arg;

	assert_int_equal(r->state, JOURNAL_SENDING);
	assert_string_equal(r->opid.s, "first-attempt");
	(*n)++;
}

/* A worker that was killed while it sent, and the next one before it sent
 * again: the third one still knows by which id the first one did (rule 2). */
static void
killed_twice(bool in_place)
{
	struct journal_rec rec = { .path = (char *)"f",
				   .state = JOURNAL_SENDING,
				   .opid.s = "first-attempt",
				   .cond.pre = BE_ABSENT,
				   .whole = true,
				   .size = 4,
				   .mode = S_IFREG | 0644 };
	struct pair p;
	unsigned n = 0;
	char *name;
	int fd;

	pair_start(&p, in_place, NULL);
	assert_int_equal(store_private_new(p.a.c->store, &fd, &name), 0);
	assert_int_equal(write(fd, "mine", 4), 4);
	assert_int_equal(journal_put(p.a.c->store, name, &rec, NULL), 0);
	cache_takeover(p.a.c, everything, NULL);
	journal_scan(p.a.c->store, is_still_sending, &n);
	assert_int_equal(n, 1);
	close(fd);
	free(name);
	pair_stop(&p);
}

/* A worker was killed before it had the answer to its upload, and another node
 * has appended to what that brought: the next worker does not send it over the
 * appended bytes (P9.6). */
static void
appended_behind_killed(bool in_place)
{
	struct journal_rec rec = { .path = (char *)"f",
				   .state = JOURNAL_SENDING,
				   .opid.s = "first-attempt",
				   .cond.pre = BE_MATCH,
				   .cond.ver = { .len = 1, .b = "1" },
				   .base = { .len = 1, .b = "1" },
				   .base_size = 5,
				   .whole = true,
				   .size = 4,
				   .mode = S_IFREG | 0644 };
	struct cache_stats st;
	struct pair p;
	struct cfile *f;
	unsigned n = 0;
	char *name;
	int fd;

	pair_start(&p, in_place, NULL);
	node_put(&p.b, "f", "mine"); /* as if it were that upload */
	f = node_open(&p.b, "f", O_WRONLY | O_APPEND);
	node_append(&p.b, f, " and b's");
	assert_int_equal(node_close(&p.b, f), 0);
	assert_int_equal(store_private_new(p.a.c->store, &fd, &name), 0);
	assert_int_equal(write(fd, "mine", 4), 4);
	assert_int_equal(journal_put(p.a.c->store, name, &rec, NULL), 0);
	cache_takeover(p.a.c, everything, NULL);
	f = node_open(&p.a, "f", O_RDWR);
	assert_int_equal(cache_flush(f, &p.a.ctx), 0);
	node_is(&p.b, "f", "mine and b's");
	node_is(&p.a, "f", "mine and b's");
	cache_stats_get(p.a.c, &st);
	assert_int_equal(st.conflicts, 0);
	journal_scan(p.a.c->store, is_still_sending, &n);
	assert_int_equal(n, 0);
	node_write(&p.a, f, 0, "MI");
	assert_int_equal(node_close(&p.a, f), 0);
	node_is(&p.b, "f", "MIne and b's");
	close(fd);
	free(name);
	pair_stop(&p);
}

static void
is_there(void *arg, const char *name, struct journal_rec *r)
{
	(*(unsigned *)arg)++;
}

static enum cache_wanted
nothing(void *arg, const char *path, uint64_t node)
{
	return CACHE_UNWANTED;
}

/* A worker that was killed in an open() with O_TRUNC: nothing is lost, and
 * nothing is kept for the user (P1.11). */
static void
cut_not_answered(bool in_place)
{
	struct journal_rec rec = { .path = (char *)"f",
				   .state = JOURNAL_OPEN,
				   .cond.pre = BE_MATCH,
				   .cond.ver = { .len = 1, .b = "1" },
				   .base = { .len = 1, .b = "1" },
				   .base_size = 5,
				   .size = 5,
				   .mode = S_IFREG | 0644 };
	struct cache_stats st;
	struct pair p;
	unsigned n = 0;
	char *name;
	int fd;

	pair_start(&p, in_place, NULL);
	assert_int_equal(store_private_new(p.a.c->store, &fd, &name), 0);
	assert_int_equal(journal_put(p.a.c->store, name, &rec, NULL), 0);
	cache_takeover(p.a.c, nothing, NULL);
	journal_scan(p.a.c->store, is_there, &n);
	assert_int_equal(n, 0);
	cache_stats_get(p.a.c, &st);
	assert_int_equal(st.failed_files, 0);
	close(fd);
	free(name);
	pair_stop(&p);
}

static void
exclusive(bool in_place)
{
	struct be_attr attr;
	struct pair p;
	struct cfile *a, *b;

	pair_start(&p, in_place, NULL);
	a = node_create(&p.a, "lock", O_WRONLY | O_EXCL);
	assert_int_equal(cache_create(p.b.c, &p.b.ctx, "lock",
				      O_WRONLY | O_CREAT | O_EXCL, 0644, &b,
				      &attr),
			 -EEXIST);
	node_write(&p.a, a, 0, "mine");
	assert_int_equal(node_close(&p.a, a), 0);
	node_is(&p.b, "lock", "mine");
	pair_stop(&p);
}

/* Deletes, renames and new names in listings within actimeo (here 0). */
static void
listings(bool in_place)
{
	struct cache_config now = { .cto = true };
	struct cache_listing *l;
	struct cache_dirent d;
	struct pair p;

	pair_start(&p, in_place, &now);
	node_put(&p.a, "x", "1");
	node_put(&p.a, "y", "2");
	assert_int_equal(cache_list(p.b.c, &p.b.ctx, "", &l), 0);
	assert_int_equal(cache_listing_get(l, &p.b.ctx, 1, &d), 0);
	assert_int_equal(cache_listing_get(l, &p.b.ctx, 2, &d), -ENOENT);
	cache_listing_put(l);
	assert_int_equal(cache_rename(p.a.c, &p.a.ctx, "x", "z", 0), 0);
	assert_int_equal(cache_unlink(p.a.c, &p.a.ctx, "y"), 0);
	assert_int_equal(cache_list(p.b.c, &p.b.ctx, "", &l), 0);
	assert_int_equal(cache_listing_get(l, &p.b.ctx, 1, &d), -ENOENT);
	assert_int_equal(cache_listing_get(l, &p.b.ctx, 0, &d), 0);
	assert_string_equal(d.name, "z");
	cache_listing_put(l);
	assert_int_equal(node_stat(&p.b, "x", NULL), -ENOENT);
	node_is(&p.b, "z", "1");
	pair_stop(&p);
}

/* O_TRUNC replaces what is there when the file is opened (P9.1): what another
 * node's close() put there before is no conflict, though this node has not
 * looked at it yet. */
static void
truncated_after_close(bool in_place)
{
	struct cache_config fail = { .cto = true, .conflict_fail = true,
				     .actimeo_ns = NSEC_PER_SEC };
	struct cache_stats st;
	struct cfile *f, *held;
	struct pair p;

	pair_start(&p, in_place, &fail);
	node_put(&p.a, "f", "first");
	node_put(&p.b, "f", "SECOND");
	f = node_open(&p.a, "f", O_WRONLY | O_TRUNC);
	node_write(&p.a, f, 0, "third");
	assert_int_equal(node_close(&p.a, f), 0);
	node_is(&p.b, "f", "third");
	/* An open handle keeps its version; the kernel gets another node. */
	held = node_open(&p.a, "f", O_RDONLY);
	node_put(&p.b, "f", "FOURTH");
	assert_int_equal(cache_open(p.a.c, &p.a.ctx, "f", O_WRONLY | O_TRUNC,
				    &f, &(bool){ false }), -ESTALE);
	f = node_open(&p.a, "f", O_WRONLY | O_TRUNC);
	assert_int_equal(node_close(&p.a, f), 0);
	node_is(&p.b, "f", "");
	cache_release(held, &p.a.ctx);
	/* After the open it is one. */
	f = node_open(&p.a, "f", O_WRONLY | O_TRUNC);
	node_put(&p.b, "f", "fifth");
	node_write(&p.a, f, 0, "sixth");
	cache_stats_get(p.a.c, &st);
	assert_int_equal(st.conflicts, 0);
	assert_int_equal(node_close(&p.a, f), -ESTALE);
	pair_stop(&p);
}

/* A content that is still open here does not make the name exist (P3.1). */
static void
created_after_removal(bool in_place)
{
	const int flags[] = { O_RDWR, O_RDWR | O_TRUNC, O_RDWR | O_EXCL };
	struct cfile *held, *f;
	struct be_attr attr;
	struct pair p;

	pair_start(&p, in_place, NULL);
	for (int i = 0; i < 3; i++) {
		node_put(&p.a, "f", "first");
		held = node_open(&p.a, "f", O_RDONLY);
		assert_int_equal(cache_unlink(p.b.c, &p.b.ctx, "f"), 0);
		f = node_create(&p.a, "f", flags[i]);
		content_attr(f->k, &attr);
		assert_int_equal(attr.size, 0);
		node_write(&p.a, f, 0, "second");
		assert_int_equal(node_close(&p.a, f), 0);
		node_is(&p.b, "f", "second");
		cache_release(held, &p.a.ctx);
		/* What does exist is found, of whichever node. */
		node_put(&p.b, "f", "third");
		assert_int_equal(cache_create(p.a.c, &p.a.ctx, "f",
					      O_RDWR | O_CREAT | O_EXCL, 0600,
					      &f, &attr), -EEXIST);
	}
	pair_stop(&p);
}

#define BOTH(name)                                                             \
	static void name##_whole(void **state)                                 \
	{                                                                      \
		name(false);                                                   \
	}                                                                      \
	static void name##_in_place(void **state)                              \
	{                                                                      \
		name(true);                                                    \
	}
BOTH(close_to_open)
BOTH(handles_keep_version)
BOTH(believed_absence)
BOTH(appends)
BOTH(sent_by_readers)
BOTH(conflicts)
BOTH(base_gone)
BOTH(removed)
BOTH(exclusive)
BOTH(joining_cut_short)
BOTH(killed_twice)
BOTH(appended_behind_killed)
BOTH(cut_not_answered)
BOTH(listings)
BOTH(lookup_asks_for_open)
BOTH(truncated_after_close)
BOTH(created_after_removal)
#define TEST(name)                                                             \
	cmocka_unit_test(name##_whole), cmocka_unit_test(name##_in_place)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(close_to_open), TEST(handles_keep_version),
		TEST(believed_absence), TEST(appends), TEST(conflicts),
		TEST(sent_by_readers),
		TEST(base_gone), TEST(removed), TEST(exclusive), TEST(joining_cut_short),
		TEST(listings), TEST(lookup_asks_for_open),
		TEST(killed_twice), TEST(appended_behind_killed),
		TEST(cut_not_answered),
		TEST(truncated_after_close),
		TEST(created_after_removal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
