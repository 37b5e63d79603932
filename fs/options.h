/* SPDX-License-Identifier: MIT */
/* One parser for every way to give an option; the table is options.def. */
#ifndef FS_OPTIONS_H
#define FS_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "backends/backend.h"
#include "common/buf.h"
#include "common/err.h"

#define OPT_TYPE_BOOL int /* 1, 0; -1 = auto */
#define OPT_TYPE_UINT unsigned
#define OPT_TYPE_SIZE uint64_t
#define OPT_TYPE_DURATION int64_t
#define OPT_TYPE_OCTAL unsigned
#define OPT_TYPE_STR char *
#define OPT_TYPE_WORD char *

enum opt_id {
#define OPT(type, name, def, aliases, group, help) OPT_ID_##name,
#include "fs/options.def"
#undef OPT
	OPT_COUNT
};

struct options {
#define OPT(type, name, def, aliases, group, help) OPT_TYPE_##type name;
#include "fs/options.def"
#undef OPT
	char **set; /* "name=value" of the command line, later ones replace
		     * earlier ones; paths made absolute.  For reload and for
		     * the worker's command line; NULL-terminated; no secrets
		     * exist */
	unsigned nset;
	char *text[OPT_COUNT];		/* the value as canonical words */
	unsigned char from[OPT_COUNT];	/* enum options_from */
};

enum options_from {
	OPTIONS_DEFAULT,
	OPTIONS_FILE,
	OPTIONS_ENV,
	OPTIONS_CLI,
};

/* Defaults, then the config file, then SHAREDFS_*; call first.  On failure
 * *o is empty and needs no release. */
int options_init(struct options *o, struct err *err);
/* The same with another default file (NULL: none) and environment. */
int options_init_from(struct options *o, const char *file, char *const *env,
		      struct err *err);
/* "a=b,c,nod": the text behind -o.  "\," is a comma.  What mount(8) adds for
 * itself (_netdev, nofail, x-*, user, noauto, defaults, comment=…) is dropped;
 * rw, suid, dev, exec and their opposites are taken.  An unknown name is
 * -EINVAL with the nearest one named.  What stood before the bad one is set. */
int options_add_list(struct options *o, const char *list, struct err *err);
/* One option of the command line; '-' and '_' are the same in a name.
 * value NULL: a bare name.  config=FILE is read at once and never beats what
 * the environment or the command line says. */
int options_add(struct options *o, const char *name, const char *value,
		struct err *err);
void options_release(struct options *o);
/*
 * Looks all strings up by name for backend_open(), defaults included: SIZE in
 * bytes, DURATION as seconds or "500ms" (units_duration() reads both), BOOL as
 * yes, no or auto, STR NULL if not given.  *o must outlive it.
 */
struct be_config options_be_config(const struct options *o);
/* What is in effect; value NULL: not given. */
void options_each(const struct options *o,
		  void (*fn)(void *arg, const char *name, const char *value),
		  void *arg);
/* The same, of those that the command line named. */
void options_each_set(const struct options *o,
		      void (*fn)(void *arg, const char *name,
				 const char *value),
		      void *arg);
void options_help(struct buf *out); /* from the table, by group */
/* uid= and gid=, by number or name; what is not given is left alone. */
int options_owner(const struct options *o, uid_t *uid, gid_t *gid,
		  struct err *err);
/* One option as one argument ("--name=value", with "env:" or "file:" in front
 * where it came from there), for the supervisor and its workers.  NULL: it has
 * its default. */
char *options_arg(const struct options *o, int id);
/* What options_arg() made ("default:--name": it has its default), whatever is
 * there. */
int options_take_arg(struct options *o, const char *arg, struct err *err);
/* Is it an option, an alias, a "no" form or another program's habit? */
bool options_known(const char *name);
/* Words that are for mount(8) or systemd and mean nothing to us. */
bool options_is_mount_word(const char *name);

/* local:store pairs, divided by + or comma; an id that is not listed maps to
 * itself. */
struct idmap {
	struct { uint32_t local, store; } *v;
	unsigned n;
};
int idmap_parse(const char *s, struct idmap *out, struct err *err);
uint32_t idmap_to_store(const struct idmap *m, uint32_t id);
uint32_t idmap_to_local(const struct idmap *m, uint32_t id);
void idmap_release(struct idmap *m);

#endif
