/* SPDX-License-Identifier: MIT */
/*
 * What is known about the store, and what follows from it.  As a line it
 * outlives the worker: the next one need not ask again, and while the store is
 * down each of its calls waits for itself.
 */
#include <config.h>

#include "backends/s3-priv.h"

#include <errno.h>
#include <string.h>

#include "common/xalloc.h"

/* Another meaning or order needs another number. */
#define HEAD "s3 1 "

void
s3_know(struct s3 *s, const struct s3_facts *f)
{
	struct be_caps *c = &s->be.caps;

	s->facts = *f;
	memset(c, 0, sizeof(*c));
	c->exclusive_create = f->put_absent;
	c->conditional_put = f->put_absent && f->put_match;
	c->conditional_copy = f->copy_absent && f->copy_source;
	c->conditional_delete = f->delete_match;
	/* Without copy_absent one winner on this node only (P3). */
	c->rename_noreplace = true;
	c->checksums = f->sum != S3_SUM_NONE || !s->https;
	c->symlinks = true;
	c->special = s->meta.posix != S3_POSIX_NONE;
	c->owner = s->meta.posix != S3_POSIX_NONE;
	c->xattrs = true;
	c->server_copy = f->copy_source || f->copy_ceph;
	c->stable_ino = true;
	c->sound_reads = true;
	c->part_size = s->part_size;
	c->file_max = UINT64_C(5) << 40;
	c->name_max = 255;
	c->path_max = S3_KEY_MAX - strlen(s->prefix) - 1;
}

/* --- as a line ----------------------------------------------------------------------------- */

#define FACTS 11

static void
list_facts(struct s3_facts *f, bool *v[FACTS])
{
	bool *const all[FACTS] = {
		&f->readonly, &f->put_absent, &f->put_match, &f->match_bare,
		&f->done_cond, &f->copy_absent, &f->copy_source, &f->copy_ceph,
		&f->delete_match, &f->etag_md5, &f->payload,
	};

	memcpy(v, all, sizeof(all));
}

char *
s3_facts(struct backend *be)
{
	struct s3_facts f = to_s3(be)->facts;
	char text[FACTS + 1] = "";
	bool *v[FACTS];

	list_facts(&f, v);
	for (int i = 0; i < FACTS; i++)
		text[i] = *v[i] ? '1' : '0';
	return xasprintf(HEAD "%s %d", text, (int)f.sum);
}

int
s3_trust(struct backend *be, const char *facts)
{
	const char *p = facts + strlen(HEAD);
	struct s3_facts f = { 0 };
	bool *v[FACTS];

	if (strncmp(facts, HEAD, strlen(HEAD)) != 0 ||
	    strspn(p, "01") != FACTS || p[FACTS] != ' ' ||
	    strspn(p + FACTS + 1, "0123456789") != 1 || p[FACTS + 2])
		return -EINVAL;
	list_facts(&f, v);
	for (int i = 0; i < FACTS; i++)
		*v[i] = p[i] == '1';
	f.sum = p[FACTS + 1] - '0';
	if (f.sum == S3_SUM_AUTO || f.sum > S3_SUM_CRC64NVME)
		return -EINVAL;
	s3_know(to_s3(be), &f);
	return 0;
}
