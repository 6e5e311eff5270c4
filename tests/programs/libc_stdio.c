/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Streams of libc. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <locale.h>
#include <stdint.h>
#include <sys/stat.h>
#include <wchar.h>

#include "libc_check.h"

CHECK(stdio_printf)
{
	char text[200] = "";
	volatile size_t room = 4;
	int written = -1;

	say("%5d|%-5d|%05d|%+d|% d|%x|%#X|%o|%#o", 42, 42, 42, 42, 42, 255, 255, 8, 8);
	say("%s|%10s|%-10s|%.2s|%c|%%", "text", "text", "text", "text", 'c');
	say("%f|%.3e|%g|%G|%a|%10.2f|%-10.1f|%+.0f", 3.14159, 31415.9, 1e-5, 1e20, 1.5, 2.675, 2.25,
	    0.5);
	say("%Lf|%Lg", 1.0L / 3, 1e4000L);
	say("%f %F %e", 1.0 / 0.0, -1.0 / 0.0, 0.0 / 0.0 * 0);
	say("%hhd|%hd|%ld|%lld|%zu|%jd|%td", 300, 70000, 1L << 40, -1LL, sizeof(text), (intmax_t)-5,
	    text + 5 - text);
	say("%2$s %1$s %3$*4$d", "first", "second", 7, 4);
	snprintf(text, sizeof(text), "%s%n%s", "1234", &written, "56");
	say("n %d %s", written, text);
	say("would be %d", snprintf(text, room, "%s", "longer than that"));
	say("cut %s", text);
}

CHECK(stdio_scanf)
{
	int number = 0, hex = 0, used = 0;
	char word[20] = "", set[20] = "";
	double real = 0;

	say("%d", sscanf("42 word 2.5e3 ff abc123", "%d %19s %lf %x %19[a-c]%n", &number, word,
			 &real, &hex, set, &used));
	say("%d %s %g %x %s %d", number, word, real, hex, set, used);
	say("%d", sscanf("x", "%d", &number));
	say("%d", sscanf("", "%d", &number));
	say("%d %d", sscanf("12abc", "%2d%*1s%s", &number, word), number);
}

CHECK(stdio_modes)
{
	static const char *const modes[] = { "r", "w", "a", "r+", "w+", "a+", "wx", "q" };
	char text[20];
	FILE *file;

	for (int i = 0; i < 8; i++) {
		file = fopen("file", modes[i]);
		say("%s %s", modes[i], outcome(file ? 0 : -1));
		if (!file)
			continue;
		say("write %d", fputs("text", file) >= 0);
		rewind(file);
		say("read %s", fgets(text, sizeof(text), file) ? text : "nothing");
		fclose(file);
	}
}

CHECK(stdio_positions)
{
	FILE *file = fopen("file", "w+");
	char text[10];
	fpos_t where;

	for (int i = 0; i < 5000; i++)
		fprintf(file, "%04d\n", i);
	say("tell %ld", ftell(file));
	fseek(file, 1234 * 5, SEEK_SET);
	fgets(text, sizeof(text), file);
	say("line %.4s, then %ld", text, ftell(file));
	fgetpos(file, &where);
	fseek(file, -5, SEEK_END);
	say("last %.4s", fgets(text, sizeof(text), file));
	say("end %d %d", fgetc(file), feof(file) != 0);
	fsetpos(file, &where);
	say("again %.4s", fgets(text, sizeof(text), file));
	say("push %c %c", ungetc('U', file), fgetc(file));
	say("before %s", outcome(fseek(file, -1, SEEK_SET)));
	say("items %zu", fread(text, 3, 3, file));
	fclose(file);
}

CHECK(stdio_buffers)
{
	char buffer[100], seen[100] = "";
	FILE *file = fopen("file", "w");
	int fd = open("file", O_RDONLY);

	setvbuf(file, buffer, _IOFBF, sizeof(buffer));
	fputs("full\n", file);
	say("full %zd", pread(fd, seen, 100, 0));
	fflush(file);
	say("flushed %zd", pread(fd, seen, 100, 0));
	fclose(file);
	file = fopen("file", "w");
	setvbuf(file, NULL, _IOLBF, 0);
	fputs("line", file);
	say("line %zd", pread(fd, seen, 100, 0));
	fputs("\n", file);
	say("ended %zd", pread(fd, seen, 100, 0));
	fclose(file);
	file = fopen("file", "w");
	setvbuf(file, NULL, _IONBF, 0);
	fputs("none", file);
	say("none %zd", pread(fd, seen, 100, 0));
}

CHECK(stdio_memory)
{
	char *text, buffer[20];
	size_t size;
	FILE *file = open_memstream(&text, &size);

	fprintf(file, "%0500d", 7);
	fflush(file);
	say("size %zu, ends %s", size, text + 497);
	fclose(file);
	file = fmemopen(buffer, sizeof(buffer), "w+");
	say("put %d", fputs("twenty characters would not fit", file));
	say("close %d", fclose(file));
}

CHECK(stdio_lines)
{
	FILE *file = fopen("file", "w+");
	char *line = NULL;
	size_t size = 0;

	fprintf(file, "short\n%0300d\nlast;part", 1);
	rewind(file);
	for (int i = 0; i < 2; i++)
		say("getline %zd", getline(&line, &size, file));
	say("getdelim %zd %s", getdelim(&line, &size, ';', file), line);
	say("rest %zd", getline(&line, &size, file));
	say("end %zd", getline(&line, &size, file));
}

CHECK(stdio_processes)
{
	char text[100];
	FILE *pipe = popen("echo from the shell; exit 3", "r");

	if (!pipe)
		give_up("popen");
	say("%s", strtok(fgets(text, sizeof(text), pipe), "\n"));
	say("status %d", pclose(pipe) >> 8);
	pipe = popen("cat >file; kill -9 $$", "w");
	fputs("to the shell", pipe);
	say("signal %d", pclose(pipe));
	pipe = fopen("file", "r");
	say("%s", fgets(text, sizeof(text), pipe));
	say("system %d", system("exit 7") >> 8);
	say("shell %d", system(NULL));
}

CHECK(stdio_wide)
{
	FILE *file = fopen("file", "w+");
	wchar_t text[20];

	say("locale %d", setlocale(LC_ALL, "C.UTF-8") != NULL);
	fwprintf(file, L"%ls %lc\n", L"h\u00e9llo \u20ac", L'\u4e2d');
	say("orientation %d", fwide(file, 0) > 0);
	say("bytes %ld", ftell(file));
	rewind(file);
	fgetws(text, 20, file);
	say("characters %zu, third %x, last %x", wcslen(text), (unsigned)text[1],
	    (unsigned)text[8]);
}

CHECK(stdio_errors)
{
	char text[10];
	FILE *file = fopen("/dev/full", "w");

	fputs("x", file);
	say("flush %s", outcome(fflush(file)));
	fclose(file);
	file = fopen(".", "r");
	say("directory %s", outcome(fread(text, 1, 1, file) ? 0 : -1));
	say("missing %s", outcome(fopen("missing/file", "w") ? 0 : -1));
	file = fopen("file", "w");
	say("reads %s", outcome(fgetc(file)));
	say("reopen %d", freopen("other", "w+", file) != NULL);
	close(fileno(file));
	say("close %s", outcome(fclose(file)));
	for (int i = 1; i < 40; i++)
		say("%d %s", i, strerror(i));
}

static void last(void)
{
	say("atexit, stdout is flushed after it");
}

CHECK(stdio_exit)
{
	atexit(last);
	printf("buffered\n");
	exit(0);
}
