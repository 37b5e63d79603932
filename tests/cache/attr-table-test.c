/* SPDX-License-Identifier: MIT */
/* cache/attr-table.h: attributes outlive the daemon, and are believed only as
 * the record that they were, of that version. */
#include <config.h>

#include "cache/attr-table.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/attr-pack.h"
#include "common/cleanup.h"
#include "common/xalloc.h"
#include "tests/cache/store-box.h"
#include "tests/lib/unit.h"

#define MB (1024u * 1024)

static uint64_t
mix(uint64_t *seed)
{
	*seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407;
	return *seed >> 17 ^ *seed << 13;
}

static struct be_attr
attr_of(uint64_t i)
{
	uint64_t seed = i;
	struct be_attr a = {
		.mode = S_IFREG | (mix(&seed) & 0777),
		.uid = mix(&seed) & 0xffff,
		.gid = 33,
		.nlink = 1,
		.size = mix(&seed) & 0xffffff,
		.ino = mix(&seed),
		.aver = mix(&seed) | 1,
		.mtime = { 1700000000 + (mix(&seed) & 0xffff),
			   mix(&seed) % 1000000000 },
	};
	char etag[40];

	a.blocks = (a.size + 511) / 512;
	a.ctime = a.atime = a.mtime;
	snprintf(etag, sizeof(etag), "%016llx%016llx",
		 (unsigned long long)mix(&seed), (unsigned long long)i);
	be_ver_set(&a.ver, etag, 32);
	return a;
}

static void
same(const struct be_attr *a, const struct be_attr *b)
{
	assert_int_equal(a->mode, b->mode);
	assert_int_equal(a->uid, b->uid);
	assert_int_equal(a->gid, b->gid);
	assert_int_equal(a->nlink, b->nlink);
	assert_int_equal(a->size, b->size);
	assert_int_equal(a->blocks, b->blocks);
	assert_int_equal(a->ino, b->ino);
	assert_int_equal(a->rdev, b->rdev);
	assert_memory_equal(&a->mtime, &b->mtime, sizeof(a->mtime));
	assert_memory_equal(&a->ctime, &b->ctime, sizeof(a->ctime));
	assert_memory_equal(&a->atime, &b->atime, sizeof(a->atime));
	assert_int_equal(a->ver.len, b->ver.len);
	assert_memory_equal(a->ver.b, b->ver.b, a->ver.len);
	assert_int_equal(a->aver, b->aver);
	assert_int_equal(a->flags, b->flags);
}

/* --- attr-pack.h --------------------------------------------------------- */

static void
test_pack(void **state)
{
	unsigned char p[ATTR_PACK_MAX];
	struct be_attr out;
	uint64_t seed = 1;

	for (unsigned i = 0; i < 20000; i++) {
		struct be_attr a = attr_of(i);
		uint64_t odd = mix(&seed);
		size_t n;

		if (odd & 1)
			a.nlink = mix(&seed);
		if (odd & 2)
			a.rdev = mix(&seed);
		if (odd & 4)
			a.ctime.tv_sec -= mix(&seed) >> 8;
		if (odd & 8)
			a.atime = (struct timespec){ -5, 999999999 };
		if (odd & 16)
			a.mtime.tv_nsec = 0;
		if (odd & 32)
			a.blocks = mix(&seed);
		if (odd & 64)
			a.size = UINT64_MAX;
		if (odd & 128)
			a.uid = a.gid = UINT32_MAX;
		if (odd & 256)
			a.aver = 0;
		if (odd & 512)
			a.flags = BE_ATTR_IMPLICIT;
		if (odd & 1024)
			be_ver_set(&a.ver, "Not hex!\0.", 10);
		if (odd & 2048)
			a.ver.len = 0;
		if (odd & 4096) {
			a.ver.len = BE_VER_MAX;
			memset(a.ver.b, 'z', BE_VER_MAX);
		}
		if (odd & 8192)
			a.ino = mix(&seed) & 0xffff;
		n = attr_pack(&a, p);
		assert_true(n <= ATTR_PACK_MAX);
		memset(&out, 0x55, sizeof(out));
		assert_true(attr_unpack(p, n, &out));
		same(&a, &out);
		/* All of it or nothing. */
		for (size_t k = 0; k < n; k++)
			assert_false(attr_unpack(p, k, &out));
	}
}

/* --- attr-table.h -------------------------------------------------------- */

struct rig {
	struct box *box;
	struct attr_table *t;
	uint64_t max, defaults;
};

static void
rig_start(struct rig *r, void **state)
{
	*r = (struct rig){ .box = *state, .max = 64 * MB, .defaults = 7 };
	r->t = attr_table_new(r->box->s, r->max, r->defaults);
}

/* As the next worker, or the next mount. */
static void
restart(struct rig *r)
{
	attr_table_free(r->t);
	store_free(r->box->s);
	r->box->s = box_store(r->box->dir, "one", 0, 0);
	r->t = attr_table_new(r->box->s, r->max, r->defaults);
}

static void
rig_stop(struct rig *r)
{
	attr_table_free(r->t);
}

