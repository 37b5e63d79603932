/* SPDX-License-Identifier: MIT */
/*
 * Entries are packed (attr-pack.h) and know their directory by number, since
 * most names share theirs with a thousand others.  They are found by open
 * addressing: one pointer each.
 */
#include <config.h>

#include "cache/attr-memory.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <uthash.h>
#include <xxhash.h>

#include "cache/attr-pack.h"
#include "common/clock.h"
#include "common/path.h"
#include "common/xalloc.h"

#define TICK_NS NSEC_PER_MSEC
#define MALLOC_HEAD 8 /* what the allocator keeps beside each block */
#define NAMES_MIN 64

struct dir {
	UT_hash_handle hh;
	uint32_t id;
	bool doomed; /* its entries are being dropped */
	uint64_t names;
	char path[];
};

enum {
	USED = 1 << 0,	/* since the hand came by */
	PAGES = 1 << 1, /* 8 bytes stand before the attributes */
};

struct entry {
	uint32_t dir;
	uint32_t hash;
	uint32_t until; /* ticks after born_ns */
	uint8_t flags, name_len;
	uint8_t pack_len;
	char bytes[]; /* pages, attributes, name; unaligned */
};

struct attr_memory {
	uint64_t bytes_max, bytes;
	uint64_t seed;
	int64_t born_ns;
	struct entry **v;
	size_t cap, n;
	size_t hand, stride; /* of the clock */
	struct dir *dirs; /* by path */
	struct dir **by_id;
	uint32_t ids, ids_cap;
	uint32_t *free_ids;
	uint32_t nfree;
};

static uint64_t
size_of(void *p)
{
	return malloc_usable_size(p) + MALLOC_HEAD;
}

/* --- directories --------------------------------------------------------- */

static struct dir *
dir_find(const struct attr_memory *m, const char *path, size_t len)
{
	struct dir *d;

	HASH_FIND(hh, m->dirs, path, len, d);
	return d;
}

static struct dir *
dir_obtain(struct attr_memory *m, const char *path, size_t len)
{
	struct dir *d = dir_find(m, path, len);

	if (d)
		return d;
	d = xcalloc(1, sizeof(*d) + len + 1);
	memcpy(d->path, path, len);
	if (m->nfree) {
		d->id = m->free_ids[--m->nfree];
	} else {
		if (m->ids == m->ids_cap) {
			m->ids_cap = m->ids_cap ? 2 * m->ids_cap : 64;
			m->by_id = xrealloc(m->by_id, m->ids_cap,
					    sizeof(*m->by_id));
			m->free_ids = xrealloc(m->free_ids, m->ids_cap,
					       sizeof(*m->free_ids));
		}
		d->id = m->ids++;
	}
	m->by_id[d->id] = d;
	HASH_ADD_KEYPTR(hh, m->dirs, d->path, len, d);
	m->bytes += size_of(d) + sizeof(UT_hash_bucket);
	return d;
}

static void
dir_put(struct attr_memory *m, struct dir *d)
{
	if (--d->names)
		return;
	m->bytes -= size_of(d) + sizeof(UT_hash_bucket);
	HASH_DEL(m->dirs, d);
	m->by_id[d->id] = NULL;
	m->free_ids[m->nfree++] = d->id;
	free(d);
}

/* --- entries ------------------------------------------------------------- */

static uint32_t
hash_of(const struct attr_memory *m, const struct dir *d, const char *name,
	size_t len)
{
	return XXH3_64bits_withSeed(name, len, m->seed + d->id) >> 32;
}

static const char *
name_of(const struct entry *e)
{
	return e->bytes + (e->flags & PAGES ? 8 : 0) + e->pack_len;
}

static size_t
home(const struct attr_memory *m, uint32_t hash)
{
	return (uint64_t)hash * m->cap >> 32;
}

static size_t
next(const struct attr_memory *m, size_t i)
{
	return i + 1 == m->cap ? 0 : i + 1;
}

