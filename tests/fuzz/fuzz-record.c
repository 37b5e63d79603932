/* SPDX-License-Identifier: MIT */
/* Records of the cache as they come back from a disk.  The sum at the end is
 * made right, so that what lies behind it is reached. */
#include <config.h>

#include "tests/fuzz/fuzz.h"

#include <endian.h>

#include "cache/store-record.h"
#include "common/cleanup.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *p = fuzz_string(data, size);
	_cleanup_buf_ struct buf again = BUF_INIT;
	struct be_ver ver;
	struct record_key key = { "s3://b", "dir/file", &ver };
	struct record r = { 0 };
	uint64_t sum;

	be_ver_set(&ver, "etag", 4);
	if (record_parse(p, size, &key, &r) == 0)
		record_release(&r);
	if (size < sizeof(sum))
		return 0;
	sum = htole64(record_sum(p, size - sizeof(sum)));
	memcpy(p + size - sizeof(sum), &sum, sizeof(sum));
	if (record_parse(p, size, &key, &r) < 0)
		return 0;
	/* Accepted: it is the record of this key, to the last byte. */
	FUZZ_CHECK(r.nblocks == record_blocks(r.size));
	FUZZ_CHECK(size == record_len(&key, r.size));
	record_encode(&key, &r, &again);
	FUZZ_CHECK(again.len == size);
	FUZZ_CHECK(memcmp(again.s, p, 44) == 0);
	record_release(&r);
	return 0;
}
