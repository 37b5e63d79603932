/* SPDX-License-Identifier: MIT */
/* Uploads that a daemon has begun and did not live to end: the next one gives
 * them up, so that the store does not keep their parts for ever. */
#include <config.h>

#include "cache/cache-priv.h"

#include <stdlib.h>
#include <string.h>

#include "common/fault.h"
#include "common/log.h"
#include "common/xalloc.h"

struct upload {
	SLIST_ENTRY(upload) link;
	char *key, *id;
};

static void
begun(void *arg, const char *key, const char *id)
{
	struct cache *c = arg;

	journal_upload_put(c->store, key, id);
}

static void
ended(void *arg, const char *key, const char *id)
{
	struct cache *c = arg;

	FAULT_POINT("s3.upload-ended");
	journal_upload_drop(c->store, key, id);
}

void
uploads_init(struct cache *c)
{
	SLIST_INIT(&c->left);
	c->uploads = (struct be_uploads){ c, begun, ended };
	be_watch_uploads(c->be, &c->uploads);
}

static void
remember(void *arg, const char *key, const char *id)
{
	struct cache *c = arg;
	struct upload *u = xcalloc(1, sizeof(*u));

	u->key = xstrdup(key);
	u->id = xstrdup(id);
	SLIST_INSERT_HEAD(&c->left, u, link);
}

void
uploads_restore(struct cache *c)
{
	journal_upload_scan(c->store, remember, c);
}

static struct upload *
take_first(struct cache *c)
{
	struct upload *u = SLIST_FIRST(&c->left);

	if (u)
		SLIST_REMOVE_HEAD(&c->left, link);
	return u;
}

static void
upload_free(struct upload *u)
{
	free(u->key);
	free(u->id);
	free(u);
}

void
uploads_give_up(struct cache *c, struct cache_ctx *ctx)
{
	struct upload *u;

	while ((u = take_first(c))) {
		/* What fails stays in the journal, for another daemon. */
		if (be_give_up(c->be, &ctx->be, u->key, u->id) == 0) {
			journal_upload_drop(c->store, u->key, u->id);
			log_info("cache", "an unfinished upload of \"%s\" was "
				 "aborted", u->key);
		}
		upload_free(u);
	}
}

void
uploads_free(struct cache *c)
{
	struct upload *u;

	while ((u = take_first(c)))
		upload_free(u);
}
