/* SPDX-License-Identifier: MIT */
/* fs/options.h: every row of the table, every way to give one, bad ones. */
#include <config.h>

#include "fs/options.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/nearest.h"
#include "common/units.h"
#include "fs/options-priv.h"
#include "tests/lib/unit.h"

static char *const no_env[] = {NULL};

static void
init(struct options *o)
{
	struct err err = ERR_INIT;

	assert_int_equal(options_init_from(o, NULL, no_env, &err), 0);
	assert_null(err.msg);
}

/* Gives a list, expects it to be refused with these words in the message. */
static void
refused(const char *list, const char *words)
{
	struct err err = ERR_INIT;
	struct options o;

	init(&o);
	assert_int_equal(options_add_list(&o, list, &err), -EINVAL);
	if (!strstr(err_words(&err), words))
		fail_msg("'%s' is not in '%s'", words, err_words(&err));
	err_release(&err);
	options_release(&o);
}

static void
accepted(struct options *o, const char *list)
{
	struct err err = ERR_INIT;

	init(o);
	if (options_add_list(o, list, &err) != 0)
		fail_msg("%s: %s", list, err_words(&err));
}

static const char *
get(const struct options *o, const char *name)
{
	struct be_config cfg = options_be_config(o);

	return cfg.get(cfg.arg, name);
}

/* A value other than the default, as text that get() gives back. */
static const char *
other_value(const struct opt *opt, const char **canonical)
{
	static char word[64], file[64];
	const char *open, *min, *max;
	size_t len;

	*canonical = NULL;
	switch (opt->type) {
	case OPT_BOOL:
		return *canonical = strcmp(opt->def, "yes") == 0 ? "no" : "yes";
	case OPT_UINT:
		return *canonical = "7";
	case OPT_OCTAL:
		*canonical = "027";
		return "27";
	case OPT_SIZE:
		if (options_limits(opt->name, &min, &max) && min[0] == '5') {
			*canonical = "5242880";
			return "5M";
		}
		*canonical = "2097152";
		return "2M";
	case OPT_DURATION:
		if (options_limits(opt->name, &min, &max) &&
		    strcmp(min, "1h") == 0) {
			*canonical = "5400";
			return "1.5h";
		}
		*canonical = "1500ms";
		return "1.5s";
	case OPT_WORD:
		/* The last word of the list; never a default in our table. */
		open = strrchr(opt->help, '|') + 1;
		len = strcspn(open, ")");
		memcpy(word, open, len);
		word[len] = '\0';
		return *canonical = word;
	case OPT_STR:
		break;
	}
	if (strcmp(opt->name, "config") == 0) {
		snprintf(file, sizeof(file), "/dev/null");
		return *canonical = file;
	}
	if (strcmp(opt->name, "uid") == 0 || strcmp(opt->name, "gid") == 0)
		return *canonical = "0";
	if (strncmp(opt->name, "map_", 4) == 0)
		return *canonical = "33:82";
	if (strcmp(opt->name, "endpoint") == 0)
		return *canonical = "https://store.example:9000";
	return *canonical = "/x";
}

