/* SPDX-License-Identifier: MIT */
/* What the files of the journal share: journal*.c and kept.c. */
#ifndef CACHE_JOURNAL_PRIV_H
#define CACHE_JOURNAL_PRIV_H

#include <jansson.h>
#include <sys/stat.h>

#include "cache/journal.h"

#define JOURNAL_FORMAT 1

static inline void
journal_json_put(json_t **j)
{
	json_decref(*j);
}
#define _cleanup_json_ __attribute__((cleanup(journal_json_put)))

/* The file in journal/ that speaks of `name`: ".j" its record, ".r" its log,
 * ".mv" a move by its operation id, ".at" a change of attributes by its id. */
void journal_file(const char *name, const char *ending, char out[48]);

/* --- journal-record.c ----------------------------------------------------- */

json_t *journal_encode(const struct journal_rec *r); /* the caller's */
/* false: no record of ours; r is to be released all the same. */
bool journal_decode(const json_t *j, struct journal_rec *r);
/* A record whose inode was used before may hold, after a loss of power, what
 * it held then: what it says of another file. */
bool journal_is_about(const json_t *j, const char *name);
json_t *journal_encode_attr(const struct journal_attr *r);
bool journal_decode_attr(const json_t *j, struct journal_attr *r);
/* As text where it is text, else as NAME_hex. */
void journal_set_path(json_t *j, const char *name, const char *path);
bool journal_get_path(const json_t *j, const char *name, char **out);
/* What is in a file of the directory; NULL: no JSON. */
json_t *journal_load(int dir, const char *file);

/* --- journal-log.c -------------------------------------------------------- */

/* As journal_log_read, from a file of the directory. */
void journal_log_load(int dir, const char *file,
		      void (*fn)(void *arg, const struct journal_change *ch),
		      void *arg);

/* After a loss of power the log may end before the bytes do: what is beyond its
 * end is dirty too. */
void journal_widen(const struct journal_rec *r, const struct stat *st,
		   struct rangeset *dirty, uint64_t *size);

#endif
