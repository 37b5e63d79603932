/* SPDX-License-Identifier: MIT */
/* What every decorator does the same way; for wrap-*.c only. */
#ifndef BACKENDS_WRAP_H
#define BACKENDS_WRAP_H

#include "backends/backend.h"
#include "common/xalloc.h"

/* Takes over *below. */
static inline void
wrap_init(struct backend *be, const struct backend_ops *ops,
	  struct backend **below)
{
	backend_init(be, ops, xstrdup((*below)->id));
	be->caps = (*below)->caps;
	be->below = *below;
	*below = NULL;
}

/* After a probe: what the store can, can we. */
static inline int
wrap_probed(struct backend *be, int ret)
{
	if (ret == 0)
		be->caps = be->below->caps;
	return ret;
}

/* It belongs to the store; the commit that takes it comes through us. */
static inline int
wrap_ahead(struct backend *be, const struct be_commit *c, struct be_ahead **out)
{
	return be_ahead(be->below, c, out);
}

#endif
