/* SPDX-License-Identifier: MIT */
/*
 * One log sink for the process.  A line has level, topic and words; topics
 * are the folder or module ("s3", "cache", "fuse").  Expected answers
 * (ENOENT) are not logged.  Never log credentials.  Any thread.
 */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include <stdbool.h>

enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARN,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
};

/* LOG_SYSLOG: fd is a datagram socket of syslog. */
enum log_format { LOG_TEXT, LOG_JSON, LOG_SYSLOG };

/* fd is not owned.  Before the first call: warnings and worse to stderr. */
void log_init(enum log_level level, enum log_format format, int fd);
void log_set_level(enum log_level level);
void log_set_format(enum log_format format);
int log_fd(void);
bool log_enabled(enum log_level level);
int log_level_parse(const char *s, enum log_level *out); /* 0 or -EINVAL */

void log_line(enum log_level level, const char *topic, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#define log_error(topic, ...) log_line(LOG_LEVEL_ERROR, topic, __VA_ARGS__)
#define log_warn(topic, ...) log_line(LOG_LEVEL_WARN, topic, __VA_ARGS__)
#define log_info(topic, ...) log_line(LOG_LEVEL_INFO, topic, __VA_ARGS__)
#define log_debug(topic, ...)                                                  \
	do {                                                                   \
		if (log_enabled(LOG_LEVEL_DEBUG))                              \
			log_line(LOG_LEVEL_DEBUG, topic, __VA_ARGS__);         \
	} while (0)

#endif
