/* SPDX-License-Identifier: MIT */
/* Option lists, config files and id maps.  What was accepted must be accepted
 * again, with the same meaning, when a worker gets it on its command line. */
#include <config.h>

#include "tests/fuzz/fuzz.h"

#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "fs/options-priv.h"
#include "fs/options.h"

static char *const no_env[] = { NULL };

static void
same(const struct options *a, const struct options *b)
{
	struct be_config ca = options_be_config(a), cb = options_be_config(b);

	for (size_t i = 0; i < OPT_COUNT; i++) {
		const char *x = ca.get(ca.arg, options_table[i].name);
		const char *y = cb.get(cb.arg, options_table[i].name);

		FUZZ_CHECK(!x == !y);
		FUZZ_CHECK(!x || strcmp(x, y) == 0);
	}
}

static void
list(const char *text)
{
	struct options a, b;
	_cleanup_err_ struct err err = ERR_INIT;

	FUZZ_CHECK(options_init_from(&a, NULL, no_env, NULL) == 0);
	if (options_add_list(&a, text, &err) < 0) {
		FUZZ_CHECK(err.msg);
		options_release(&a);
		return;
	}
	FUZZ_CHECK(options_init_from(&b, NULL, no_env, NULL) == 0);
	for (int i = 0; i < OPT_COUNT; i++) {
		_cleanup_free_ char *arg = options_arg(&a, i);

		FUZZ_CHECK(!arg || options_take_arg(&b, arg, NULL) == 0);
		FUZZ_CHECK(!arg || a.from[i] == b.from[i]);
	}
	same(&a, &b);
	options_release(&a);
	options_release(&b);
}

static void
file(const char *text, size_t size)
{
	char path[] = "/tmp/sharedfs-fuzz-XXXXXX";
	int fd = mkstemp(path);
	struct options o;

	FUZZ_CHECK(fd >= 0 && write(fd, text, size) == (ssize_t)size);
	close(fd);
	if (options_init_from(&o, path, no_env, NULL) == 0)
		options_release(&o);
	unlink(path);
}

/* What a worker gets; and again, as a reload sends it on. */
static void
argument(const char *text)
{
	struct options a, b;

	FUZZ_CHECK(options_init_from(&a, NULL, no_env, NULL) == 0);
	FUZZ_CHECK(options_init_from(&b, NULL, no_env, NULL) == 0);
	if (options_take_arg(&a, text, NULL) == 0) {
		for (int i = 0; i < OPT_COUNT; i++) {
			_cleanup_free_ char *arg = options_arg(&a, i);

			FUZZ_CHECK(!arg || options_take_arg(&b, arg, NULL) == 0);
		}
		same(&a, &b);
		FUZZ_CHECK(options_take_arg(&a, "default:--actimeo", NULL) == 0);
		FUZZ_CHECK(a.from[OPT_ID_actimeo] == OPTIONS_DEFAULT);
	}
	options_release(&a);
	options_release(&b);
}

static void
maps(const char *text)
{
	struct idmap m = { 0 };

	if (idmap_parse(text, &m, NULL) < 0)
		return;
	for (unsigned i = 0; i < m.n; i++)
		idmap_to_local(&m, idmap_to_store(&m, m.v[i].local));
	idmap_release(&m);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *s = NULL;

	if (!size)
		return 0;
	s = fuzz_string(data + 1, size - 1);
	/* A list that names a config file reads what the user could read. */
	if (strstr(s, "config"))
		return 0;
	switch (data[0] % 4) {
	case 0:
		maps(s);
		break;
	case 1:
		file(s, strlen(s));
		break;
	default:
		list(s);
		argument(s);
	}
	return 0;
}
