/* SPDX-License-Identifier: MIT */
/* See proxy-fault.h. */
#include <config.h>

#include "tests/lib/proxy-fault.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/xalloc.h"

static const struct {
	enum fault_kind kind;
	const char *name;
} kinds[] = {
#define KIND(symbol, name, help) {FAULT_##symbol, name},
	FAULT_KINDS(KIND)
#undef KIND
};

static void
fault_free(struct fault *f)
{
	if (!f)
		return;
	free(f->match);
	free(f->path);
	free(f->not);
	free(f->text);
	free(f);
}

void
faults_init(struct faults *f)
{
	STAILQ_INIT(&f->list);
	f->hits = 0;
}

void
faults_clear(struct faults *f)
{
	struct fault *one;

	while ((one = STAILQ_FIRST(&f->list))) {
		STAILQ_REMOVE_HEAD(&f->list, next);
		fault_free(one);
	}
}

/* "match=…" and its like; false: not one of them, so it is the kind. */
static bool
take_selector(struct fault *f, const char *word)
{
	if (!strncmp(word, "match=", 6)) {
		free(f->match);
		f->match = xstrdup(word + 6);
	} else if (!strncmp(word, "path=", 5)) {
		free(f->path);
		f->path = xstrdup(word + 5);
	} else if (!strncmp(word, "not=", 4)) {
		free(f->not);
		f->not = xstrdup(word + 4);
	} else if (!strcmp(word, "n=all")) {
		f->left = -1;
	} else if (!strncmp(word, "n=", 2)) {
		f->left = strtoll(word + 2, NULL, 10);
	} else if (!strncmp(word, "skip=", 5)) {
		f->skip = strtoll(word + 5, NULL, 10);
	} else if (!strncmp(word, "every=", 6)) {
		f->every = strtoll(word + 6, NULL, 10);
	} else {
		return false;
	}
	return true;
}

int
faults_add(struct faults *f, const char *line, struct err *err)
{
	struct fault *new = xcalloc(1, sizeof(*new));
	size_t i;

	new->left = 1;
	for (;;) {
		size_t n = strcspn(line, " ");
		_cleanup_free_ char *word = xstrndup(line, n);

		if (!take_selector(new, word))
			break;
		line += n + strspn(line + n, " ");
	}
	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		size_t n = strlen(kinds[i].name);

		if (strncmp(line, kinds[i].name, n) ||
		    (line[n] && line[n] != '='))
			continue;
		new->kind = kinds[i].kind;
		if (line[n] == '=') {
			new->text = xstrdup(line + n + 1);
			new->arg = strtoll(new->text, NULL, 10);
		}
		STAILQ_INSERT_TAIL(&f->list, new, next);
		return 0;
	}
	fault_free(new);
	return err_set(err, -EINVAL, "no such fault: %s", line);
}

/* A class, or "method:" and a method: PUT is PUT, COPY, PART and PART_COPY. */
static bool
matches(const char *match, const char *class, const char *method)
{
	return !strncmp(match, "method:", 7) ? !strcmp(match + 7, method) :
					       !strcmp(match, class);
}

const struct fault *
faults_match(struct faults *f, const char *class, const char *method,
	     const char *target)
{
	struct fault *one;

	STAILQ_FOREACH(one, &f->list, next)
	{
		if (one->left == 0)
			continue;
		if (one->match && !matches(one->match, class, method))
			continue;
		if (one->path && !strstr(target, one->path))
			continue;
		if (one->not && strstr(target, one->not))
			continue;
		if (one->skip > 0) {
			one->skip--;
			continue;
		}
		if (one->every > 0 && ++one->seen % one->every != 0)
			continue;
		if (one->left > 0)
			one->left--;
		f->hits++;
		return one;
	}
	return NULL;
}
