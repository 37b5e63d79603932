/* SPDX-License-Identifier: MIT */
/*
 * Uploads below the prefix that were begun long ago and never ended.  The store
 * does not tell whose they are: what is old is taken for abandoned.  Somebody
 * who is still at it begins again (s3_upload_lost).
 */
#include <config.h>

#include "backends/s3-priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/xalloc.h"

#define MOST 10000 /* at a time: what is more waits for the next */

struct orphan {
	char *key, *id;
};

struct search {
	struct s3 *s;
	time_t before; /* begun before that: by the server's clock */
	struct orphan *v;
	size_t n, cap;
};

static int
add(void *arg, const struct s3_xml_upload *u)
{
	struct search *q = arg;
	const char *prefix = q->s->prefix;
	struct orphan *o;

	/* A server must not lead us outside; nor is one without a time old. */
	if (strncmp(u->key, prefix, strlen(prefix)) != 0 ||
	    u->begun.tv_sec == 0 || u->begun.tv_sec >= q->before)
		return 0;
	if (q->n == MOST)
		return 1;
	if (q->n == q->cap) {
		q->cap = q->cap ? 2 * q->cap : 16;
		q->v = xrealloc(q->v, q->cap, sizeof(*q->v));
	}
	o = &q->v[q->n++];
	o->key = xstrdup(u->key);
	o->id = xstrdup(u->id);
	return 0;
}

static void
search_release(struct search *q)
{
	for (size_t i = 0; i < q->n; i++) {
		free(q->v[i].key);
		free(q->v[i].id);
	}
	free(q->v);
}

/* One page; *at and *id: where it begins (NULL: the first), and the next.  1:
 * that was all. */
static int
page(struct s3 *s, struct be_ctx *ctx, int64_t age_s, struct search *found,
     char **at, char **id)
{
	_cleanup_req_ struct s3_req q = { 0 };
	struct s3_xml_uploads l = { 0 };
	time_t now;
	int ret;

	s3_req_init(&q, S3_MP_LIST, "GET", NULL);
	q.body_max = S3_XML_MAX;
	s3_req_query(&q, "uploads", "");
	s3_req_query(&q, "encoding-type", "url");
	s3_req_query(&q, "prefix", s->prefix);
	if (*at)
		s3_req_query(&q, "key-marker", *at);
	if (*id)
		s3_req_query(&q, "upload-id-marker", *id);
	ret = s3_run1(s, ctx, &q);
	if (ret < 0)
		return ret;
	now = s3_req_date(&q);
	found->before = now ? now - age_s : 0;
	ret = s3_xml_uploads(q.reply.body.s, q.reply.body.len, add, found, &l);
	if (ret < 0)
		ret = be_fail(ctx, -EIO, true,
			      "uploads of s3://%s/%s: the reply is cut short or"
			      " no XML",
			      s->bucket, s->prefix);
	/* Or a server that goes round in circles. */
	else if (ret > 0 || !l.truncated ||
		 (*at && *id && strcmp(*at, l.next_key) == 0 &&
		  strcmp(*id, l.next_id) == 0))
		ret = 1;
	free(*at);
	free(*id);
	*at = steal_ptr(&l.next_key);
	*id = steal_ptr(&l.next_id);
	s3_xml_uploads_release(&l);
	return ret;
}

int
s3_old_uploads(struct backend *be, struct be_ctx *ctx, int64_t age_s,
	       bool give_up, uint64_t *n)
{
	__attribute__((cleanup(search_release))) struct search found = {
		.s = to_s3(be),
	};
	_cleanup_free_ char *at = NULL, *id = NULL;
	int ret;

	do
		ret = page(found.s, ctx, age_s, &found, &at, &id);
	while (ret == 0);
	if (ret < 0)
		return ret;
	*n = 0;
	for (size_t i = 0; i < found.n; i++) {
		ret = give_up ? s3_give_up(be, ctx, found.v[i].key,
					   found.v[i].id) : 0;
		if (ret == -EINTR || ret == -ETIMEDOUT)
			return ret;
		*n += ret == 0;
		if (give_up && ret == 0)
			log_info("s3", "an old upload of %s was aborted",
				 found.v[i].key);
	}
	return 0;
}