static void
put(struct rig *r, uint64_t i)
{
	struct be_attr a = attr_of(i);
	char path[64];

	snprintf(path, sizeof(path), "dir/upload-%llu.jpg",
		 (unsigned long long)i);
	attr_table_put(r->t, path, &a);
}

static bool
known(struct rig *r, uint64_t i)
{
	struct be_attr a = attr_of(i), listed = a, out;
	char path[64];

	snprintf(path, sizeof(path), "dir/upload-%llu.jpg",
		 (unsigned long long)i);
	listed.flags = BE_ATTR_PARTIAL;
	listed.uid = listed.mode = listed.ino = 0;
	if (!attr_table_get(r->t, path, &listed, &out))
		return false;
	same(&a, &out);
	return true;
}

/* Of some thousand names two may have one tag; then one of them is a miss. */
#define assert_nearly(n, all) assert_in_range(n, (all) - 2, all)

static unsigned
known_of(struct rig *r, uint64_t from, uint64_t n)
{
	unsigned k = 0;

	for (uint64_t i = from; i < from + n; i++)
		k += known(r, i);
	return k;
}

static void
test_outlives(void **state)
{
	struct attr_table_stats st;
	struct be_attr a = attr_of(3);
	struct rig r;

	rig_start(&r, state);
	for (unsigned i = 0; i < 3000; i++)
		put(&r, i);
	assert_nearly(known_of(&r, 0, 3000), 3000);
	assert_false(known(&r, 3000));
	restart(&r);
	assert_nearly(known_of(&r, 0, 3000), 3000);
	/* The same again costs no room, another version replaces. */
	attr_table_stats_get(r.t, &st);
	put(&r, 3);
	a.aver++;
	attr_table_put(r.t, "dir/upload-4.jpg", &a);
	assert_false(known(&r, 4));
	assert_int_equal(st.names, 3000);
	{
		struct attr_table_stats now;

		attr_table_stats_get(r.t, &now);
		assert_int_equal(now.names, 3000);
		assert_in_range(now.disk_bytes, st.disk_bytes + 1,
				st.disk_bytes + 300);
	}
	restart(&r);
	assert_nearly(known_of(&r, 0, 3000), 2999);
	rig_stop(&r);
}

/* Rule 12: the record is of this path, ETag, Last-Modified and size. */
static void
test_versions(void **state)
{
	struct be_attr a = attr_of(1), other = attr_of(2), l, out;
	struct rig r;

	rig_start(&r, state);
	attr_table_put(r.t, "f", &a);
	l = a;
	assert_true(attr_table_get(r.t, "f", &l, &out));
	assert_false(attr_table_get(r.t, "g", &l, &out));
	l.aver ^= 2;
	assert_false(attr_table_get(r.t, "f", &l, &out));
	l = a;
	l.aver = 0; /* the listing can't vouch for it */
	assert_false(attr_table_get(r.t, "f", &l, &out));
	l = a;
	l.size++;
	assert_false(attr_table_get(r.t, "f", &l, &out));
	l = a;
	l.ver = other.ver;
	assert_false(attr_table_get(r.t, "f", &l, &out));
	/* Nor is kept what the store could not vouch for. */
	l = a;
	l.aver = 0;
	attr_table_put(r.t, "young", &l);
	l = a;
	l.flags = BE_ATTR_RACY;
	attr_table_put(r.t, "racy", &l);
	l = a;
	l.mode = S_IFDIR | 0755;
	attr_table_put(r.t, "dir", &l);
	assert_false(attr_table_get(r.t, "young", &a, &out));
	assert_false(attr_table_get(r.t, "racy", &a, &out));
	assert_false(attr_table_get(r.t, "dir", &a, &out));
	/* Other owners for what has none: all is asked for again. */
	r.defaults++;
	restart(&r);
	assert_false(attr_table_get(r.t, "f", &a, &out));
	attr_table_put(r.t, "f", &a);
	restart(&r);
	assert_true(attr_table_get(r.t, "f", &a, &out));
	rig_stop(&r);
}

static void
segment_path(struct rig *r, unsigned n, char out[256])
{
	snprintf(out, 256, "%s/v1/mounts/one/attrs.%u", r->box->dir, n);
}

/* Killed in the middle of a record, at each byte: what was before it stays,
 * and what comes after it is found again. */
static void
test_torn(void **state)
{
	struct stat st;
	char path[256];
	struct rig r;
	off_t size;

	rig_start(&r, state);
	for (unsigned i = 0; i < 10; i++)
		put(&r, i);
	segment_path(&r, 0, path);
	assert_int_equal(stat(path, &st), 0);
	size = st.st_size;
	for (unsigned cut = 1; cut < 80; cut += 7) {
		assert_int_equal(truncate(path, size - cut), 0);
		restart(&r);
		assert_int_equal(known_of(&r, 0, 9), 9);
		assert_false(known(&r, 9));
		put(&r, 100 + cut);
		restart(&r);
		assert_true(known(&r, 100 + cut));
	}
	rig_stop(&r);
}

/* Any byte of the disk may be wrong, also under a running daemon: then less is
 * known, and nothing else. */