static void
every_row(void **state)
{
	size_t i;

	for (i = 0; i < OPT_COUNT; i++) {
		const struct opt *opt = &options_table[i];
		const char *value, *want;
		char name[64], alias[64], env[128], *envp[2] = {env, NULL};
		struct err err = ERR_INIT;
		struct options o;
		char *p;
		unsigned n;

		value = other_value(opt, &want);

		/* The default is what the table says, and within the limits. */
		init(&o);
		if (!opt->def)
			assert_null(get(&o, opt->name));
		else
			assert_non_null(get(&o, opt->name));
		assert_int_equal(o.nset, 0);

		/* The command line, by name. */
		assert_int_equal(options_add(&o, opt->name, value, &err), 0);
		assert_string_equal(get(&o, opt->name), want);
		assert_int_equal(o.nset, 1);
		snprintf(env, sizeof(env), "%s=%s", opt->name, want);
		assert_string_equal(o.set[0], env);
		assert_null(o.set[1]);
		options_release(&o);

		/* The same with dashes. */
		snprintf(name, sizeof(name), "%s", opt->name);
		for (p = name; *p; p++)
			if (*p == '_')
				*p = '-';
		init(&o);
		assert_int_equal(options_add(&o, name, value, &err), 0);
		assert_string_equal(get(&o, opt->name), want);
		options_release(&o);

		/* Every alias. */
		for (n = 0;
		     options_alias(opt->aliases, n, alias, sizeof(alias));
		     n++) {
			init(&o);
			assert_int_equal(options_add(&o, alias, value, &err),
					 0);
			assert_string_equal(get(&o, opt->name), want);
			options_release(&o);
		}

		/* The environment. */
		snprintf(env, sizeof(env), "SHAREDFS_%s=%s", opt->name, value);
		for (p = env; *p != '='; p++)
			if (*p >= 'a' && *p <= 'z')
				*p = (char)(*p - 'a' + 'A');
		assert_int_equal(options_init_from(&o, NULL, envp, &err), 0);
		assert_string_equal(get(&o, opt->name), want);
		assert_int_equal(o.nset, 0);
		options_release(&o);

		/* A name without a value is a value for BOOL only. */
		init(&o);
		assert_int_equal(options_add(&o, opt->name, NULL, &err),
				 opt->type == OPT_BOOL ? 0 : -EINVAL);
		err_release(&err);
		options_release(&o);
	}
}

static void
help_has_every_row(void **state)
{
	struct buf out = BUF_INIT;
	char line[64], alias[64];
	size_t i;
	unsigned n;

	options_help(&out);
	for (i = 0; i < OPT_COUNT; i++) {
		const struct opt *opt = &options_table[i];

		snprintf(line, sizeof(line), "\n  %s=", opt->name);
		if (!strstr(buf_str(&out), line))
			fail_msg("help lacks %s", opt->name);
		for (n = 0;
		     options_alias(opt->aliases, n, alias, sizeof(alias)); n++)
			assert_non_null(strstr(buf_str(&out), alias));
	}
	buf_release(&out);
}

static bool
is_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
	       c == '-';
}

static bool
has_word(const char *text, const char *end, const char *word)
{
	size_t n = strlen(word);
	const char *p;

	for (p = text; p + n <= end; p++)
		if (strncmp(p, word, n) == 0 && !is_word(p[n]) &&
		    (p == text || !is_word(p[-1])))
			return true;
	return false;
}

static void
manual_has_every_row(void **state)
{
	static char man[64 * 1024];
	const char *dir = getenv("abs_srcdir"), *p;
	char path[4096], alias[64];
	size_t i, n;
	unsigned k;
	FILE *f;

	if (!dir)
		skip(); /* run by hand, not by ./run */
	snprintf(path, sizeof(path), "%s/docs/sharedfs.8", dir);
	f = fopen(path, "re");
	assert_non_null(f);
	n = fread(man, 1, sizeof(man) - 1, f);
	man[n] = '\0';
	assert_int_equal(fclose(f), 0);
	for (i = 0; i < OPT_COUNT; i++) {
		const struct opt *opt = &options_table[i];
		bool found = false;

		for (p = man; !found && (p = strstr(p, "\n.It Cm ")); p++)
			found = has_word(p + 8, p + 1 + strcspn(p + 1, "\n"),
					 opt->name);
		if (!found)
			fail_msg("sharedfs.8 lacks %s", opt->name);
		for (k = 0;
		     options_alias(opt->aliases, k, alias, sizeof(alias)); k++)
			if (!has_word(man, man + n, alias))
				fail_msg("sharedfs.8 lacks %s", alias);
	}
}

