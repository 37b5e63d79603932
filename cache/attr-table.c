/* SPDX-License-Identifier: MIT */
/*
 * The attribute table: segments that are only appended to, and an index.
 *
 * Not a database: LMDB and its like believe their own pages, and end the
 * process when the disk spoiled one or took the file away under the mapping.
 * Here each record has its sum and is read with pread(2), so no fault of the
 * disk is more than a miss, and a kill costs the record that was being written.
 */
#include <config.h>

#include "cache/attr-table.h"

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
#include <xxhash.h>

#include "cache/attr-pack.h"
#include "cache/store-priv.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/io.h"
#include "common/log.h"
#include "common/xalloc.h"

#define FORMAT 1
#define GRANULE 16u
#define HEAD_LEN 48u
#define REC_HEAD 16u
#define PATH_LEN_MAX 2000u
#define REC_MAX 2304u /* REC_HEAD + ATTR_PACK_MAX + PATH_LEN_MAX, rounded up */
#define SEGMENT_MIN (UINT64_C(1) << 17)
#define SEGMENT_MAX (UINT64_C(1) << 24)
#define SEGMENTS 256u /* the low 8 bits of their numbers tell them apart */
#define SEGMENTS_KEPT 200u
#define READ_LEN (256u * 1024)
#define PAUSE (10 * NSEC_PER_SEC) /* after a write that failed */

struct segment {
	int fd;
	uint64_t number;
	uint64_t seed; /* of its sums: a name that looks like a record is none */
	uint64_t used; /* bytes; attr_table.write_lock */
	uint64_t records;
	unsigned refs; /* attr_table.lock; one is the table's */
};

/* In order of tag, each at its place or the next free one after it. */
struct slot {
	uint32_t tag;	/* of the path's hash */
	uint32_t where; /* segment << 24 | granule; 0: empty */
};

struct attr_table {
	struct store *s;
	uint64_t bytes_max, segment_max, defaults;
	uint64_t seed; /* of the index */

	/* What must be read before all else, once. */
	pthread_mutex_t load_lock;
	atomic_bool loaded;

	/* The last segment's end.  Held while a record is written: those bytes
	 * are what it protects.  Taken before `lock`. */
	pthread_mutex_t write_lock;
	bool head_open; /* the last segment may be appended to */
	unsigned generation; /* of the store's directories, when it was made */
	int64_t pause_until; /* a write failed */

	pthread_mutex_t lock; /* all below; a leaf */
	struct segment *segments[SEGMENTS];
	uint64_t first, next; /* numbers */
	uint64_t disk_bytes, records;
	struct slot *slots;
	size_t cap, names;
};

/* --- the index ----------------------------------------------------------- */

static uint32_t
tag_of(const struct attr_table *t, const char *path, size_t len)
{
	return XXH3_64bits_withSeed(path, len, t->seed) >> 32;
}

static size_t
place_of(const struct attr_table *t, uint32_t tag)
{
	return (uint64_t)tag * t->cap >> 32;
}

static struct slot *
slot_locked(struct attr_table *t, uint32_t tag)
{
	size_t i = place_of(t, tag);

	while (t->slots[i].where && t->slots[i].tag != tag)
		i = i + 1 == t->cap ? 0 : i + 1;
	return &t->slots[i];
}

static void
resize_locked(struct attr_table *t, size_t cap, uint64_t without)
{
	struct slot *old = t->slots;
	size_t n = t->cap;

	t->slots = xcalloc(cap, sizeof(*t->slots));
	t->cap = cap;
	t->names = 0;
	for (size_t i = 0; i < n; i++) {
		if (!old[i].where || old[i].where >> 24 == without)
			continue;
		*slot_locked(t, old[i].tag) = old[i];
		t->names++;
	}
	free(old);
}

static void
index_locked(struct attr_table *t, uint32_t tag, uint32_t where)
{
	struct slot *slot;

	/* Half as much again: between 10 and 15 bytes a name. */
	if (t->names >= t->cap / 5 * 4)
		resize_locked(t, t->cap + t->cap / 2, SEGMENTS);
	slot = slot_locked(t, tag);
	if (!slot->where)
		t->names++;
	*slot = (struct slot){ tag, where };
}

static uint32_t
where_of(const struct segment *g, uint64_t off)
{
	return (uint32_t)(g->number % SEGMENTS) << 24 | (uint32_t)(off / GRANULE);
}

/* --- segments ------------------------------------------------------------ */

static void
segment_put_locked(struct segment *g)
{
	if (--g->refs)
		return;
	close(g->fd);
	free(g);
}

