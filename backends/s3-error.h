/* SPDX-License-Identifier: MIT */
/* What an answer (or none) means: errno, class, words.  Table: s3-errno.def. */
#ifndef BACKENDS_S3_ERROR_H
#define BACKENDS_S3_ERROR_H

#include <stdbool.h>
#include <stddef.h>

#include "backends/s3-http.h"
#include "backends/s3-xml.h"

enum s3_class {
	S3_CLASS_OK,
	S3_CLASS_FINAL,
	S3_CLASS_LATER,
	S3_CLASS_CLOCK,
	S3_CLASS_REGION,
	S3_CLASS_CRED,
	S3_CLASS_BODY,
	S3_CLASS_COND,
};

struct s3_error {
	int code; /* 0 or -errno */
	enum s3_class class;
	bool unclear; /* the request may have had its effect */
	int status;
	struct s3_xml_error xml;
	char *words; /* "403 AccessDenied: …", owned; NULL if fine */
};
void s3_error_release(struct s3_error *e);

struct s3_errno {
	const char *code; /* NULL: by status */
	int status;
	int err; /* positive errno */
	enum s3_class class;
};
extern const struct s3_errno s3_errno_table[];
extern const size_t s3_errno_count;
const struct s3_errno *s3_errno_code(const char *code);	  /* NULL: unknown */
const struct s3_errno *s3_errno_status(int status); /* never NULL */

/* 2xx and 304 are fine, unless the body of a 200 is an <Error>. */
void s3_error_from(const struct s3_reply *r, struct s3_error *out);

#endif