/* The limits are for options that exist, in words that parse. */
static void
limits_hold(void **state)
{
	static const char *const too_much[] = {
		"umask=1000",
		"io_threads=0",
		"io_threads=1025",
		"timeo=1ms",
		"timeo=8d",
		"abort_uploads=7",
		"actimeo=2d",
		"cache_size=10",
		"part_size=1M",
		"part_size=6G",
		"parallel=0",
		"parallel=257",
		"readahead=5G",
		"cache_free=99999999T",
		"timeo=99999999999999999999",
	};
	struct options o;
	size_t i;

	for (i = 0; i < sizeof(too_much) / sizeof(too_much[0]); i++)
		refused(too_much[i], "out of range");
	refused("parallel=0", "it can be 1 to 256");
	refused("part_size=1M", "5M to 5G");
	refused("cache_size=10", "0 or 1M to 1024T");
	accepted(&o, "cache_size=0");
	assert_int_equal(o.cache_size, 0);
	options_release(&o);
}

static void
bad_values(void **state)
{
	refused("timeo=soon", "write for example 30 (seconds), 500ms or 2m");
	refused("timeo=-1", "no duration");
	refused("timeo=", "no duration");
	refused("timeo", "needs a value");
	refused("part_size=big", "512M, 10G or bytes");
	refused("part_size=8X", "no size");
	refused("parallel=two", "no whole number");
	refused("parallel=2.5", "no whole number");
	refused("umask=9", "octal");
	refused("cto=maybe", "neither yes nor no");
	refused("cto=auto", "neither yes nor no");
	refused("nocto=auto", "neither yes nor no");
	refused("conflict=first", "none of (lww|fail)");
	refused("conflict=", "none of (lww|fail)");
	refused("conflict=lw", "none of (lww|fail)");
	refused("log_level=loud", "error|warning|info|debug");
	refused("endpoint=store.example", "https://host[:port]");
	refused("uid=no-such-user-here", "no user");
	refused("gid=no-such-group-here", "no group");
	refused("map_uid=33", "local:store pairs");
	refused("map_uid=33:82+34:82", "maps an id twice");
	refused("map_gid=33:4294967295", "local:store pairs");
	refused("=x", "lacks a name");
}

static void
bad_names(void **state)
{
	struct err err = ERR_INIT;
	struct options o;
	char longest[300];

	refused("cache_dri=/x", "did you mean 'cache_dir'?");
	refused("cachedir=/x", "did you mean 'cache_dir'?");
	refused("regoin=x", "did you mean 'region'?");
	refused("sfot", "did you mean 'soft'?");
	refused("metadata_tll=1", "did you mean 'metadata-ttl'?");
	refused("zzzzqqqq=1", "--help");
	refused("notimeo", "unknown option 'notimeo'");
	refused("no", "unknown option");
	memset(longest, 'x', sizeof(longest));
	longest[299] = '\0';
	refused(longest, "unknown option");

	/* A secret's value is never in a message. */
	init(&o);
	assert_int_equal(options_add(&o, "secret-access-key", "hunter2", &err),
			 -EINVAL);
	assert_non_null(strstr(err_words(&err), "passwd_file"));
	assert_null(strstr(err_words(&err), "hunter2"));
	err_release(&err);
	options_release(&o);
}

