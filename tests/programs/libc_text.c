/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Strings, conversions, patterns, sorting, locales and time as text. */
#define _GNU_SOURCE
#include <ctype.h>
#include <fnmatch.h>
#include <iconv.h>
#include <langinfo.h>
#include <limits.h>
#include <locale.h>
#include <regex.h>
#include <search.h>
#include <strings.h>
#include <time.h>
#include <wchar.h>
#include <wctype.h>
#include <wordexp.h>

#include "libc_check.h"

CHECK(text_strings)
{
	char text[64] = "one,two,,three", *rest = text, *part;

	while ((part = strsep(&rest, ",")))
		say("part '%s'", part);
	say("%zu %zu", strspn("aabbc", "ab"), strcspn("aabbc", "c"));
	say("%s %s", strstr("haystack needle", "needle"), strpbrk("key=value", "=:"));
	say("%d %d", strverscmp("file10", "file9") > 0, strcasecmp("HeLLo", "hEllO"));
	say("%s", strcasestr("Some TEXT", "text"));
	say("%d", memcmp(memmem("abcdefgh", 8, "def", 3), "defgh", 5));
	for (size_t at = 0; at < 70; at++) {
		char block[200];

		memset(block, 'a', sizeof(block));
		block[at + 64] = 'b';
		if (memchr(block + at, 'b', 80) != block + at + 64 ||
		    memrchr(block, 'b', 180) != block + at + 64 ||
		    strlen(strcpy(block + at, "xy")) != 2)
			say("wrong at %zu", at);
		memmove(block + 3, block, 120);
		if (block[at + 3] != 'x')
			say("moved wrongly at %zu", at);
	}
}

CHECK(text_numbers)
{
	static const char *const texts[] = {
		"0",	"-42",	"0x1fz", "9223372036854775808", "  12 x",
		"junk", "-0x8", "077",	 "18446744073709551616"
	};
	char *end;

	for (int i = 0; i < 9; i++) {
		long number;

		errno = 0;
		number = strtol(texts[i], &end, 0);
		say("%ld rest '%s' error %d", number, end, errno);
		errno = 0;
		number = strtoul(texts[i], &end, 0);
		say("%lu error %d", number, errno);
	}
	say("%.17g %.17g %.17g", strtod("0.1", NULL), strtod("1e-310", NULL),
	    strtod("0x1.8p3", NULL));
	say("%.17g %.17g", strtod("2.2250738585072011e-308", NULL), strtod("inf", NULL));
	errno = 0;
	say("%g", strtod("1e999", NULL));
	say("%s", outcome(-1));
	say("%.21Lg", strtold("0.1", NULL));
	say("base 36 %ld", strtol("zz", NULL, 36));
	say("%d %ld", atoi("12x"), atol("-9"));
}

CHECK(text_patterns)
{
	static const char *const patterns[] = { "^a(b|c)*d$", "[[:digit:]]+", "x{2,3}", "(",
						"(.)\\1" };
	regmatch_t match[3];
	regex_t regex;
	char text[100];

	for (int i = 0; i < 5; i++) {
		int error = regcomp(&regex, patterns[i], REG_EXTENDED);

		if (error) {
			regerror(error, &regex, text, sizeof(text));
			say("%s: error %d", patterns[i], error);
			continue;
		}
		say("%s: %d %d", patterns[i], regexec(&regex, "abcbd", 3, match, 0),
		    regexec(&regex, "12xxxoo", 3, match, 0));
		say("at %d to %d", (int)match[0].rm_so, (int)match[0].rm_eo);
		regfree(&regex);
	}
	say("fnmatch %d %d %d", fnmatch("*.[ch]", "file.c", 0), fnmatch("*", ".hidden", FNM_PERIOD),
	    fnmatch("a/*", "a/b/c", FNM_PATHNAME));
}

CHECK(text_words)
{
	wordexp_t words;

	setenv("SOME", "two words", 1);
	say("wordexp %d", wordexp("plain $SOME '$SOME' $((3+4))", &words, 0));
	for (size_t i = 0; i < words.we_wordc; i++)
		say("'%s'", words.we_wordv[i]);
}

