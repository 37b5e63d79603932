/* SPDX-License-Identifier: MIT */
/*
 * The record of a clean file: the whole key, the size, a checksum of each
 * block and one of the record itself (docs/cache-format.md).  It comes back
 * from a disk, so parsing trusts nothing.
 */
#ifndef CACHE_STORE_RECORD_H
#define CACHE_STORE_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "backends/backend.h"
#include "common/buf.h"

struct record_key {
	const char *id; /* of the store */
	const char *path;
	const struct be_ver *ver;
};

struct record {
	uint64_t size;
	uint64_t nblocks;
	uint64_t *sums; /* owned; NULL when nblocks is 0 */
};

/* Hex digits of the key's name, without a NUL. */
#define RECORD_NAME_LEN 32
void record_name(const struct record_key *k, char out[RECORD_NAME_LEN + 1]);

uint64_t record_blocks(uint64_t size);
uint64_t record_sum(const void *p, size_t n); /* of one block */
void record_encode(const struct record_key *k, const struct record *r,
		   struct buf *out);
/* 0; -EBADMSG: damaged or of another format; -ENOENT: of another key. */
int record_parse(const void *p, size_t n, const struct record_key *k,
		 struct record *out);
void record_release(struct record *r);
/* The size of a record about `size` bytes under k. */
size_t record_len(const struct record_key *k, uint64_t size);

#endif
