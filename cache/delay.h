/* SPDX-License-Identifier: MIT */
/*
 * Attribute changes that may wait (rule 8): new times, and modes that only
 * allow more.  On a store where such a change is a copy of the whole object
 * they wait for a moment, so that the next one, a rename or an upload takes
 * them along.  Meanwhile they are written down in the journal.
 *
 * A waiting change belongs to a path.  It is put, taken and sent with that
 * path's key held, so a mutation that has the key sees all there is.
 * Threads: any.  Functions that end in _locked want cache.lock.
 */
#ifndef CACHE_DELAY_H
#define CACHE_DELAY_H

#include "cache/cache.h"

struct content;

void delay_init(struct cache *c);
/* Of an earlier daemon; before the backend is there. */
void delay_restore(struct cache *c);
/* From now on they are sent when they are due. */
void delay_start(struct cache *c);
/* Ends the thread.  What still waits stays in the journal. */
void delay_stop(struct cache *c);
void delay_free(struct cache *c);

/* 0: it waits, and out is what a stat shows from now on.  1: this is no such
 * change, or not now; the caller sends it.  k: the open file, or NULL. */
int delay_put(struct cache *c, struct cache_ctx *ctx, const char *path,
	      struct content *k, unsigned mask, const struct be_attr *attr,
	      struct be_attr *out);
/* What waits for path is added to mask and attr where mask has not it already.
 * The key is held. */
void delay_take(struct cache *c, const char *path, unsigned *mask,
		struct be_attr *attr);
/* It was sent, or its file is gone.  The key is held. */
void delay_drop(struct cache *c, const char *path);
void delay_drop_tree(struct cache *c, const char *path);
/* A directory was renamed; both keys are held. */
void delay_moved(struct cache *c, const char *from, const char *to);
/* An answer of the store, as it will be when all is sent. */
void delay_overlay(struct cache *c, const char *path, struct be_attr *a);
void delay_overlay_locked(struct cache *c, const char *path, struct be_attr *a);

/* Sends what waits for path; the key is held. */
int delay_send_keyed(struct cache *c, struct cache_ctx *ctx, const char *path);
/* The same, taking the key; with `tree` also for all below. */
int delay_flush(struct cache *c, struct cache_ctx *ctx, const char *path,
		bool tree);
/* All of them; returns how many are left. */
size_t delay_drain(struct cache *c, struct cache_ctx *ctx);
size_t delay_count(struct cache *c);

#endif
