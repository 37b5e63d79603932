/* SPDX-License-Identifier: MIT */
/*
 * The conversation with migrate-local-uploads --undo: it is told what changes in
 * the share while it brings the rest back, and then that nothing changes any
 * more.  So what is left to do in that moment is little, whatever the number of
 * files.
 */
#include <config.h>

#include "fs/control-priv.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "cache/cache.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "fs/freeze.h"

#define LINE_MAX_BYTES 256
#define LOOK_MS 500 /* how late the end of the mount is seen */
#define FREEZE_NS (60 * NSEC_PER_SEC)

/* The next line, NULL at the end: the other side is gone, the mount is, or it
 * is later than `until` (0: there is no hurry). */
static json_t *
next_line(struct control *c, int fd, int64_t until)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char line[LINE_MAX_BYTES];

	while (poll(&p, 1, LOOK_MS) <= 0)
		if (control_has_ended(c) || (until && clock_mono_ns() > until))
			return NULL;
	return control_read(fd, line, sizeof(line)) ? json_loads(line, 0, NULL) :
						      NULL;
}

/* {"changed":[path…],"trees":[path…],"lost":bool} */
static json_t *
changes(struct fs *fs)
{
	json_t *names = json_array(), *trees = json_array();
	struct cache_change *v;
	bool lost;
	size_t n;

	v = cache_take_changes(fs->cache, &n, &lost);
	for (size_t i = 0; i < n; i++) {
		json_t *path = json_string(v[i].path);

		if (!path) /* not UTF-8: JSON can't have it */
			lost = true;
		else
			json_array_append_new(v[i].tree ? trees : names, path);
	}
	cache_changes_free(v, n);
	return json_pack("{s:o, s:o, s:b}", "changed", names, "trees", trees,
			 "lost", lost);
}

/* Until the other side says what became of it. */
static int
hold(struct control *c, struct fs *fs, int fd, int wait_ms)
{
	_cleanup_err_ struct err err = ERR_INIT;
	json_t *answer, *next;
	bool moved;
	int r = freeze_begin(fs->freeze, wait_ms, &err);

	if (r < 0)
		return control_send(fd, json_pack("{s:b, s:s}", "ok", 0,
						  "error", err_words(&err)));
	answer = changes(fs);
	json_object_set_new(answer, "ok", json_true());
	next = control_send(fd, answer) < 0 ?
		       NULL :
		       next_line(c, fd, clock_mono_ns() + FREEZE_NS);
	moved = json_is_true(json_object_get(next, "moved"));
	json_decref(next);
	return control_send(fd, json_pack("{s:b, s:i}", "ok", 1, "sent_back",
					  (int)freeze_end(fs->freeze, moved)));
}

static void
talk(struct control *c, struct fs *fs, int fd)
{
	int r = control_send(fd, json_pack("{s:b}", "ok", 1));

	while (r == 0) {
		json_t *line = next_line(c, fd, 0);
		json_t *wait = json_object_get(line, "wait_ms");

		if (!line)
			break;
		r = wait ? hold(c, fs, fd, json_integer_value(wait)) :
			   control_send(fd, changes(fs));
		json_decref(line);
	}
}

void
control_freeze(struct control *c, struct fs *fs, int fd)
{
	if (!control_cache_begin(c)) {
		control_send(fd, json_pack("{s:b, s:s}", "ok", 0, "error",
					   "the store has not answered yet"));
		return;
	}
	cache_note_changes(fs->cache, true);
	talk(c, fs, fd);
	cache_note_changes(fs->cache, false);
	control_cache_end(c);
}
