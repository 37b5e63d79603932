/* SPDX-License-Identifier: MIT */
/* The AWS tools' files: ~/.aws/credentials and ~/.aws/config. */
#ifndef BACKENDS_CRED_INI_H
#define BACKENDS_CRED_INI_H

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"

struct ini_pair {
	char *key, *value;
	bool keys_file; /* from the credentials file, not from config */
	struct ini_pair *next;
};

/* One profile of both files. */
struct ini_profile {
	struct ini_pair *pairs;
	bool found;
};

/* Reads `text` and adds what stands in the sections of `profile`; config: the
 * sections are [default] and [profile NAME], else [NAME].  -EINVAL with the
 * line's number. */
int ini_parse(char *text, bool config, const char *profile,
	      struct ini_profile *out, struct err *err);
/* Both files, wherever they are; a file that is not there is empty. */
int ini_profile_load(const char *profile, struct ini_profile *out,
		     struct err *err);
void ini_profile_release(struct ini_profile *p); /* wipes */
/* The credentials file goes before config. */
const char *ini_get(const struct ini_profile *p, const char *key);
const char *ini_get_from(const struct ini_profile *p, bool keys_file,
			 const char *key);

#endif