static void
segment_put(struct attr_table *t, struct segment *g)
{
	pthread_mutex_lock(&t->lock);
	segment_put_locked(g);
	pthread_mutex_unlock(&t->lock);
}

static void
segment_name(uint64_t number, char out[32])
{
	snprintf(out, 32, "attrs.%llu", (unsigned long long)number);
}

static void
head_encode(const struct attr_table *t, const struct segment *g,
	    unsigned char out[HEAD_LEN])
{
	const uint32_t format[2] = { htole32(FORMAT), 0 };
	const uint64_t v[3] = { htole64(g->seed), htole64(t->defaults),
				htole64(g->number) };
	uint64_t sum;

	memcpy(out, "sfsattrs", 8);
	memcpy(out + 8, format, 8);
	memcpy(out + 16, v, 24);
	sum = htole64(XXH3_64bits(out, HEAD_LEN - 8));
	memcpy(out + HEAD_LEN - 8, &sum, 8);
}

static bool
head_fits(struct attr_table *t, struct segment *g)
{
	unsigned char is[HEAD_LEN], want[HEAD_LEN];

	if (store_read_all(g->fd, is, sizeof(is), 0) < 0)
		return false;
	memcpy(&g->seed, is + 16, 8);
	g->seed = le64toh(g->seed);
	head_encode(t, g, want);
	return memcmp(is, want, sizeof(is)) == 0;
}

static void
segment_add_locked(struct attr_table *t, struct segment *g)
{
	g->refs = 1;
	t->segments[g->number % SEGMENTS] = g;
	if (t->first == t->next)
		t->first = g->number;
	t->next = g->number + 1;
	t->disk_bytes += g->used;
	t->records += g->records;
}

static struct segment *
head_locked(struct attr_table *t)
{
	return t->first == t->next ? NULL :
				     t->segments[(t->next - 1) % SEGMENTS];
}

/* --- records ------------------------------------------------------------- */

struct rec {
	const unsigned char *pack;
	const char *path;
	size_t len, pack_len, path_len;
};

static size_t
rec_encode(const struct segment *g, const char *path, size_t path_len,
	   const unsigned char *pack, size_t pack_len,
	   unsigned char out[REC_MAX])
{
	size_t n = REC_HEAD + pack_len + path_len;
	size_t len = (n + GRANULE - 1) / GRANULE * GRANULE;
	const uint16_t lens[4] = { htole16(len / GRANULE), htole16(pack_len),
				   htole16(path_len), 0 };
	uint64_t sum;

	memcpy(out + 8, lens, 8);
	memcpy(out + REC_HEAD, pack, pack_len);
	memcpy(out + REC_HEAD + pack_len, path, path_len);
	memset(out + n, 0, len - n);
	sum = htole64(XXH3_64bits_withSeed(out + 8, len - 8, g->seed));
	memcpy(out, &sum, 8);
	return len;
}

/* Of n bytes at p; false: there is no whole, undamaged record. */
static bool
rec_decode(const struct segment *g, const unsigned char *p, size_t n,
	   struct rec *out)
{
	uint16_t lens[4];
	uint64_t sum;

	if (n < REC_HEAD)
		return false;
	memcpy(&sum, p, 8);
	memcpy(lens, p + 8, 8);
	out->len = (size_t)le16toh(lens[0]) * GRANULE;
	out->pack_len = le16toh(lens[1]);
	out->path_len = le16toh(lens[2]);
	if (out->len > n || out->path_len > PATH_LEN_MAX ||
	    REC_HEAD + out->pack_len + out->path_len > out->len ||
	    le64toh(sum) != XXH3_64bits_withSeed(p + 8, out->len - 8, g->seed))
		return false;
	out->pack = p + REC_HEAD;
	out->path = (const char *)p + REC_HEAD + out->pack_len;
	return true;
}

/* --- reading all of it, once --------------------------------------------- */

static void
load_records(struct attr_table *t, struct segment *g, uint64_t size)
{
	_cleanup_free_ unsigned char *buf = xmalloc(READ_LEN);
	uint64_t off = HEAD_LEN;

	while (off < size) {
		ssize_t n = pread(g->fd, buf, READ_LEN, off);
		size_t at = 0;
		struct rec r;

		for (; n > 0 && rec_decode(g, buf + at, n - at, &r);
		     at += r.len, g->records++)
			index_locked(t, tag_of(t, r.path, r.path_len),
				     where_of(g, off + at));
		if (at == 0)
			break;
		off += at;
	}
	/* What follows was being written when a worker was killed, or is
	 * damaged; in either case nobody will find it. */
	g->used = off;
}

