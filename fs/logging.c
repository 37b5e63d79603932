/* SPDX-License-Identifier: MIT */
/* See logging.h. */
#include <config.h>

#include "fs/logging.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"

/* One datagram a line, which is what write(2) makes.  Never blocks. */
static int
open_syslog(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX,
				 .sun_path = "/dev/log" };
	_cleanup_close_ int fd = socket(
		AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return -1;
	return steal_fd(&fd);
}

/* Where *o wants it; *format may become LOG_SYSLOG. */
static int
open_sink(const struct options *o, bool foreground, enum log_format *format,
	  struct err *err)
{
	int fd = STDERR_FILENO;

	if (o->log_file) {
		fd = open(o->log_file,
			  O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY,
			  0640);
		if (fd < 0)
			return err_set(err, -errno, "log file %s: %s",
				       o->log_file, strerror(errno));
	} else if (!foreground) {
		fd = open_syslog();
		if (fd >= 0)
			*format = LOG_SYSLOG;
		else
			fd = STDERR_FILENO;
	}
	return fd;
}

static enum log_format
format_of(const struct options *o)
{
	return strcmp(o->log_format, "json") == 0 ? LOG_JSON : LOG_TEXT;
}

int
logging_start(const struct options *o, bool foreground, struct err *err)
{
	enum log_format format = format_of(o);
	enum log_level level = LOG_LEVEL_WARN;
	int fd = open_sink(o, foreground, &format, err);

	if (fd < 0)
		return fd;
	log_level_parse(o->log_level, &level);
	log_init(level, format, fd);
	return 0;
}

int
logging_change(const struct options *o, bool foreground, struct err *err)
{
	enum log_format format = format_of(o);
	enum log_level level = LOG_LEVEL_WARN;
	int fd = open_sink(o, foreground, &format, err);
	int old = log_fd();

	if (fd < 0)
		return fd;
	log_level_parse(o->log_level, &level);
	/* Other threads may be writing: the number of a sink never changes
	 * hands.  Standard error is not ours to replace. */
	if (fd != STDERR_FILENO && old != STDERR_FILENO) {
		dup3(fd, old, O_CLOEXEC);
		close(fd);
		log_set_format(format);
		log_set_level(level);
	} else {
		log_init(level, format, fd);
	}
	return 0;
}