/* Where it is, or would be. */
static size_t
place(const struct attr_memory *m, const struct dir *d, uint32_t hash,
      const char *name, size_t len)
{
	size_t i = home(m, hash);

	for (; m->v[i]; i = next(m, i)) {
		const struct entry *e = m->v[i];

		if (e->hash == hash && e->dir == d->id && e->name_len == len &&
		    memcmp(name_of(e), name, len) == 0)
			break;
	}
	return i;
}

static size_t
gcd(size_t a, size_t b)
{
	return b ? gcd(b, a % b) : a;
}

static void
resize(struct attr_memory *m, size_t cap)
{
	struct entry **old = m->v;
	size_t n = m->cap;

	m->v = xcalloc(cap, sizeof(*m->v));
	m->cap = cap;
	m->hand = 0;
	/* The hand jumps about.  If it went along, what is before it would be
	 * crowded and what is behind it empty, and searches would be long. */
	m->stride = cap / 8 * 5;
	while (gcd(m->stride, cap) != 1)
		m->stride++;
	for (size_t i = 0; i < n; i++) {
		size_t k;

		if (!old[i])
			continue;
		k = home(m, old[i]->hash);
		while (m->v[k])
			k = next(m, k);
		m->v[k] = old[i];
	}
	m->bytes += cap * sizeof(*m->v);
	m->bytes -= n * sizeof(*m->v);
	free(old);
}

/* Those behind it move up, so that no search ends at the hole. */
static void
take_out(struct attr_memory *m, size_t i)
{
	struct entry *e = m->v[i];

	m->v[i] = NULL;
	m->n--;
	for (size_t k = next(m, i); m->v[k]; k = next(m, k)) {
		size_t h = home(m, m->v[k]->hash);
		bool stays = i <= k ? h > i && h <= k : h > i || h <= k;

		if (stays)
			continue;
		m->v[i] = m->v[k];
		m->v[k] = NULL;
		i = k;
	}
	m->bytes -= size_of(e);
	dir_put(m, m->by_id[e->dir]);
	free(e);
}

static void
shrink(struct attr_memory *m)
{
	while (m->bytes > m->bytes_max && m->n) {
		struct entry *e = m->v[m->hand];

		if (e && !(e->flags & USED)) {
			take_out(m, m->hand);
			continue; /* another may have come here */
		}
		if (e)
			e->flags &= ~USED;
		m->hand = (m->hand + m->stride) % m->cap;
	}
}

struct found {
	struct dir *d;
	const char *name;
	size_t len, i;
	uint32_t hash;
};

static bool
find(const struct attr_memory *m, const char *path, struct found *f)
{
	f->name = path_base(path);
	f->len = strlen(f->name);
	f->d = dir_find(m, path, f->name > path ? f->name - path - 1 : 0);
	if (!f->d)
		return false;
	f->hash = hash_of(m, f->d, f->name, f->len);
	f->i = place(m, f->d, f->hash, f->name, f->len);
	return m->v[f->i];
}

/* --- time ---------------------------------------------------------------- */

static void
clear(struct attr_memory *m)
{
	for (size_t i = 0; i < m->cap; i++)
		while (m->v[i])
			take_out(m, i);
}

/* Rounded down: nothing is believed longer than it may be.  The clock of 32
 * bits runs for 49 days, then all is forgotten. */
static uint32_t
ticks(struct attr_memory *m, int64_t until_ns)
{
	int64_t t = (until_ns - m->born_ns) / TICK_NS;

	return t < 0 ? 0 : t > UINT32_MAX ? UINT32_MAX : t;
}

static void
keep_time(struct attr_memory *m, int64_t until_ns)
{
	int64_t now;

	if ((until_ns - m->born_ns) / TICK_NS <= UINT32_MAX)
		return;
	now = clock_mono_ns();
	if ((now - m->born_ns) / TICK_NS > UINT32_MAX / 2) {
		clear(m);
		m->born_ns = now;
	}
}

/* --- the interface ------------------------------------------------------- */

