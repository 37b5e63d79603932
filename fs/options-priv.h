/* SPDX-License-Identifier: MIT */
/* Between options.c (names), options-value.c (types and limits) and
 * options-source.c (file, environment, help). */
#ifndef FS_OPTIONS_PRIV_H
#define FS_OPTIONS_PRIV_H

#include "fs/options.h"

enum opt_type {
	OPT_BOOL,
	OPT_UINT,
	OPT_SIZE,
	OPT_DURATION,
	OPT_OCTAL,
	OPT_STR,
	OPT_WORD,
};

struct opt {
	const char *name;
	enum opt_type type;
	size_t offset; /* in struct options */
	const char *def;
	const char *aliases; /* with commas */
	const char *group;
	const char *help;
};
extern const struct opt options_table[OPT_COUNT];

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define OPTIONS_ONE_OF(name, list) options_one_of(name, list, ARRAY_SIZE(list))
bool options_one_of(const char *name, const char *const *list, size_t n);

/* options-value.c */

/* Checks value and stores it, unless something stronger is there; nothing
 * changes on failure. */
int options_apply(struct options *o, const struct opt *opt, const char *value,
		  enum options_from from, struct err *err);
/* 1, 0, -1 (auto) or -2: no such word. */
int options_parse_bool(const char *s);
/* "… is no whole number": the end of that sentence. */
const char *options_type_words(enum opt_type type);

/* Smallest and largest value as words; false: no limits. */
bool options_limits(const char *name, const char **min, const char **max);

/* options.c */

/* Sets one option unless something stronger has set it already.  `from` is
 * remembered.  name may be an alias, a "no" form or a habit of another
 * program. */
int options_set(struct options *o, const char *name, const char *value,
		enum options_from from, struct err *err);
/* The nth alias in aliases, copied to buf; NULL: there is none. */
const char *options_alias(const char *aliases, unsigned n, char *buf,
			  size_t cap);
/* Everything of rank OPTIONS_FILE back to its default. */
void options_forget_file(struct options *o);
/* The same whatever is there; value NULL: back to the default. */
int options_replace(struct options *o, int id, const char *value,
		    enum options_from from, struct err *err);
/* options-source.c */
int options_read_file(struct options *o, const char *path, struct err *err);
int options_read_env(struct options *o, char *const *env, struct err *err);
/* Is there an option that looks like name?  The words for it, or NULL. */
char *options_suggest(const char *name);
#endif