static void
lists(void **state)
{
	struct options o;

	accepted(&o, "_netdev,nofail,x-systemd.automount,X-mount.mkdir,user,"
		     "user=joe,noauto,defaults,comment=hello,uhelper=x,"
		     "noatime,,ro,fsname=a\\,b\\\\c,nosuid,dev,noexec,");
	assert_int_equal(o.ro, 1);
	assert_string_equal(o.fsname, "a,b\\c");
	assert_int_equal(o.suid, 0);
	assert_int_equal(o.dev, 1);
	assert_int_equal(o.exec, 0);
	options_release(&o);

	accepted(&o, "ro,rw,exec,noexec=no,allow_other");
	assert_int_equal(o.ro, 0);
	assert_int_equal(o.exec, 1);
	assert_int_equal(o.allow_other, 1);
	options_release(&o);

	accepted(&o, "");
	assert_int_equal(o.allow_other, -1);
	assert_int_equal(o.suid, 0);
	assert_int_equal(o.dev, 0);
	assert_int_equal(o.exec, 1);
	assert_int_equal(o.negative_timeout, 0);
	assert_int_equal(o.actimeo, NSEC_PER_SEC);
	options_release(&o);

	/* Once in .set however often given. */
	accepted(&o, "timeo=1,timeo=2,ro,rw");
	assert_int_equal(o.nset, 2);
	assert_string_equal(o.set[0], "timeo=2");
	assert_string_equal(o.set[1], "ro=no");
	options_release(&o);
}

static void
habits_of_others(void **state)
{
	struct options o;

	accepted(&o, "soft,timeo=30");
	assert_int_equal(o.hard, 0);
	assert_int_equal(o.timeo, 30 * NSEC_PER_SEC);
	options_release(&o);
	accepted(&o, "soft=no");
	assert_int_equal(o.hard, 1);
	options_release(&o);
	accepted(&o, "noac,nonempty,auto_unmount,iam_role=auto");
	assert_int_equal(o.actimeo, 0);
	options_release(&o);

	/* s3fs */
	accepted(&o, "url=http://127.0.0.1:9000,endpoint=eu-west-1,"
		     "use_path_request_style,use_cache=/var/c,"
		     "ensure_diskfree=2048,multipart_size=10,dbglevel=crit,"
		     "parallel_count=4,connect_timeout=300,mp_umask=0022");
	assert_string_equal(o.endpoint, "http://127.0.0.1:9000");
	assert_string_equal(o.region, "eu-west-1");
	assert_int_equal(o.path_style, 1);
	assert_string_equal(o.cache_dir, "/var/c");
	assert_int_equal(o.cache_free, UINT64_C(2048) << 20);
	assert_int_equal(o.part_size, UINT64_C(10) << 20);
	assert_string_equal(o.log_level, "error");
	assert_int_equal(o.parallel, 4);
	assert_int_equal(o.umask, 022);
	options_release(&o);

	/* The same names with a unit, and ours without one. */
	accepted(&o, "ensure_diskfree=1G,cache_size=1048576");
	assert_int_equal(o.cache_free, UINT64_C(1) << 30);
	assert_int_equal(o.cache_size, UINT64_C(1) << 20);
	options_release(&o);
	/* mountpoint-s3 */
	accepted(&o, "max-cache-size=100,metadata-ttl=60,read-only");
	assert_int_equal(o.cache_size, UINT64_C(100) << 20);
	assert_int_equal(o.actimeo, 60 * NSEC_PER_SEC);
	assert_int_equal(o.ro, 1);
	options_release(&o);
}

/* --- the file, and what beats what ---------------------------------------- */

static char *
temp_file(const char *text)
{
	char *path = strdup("/tmp/sharedfs-options-XXXXXX");
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	return path;
}

static void
drop(char *path)
{
	unlink(path);
	free(path);
}

