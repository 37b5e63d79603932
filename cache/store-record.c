/* SPDX-License-Identifier: MIT */
/* See store-record.h.  All numbers are little endian. */
#include <config.h>

#include "cache/store-record.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "cache/store.h"
#include "common/xalloc.h"

#define MAGIC "sharedfs"
#define FORMAT 1u

struct head {
	char magic[8];
	uint32_t format;
	uint32_t block;
	uint64_t size;
	uint64_t nblocks;
	uint32_t id_len;
	uint32_t path_len;
	uint32_t ver_len;
	uint32_t zero;
} __attribute__((packed));

void
record_name(const struct record_key *k, char out[RECORD_NAME_LEN + 1])
{
	static const char hex[] = "0123456789abcdef";
	_cleanup_buf_ struct buf b = BUF_INIT;
	XXH128_canonical_t c;

	/* No part but the last can hold a NUL: no two keys look alike. */
	buf_reserve(&b, strlen(k->id) + strlen(k->path) + k->ver->len + 2);
	buf_add(&b, k->id, strlen(k->id) + 1);
	buf_add(&b, k->path, strlen(k->path) + 1);
	buf_add(&b, k->ver->b, k->ver->len);
	XXH128_canonicalFromHash(&c, XXH3_128bits(b.s, b.len));
	for (size_t i = 0; i < sizeof(c.digest); i++) {
		out[2 * i] = hex[c.digest[i] >> 4];
		out[2 * i + 1] = hex[c.digest[i] & 15];
	}
	out[RECORD_NAME_LEN] = '\0';
}

uint64_t
record_blocks(uint64_t size)
{
	return size / STORE_BLOCK + (size % STORE_BLOCK != 0);
}

uint64_t
record_sum(const void *p, size_t n)
{
	return XXH3_64bits(p, n);
}

size_t
record_len(const struct record_key *k, uint64_t size)
{
	return sizeof(struct head) + strlen(k->id) + strlen(k->path) +
	       k->ver->len + (record_blocks(size) + 1) * sizeof(uint64_t);
}

void
record_encode(const struct record_key *k, const struct record *r,
	      struct buf *out)
{
	struct head h = {
		.magic = MAGIC,
		.format = htole32(FORMAT),
		.block = htole32(STORE_BLOCK),
		.size = htole64(r->size),
		.nblocks = htole64(r->nblocks),
		.id_len = htole32((uint32_t)strlen(k->id)),
		.path_len = htole32((uint32_t)strlen(k->path)),
		.ver_len = htole32(k->ver->len),
	};
	uint64_t sum;

	buf_reset(out);
	buf_reserve(out, record_len(k, r->size));
	buf_add(out, &h, sizeof(h));
	buf_add(out, k->id, strlen(k->id));
	buf_add(out, k->path, strlen(k->path));
	buf_add(out, k->ver->b, k->ver->len);
	for (uint64_t i = 0; i < r->nblocks; i++) {
		sum = htole64(r->sums[i]);
		buf_add(out, &sum, sizeof(sum));
	}
	sum = htole64(XXH3_64bits(out->s, out->len));
	buf_add(out, &sum, sizeof(sum));
}

int
record_parse(const void *p, size_t n, const struct record_key *k,
	     struct record *out)
{
	const char *c = p;
	struct head h;
	uint64_t sum, size, nblocks, *sums;
	size_t names;

	if (n < sizeof(h) + sizeof(sum))
		return -EBADMSG;
	memcpy(&h, c, sizeof(h));
	memcpy(&sum, c + n - sizeof(sum), sizeof(sum));
	if (memcmp(h.magic, MAGIC, sizeof(h.magic)) != 0 ||
	    le32toh(h.format) != FORMAT || le32toh(h.block) != STORE_BLOCK ||
	    XXH3_64bits(c, n - sizeof(sum)) != le64toh(sum))
		return -EBADMSG;
	/* The sum fits; what follows must still hold by itself. */
	size = le64toh(h.size);
	nblocks = le64toh(h.nblocks);
	n -= sizeof(h) + sizeof(sum);
	if (nblocks != record_blocks(size) || nblocks > n / sizeof(sum))
		return -EBADMSG;
	names = n - (size_t)nblocks * sizeof(sum);
	if ((uint64_t)le32toh(h.id_len) + le32toh(h.path_len) +
		    le32toh(h.ver_len) != names)
		return -EBADMSG;
	c += sizeof(h);
	if (le32toh(h.id_len) != strlen(k->id) ||
	    le32toh(h.path_len) != strlen(k->path) ||
	    le32toh(h.ver_len) != k->ver->len ||
	    memcmp(c, k->id, strlen(k->id)) != 0)
		return -ENOENT;
	c += strlen(k->id);
	if (memcmp(c, k->path, strlen(k->path)) != 0)
		return -ENOENT;
	c += strlen(k->path);
	if (memcmp(c, k->ver->b, k->ver->len) != 0)
		return -ENOENT;
	c += k->ver->len;
	sums = nblocks ? xcalloc((size_t)nblocks, sizeof(*sums)) : NULL;
	for (uint64_t i = 0; i < nblocks; i++) {
		memcpy(&sum, c + i * sizeof(sum), sizeof(sum));
		sums[i] = le64toh(sum);
	}
	out->size = size;
	out->nblocks = nblocks;
	out->sums = sums;
	return 0;
}

void
record_release(struct record *r)
{
	free(r->sums);
	r->sums = NULL;
}
