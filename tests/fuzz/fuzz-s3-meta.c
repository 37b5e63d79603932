/* SPDX-License-Identifier: MIT */
/*
 * An object's headers: the first line of the input is its key, the others are
 * "name: value".  Whatever they say, the attributes are sane; written back
 * they are read as the same.
 */
#include <config.h>

#include "tests/fuzz/fuzz.h"

#include <ctype.h>

#include "backends/s3-meta.h"
#include "common/cleanup.h"

static void
sane(const struct be_attr *a)
{
	const struct timespec *const t[] = { &a->atime, &a->mtime, &a->ctime };

	FUZZ_CHECK(S_ISREG(a->mode) || S_ISDIR(a->mode) || S_ISLNK(a->mode) ||
		   S_ISFIFO(a->mode) || S_ISSOCK(a->mode));
	FUZZ_CHECK(S_ISDIR(a->mode) || !(a->mode & (S_ISUID | S_ISGID)));
	FUZZ_CHECK(a->uid != (uid_t)-1 && a->gid != (gid_t)-1);
	FUZZ_CHECK(a->size <= INT64_MAX && a->ino > 1);
	FUZZ_CHECK(a->ver.len <= BE_VER_MAX);
	for (int i = 0; i < 3; i++)
		FUZZ_CHECK(t[i]->tv_nsec >= 0 && t[i]->tv_nsec < 1000000000);
}

static void
same_time(struct timespec a, struct timespec b)
{
	FUZZ_CHECK(a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec);
}

static void
and_back(const struct s3_meta_config *c, struct s3_head *h, const char *key,
	 const struct be_attr *a)
{
	_cleanup_head_ struct s3_head *again =
		s3_head_new(h->etag, h->size, h->modified, h->date);
	struct be_attr b;
	int ret = s3_meta_put(c, a, h, false, NULL, NULL, &again->keep);

	FUZZ_CHECK(ret <= 0);
	for (size_t i = 0; i < again->keep.n; i++)
		FUZZ_CHECK(!strpbrk(again->keep.v[i].value, "\r\n"));
	s3_meta_attr(c, again, key, &b);
	FUZZ_CHECK(a->mode == b.mode && a->size == b.size && a->ino == b.ino);
	FUZZ_CHECK(a->uid == b.uid && a->gid == b.gid);
	if (c->posix != S3_POSIX_AWS) {
		same_time(a->mtime, b.mtime);
		same_time(a->ctime, b.ctime);
		same_time(a->atime, b.atime);
	} else if (llabs(a->mtime.tv_sec) < INT64_C(9000000000)) {
		/* Nanoseconds in 64 bits end in the year 2262. */
		same_time(a->mtime, b.mtime);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum s3_posix kinds[] = { S3_POSIX_BOTH, S3_POSIX_S3FS,
					       S3_POSIX_AWS };
	struct s3_meta_config c = { .uid = 33, .gid = 34, .umask = 022 };
	_cleanup_free_ char *s = fuzz_string(data, size);
	struct s3_fields fields = { 0 };
	struct s3_head *h;
	struct be_attr a;
	char *line, *save = NULL, *key = strtok_r(s, "\n", &save);

	if (!key)
		return 0;
	while ((line = strtok_r(NULL, "\r\n", &save))) {
		char *colon = strchr(line, ':');

		if (!colon)
			continue;
		*colon++ = '\0';
		for (char *p = line; *p; p++)
			*p = tolower((unsigned char)*p);
		s3_fields_add(&fields, line, colon + strspn(colon, " "));
	}
	struct s3_reply r = { .status = s3_fields_get(&fields, "content-range")
						? 206
						: 200,
			      .h = fields.v,
			      .nh = fields.n };

	h = s3_head_from(&r);
	if (h) {
		for (size_t i = 0; i < 3; i++) {
			c.posix = kinds[i];
			s3_meta_attr(&c, h, key, &a);
			sane(&a);
			and_back(&c, h, key, &a);
		}
		s3_head_put(h);
	}
	s3_content_type(key);
	s3_fields_release(&fields);
	return 0;
}
