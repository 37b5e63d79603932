/* SPDX-License-Identifier: MIT */
/*
 * Runs a fuzz target without libFuzzer: all seeds, then many mutations of them
 * by a fixed seed, so that each run does the same.
 *
 *   tests/bin/fuzz-NAME            seeds and mutations
 *   tests/bin/fuzz-NAME FILE…      just these inputs
 *
 * SHAREDFS_FUZZ_ROUNDS, SHAREDFS_FUZZ_SEED, SHAREDFS_FUZZ_SECONDS (the limit).
 * An input that crashes or hangs is left in fuzz-NAME.crash.
 */
#include <config.h>

#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/xalloc.h"

#define INPUT_MAX 8192
#define HANG_S 60

/* What a signal handler needs; all else is in struct run. */
static const uint8_t *volatile input;
static volatile size_t input_len;
static char crash_file[256];

struct run {
	uint64_t random;
	struct buf *seeds;
	size_t nseeds;
	char **words; /* of the seeds: names, numbers, tags */
	size_t nwords;
};

static void
save_input(void)
{
	int fd = open(crash_file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
		      0600);
	static const char msg[] = "the input was left in ";
	ssize_t n;

	if (fd < 0)
		return;
	n = write(fd, (const void *)input, input_len);
	n += write(2, msg, sizeof(msg) - 1);
	n += write(2, crash_file, strlen(crash_file));
	n += write(2, "\n", 1);
	(void)n;
	close(fd);
}

static void
on_signal(int sig)
{
	save_input();
	signal(sig, SIG_DFL);
	raise(sig);
}

/* There with a sanitizer only. */
void __sanitizer_set_death_callback(void (*fn)(void)) __attribute__((weak));

static void
try(const void *p, size_t n)
{
	/* Of its own, so that reading past the end is seen. */
	uint8_t *copy = xmemdup(p, n);

	input = copy;
	input_len = n;
	alarm(HANG_S);
	LLVMFuzzerTestOneInput(copy, n);
	free(copy);
}

static void
read_file(const char *path, struct buf *out)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	char block[4096];
	ssize_t n;

	if (fd < 0) {
		perror(path);
		exit(1);
	}
	while ((n = read(fd, block, sizeof(block))) > 0)
		buf_add(out, block, n);
}

static int
by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void
load_seeds(struct run *r, const char *dir)
{
	struct dirent **names;
	int n = scandir(dir, &names, NULL, by_name);

	if (n < 0) {
		perror(dir);
		exit(1);
	}
	r->seeds = xcalloc(n + 1, sizeof(*r->seeds));
	for (int i = 0; i < n; i++) {
		_cleanup_free_ char *path =
			xasprintf("%s/%s", dir, names[i]->d_name);

		if (names[i]->d_name[0] != '.')
			read_file(path, &r->seeds[r->nseeds++]);
		free(names[i]);
	}
	free(names);
	if (r->nseeds == 0) {
		fprintf(stderr, "%s: no seeds\n", dir);
		exit(1);
	}
}

static int
is_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static void
collect_words(struct run *r)
{
	for (size_t i = 0; i < r->nseeds; i++) {
		const struct buf *b = &r->seeds[i];

		for (size_t at = 0, end; at < b->len; at = end + 1) {
			for (end = at; end < b->len && is_word(b->s[end]);)
				end++;
			if (end - at < 2 || end - at > 40)
				continue;
			r->words = xrealloc(r->words, r->nwords + 1,
					    sizeof(*r->words));
			r->words[r->nwords++] = xstrndup(b->s + at, end - at);
		}
	}
}

static uint64_t
rnd(struct run *r, uint64_t below)
{
	r->random ^= r->random >> 12;
	r->random ^= r->random << 25;
	r->random ^= r->random >> 27;
	return below ? (r->random * UINT64_C(0x2545f4914f6cdd1d) >> 16) % below
		     : 0;
}

/* Replaces [at, at+del) by n bytes of p. */
static void
replace(struct buf *b, size_t at, size_t del, const char *p, size_t n)
{
	struct buf out = BUF_INIT;

	buf_add(&out, b->s, at);
	buf_add(&out, p, n);
	buf_add(&out, b->s + at + del, b->len - at - del);
	buf_release(b);
	*b = out;
}

