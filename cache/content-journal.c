/* SPDX-License-Identifier: MIT */
/* What a content tells its journal: a record for each state of its bytes, and a
 * log of the writes since. */
#include <config.h>

#include "cache/cache-priv.h"

#include <unistd.h>

#include "common/clock.h"

void
content_journal_locked(struct content *k, enum journal_state state,
		       const struct be_commit *commit, int error,
		       const char *words)
{
	struct journal_rec r = {
		.path = k->path,
		.state = state,
		.uid = k->uid,
		.gid = k->gid,
		.groups = k->groups,
		.ngroups = k->ngroups,
		.cond.pre = k->in_store ? BE_MATCH : BE_ABSENT,
		.cond.ver = k->base,
		.whole = k->truncated || !k->in_store,
		.node = k->node,
		.complete = k->kept &&
			    content_local_locked(k, 0, UINT64_MAX / 2),
		.links = k->other_names,
		.exposed = k->exposed_rw,
		.base = k->base,
		.base_size = k->base_size,
		.size = k->attr.size,
		.dirty = k->dirty.v,
		.ndirty = k->dirty.n,
		.mask = k->attr_dirty | k->attr_sending,
		.ino = k->attr.ino,
		.mode = k->attr.mode,
		.owner = k->attr.uid,
		.group = k->attr.gid,
		.atime = k->attr.atime,
		.mtime = k->attr.mtime,
		.error = error,
		.words = (char *)words,
	};
	struct rangeset all = RANGESET_INIT;
	bool bad;

	/* Until it is known whether an earlier attempt was its own (rule 2). */
	if (state == JOURNAL_OPEN && k->resume.s[0]) {
		r.state = JOURNAL_SENDING;
		r.opid = k->resume;
	}
	if (k->unlinked)
		r.state = JOURNAL_UNLINKED;
	if (k->exposed_rw && k->stamp_ok && !commit &&
	    !content_unsent_locked(k))
		r.sent = k->stamp.st_ctim;
	if (!k->private_name)
		return; /* in memory: nothing to find again */
	if (!commit && k->sending.n) {
		rangeset_copy(&all, &k->dirty);
		/* taken by a commit, and not known to be sent */
		rangeset_add_all(&all, &k->sending);
		rangeset_del(&all, k->attr.size, UINT64_MAX / 2);
		r.dirty = all.v;
		r.ndirty = all.n;
	}
	if (!k->since.tv_sec)
		k->since = clock_wall();
	r.since = k->since;
	if (commit) {
		r.opid = commit->opid;
		r.cond = commit->cond;
		r.dirty = (struct range *)(uintptr_t)commit->dirty;
		r.ndirty = commit->ndirty;
		r.size = commit->size;
	}
	bad = journal_put(k->c->store, k->private_name, &r, &k->record) < 0;
	rangeset_release(&all);
	if (bad)
		return;
	/* An old log must not be replayed over the new record.  Most files
	 * never get one: what the kernel writes by itself is not logged. */
	if (k->log_fd >= 0) {
		if (k->logged)
			journal_log_reset(k->log_fd);
	} else if (k->old_log) {
		journal_log_open(k->c->store, k->private_name, &k->log_fd);
	}
	k->journaled = true;
	k->old_log = false;
	k->logged = 0;
}

void
content_journal_change_locked(struct content *k)
{
	if (k->unlinked ? k->kept && !k->journaled : !content_unsent_locked(k))
		content_journal_locked(k, JOURNAL_OPEN, NULL, 0, NULL);
}

void
content_settled_locked(struct content *k)
{
	if (k->kept && (k->unlinked || k->exposed)) {
		content_journal_locked(k, JOURNAL_OPEN, NULL, 0, NULL);
		return;
	}
	if (k->private_name && k->journaled)
		journal_drop(k->c->store, k->private_name,
			     k->log_fd >= 0 || k->old_log);
	journal_close(&k->record);
	if (k->log_fd >= 0)
		close(k->log_fd);
	k->log_fd = -1;
	k->journaled = k->old_log = false;
}

/* A stream of writes is one entry that grows. */
void
content_log_locked(struct content *k, uint64_t off, uint64_t len)
{
	struct journal_change ch = {
		.off = off,
		.len = len,
		.size = k->attr.size,
		.clean_end = k->clean_end,
	};

	if (!k->journaled)
		return;
	if (k->log_fd < 0 && journal_log_open(k->c->store, k->private_name,
					      &k->log_fd) < 0)
		return;
	if (k->logged && len && k->last.len &&
	    k->last.off + k->last.len == off &&
	    k->last.clean_end == ch.clean_end) {
		ch.off = k->last.off;
		ch.len += k->last.len;
		k->logged--;
	}
	journal_log_set(k->log_fd, k->logged++, &ch);
	k->last = ch;
}
