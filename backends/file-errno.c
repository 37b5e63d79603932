/* SPDX-License-Identifier: MIT */
/* Errors of the shared directory in the words of the contract. */
#include <config.h>

#include "backends/file-priv.h"

#include <errno.h>
#include <string.h>

#define FEW_TRIES 5

enum when { NO, YES, REMOTE, FEW };

int
file_errno(int err, bool remote, unsigned attempt, bool *transient)
{
	static const struct {
		int said, is;
		enum when when;
	} table[] = {
#define FILE_ERRNO(said, is, when) {said, is, when},
#include "backends/file-errno.def"
#undef FILE_ERRNO
	};

	*transient = false;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (table[i].said != err)
			continue;
		switch (table[i].when) {
		case NO:
			break;
		case YES:
			*transient = true;
			break;
		case REMOTE:
			*transient = remote;
			break;
		case FEW:
			*transient = remote && attempt < FEW_TRIES;
			break;
		}
		return -table[i].is;
	}
	return -err;
}

int
file_fail(struct file *f, struct be_ctx *ctx, int err, const char *call,
	  const char *path)
{
	bool transient;
	int code = file_errno(err < 0 ? -err : err, f->remote, ctx->attempt,
			      &transient);

	return be_fail(ctx, code, transient, "%s \"%s\" in %s: %s", call, path,
		       f->dir, strerror(err < 0 ? -err : err));
}
