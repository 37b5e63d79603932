/* SPDX-License-Identifier: MIT */
/*
 * Paths of the share <-> keys of the bucket.  A key is prefix + path, a
 * directory's marker prefix + path + "/".  Keys that no path can name ("a//b",
 * "../x", a segment over 255 bytes) are hidden, never touched, and counted.
 */
#ifndef BACKENDS_S3_KEY_H
#define BACKENDS_S3_KEY_H

#include <stdbool.h>

#include "backends/backend.h"

#define S3_KEY_MAX 1024
/* Holds the root's attributes where there is no prefix; never listed. */
#define S3_ROOT_KEY ".sharedfs-root"
/* Scratch objects of the probe begin with it; never listed. */
#define S3_PROBE_KEY ".sharedfs-probe-"

bool s3_utf8_ok(const char *s);
/* Key of the file or symlink; the caller frees.  -EILSEQ: S3 has no keys but
 * UTF-8.  -ENAMETOOLONG.  -EPERM: a name we keep for ourselves. */
int s3_key_file(struct be_ctx *ctx, const char *prefix, const char *path,
		char **out);
/* Key of the marker; for the root the prefix, or S3_ROOT_KEY. */
int s3_key_marker(struct be_ctx *ctx, const char *prefix, const char *path,
		  char **out);
/* What all keys below the directory begin with: "" or "…/". */
char *s3_key_below(const char *prefix, const char *path);
/* Is the rest of a key behind its directory's prefix a name to show? */
bool s3_key_name_ok(const char *name, size_t len);
bool s3_key_reserved(const char *name, size_t len);

#endif
