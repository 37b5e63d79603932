/* SPDX-License-Identifier: MIT */
/* Mutations that are done once, whatever becomes of this process: see struct
 * cache_once. */
#include <config.h>

#include "cache/cache-priv.h"

#include "common/fault.h"

void
once_begin(struct cache_ctx *ctx, struct be_opid *opid)
{
	struct cache_once *o = ctx->once;

	if (!o) {
		be_opid_new(opid);
		return;
	}
	if (o->again) {
		/* B5: the store, or the look of it, tells whether it was. */
		ctx->be.attempt = 1;
	} else {
		be_opid_new(&o->opid);
		o->save(o);
	}
	*opid = o->opid;
	ctx->be.made = o->did;
	FAULT_POINT("once.saved");
}

int
once_end(struct cache_ctx *ctx, int ret)
{
	FAULT_POINT("once.done");
	ctx->be.attempt = 0;
	ctx->be.made = NULL;
	return ret;
}