static void
test_damage(void **state)
{
	_cleanup_close_ int fd = -1;
	char path[256];
	struct stat st;
	struct rig r;

	rig_start(&r, state);
	for (unsigned i = 0; i < 50; i++)
		put(&r, i);
	segment_path(&r, 0, path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	for (off_t at = 0; at < st.st_size; at += 61) {
		unsigned char c, bad;

		assert_int_equal(pread(fd, &c, 1, at), 1);
		bad = c ^ 0x10;
		assert_int_equal(pwrite(fd, &bad, 1, at), 1);
		/* known() compares what it is told. */
		assert_in_range(known_of(&r, 0, 50), 49, 50);
		assert_int_equal(pwrite(fd, &c, 1, at), 1);
	}
	for (off_t at = 48; at < st.st_size; at += 331) {
		unsigned char c, bad;

		assert_int_equal(pread(fd, &c, 1, at), 1);
		bad = c ^ 0x01;
		assert_int_equal(pwrite(fd, &bad, 1, at), 1);
		restart(&r);
		known_of(&r, 0, 50);
		assert_int_equal(pwrite(fd, &c, 1, at), 1);
	}
	restart(&r);
	assert_int_equal(known_of(&r, 0, 50), 50);
	/* Cut short under us, and then a header that is none. */
	assert_int_equal(ftruncate(fd, 10), 0);
	assert_int_equal(known_of(&r, 0, 50), 0);
	put(&r, 1);
	restart(&r);
	assert_int_equal(known_of(&r, 2, 48), 0);
	rig_stop(&r);
}

static void
test_bound(void **state)
{
	struct attr_table_stats st;
	struct rig r;

	rig_start(&r, state);
	r.max = MB;
	restart(&r);
	for (unsigned i = 0; i < 40000; i++)
		put(&r, i);
	attr_table_stats_get(r.t, &st);
	assert_in_range(st.disk_bytes, MB / 2, MB + MB / 4);
	assert_in_range(st.names, 3000, 12000);
	assert_nearly(known_of(&r, 39000, 1000), 1000);
	assert_in_range(known_of(&r, 0, 40000), 3000, st.names);
	restart(&r);
	assert_nearly(known_of(&r, 39000, 1000), 1000);
	rig_stop(&r);
}

/* What stays the same is kept while others come and go. */
static void
test_carry(void **state)
{
	struct attr_table_stats st;
	struct rig r;

	rig_start(&r, state);
	r.max = MB;
	restart(&r);
	for (unsigned i = 0; i < 4000; i++)
		put(&r, i);
	for (unsigned i = 0; i < 40000; i++) {
		struct be_attr a = attr_of(i);

		attr_table_put(r.t, "changing", &a);
	}
	attr_table_stats_get(r.t, &st);
	assert_in_range(st.disk_bytes, MB / 2, MB + MB / 4);
	assert_nearly(known_of(&r, 0, 4000), 4000);
	restart(&r);
	assert_nearly(known_of(&r, 0, 4000), 4000);
	rig_stop(&r);
}

/* The disk's faults are misses (C5). */
static void
test_faults(void **state)
{
	char path[256];
	struct rig r;

	rig_start(&r, state);
	put(&r, 1);
	/* Somebody else's thing in place of a segment. */
	segment_path(&r, 1, path);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	restart(&r);
	assert_true(known(&r, 1));
	put(&r, 2);
	assert_true(known(&r, 2));
	/* The directory goes away under us: what is open goes on. */
	box_remove_tree(r.box->dir);
	assert_true(known(&r, 1));
	put(&r, 3);
	assert_true(known(&r, 3));
	rig_stop(&r);
}

/* 1 million names; the index is all that is in memory. */
static void
test_memory(void **state)
{
	unsigned n = box_under_valgrind() || getenv("SHAREDFS_QUICK") ?
			     20000 :
			     1000000;
	struct attr_table_stats st;
	struct rig r;

	rig_start(&r, state);
	r.max = 512 * MB;
	restart(&r);
	for (unsigned i = 0; i < n; i++)
		put(&r, i);
	attr_table_stats_get(r.t, &st);
	/* Two tags in a few thousand million may be equal. */
	assert_in_range(st.names, n - n / 1000 - 1, n);
	assert_in_range(st.memory_bytes, 0, 16 * (uint64_t)n + 65536);
	assert_in_range(st.disk_bytes, 0, 160 * (uint64_t)n);
	rig_stop(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pack),
		cmocka_unit_test_setup_teardown(test_outlives, box_setup,
						box_teardown),
		cmocka_unit_test_setup_teardown(test_versions, box_setup,
						box_teardown),
		cmocka_unit_test_setup_teardown(test_torn, box_setup,
						box_teardown),
		cmocka_unit_test_setup_teardown(test_damage, box_setup,
						box_teardown),
		cmocka_unit_test_setup_teardown(test_bound, box_setup,
						box_teardown),
		cmocka_unit_test_setup_teardown(test_carry, box_setup,
						box_teardown),
		cmocka_unit_test_setup_teardown(test_faults, box_setup,
						box_teardown),
		cmocka_unit_test_setup_teardown(test_memory, box_setup,
						box_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
