/* SPDX-License-Identifier: MIT */
/*
 * struct be_attr in few bytes, about 60 for an object and 50 for a file: what
 * is usual is left out, numbers take the bytes that they need.  In memory and
 * in the attribute table on disk (attr-table.h, docs/cache-format.md).
 */
#ifndef CACHE_ATTR_PACK_H
#define CACHE_ATTR_PACK_H

#include <stdbool.h>
#include <stddef.h>

#include "backends/backend.h"

#define ATTR_PACK_MAX 256

/* Bytes that were written to out. */
size_t attr_pack(const struct be_attr *a, unsigned char out[ATTR_PACK_MAX]);
/* All n bytes; false: they are none that attr_pack() makes. */
bool attr_unpack(const void *p, size_t n, struct be_attr *out);

#endif
