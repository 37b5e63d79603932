/* SPDX-License-Identifier: MIT */
/* Pairs of ids: what is 33 on this node may be 82 in the store. */
#include <config.h>

#include <errno.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/units.h"
#include "common/xalloc.h"
#include "fs/options.h"

static int
parse_id(const char *s, uint32_t *out)
{
	uint64_t v;

	/* (uid_t)-1 means "leave alone" to chown(2): no id. */
	if (units_uint(s, &v) < 0 || v >= UINT32_MAX)
		return -EINVAL;
	*out = (uint32_t)v;
	return 0;
}

int
idmap_parse(const char *s, struct idmap *out, struct err *err)
{
	_cleanup_free_ char *copy = xstrdup(s ? s : "");
	struct idmap m = {NULL, 0};
	char *rest = copy, *pair, *colon;
	uint32_t local, store;
	unsigned i;

	while ((pair = strsep(&rest, ",+")) != NULL) {
		if (!*pair)
			continue;
		colon = strchr(pair, ':');
		if (colon)
			*colon++ = '\0';
		if (!colon || parse_id(pair, &local) < 0 ||
		    parse_id(colon, &store) < 0) {
			idmap_release(&m);
			return err_set(err, -EINVAL,
				       "'%s' is no list of local:store pairs "
				       "such as 33:82+1000:1001",
				       s);
		}
		for (i = 0; i < m.n; i++) {
			if (m.v[i].local != local && m.v[i].store != store)
				continue;
			idmap_release(&m);
			return err_set(err, -EINVAL,
				       "'%s': %u:%u maps an id twice", s, local,
				       store);
		}
		m.v = xrealloc(m.v, m.n + 1, sizeof(*m.v));
		m.v[m.n].local = local;
		m.v[m.n++].store = store;
	}
	*out = m;
	return 0;
}

uint32_t
idmap_to_store(const struct idmap *m, uint32_t id)
{
	unsigned i;

	for (i = 0; i < m->n; i++)
		if (m->v[i].local == id)
			return m->v[i].store;
	return id;
}

uint32_t
idmap_to_local(const struct idmap *m, uint32_t id)
{
	unsigned i;

	for (i = 0; i < m->n; i++)
		if (m->v[i].store == id)
			return m->v[i].local;
	return id;
}

void
idmap_release(struct idmap *m)
{
	free(m->v);
	m->v = NULL;
	m->n = 0;
}
