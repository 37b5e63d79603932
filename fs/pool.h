/* SPDX-License-Identifier: MIT */
/*
 * Threads that may wait for the network, so that FUSE threads never do
 * (docs/locking.md).  Grown on demand up to a limit, shrunk when idle; jobs
 * start in the order they came.
 */
#ifndef FS_POOL_H
#define FS_POOL_H

struct pool;
struct pool_job {
	void (*run)(struct pool_job *job); /* owns the job from here */
	struct pool_job *next;		   /* the pool's */
};

struct pool *pool_new(const char *name, unsigned max_threads);
void pool_add(struct pool *p, struct pool_job *job); /* any thread; no wait */
void pool_set_max(struct pool *p, unsigned max_threads); /* idle ones leave */
/* So many more for jobs that find all threads busy; 0 = as usual. */
void pool_set_spare(struct pool *p, unsigned threads);
unsigned pool_queued(struct pool *p); /* waiting + running */
void pool_free(struct pool *p);	      /* runs what is queued, then joins */

#endif
