/* SPDX-License-Identifier: MIT */
/* [F.9] cache/attr-memory.h: what is put is what is got, within the bytes allowed;
 * and a million names that a cache knows stay below 100 MiB. */
#include <config.h>

#include "cache/attr-memory.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/clock.h"
#include "common/xalloc.h"
#include "tests/cache/nodes.h"
#include "tests/cache/store-box.h"
#include "tests/lib/unit.h"

#define MIB (UINT64_C(1) << 20)

static bool
is_short(void)
{
	return box_under_valgrind() || getenv("SHAREDFS_QUICK");
}

/* What the allocator has given out; 0: it does not tell (a sanitizer's). */
static uint64_t
allocated(void)
{
	struct mallinfo2 i = mallinfo2();

	return i.uordblks + i.hblkhd;
}

static struct known
known_of(unsigned i)
{
	struct known k = { .until_ns = clock_mono_ns() + NSEC_PER_SEC * 1000 };
	char etag[40];

	k.attr = (struct be_attr){
		.mode = S_IFREG | 0644,
		.uid = 33,
		.gid = 33,
		.nlink = 1,
		.size = i * 131u,
		.ino = i * UINT64_C(0x9e3779b97f4a7c15),
		.mtime = { 1700000000 + i, 123456789 },
		.ctime = { 1700000001 + i, 987654321 },
		.atime = { 1700000000 + i, 123456789 },
		.aver = i * UINT64_C(0xc2b2ae3d27d4eb4f) | 1,
	};
	k.attr.blocks = (k.attr.size + 511) / 512;
	snprintf(etag, sizeof(etag), "%08x%08x%08x%08x", i, ~i, i * 7, i * 31);
	be_ver_set(&k.attr.ver, etag, 32);
	return k;
}

/* Names of some directories: "", "a", "a/b", "a/b/c", "z", … */
static void
path_of(unsigned i, char out[64])
{
	static const char *const dirs[] = { "", "a/", "a/b/", "a/b/c/", "z/",
					    "a-b/", "ab/" };

	snprintf(out, 64, "%sname%u", dirs[i % 7], i / 7);
}

/* Random changes beside a plain array. */
static void
test_as_array(void **state)
{
	enum { N = 2000 };
	struct attr_memory *m = attr_memory_new(64 * MIB);
	unsigned steps = is_short() ? 60000 : 400000;
	unsigned char *there = xcalloc(N, 1);
	unsigned *what = xcalloc(N, sizeof(*what)), seed = 1, n = 0;
	char path[64];

	for (unsigned s = 0; s < steps; s++) {
		struct known k, got;
		unsigned i;

		seed = seed * 1664525 + 1013904223;
		i = (seed >> 8) % N;
		path_of(i, path);
		switch (seed >> 28) {
		case 0:
			attr_memory_drop(m, path);
			n -= there[i];
			there[i] = 0;
			break;
		case 1:
			if ((seed >> 8) % 500)
				break;
			attr_memory_drop_tree(m, "a/b");
			for (unsigned k2 = 0; k2 < N; k2++)
				if (k2 % 7 == 2 || k2 % 7 == 3) {
					n -= there[k2];
					there[k2] = 0;
				}
			break;
		case 2:
		case 3:
		case 4:
		case 5:
		case 6:
			k = known_of(s);
			k.pages = seed & 64 ? s + 1 : 0;
			attr_memory_put(m, path, &k);
			n += !there[i];
			there[i] = 1;
			what[i] = s;
			break;
		default:
			assert_int_equal(attr_memory_get(m, path, &got),
					 there[i]);
			if (!there[i])
				break;
			k = known_of(what[i]);
			assert_int_equal(got.attr.size, k.attr.size);
			assert_int_equal(got.attr.ino, k.attr.ino);
			assert_true(be_ver_equal(&got.attr.ver, &k.attr.ver));
			assert_true(got.pages == 0 ||
				    got.pages == what[i] + 1);
			assert_true(got.until_ns <= k.until_ns);
		}
		assert_int_equal(attr_memory_names(m), n);
	}
	attr_memory_drop_tree(m, "");
	assert_int_equal(attr_memory_names(m), 0);
	attr_memory_free(m);
	free(there);
	free(what);
}

static void
test_lifetime(void **state)
{
	struct attr_memory *m = attr_memory_new(64 * MIB);
	struct known k = known_of(1), got;

	attr_memory_put(m, "", &k);
	attr_memory_put(m, "f", &k);
	assert_true(attr_memory_get(m, "f", &got));
	assert_in_range(k.until_ns - got.until_ns, 0, NSEC_PER_MSEC);
	attr_memory_believe(m, "f", 0);
	assert_true(attr_memory_get(m, "f", &got));
	assert_true(got.until_ns <= clock_mono_ns());
	assert_true(attr_memory_get(m, "", &got));
	assert_true(got.until_ns > clock_mono_ns());
	/* An absence. */
	memset(&k.attr, 0, sizeof(k.attr));
	attr_memory_put(m, "f", &k);
	assert_true(attr_memory_get(m, "f", &got));
	assert_int_equal(got.attr.mode, 0);
	attr_memory_free(m);
}