static void
precedence(void **state)
{
	char *file = temp_file("# a comment\n"
			       "\n"
			       "timeo = 11   # behind a blank\n"
			       "cache-size=11G\n"
			       "parallel = 11\n"
			       "  region = \"a b#c\"  \n"
			       "ro\n");
	char *second = temp_file("readahead = 22M\n");
	char *const env[] = {(char[]){"SHAREDFS_CACHE_SIZE=22G"},
			     (char[]){"SHAREDFS_PARALLEL=22"},
			     (char[]){"SHAREDFS_ENDPOINT="},
			     (char[]){"OTHER=1"}, NULL};
	struct err err = ERR_INIT;
	char list[256];
	struct options o;

	assert_int_equal(options_init_from(&o, file, env, &err), 0);
	assert_int_equal(options_add_list(&o, "parallel=33", &err), 0);
	assert_int_equal(o.parallel, 33);		    /* CLI */
	assert_int_equal(o.cache_size, UINT64_C(22) << 30); /* env */
	assert_int_equal(o.timeo, 11 * NSEC_PER_SEC);	    /* file */
	assert_int_equal(o.ro, 1);
	assert_string_equal(o.region, "a b#c");
	assert_int_equal(o.readahead, UINT64_C(64) << 20); /* default */
	assert_null(o.endpoint);
	options_release(&o);

	/* Another file, named last, replaces the default file and still does
	 * not beat the command line or the environment. */
	assert_int_equal(options_init_from(&o, second, env, &err), 0);
	assert_int_equal(o.readahead, UINT64_C(22) << 20);
	snprintf(list, sizeof(list), "timeo=44,config=%s", file);
	assert_int_equal(options_add_list(&o, list, &err), 0);
	assert_int_equal(o.timeo, 44 * NSEC_PER_SEC);
	assert_int_equal(o.parallel, 22);
	assert_int_equal(o.readahead, UINT64_C(64) << 20);
	assert_int_equal(o.ro, 1);
	options_release(&o);
	drop(file);
	drop(second);
}

static void
bad_file(const char *text, const char *where, const char *words)
{
	char *file = temp_file(text);
	struct err err = ERR_INIT;
	struct options o;
	char want[256];

	assert_int_equal(options_init_from(&o, file, no_env, &err), -EINVAL);
	snprintf(want, sizeof(want), "%s:%s: ", file, where);
	if (!strstr(err_words(&err), want) || !strstr(err_words(&err), words))
		fail_msg("%s", err_words(&err));
	err_release(&err);
	drop(file);
}

static void
bad_files(void **state)
{
	char *const env[] = {(char[]){"SHAREDFS_CONFIG=/no/such/file"}, NULL};
	char *const bad_env[] = {(char[]){"SHAREDFS_TIMEO=soon"}, NULL};
	struct err err = ERR_INIT;
	struct options o;

	bad_file("ro\ntimeo = soon\n", "2", "no duration");
	bad_file("\n\ncache_dri = /x\n", "3", "did you mean 'cache_dir'?");
	bad_file("= 3\n", "1", "name = value");
	bad_file("[s3]\n", "1", "no sections");
	bad_file("config = /x\n", "1", "another");

	/* The default file may be missing, a named one not. */
	assert_int_equal(options_init_from(&o, "/no/such/file", no_env, &err),
			 0);
	options_release(&o);
	assert_int_equal(options_init_from(&o, NULL, env, &err), -ENOENT);
	assert_non_null(strstr(err_words(&err), "/no/such/file"));
	err_release(&err);
	init(&o);
	assert_int_equal(options_add_list(&o, "config=/no/such/file", &err),
			 -ENOENT);
	assert_non_null(strstr(err_words(&err), "config file /no/such/file"));
	err_release(&err);
	options_release(&o);
	assert_int_equal(options_init_from(&o, NULL, bad_env, &err), -EINVAL);
	assert_non_null(
		strstr(err_words(&err), "SHAREDFS_TIMEO in the environment: "));
	err_release(&err);
}

static void
relative_paths(void **state)
{
	char cwd[4096], want[5000];
	struct options o;

	assert_non_null(getcwd(cwd, sizeof(cwd)));
	accepted(&o, "cache_dir=some/cache");
	snprintf(want, sizeof(want), "%s/some/cache", cwd);
	assert_string_equal(o.cache_dir, want);
	options_release(&o);
}

/* --- parts ---------------------------------------------------------------- */