static void
load_segment(struct attr_table *t, uint64_t number)
{
	struct segment *g = xcalloc(1, sizeof(*g));
	struct stat st;
	char name[32];

	segment_name(number, name);
	g->number = number;
	g->fd = openat(t->s->fd[DIR_MINE], name,
		       O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (g->fd < 0 && (errno == EROFS || errno == EACCES))
		g->fd = openat(t->s->fd[DIR_MINE], name,
			       O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (g->fd < 0 || fstat(g->fd, &st) < 0 || !S_ISREG(st.st_mode) ||
	    (uint64_t)st.st_size > 2 * SEGMENT_MAX || !head_fits(t, g)) {
		if (g->fd >= 0)
			close(g->fd);
		free(g);
		unlinkat(t->s->fd[DIR_MINE], name, 0);
		return;
	}
	load_records(t, g, st.st_size);
	t->head_open = g->used == (uint64_t)st.st_size;
	if (!t->head_open)
		log_info("cache",
			 "attribute table: %s ends after %llu of %llu bytes",
			 name, (unsigned long long)g->used,
			 (unsigned long long)st.st_size);
	segment_add_locked(t, g);
}

static int
by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* The numbers that are there, rising; *n of them, the caller's. */
static uint64_t *
load_numbers(struct attr_table *t, size_t *n)
{
	int fd = openat(t->s->fd[DIR_MINE], ".",
			O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	uint64_t *v = NULL;
	struct dirent *e;

	*n = 0;
	if (!d) {
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	while ((e = readdir(d))) {
		unsigned long long number;
		char name[32];

		if (sscanf(e->d_name, "attrs.%llu", &number) != 1)
			continue;
		segment_name(number, name);
		if (strcmp(name, e->d_name) != 0 || number > UINT32_MAX)
			continue;
		v = xrealloc(v, *n + 1, sizeof(*v));
		v[(*n)++] = number;
	}
	closedir(d);
	if (*n > 1)
		qsort(v, *n, sizeof(*v), by_number);
	return v;
}

static void
load(struct attr_table *t)
{
	_cleanup_free_ uint64_t *v = NULL;
	int64_t begin = clock_mono_ns();
	size_t n;

	if (atomic_load(&t->loaded))
		return;
	pthread_mutex_lock(&t->load_lock);
	if (atomic_load(&t->loaded)) {
		pthread_mutex_unlock(&t->load_lock);
		return;
	}
	v = load_numbers(t, &n);
	for (size_t i = 0; i < n; i++) {
		/* Older than the newest SEGMENTS_KEPT: never ours. */
		if (v[n - 1] - v[i] >= SEGMENTS_KEPT) {
			char name[32];

			segment_name(v[i], name);
			unlinkat(t->s->fd[DIR_MINE], name, 0);
			continue;
		}
		load_segment(t, v[i]);
	}
	t->generation = atomic_load(&t->s->generation);
	if (t->names)
		log_debug("cache", "attribute table: %zu names, %lld ms",
			  t->names,
			  (long long)((clock_mono_ns() - begin) /
				      NSEC_PER_MSEC));
	atomic_store(&t->loaded, true);
	pthread_mutex_unlock(&t->load_lock);
}

/* --- reading one --------------------------------------------------------- */

/* What the index has under tag: read into buf.  false: nothing good. */
static bool
read_rec(struct attr_table *t, uint32_t tag, unsigned char buf[REC_MAX],
	 struct rec *out)
{
	struct segment *g = NULL;
	uint32_t where;
	ssize_t n;
	bool good;

	pthread_mutex_lock(&t->lock);
	where = slot_locked(t, tag)->where;
	if (where)
		g = t->segments[where >> 24];
	if (g)
		g->refs++;
	pthread_mutex_unlock(&t->lock);
	if (!g)
		return false;
	n = pread(g->fd, buf, REC_MAX, (uint64_t)(where & 0xffffff) * GRANULE);
	if (n < 0)
		store_failed(t->s, FAULT_READ, -errno, "the attribute table");
	good = n > 0 && rec_decode(g, buf, n, out);
	if (n > 0 && !good)
		store_fault(t->s, FAULT_DAMAGE, -EBADMSG,
			    "the attribute table");
	segment_put(t, g);
	return good;
}

bool
attr_table_get(struct attr_table *t, const char *path,
	       const struct be_attr *listed, struct be_attr *out)
{
	size_t len = strlen(path);
	unsigned char buf[REC_MAX];
	struct be_attr a;
	struct rec r;

	if (listed->aver == 0 || !be_ver_known(&listed->ver))
		return false;
	load(t);
	if (!read_rec(t, tag_of(t, path, len), buf, &r) || r.path_len != len ||
	    memcmp(r.path, path, len) != 0 ||
	    !attr_unpack(r.pack, r.pack_len, &a) || a.aver != listed->aver ||
	    a.size != listed->size || !be_ver_equal(&a.ver, &listed->ver))
		return false;
	*out = a;
	return true;
}

/* --- writing ------------------------------------------------------------- */

static int append(struct attr_table *t, const char *path, size_t path_len,
		  const unsigned char *pack, size_t pack_len);

/* What of the segment is still the last word on its path is written again, so
 * that what never changes stays known; but only half of it when the whole
 * table is too small for all. */
static void
carry(struct attr_table *t, struct segment *g, bool all)
{
	_cleanup_free_ unsigned char *buf = xmalloc(READ_LEN);
	uint64_t off = HEAD_LEN, carried = 0;

	while (off < g->used) {
		ssize_t n = pread(g->fd, buf, READ_LEN, off);
		size_t at = 0;
		struct rec r;

		for (; n > 0 && rec_decode(g, buf + at, n - at, &r);
		     at += r.len) {
			uint32_t tag = tag_of(t, r.path, r.path_len);
			bool live;

			pthread_mutex_lock(&t->lock);
			live = slot_locked(t, tag)->where ==
			       where_of(g, off + at);
			pthread_mutex_unlock(&t->lock);
			if (!live)
				continue;
			carried += r.len;
			if ((!all && carried > t->segment_max / 2) ||
			    append(t, r.path, r.path_len, r.pack, r.pack_len) <
				    0)
				return;
		}
		if (at == 0)
			return;
		off += at;
	}
}

/* The oldest segment goes. */
static void
drop_first(struct attr_table *t)
{
	struct segment *g;
	char name[32];
	bool all;

	pthread_mutex_lock(&t->lock);
	/* The last words on all paths, about: less than three quarters? */
	all = !t->records ||
	      t->disk_bytes / t->records * t->names < t->bytes_max / 4 * 3;
	g = t->segments[t->first % SEGMENTS];
	t->segments[t->first % SEGMENTS] = NULL;
	segment_name(t->first, name);
	do
		t->first++;
	while (t->first < t->next && !t->segments[t->first % SEGMENTS]);
	if (g) {
		t->disk_bytes -= g->used;
		t->records -= g->records;
	}
	pthread_mutex_unlock(&t->lock);
	if (!g)
		return;
	/* It is still in the index, and found by nobody. */
	carry(t, g, all);
	pthread_mutex_lock(&t->lock);
	resize_locked(t, t->cap, g->number % SEGMENTS);
	segment_put_locked(g);
	pthread_mutex_unlock(&t->lock);
	unlinkat(t->s->fd[DIR_MINE], name, 0);
}

static int
new_head(struct attr_table *t)
{
	unsigned generation = atomic_load(&t->s->generation);
	struct segment *g = xcalloc(1, sizeof(*g));
	unsigned char head[HEAD_LEN];
	char name[32];
	int r;

	g->number = t->next;
	if (getrandom(&g->seed, sizeof(g->seed), 0) != sizeof(g->seed))
		g->seed = clock_mono_ns();
	segment_name(g->number, name);
	g->fd = openat(t->s->fd[DIR_MINE], name,
		       O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		       0600);
	if (g->fd < 0 && errno == ENOENT &&
	    store_heal(t->s, generation) == 0)
		g->fd = openat(t->s->fd[DIR_MINE], name,
			       O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW |
				       O_CLOEXEC,
			       0600);
	r = g->fd < 0 ? -errno : 0;
	head_encode(t, g, head);
	if (r == 0)
		r = io_write_all(g->fd, head, sizeof(head), 0);
	if (r < 0) {
		if (g->fd >= 0) {
			close(g->fd);
			unlinkat(t->s->fd[DIR_MINE], name, 0);
		}
		free(g);
		return r;
	}
	g->used = HEAD_LEN;
	pthread_mutex_lock(&t->lock);
	segment_add_locked(t, g);
	pthread_mutex_unlock(&t->lock);
	t->head_open = true;
	t->generation = atomic_load(&t->s->generation);
	return 0;
}

/* write_lock held.  The table may be larger than its bound by one segment. */
static int
append(struct attr_table *t, const char *path, size_t path_len,
       const unsigned char *pack, size_t pack_len)
{
	unsigned char buf[REC_MAX];
	struct segment *g;
	size_t len;
	ssize_t n;

	pthread_mutex_lock(&t->lock);
	g = head_locked(t);
	pthread_mutex_unlock(&t->lock);
	if (!g || !t->head_open || g->used + REC_MAX > t->segment_max ||
	    t->generation != atomic_load(&t->s->generation)) {
		int r = new_head(t);

		if (r < 0)
			return r;
		pthread_mutex_lock(&t->lock);
		g = head_locked(t);
		pthread_mutex_unlock(&t->lock);
	}
	len = rec_encode(g, path, path_len, pack, pack_len, buf);
	n = pwrite(g->fd, buf, len, g->used);
	if (n != (ssize_t)len)
		return n < 0 ? -errno : -ENOSPC;
	store_free_spent(t->s, len);
	pthread_mutex_lock(&t->lock);
	index_locked(t, tag_of(t, path, path_len), where_of(g, g->used));
	g->used += len;
	g->records++;
	t->disk_bytes += len;
	t->records++;
	pthread_mutex_unlock(&t->lock);
	return 0;
}

/* After a write: back below the bound. */
static void
shrink(struct attr_table *t)
{
	bool more;

	pthread_mutex_lock(&t->lock);
	more = t->first + 1 < t->next &&
	       (t->disk_bytes > t->bytes_max ||
		t->next - t->first > SEGMENTS_KEPT);
	pthread_mutex_unlock(&t->lock);
	if (more)
		drop_first(t);
}

void
attr_table_put(struct attr_table *t, const char *path, const struct be_attr *a)
{
	unsigned char pack[ATTR_PACK_MAX], buf[REC_MAX];
	size_t len = strlen(path), n;
	struct rec r;
	int ret;

	if (a->aver == 0 || !be_ver_known(&a->ver) || S_ISDIR(a->mode) ||
	    (a->flags & (BE_ATTR_PARTIAL | BE_ATTR_RACY)) || len > PATH_LEN_MAX)
		return;
	load(t);
	n = attr_pack(a, pack);
	if (read_rec(t, tag_of(t, path, len), buf, &r) && r.path_len == len &&
	    r.pack_len == n && memcmp(r.path, path, len) == 0 &&
	    memcmp(r.pack, pack, n) == 0)
		return;
	/* Its room is that of clean content. */
	if (store_free_bytes(t->s, t->s->free_min) < t->s->free_min)
		return;
	pthread_mutex_lock(&t->write_lock);
	if (t->pause_until <= clock_mono_ns()) {
		ret = append(t, path, len, pack, n);
		if (ret < 0) {
			store_failed(t->s, FAULT_WRITE, ret,
				     "the attribute table");
			t->head_open = false;
			t->pause_until = clock_mono_ns() + PAUSE;
		} else {
			shrink(t);
		}
	}
	pthread_mutex_unlock(&t->write_lock);
}

/* --- made and freed ------------------------------------------------------ */

struct attr_table *
attr_table_new(struct store *s, uint64_t bytes_max, uint64_t defaults)
{
	struct attr_table *t = xcalloc(1, sizeof(*t));

	if (bytes_max < ATTR_TABLE_MIN)
		bytes_max = ATTR_TABLE_MIN;
	if (bytes_max > ATTR_TABLE_MAX / 2)
		bytes_max = ATTR_TABLE_MAX / 2;
	t->s = s;
	t->bytes_max = bytes_max;
	t->segment_max = bytes_max / 8;
	if (t->segment_max < SEGMENT_MIN)
		t->segment_max = SEGMENT_MIN;
	if (t->segment_max > SEGMENT_MAX)
		t->segment_max = SEGMENT_MAX;
	t->defaults = defaults;
	if (getrandom(&t->seed, sizeof(t->seed), 0) != sizeof(t->seed))
		t->seed = clock_mono_ns();
	t->cap = 64;
	t->slots = xcalloc(t->cap, sizeof(*t->slots));
	pthread_mutex_init(&t->load_lock, NULL);
	pthread_mutex_init(&t->write_lock, NULL);
	pthread_mutex_init(&t->lock, NULL);
	return t;
}

void
attr_table_free(struct attr_table *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < SEGMENTS; i++)
		if (t->segments[i])
			segment_put_locked(t->segments[i]);
	free(t->slots);
	pthread_mutex_destroy(&t->load_lock);
	pthread_mutex_destroy(&t->write_lock);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

void
attr_table_stats_get(struct attr_table *t, struct attr_table_stats *out)
{
	load(t);
	pthread_mutex_lock(&t->lock);
	*out = (struct attr_table_stats){
		.names = t->names,
		.disk_bytes = t->disk_bytes,
		.memory_bytes = sizeof(*t) + t->cap * sizeof(*t->slots) +
				(t->next - t->first) * sizeof(struct segment),
	};
	pthread_mutex_unlock(&t->lock);
}