/* Within its bytes, as the allocator counts them; and what is used stays. */
static void
test_bound(void **state)
{
	uint64_t before = allocated(), bytes;
	struct attr_memory *m = attr_memory_new(2 * MIB);
	struct known k, got;
	char path[64];

	for (unsigned i = 0; i < 60000; i++) {
		k = known_of(i);
		path_of(i, path);
		attr_memory_put(m, path, &k);
		assert_true(attr_memory_bytes(m) <= 2 * MIB);
		path_of(5, path);
		if (i >= 5)
			assert_true(attr_memory_get(m, path, &got));
	}
	assert_in_range(attr_memory_names(m), 10000, 30000);
	bytes = allocated();
	if (before && bytes > before)
		assert_in_range(bytes - before, MIB, 2 * MIB + MIB / 8);
	attr_memory_limit(m, MIB / 2);
	assert_true(attr_memory_bytes(m) <= MIB / 2);
	attr_memory_free(m);
}

/* --- a million names ------------------------------------------------------ */

/* A store of one directory with names that are made up as they are listed, as
 * an object store tells them: no attributes but versions. */
struct gen {
	struct backend be;
	unsigned n, asked;
};

struct at {
	struct be_cursor base;
	unsigned next;
};

static void
at_free(struct be_cursor *cur)
{
	free(cur);
}

static int
gen_probe(struct backend *be, struct be_ctx *ctx)
{
	be->caps = (struct be_caps){ .symlinks = true, .owner = true,
				     .name_max = 255, .path_max = 1024,
				     .part_size = MIB, .file_max = MIB << 20,
				     .conditional_put = true };
	return 0;
}

static int
gen_getattr(struct backend *be, struct be_ctx *ctx, const char *path,
	    enum be_hint hint, struct be_attr *out)
{
	struct gen *g = (struct gen *)be;
	struct known k;
	unsigned i;

	if (sscanf(path, "uploads/image-%u", &i) != 1) {
		memset(out, 0, sizeof(*out));
		out->mode = S_IFDIR | 0755;
		out->nlink = 1;
		return 0;
	}
	k = known_of(i);
	*out = k.attr;
	g->asked++;
	return 0;
}

static int
gen_list(struct backend *be, struct be_ctx *ctx, const char *path,
	 struct be_cursor **cur, be_list_fn *fn, void *arg)
{
	struct gen *g = (struct gen *)be;
	struct at *at = (struct at *)*cur;
	unsigned from = at ? at->next : 0, i;
	int ret = 0;

	for (i = from; ret == 0 && i < g->n && i < from + 1000; i++) {
		struct known k = known_of(i);
		char name[64];

		k.attr.mode = S_IFREG | 0666;
		k.attr.uid = k.attr.gid = 0;
		k.attr.ino = 0;
		k.attr.flags = BE_ATTR_PARTIAL;
		snprintf(name, sizeof(name), "image-%07u.jpeg", i);
		ret = fn(arg, name, &k.attr);
	}
	if (ret < 0)
		return ret;
	if (!at) {
		at = xcalloc(1, sizeof(*at));
		at->base.free = at_free;
	}
	at->next = i;
	*cur = &at->base;
	if (i == g->n) {
		free(at);
		*cur = NULL;
	}
	return 0;
}

static void
gen_free(struct backend *be)
{
	free(be);
}

static const struct backend_ops gen_ops = {
	.name = "gen",
	.probe = gen_probe,
	.getattr = gen_getattr,
	.list = gen_list,
	.free = gen_free,
};

static void
read_on(struct node *n, struct cache_listing *l, unsigned names, bool plus)
{
	struct cache_dirent d;
	unsigned i;
	int ret;

	for (i = 0; (ret = cache_listing_get(l, &n->ctx, i, &d)) == 0; i++)
		if (plus && i % 100 == 0)
			cache_prefetch_attrs(l, &n->ctx, i, 100);
	assert_int_equal(ret, -ENOENT);
	assert_int_equal(i, names);
}

/* Listed with all attributes, while the directory is open: what is remembered in
 * memory, the listing itself, and the index of the table on disk. */
static void
test_million(void **state)
{
	uint64_t names = is_short() ? 50000 : 1000000;
	struct cache_config cfg = { .actimeo_ns = NSEC_PER_SEC * 1000,
				    .attr_cache = 48 * MIB / 1000000 * names,
				    .attr_table = 256 * MIB };
	struct gen *g = xcalloc(1, sizeof(*g));
	struct cache_listing *l;
	uint64_t before, bytes;
	struct node n;

	backend_init(&g->be, &gen_ops, xstrdup("gen"));
	g->n = names;
	node_start(&n, &g->be, &cfg);
	before = allocated();
	assert_int_equal(cache_list(n.c, &n.ctx, "uploads", &l), 0);
	read_on(&n, l, names, true);
	assert_in_range(g->asked, names, names + names / 1000);
	bytes = allocated();
	print_message("%llu names: %lld bytes\n", (unsigned long long)names,
		      (long long)(bytes - before));
	if (before && bytes > before)
		assert_in_range(bytes - before, names * 20,
				100 * MIB / 1000000 * names + 2 * MIB);
	cache_listing_put(l);
	node_stop(&n);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_as_array),
		cmocka_unit_test(test_lifetime),
		cmocka_unit_test(test_bound),
		cmocka_unit_test(test_million),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
