/* SPDX-License-Identifier: MIT */
/*
 * One multipart upload: its parts, and their way through the sending threads.
 * Counted: its owner and each thread that is at it hold a reference.
 */
#ifndef BACKENDS_S3_UPLOAD_H
#define BACKENDS_S3_UPLOAD_H

#include "backends/s3-priv.h"
#include "backends/s3-send.h"

struct s3_part {
	uint64_t off, len;
	bool copy; /* made inside the store, of the same range of `from` */
	enum {
		S3_PART_OPEN,
		S3_PART_WAITING, /* for a thread */
		S3_PART_SENDING,
		S3_PART_DONE,
	} state;
	bool again; /* while SENDING: its bytes have changed since */
	unsigned tries;
	char *etag; /* bare */
	char *sum;  /* checksum as the store echoed it */
};

struct s3_upload {
	struct s3 *s;
	atomic_uint refs;
	struct s3_sendq q;
	char *key;
	struct s3_fields head; /* of the object; ours */
	char *from, *from_etag; /* of parts that are copied, or NULL */
	int fd;			/* of the others; ours */
	bool sums;		/* parts carry facts.sum */
	/* be_commit's; NULL of an upload that outlives its commit */
	void (*taking)(void *arg, uint64_t off, uint64_t len);
	void *taking_arg;

	/* Given by a commit for its time. */
	int64_t deadline_ns;
	unsigned attempt;
	atomic_int cancel;

	pthread_mutex_t lock; /* all below */
	pthread_cond_t cond;  /* a part came to its end */
	char *id;	      /* NULL: not begun */
	bool beginning;
	bool dying;	/* the owner has gone: abort */
	bool completed; /* nothing to abort */
	struct s3_part *v;
	size_t n, cap;
	unsigned busy; /* units of work in the pool */
	int error;     /* the first since the commit began; 0 = none */
	int64_t error_ns;
	bool transient;
	struct err words;
};

/* key is copied; fd (-1: none) is duplicated. */
struct s3_upload *s3_upload_new(struct s3 *s, const char *key, int fd);
/* The owner's end: what is on its way is given up, and the upload is aborted
 * in the background unless it was completed.  NULL is fine; never blocks. */
void s3_upload_free(struct s3_upload *u);
/* Appends a part; its number is its place.  u->lock or not shared yet. */
struct s3_part *s3_upload_add(struct s3_upload *u, uint64_t off, uint64_t len,
			      bool copy);
/* The part must be sent (again).  u->lock. */
void s3_part_reset_locked(struct s3_part *p);
/* Puts all that is to do on its way, and begins the upload if need be, without
 * waiting for anything. */
void s3_upload_go(struct s3_upload *u);
/* The same and waits until every part is done.  On failure nothing is on its
 * way any more; what was done stays so. */
int s3_upload_parts(struct s3_upload *u, struct be_ctx *ctx);
/* The store does not know the upload any more. */
void s3_upload_lost(struct s3_upload *u);
/* It is an object; there is nothing to abort any more. */
void s3_upload_completed(struct s3_upload *u);
/* Now, in this thread; nothing may be on its way. */
void s3_upload_abort(struct s3_upload *u);

/* s3-multipart.c: the end.  *out: what the object is now. */
int s3_upload_complete(struct s3_upload *u, struct be_ctx *ctx,
		       const struct be_cond *cond, const struct be_opid *opid,
		       uint64_t size, struct s3_head **out);
/* What the object will say.  Times of UTIME_OMIT are left out. */
int s3_upload_head(struct s3 *s, struct be_ctx *ctx, const char *key,
		   const struct be_attr *want, const struct be_opid *opid,
		   const struct s3_head *old, struct s3_fields *head);

/* s3-part.c: sends part i.  0 also when it must be sent again: *done. */
int s3_part_run(struct s3_upload *u, struct be_ctx *ctx, size_t i,
		struct s3_part *p, bool *done);

#endif