static void
mutate(struct run *r, struct buf *b)
{
	static const char *const odd[] = {
		"0", "-1", "255", "65536", "2147483648", "4294967296",
		"9223372036854775807", "18446744073709551616", "1e9", "..",
		"/", "//", "%00", "%", "\xff", "\xc3\xa9", "\r\n", "\"", "<",
		"&#0;", "&amp;", "]]>", "=", ",", ":", "\\", "[", "{", "'",
	};
	const struct buf *other = &r->seeds[rnd(r, r->nseeds)];
	size_t at = rnd(r, b->len + 1);
	size_t left = b->len - at;
	size_t del = rnd(r, left < 16 ? left + 1 : 16);
	size_t from = rnd(r, other->len + 1);
	const char *w;

	switch (rnd(r, 9)) {
	case 0:
		if (left)
			b->s[at] ^= 1 << rnd(r, 8);
		break;
	case 1:
		if (left)
			b->s[at] = rnd(r, 256);
		break;
	case 2:
		replace(b, at, del, "", 0);
		break;
	case 3: /* a piece twice */
		replace(b, at, 0, b->s + at, del);
		break;
	case 4:
		replace(b, at, left, "", 0);
		break;
	case 5: /* a piece of another */
		replace(b, at, del, other->s + from,
		       rnd(r, other->len - from + 1));
		break;
	case 6:
		w = odd[rnd(r, sizeof(odd) / sizeof(odd[0]))];
		replace(b, at, rnd(r, 2) ? del : 0, w, strlen(w));
		break;
	case 7:
		if (!r->nwords)
			break;
		w = r->words[rnd(r, r->nwords)];
		replace(b, at, rnd(r, 2) ? del : 0, w, strlen(w));
		break;
	default:
		if (left >= 8) {
			uint64_t v = rnd(r, 2) ? rnd(r, 64) : -rnd(r, 64);

			memcpy(b->s + at, &v, rnd(r, 2) ? 8 : 4);
		}
	}
}

static long
number(const char *name, long def)
{
	const char *v = getenv(name);

	return v && *v ? strtol(v, NULL, 0) : def;
}

static void
run_mutations(struct run *r, const char *name)
{
	long rounds = number("SHAREDFS_FUZZ_ROUNDS", 20000), done;
	int64_t end = clock_mono_ns() +
		      number("SHAREDFS_FUZZ_SECONDS", 6) * NSEC_PER_SEC;
	long seed = number("SHAREDFS_FUZZ_SEED", 1);

	r->random = UINT64_C(0x9e3779b97f4a7c15) * (seed + 1) | 1;
	for (done = 0; done < rounds && clock_mono_ns() < end; done++) {
		_cleanup_buf_ struct buf b = BUF_INIT;
		const struct buf *from = &r->seeds[rnd(r, r->nseeds)];

		buf_reserve(&b, 0);
		buf_add(&b, from->s, from->len);
		for (uint64_t n = 1 + rnd(r, 6); n; n--)
			mutate(r, &b);
		try(b.s, b.len < INPUT_MAX ? b.len : INPUT_MAX);
	}
	printf("%s: %zu seeds, %ld mutations, seed %ld\n", name, r->nseeds,
	       done, seed);
}

int
main(int argc, char **argv)
{
	const char *name = strrchr(argv[0], '/');
	const char *srcdir = getenv("abs_srcdir");
	_cleanup_free_ char *dir = NULL;
	struct run r = { 0 };

	name = name ? name + 1 : argv[0];
	snprintf(crash_file, sizeof(crash_file), "%s.crash", name);
	log_set_level(LOG_LEVEL_ERROR);
	if (__sanitizer_set_death_callback)
		__sanitizer_set_death_callback(save_input);
	else
		signal(SIGSEGV, on_signal);
	signal(SIGABRT, on_signal);
	signal(SIGALRM, on_signal);
	for (int i = 1; i < argc; i++) {
		_cleanup_buf_ struct buf b = BUF_INIT;

		buf_reserve(&b, 0);
		read_file(argv[i], &b);
		try(b.s, b.len);
	}
	if (argc > 1)
		return 0;
	if (!srcdir || strncmp(name, "fuzz-", 5) != 0) {
		fprintf(stderr, "start it with ./run tests/bin/%s\n", name);
		return 1;
	}
	dir = xasprintf("%s/tests/fuzz/corpus/%s", srcdir, name + 5);
	load_seeds(&r, dir);
	collect_words(&r);
	try("", 0);
	for (size_t i = 0; i < r.nseeds; i++)
		try(buf_str(&r.seeds[i]), r.seeds[i].len);
	run_mutations(&r, name);
	for (size_t i = 0; i < r.nseeds; i++)
		buf_release(&r.seeds[i]);
	for (size_t i = 0; i < r.nwords; i++)
		free(r.words[i]);
	free(r.seeds);
	free(r.words);
	return 0;
}
