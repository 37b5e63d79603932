/* SPDX-License-Identifier: MIT */
/* See log.h.  One write(2) a line, so that lines of threads never mix. */
#include <config.h>

#include "common/log.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/xalloc.h"

static atomic_int sink_level = LOG_LEVEL_WARN;
static atomic_int sink_format = LOG_TEXT;
static atomic_int sink_fd = STDERR_FILENO;

static const char *const level_names[] = { "error", "warning", "info",
					   "debug" };
static const int syslog_levels[] = { 3, 4, 6, 7 };

void
log_init(enum log_level level, enum log_format format, int fd)
{
	atomic_store(&sink_level, level);
	atomic_store(&sink_format, (int)format);
	atomic_store(&sink_fd, fd);
}

void
log_set_level(enum log_level level)
{
	atomic_store(&sink_level, level);
}

void
log_set_format(enum log_format format)
{
	atomic_store(&sink_format, (int)format);
}

int
log_fd(void)
{
	return atomic_load(&sink_fd);
}

bool
log_enabled(enum log_level level)
{
	return (int)level <=
	       atomic_load_explicit(&sink_level, memory_order_relaxed);
}

int
log_level_parse(const char *s, enum log_level *out)
{
	for (int i = 0; i < 4; i++) {
		if (strcmp(s, level_names[i]) == 0) {
			*out = i;
			return 0;
		}
	}
	if (strcmp(s, "warn") == 0) {
		*out = LOG_LEVEL_WARN;
		return 0;
	}
	return -EINVAL;
}

static void
format_time(char *out, size_t n)
{
	struct timespec t;
	struct tm tm;
	size_t len;

	clock_gettime(CLOCK_REALTIME, &t);
	gmtime_r(&t.tv_sec, &tm);
	len = strftime(out, n, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + len, n - len, ".%03ldZ", t.tv_nsec / 1000000);
}

void
log_line(enum log_level level, const char *topic, const char *fmt, ...)
{
	int saved = errno;
	int format = atomic_load(&sink_format);
	_cleanup_buf_ struct buf b = BUF_INIT;
	char when[40];
	va_list ap;
	char *msg;

	if (!log_enabled(level))
		return;
	va_start(ap, fmt);
	msg = xvasprintf(fmt, ap);
	va_end(ap);
	format_time(when, sizeof(when));
	if (format == LOG_JSON) {
		json_t *o = json_pack("{s:s, s:s, s:s, s:s%}", "ts", when,
				      "level", level_names[level], "component",
				      topic, "msg", msg, strlen(msg));
		char *line = o ? json_dumps(o, JSON_COMPACT) : NULL;

		buf_addstr(&b, line ? line : "{\"msg\":\"unprintable\"}");
		free(line);
		json_decref(o);
	} else {
		for (char *p = msg; *p; p++) {
			if ((unsigned char)*p < 0x20)
				*p = ' '; /* a line stays a line */
		}
		if (format == LOG_SYSLOG)
			/* Facility "daemon" is 3; syslog writes the time. */
			buf_addf(&b, "<%d>sharedfs[%d]: %s: %s",
				 3 * 8 + syslog_levels[level], (int)getpid(),
				 topic, msg);
		else
			buf_addf(&b, "%s %s %s: %s", when, level_names[level],
				 topic, msg);
	}
	if (format != LOG_SYSLOG)
		buf_addch(&b, '\n');
	if (write(atomic_load(&sink_fd), b.s, b.len) < 0) {
		/* nowhere left to tell it */
	}
	free(msg);
	errno = saved;
}