static void
units(void **state)
{
	uint64_t n = 1;
	int64_t ns = 1;
	char *s;

	assert_int_equal(units_size("8M", &n), 0);
	assert_int_equal(n, 8 << 20);
	assert_int_equal(units_size("8MiB", &n), 0);
	assert_int_equal(n, 8 << 20);
	assert_int_equal(units_size("3kb", &n), 0);
	assert_int_equal(n, 3072);
	assert_int_equal(units_size("5 ", &n), -EINVAL);
	assert_int_equal(units_size("5MM", &n), -EINVAL);
	assert_int_equal(units_size("", &n), -EINVAL);
	assert_int_equal(units_size("18446744073709551615", &n), 0);
	assert_int_equal(units_size("18446744073709551616", &n), -ERANGE);
	assert_int_equal(units_size("18446744073709551615K", &n), -ERANGE);
	assert_int_equal(units_octal("8", &n), -EINVAL);

	assert_int_equal(units_duration("2", &ns), 0);
	assert_int_equal(ns, 2 * NSEC_PER_SEC);
	assert_int_equal(units_duration("250ms", &ns), 0);
	assert_int_equal(ns, 250 * NSEC_PER_MSEC);
	assert_int_equal(units_duration("1.5m", &ns), 0);
	assert_int_equal(ns, 90 * NSEC_PER_SEC);
	assert_int_equal(units_duration("2h", &ns), 0);
	assert_int_equal(ns, 7200 * NSEC_PER_SEC);
	assert_int_equal(units_duration("1.", &ns), -EINVAL);
	assert_int_equal(units_duration("1 s", &ns), -EINVAL);
	assert_int_equal(units_duration("1w", &ns), -EINVAL);
	assert_int_equal(units_duration("99999999999999999999", &ns), -ERANGE);
	assert_int_equal(units_duration("999999999999d", &ns), -ERANGE);

	s = units_size_text(8 << 20);
	assert_string_equal(s, "8M");
	free(s);
	s = units_size_text(1000);
	assert_string_equal(s, "1000");
	free(s);
	s = units_duration_text(NSEC_PER_SEC / 8 + 1);
	assert_string_equal(s, "0.125000001");
	free(s);
}

static void
distances(void **state)
{
	assert_int_equal(edit_distance("", ""), 0);
	assert_int_equal(edit_distance("", "abc"), 3);
	assert_int_equal(edit_distance("abc", "abc"), 0);
	assert_int_equal(edit_distance("abc", "acb"), 1);
	assert_int_equal(edit_distance("kitten", "sitting"), 3);
}

static void
idmaps(void **state)
{
	struct idmap m;

	assert_int_equal(idmap_parse("33:82+1000:1001", &m, NULL), 0);
	assert_int_equal(idmap_to_store(&m, 33), 82);
	assert_int_equal(idmap_to_local(&m, 82), 33);
	assert_int_equal(idmap_to_store(&m, 1000), 1001);
	assert_int_equal(idmap_to_store(&m, 5), 5);
	assert_int_equal(idmap_to_local(&m, 5), 5);
	idmap_release(&m);
	assert_int_equal(idmap_parse(NULL, &m, NULL), 0);
	assert_int_equal(idmap_to_store(&m, 33), 33);
	idmap_release(&m);
}

static void
owners(void **state)
{
	struct options o;
	uid_t uid = 7;
	gid_t gid = 7;

	accepted(&o, "uid=root");
	assert_int_equal(options_owner(&o, &uid, &gid, NULL), 0);
	assert_int_equal(uid, 0);
	assert_int_equal(gid, 7);
	options_release(&o);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_row),
		cmocka_unit_test(help_has_every_row),
		cmocka_unit_test(manual_has_every_row),
		cmocka_unit_test(limits_hold),
		cmocka_unit_test(bad_values),
		cmocka_unit_test(bad_names),
		cmocka_unit_test(lists),
		cmocka_unit_test(habits_of_others),
		cmocka_unit_test(precedence),
		cmocka_unit_test(bad_files),
		cmocka_unit_test(relative_paths),
		cmocka_unit_test(units),
		cmocka_unit_test(distances),
		cmocka_unit_test(idmaps),
		cmocka_unit_test(owners),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
