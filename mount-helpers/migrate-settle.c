/* SPDX-License-Identifier: MIT */
/* See migrate-users.h. */
#include <config.h>

#include "mount-helpers/migrate-users.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/xalloc.h"

#define NO_SUCH_NAME ".sharedfs-no-such-name"
/* More than what any call needs between finding a directory and its lock. */
#define CALL_NS NSEC_PER_MSEC
/* More than what most programs need to write a small file and to close it. */
#define WRITE_NS (20 * NSEC_PER_MSEC)

struct mig_settle {
	struct mig *m;
	const char *old;
	char **dirs; /* of the tree */
	size_t ndirs;
	pthread_t thread;
	bool running;
	int64_t until;
	atomic_bool passed; /* v is complete, and the thread's no longer */
	struct mig_user *v;
	size_t n;
};

struct mig_settle *
mig_settle_new(struct mig *m, const char *old)
{
	struct mig_settle *s = xcalloc(1, sizeof(*s));
	size_t n;

	s->m = m;
	s->old = old;
	s->dirs = mig_journal_paths(m->journal, &n);
	for (size_t i = 0; i < n; i++) {
		_cleanup_rec_ struct mig_rec rec = { 0 };

		if (mig_journal_get(m->journal, s->dirs[i], &rec) &&
		    rec.kind == 'd')
			s->dirs[s->ndirs++] = s->dirs[i];
		else
			free(s->dirs[i]);
	}
	return s;
}

/* Whoever takes a directory's lock now comes after those who wait for it; what
 * removes a name that is not there takes it. */
static void
take_locks(struct mig_settle *s)
{
	for (size_t i = 0; i < s->ndirs && clock_mono_ns() < s->until; i++) {
		_cleanup_close_ int dir = mig_source_open(
			s->m, s->dirs[i], O_PATH | O_DIRECTORY);

		if (dir >= 0)
			unlinkat(dir, NO_SUCH_NAME, AT_REMOVEDIR);
	}
}

static void *
settle_thread(void *arg)
{
	struct mig_settle *s = arg;

	/* Twice: the kernel lets us overtake one who was just handed the lock
	 * and is only ready to run; and that one may wait for the disk then. */
	for (int i = 0; i < 2; i++) {
		mig_let_run(NULL, 0, CALL_NS, s->until);
		take_locks(s);
	}
	mig_let_run(NULL, 0, CALL_NS, s->until);
	/* Who has no file of the old tree open by now opens none. */
	s->v = mig_users(s->old, &s->n);
	atomic_store(&s->passed, true);
	return NULL;
}

void
mig_settle_begin(struct mig_settle *s, int64_t until)
{
	s->until = until;
	s->running = pthread_create(&s->thread, NULL, settle_thread, s) == 0;
	if (!s->running)
		settle_thread(s);
}

bool
mig_settle_passed(struct mig_settle *s)
{
	return atomic_load(&s->passed);
}

bool
mig_settle_written(struct mig_settle *s)
{
	while (s->n && !mig_user_writes(s->v[s->n - 1].pid, s->old))
		s->n--;
	return s->n > 0;
}

void
mig_settle_let_write(struct mig_settle *s, int64_t until)
{
	if (s->n)
		mig_let_run(s->v, s->n, WRITE_NS, until);
}

void
mig_settle_free(struct mig_settle *s)
{
	if (!s)
		return;
	if (s->running)
		pthread_join(s->thread, NULL);
	while (s->ndirs)
		free(s->dirs[--s->ndirs]);
	free(s->dirs);
	free(s->v);
	free(s);
}