bool
attr_memory_get(struct attr_memory *m, const char *path, struct known *out)
{
	struct found f;
	struct entry *e;
	const char *p;

	if (!find(m, path, &f))
		return false;
	e = m->v[f.i];
	e->flags |= USED;
	p = e->bytes;
	out->pages = 0;
	if (e->flags & PAGES) {
		memcpy(&out->pages, p, 8);
		p += 8;
	}
	out->until_ns = m->born_ns + e->until * TICK_NS;
	return attr_unpack(p, e->pack_len, &out->attr);
}

void
attr_memory_put(struct attr_memory *m, const char *path, const struct known *k)
{
	unsigned char pack[ATTR_PACK_MAX];
	size_t pack_len = attr_pack(&k->attr, pack);
	size_t pages = k->pages ? 8 : 0;
	struct entry *e;
	struct found f;

	if (find(m, path, &f))
		take_out(m, f.i);
	if (f.len > UINT8_MAX || pack_len > UINT8_MAX)
		return;
	keep_time(m, k->until_ns);
	if (m->n >= m->cap / 4 * 3)
		resize(m, m->cap + m->cap / 2);
	f.d = dir_obtain(m, path, f.name > path ? f.name - path - 1 : 0);
	f.d->names++;
	e = xmalloc(sizeof(*e) + pages + pack_len + f.len);
	e->dir = f.d->id;
	e->hash = hash_of(m, f.d, f.name, f.len);
	e->until = ticks(m, k->until_ns);
	e->flags = USED | (pages ? PAGES : 0);
	e->name_len = f.len;
	e->pack_len = pack_len;
	if (pages)
		memcpy(e->bytes, &k->pages, 8);
	memcpy(e->bytes + pages, pack, pack_len);
	memcpy(e->bytes + pages + pack_len, f.name, f.len);
	m->v[place(m, f.d, e->hash, f.name, f.len)] = e;
	m->n++;
	m->bytes += size_of(e);
	if (m->bytes > m->bytes_max)
		shrink(m);
}

void
attr_memory_believe(struct attr_memory *m, const char *path, int64_t until_ns)
{
	struct found f;

	keep_time(m, until_ns);
	if (find(m, path, &f)) {
		m->v[f.i]->until = ticks(m, until_ns);
		m->v[f.i]->flags |= USED;
	}
}

void
attr_memory_drop(struct attr_memory *m, const char *path)
{
	struct found f;

	if (find(m, path, &f))
		take_out(m, f.i);
}

void
attr_memory_drop_tree(struct attr_memory *m, const char *path)
{
	uint64_t left = 0;
	struct dir *d, *tmp;

	attr_memory_drop(m, path);
	HASH_ITER(hh, m->dirs, d, tmp)
	{
		d->doomed = path_within(d->path, path);
		left += d->doomed ? d->names : 0;
	}
	for (size_t i = 0; left && i < m->cap; i++)
		while (left && m->v[i] && m->by_id[m->v[i]->dir]->doomed) {
			take_out(m, i); /* another may have come here */
			left--;
		}
}

void
attr_memory_limit(struct attr_memory *m, uint64_t bytes_max)
{
	m->bytes_max = bytes_max;
	shrink(m);
}

struct attr_memory *
attr_memory_new(uint64_t bytes_max)
{
	struct attr_memory *m = xcalloc(1, sizeof(*m));

	m->bytes_max = bytes_max;
	m->born_ns = clock_mono_ns();
	if (getrandom(&m->seed, sizeof(m->seed), 0) != sizeof(m->seed))
		m->seed = m->born_ns;
	resize(m, NAMES_MIN);
	return m;
}

void
attr_memory_free(struct attr_memory *m)
{
	if (!m)
		return;
	clear(m);
	free(m->v);
	free(m->by_id);
	free(m->free_ids);
	free(m);
}

uint64_t
attr_memory_bytes(const struct attr_memory *m)
{
	return m->bytes;
}

uint64_t
attr_memory_names(const struct attr_memory *m)
{
	return m->n;
}
