/* SPDX-License-Identifier: MIT */
/* Renames on one side, all else that goes by path on the other. */
#include <config.h>

#include "fs/gate.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/path.h"
#include "common/thread.h"
#include "common/xalloc.h"

TAILQ_HEAD(pass_list, pass);

/* The lock protects the list: those that hold a pass and, behind those that
 * they wait for, those that want one. */
struct gate {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct pass_list passes;
};

struct gate *
gate_new(void)
{
	struct gate *g = xcalloc(1, sizeof(*g));

	pthread_mutex_init(&g->lock, NULL);
	cond_init_mono(&g->cond);
	TAILQ_INIT(&g->passes);
	return g;
}

void
gate_free(struct gate *g)
{
	if (!g)
		return;
	pthread_cond_destroy(&g->cond);
	pthread_mutex_destroy(&g->lock);
	free(g);
}

/* Is one of x's paths in one of the trees that the rename m moves? */
static bool
moved_by(const struct pass *x, const struct pass *m)
{
	return path_within(x->path, m->path) ||
	       path_within(x->path, m->path2) ||
	       (x->path2 && (path_within(x->path2, m->path) ||
			     path_within(x->path2, m->path2)));
}

static bool
collide(const struct pass *a, const struct pass *b)
{
	if (a->kind == PASS_LOOK || b->kind == PASS_LOOK)
		return false;
	return (b->kind == PASS_MOVE && moved_by(a, b)) ||
	       (a->kind == PASS_MOVE && moved_by(b, a));
}

/* p is in the list; does it have to wait for one before it? */
static bool
must_wait_locked(struct gate *g, const struct pass *p)
{
	const struct pass *q;

	TAILQ_FOREACH (q, &g->passes, link) {
		if (q == p)
			return false;
		if (collide(p, q))
			return true;
	}
	return false;
}

static int
enter(struct gate *g, struct request *r, struct pass *p)
{
	struct timespec t;
	int rc = 0;

	pthread_mutex_lock(&g->lock);
	TAILQ_INSERT_TAIL(&g->passes, p, link);
	while (rc == 0 && must_wait_locked(g, p)) {
		if (r->ctx.try_only) {
			rc = -EAGAIN;
		} else if (atomic_load(r->ctx.be.cancel)) {
			rc = err_set(&r->err, -EINTR, "interrupted");
		} else {
			/* Cancelling has no condition of its own. */
			t = ns_timespec(clock_mono_ns() + 100 * NSEC_PER_MSEC);
			pthread_cond_timedwait(&g->cond, &g->lock, &t);
		}
	}
	if (rc == 0) {
		p->gate = g;
	} else {
		TAILQ_REMOVE(&g->passes, p, link);
		pthread_cond_broadcast(&g->cond);
	}
	pthread_mutex_unlock(&g->lock);
	return rc;
}

/* p ends: a rename tells those that looked meanwhile, and one that looked sees
 * the renames that are under way. */
static void
disturb_locked(struct gate *g, struct pass *p)
{
	struct pass *q;

	TAILQ_FOREACH (q, &g->passes, link) {
		if (p->kind == PASS_MOVE && q->kind == PASS_LOOK &&
		    moved_by(q, p))
			q->looker->disturbed = true;
		else if (p->kind == PASS_LOOK && q->kind == PASS_MOVE &&
			 moved_by(p, q))
			p->looker->disturbed = true;
	}
}

void
pass_put(struct pass *p)
{
	struct gate *g = p->gate;

	if (g) {
		pthread_mutex_lock(&g->lock);
		TAILQ_REMOVE(&g->passes, p, link);
		if (p->kind != PASS_USE)
			disturb_locked(g, p);
		if (p->kind != PASS_LOOK)
			pthread_cond_broadcast(&g->cond);
		pthread_mutex_unlock(&g->lock);
	}
	free(p->path);
	free(p->path2);
	*p = (struct pass)PASS_INIT;
}

/* The two paths as they are now; a name is NULL where a node itself is meant,
 * a second node is 0 where there is none. */
static int
paths(struct request *r, const uint64_t node[2], const char *const name[2],
      char *path[2])
{
	int i, rc = 0;

	path[0] = path[1] = NULL;
	for (i = 0; i < 2 && node[i] != 0 && rc == 0; i++)
		rc = name[i] ? request_child(r, node[i], name[i], &path[i])
			     : request_path(r, node[i], &path[i]);
	if (rc < 0) {
		free(path[0]);
		free(path[1]);
	}
	return rc;
}

static bool
same(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static int
take(struct request *r, const uint64_t node[2], const char *const name[2],
     enum pass_kind kind, struct pass *p)
{
	char *now[2];
	bool right;
	int rc;

	for (;;) {
		rc = paths(r, node, name, now);
		if (rc < 0)
			return rc;
		p->path = now[0];
		p->path2 = now[1];
		p->kind = kind;
		p->looker = r;
		rc = enter(r->fs->gate, r, p);
		if (rc == 0)
			rc = paths(r, node, name, now);
		if (rc < 0)
			break;
		/* A rename that we waited for may have changed them. */
		right = same(now[0], p->path) && same(now[1], p->path2);
		free(now[0]);
		free(now[1]);
		if (right)
			return 0;
		pass_put(p);
	}
	pass_put(p);
	return rc;
}

int
pass_node(struct request *r, uint64_t node, struct pass *p)
{
	const uint64_t nodes[2] = { node, 0 };
	const char *const names[2] = { NULL, NULL };

	return take(r, nodes, names, PASS_USE, p);
}

int
pass_child(struct request *r, uint64_t parent, const char *name,
	   struct pass *p)
{
	const uint64_t nodes[2] = { parent, 0 };
	const char *const names[2] = { name, NULL };

	return take(r, nodes, names, PASS_USE, p);
}

int
look_node(struct request *r, uint64_t node, struct pass *p)
{
	const uint64_t nodes[2] = { node, 0 };
	const char *const names[2] = { NULL, NULL };

	return take(r, nodes, names, r->insist ? PASS_USE : PASS_LOOK, p);
}

int
look_child(struct request *r, uint64_t parent, const char *name,
	   struct pass *p)
{
	const uint64_t nodes[2] = { parent, 0 };
	const char *const names[2] = { name, NULL };

	return take(r, nodes, names, r->insist ? PASS_USE : PASS_LOOK, p);
}

int
pass_link(struct request *r, struct pass *p)
{
	const uint64_t nodes[2] = { r->node, r->node2 };
	const char *const names[2] = { NULL, r->name2 };

	return take(r, nodes, names, PASS_USE, p);
}

int
pass_rename(struct request *r, struct pass *p)
{
	const uint64_t nodes[2] = { r->node, r->node2 };
	const char *const names[2] = { r->name, r->name2 };

	return take(r, nodes, names, PASS_MOVE, p);
}