static int compare(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

CHECK(text_sorting)
{
	static int numbers[10000];
	int key = 5000, sorted = 1;
	void *root = NULL;

	srand(7);
	for (int i = 0; i < 10000; i++)
		numbers[i] = rand() % 100000;
	numbers[17] = 5000;
	say("random %d %d %d", numbers[0], numbers[1], numbers[9999]);
	qsort(numbers, 10000, sizeof(int), compare);
	for (int i = 1; i < 10000; i++)
		sorted &= numbers[i - 1] <= numbers[i];
	say("sorted %d, found %d", sorted,
	    *(int *)bsearch(&key, numbers, 10000, sizeof(int), compare));
	for (int i = 0; i < 100; i++)
		tsearch(&numbers[i], &root, compare);
	say("tree %d", tfind(&numbers[50], &root, compare) != NULL);
	srand48(3);
	say("%.10f %ld", drand48(), lrand48());
	srandom(5);
	say("%ld", random());
	hcreate(10);
	hsearch((ENTRY){ "key", "value" }, ENTER);
	say("%s", (char *)hsearch((ENTRY){ "key", NULL }, FIND)->data);
}

CHECK(text_environment)
{
	say("set %s", outcome(setenv("NAME", "value", 0)));
	say("kept %s", (setenv("NAME", "other", 0), getenv("NAME")));
	say("put %s", (putenv("NAME=put"), getenv("NAME")));
	say("bad %s", outcome(setenv("A=B", "x", 1)));
	say("unset %d", (unsetenv("NAME"), getenv("NAME") == NULL));
	clearenv();
	say("clear %d", getenv("PATH") == NULL);
}

CHECK(text_locale)
{
	char bytes[MB_LEN_MAX];
	wchar_t wide[10];

	say("decimal point %s", localeconv()->decimal_point);
	say("%s", setlocale(LC_ALL, "C"));
	say("no such %d", setlocale(LC_ALL, "xx_YY.nothing") == NULL);
	if (!setlocale(LC_CTYPE, "C.UTF-8"))
		say("no C.UTF-8");
	say("%s", nl_langinfo(CODESET));
	say("to wide %zu", mbstowcs(wide, "\xc3\xa9\xe2\x82\xac", 10));
	say("second %x", (unsigned)wide[1]);
	say("invalid %s", outcome(mbstowcs(wide, "\xff", 10)));
	say("to bytes %d", wctomb(bytes, 0x1f600));
	say("upper %x, width %d", (unsigned)towupper(0xe9), wcwidth(0x4e2d));
	say("alpha %d %d", iswalpha(0xe9) != 0, isalpha('1') != 0);
}

CHECK(text_iconv)
{
	char out[100] = "", in[] = "h\xe9llo";
	char *from = in, *to = out;
	size_t left = 5, room = 99;
	iconv_t convert = iconv_open("UTF-8", "ISO-8859-1");

	say("iconv %zd", iconv(convert, &from, &left, &to, &room));
	say("%s, %zu bytes", out, 99 - room);
	say("no such %s", outcome(iconv_open("UTF-8", "nothing") == (iconv_t)-1 ? -1 : 0));
}

CHECK(text_time)
{
	static const char *const zones[] = { "UTC0", "EST5EDT,M3.2.0,M11.1.0", "<+0530>-5:30" };
	struct tm parts = {
		.tm_year = 124, .tm_mon = 13, .tm_mday = -3, .tm_hour = 50, .tm_isdst = -1
	};
	time_t moment = 1720000000;
	char text[100];

	for (int i = 0; i < 3; i++) {
		setenv("TZ", zones[i], 1);
		tzset();
		strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S %z %a %j %U %p",
			 localtime(&moment));
		say("%s", text);
		say("%ld %s", timezone, tzname[0]);
	}
	say("mktime %ld", (long)mktime(&parts));
	say("normal %d-%d-%d", parts.tm_year, parts.tm_mon, parts.tm_mday);
	say("%s", strtok(asctime(gmtime(&moment)), "\n"));
	memset(&parts, 0, sizeof(parts));
	say("strptime '%s'", strptime("29 Feb 2024 12:34 rest", "%d %b %Y %H:%M", &parts));
	say("%ld", (long)timegm(&parts));
	say("before 1970 %ld", (long)timegm(&(struct tm){ .tm_year = 0, .tm_mday = 1 }));
}

CHECK(text_options)
{
	char *arguments[] = { "program", "-a", "-bvalue", "operand", "--", "-c", NULL };
	int option;

	opterr = 0;
	while ((option = getopt(6, arguments, "+ab:")) != -1)
		say("%c %s", option, optarg ? optarg : "none");
	say("next %s", arguments[optind]);
}
