#include "pffs/api/pty_command.h"

#include "util/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* As one word of a shell. */
static void put_word(FILE *out, const char *prefix, const char *word)
{
	fprintf(out, " %s'", prefix);
	for (; *word; word++) {
		if (*word == '\'')
			fputs("'\\''", out);
		else
			fputc(*word, out);
	}
	fputc('\'', out);
}

static int put_env(FILE *out, const json_t *env, struct error *err)
{
	for (size_t i = 0; i < json_array_size(env); i++) {
		const json_t *pair = json_array_get(env, i);
		const char *name = json_string_value(json_array_get(pair, 0));
		const char *value = json_string_value(json_array_get(pair, 1));
		cleanup_free char *both = NULL;

		if (!name || !value || !*name || *name == '-' || strchr(name, '='))
			return error_say(err, EINVAL,
					 "env is to be a list of pairs, [NAME, VALUE]");
		if (asprintf(&both, "%s=%s", name, value) < 0) {
			both = NULL;
			return error_set(err, ENOMEM, "cannot keep env");
		}
		put_word(out, "", both);
	}
	return env && !json_is_null(env) && !json_is_array(env)
		   ? error_say(err, EINVAL, "env is to be a list of pairs")
		   : 0;
}

static int put_argv(FILE *out, const json_t *argv, struct error *err)
{
	for (size_t i = 0; i < json_array_size(argv); i++) {
		const char *word = json_string_value(json_array_get(argv, i));

		if (!word)
			return error_say(err, EINVAL, "argv is to be a list of strings");
		put_word(out, "", word);
	}
	return json_array_size(argv)
		   ? 0
		   : error_say(err, EINVAL, "argv is to be a list that is not empty");
}

static int put_command(FILE *out, const json_t *body, struct error *err)
{
	const json_t *shell = json_object_get(body, "shellCmd");
	const json_t *argv = json_object_get(body, "argv");
	const json_t *cwd = json_object_get(body, "cwd");
	int r;

	if (cwd && !json_is_null(cwd) && !json_is_string(cwd))
		return error_say(err, EINVAL, "cwd is to be a string");
	if (json_is_string(cwd)) {
		fputs("cd --", out);
		put_word(out, "", json_string_value(cwd));
		fputs(" && ", out);
	}
	/* `env -` would be an option, and NAME=VALUE before a program is not. */
	fputs("exec env --", out);
	r = put_env(out, json_object_get(body, "env"), err);
	if (r < 0)
		return r;
	if (argv && !json_is_null(argv))
		return put_argv(out, argv, err);
	if (shell && !json_is_null(shell) && !json_is_string(shell))
		return error_say(err, EINVAL, "shellCmd is to be a string");
	fputs(" bash -l", out);
	if (json_is_string(shell)) {
		fputs(" -c", out);
		put_word(out, "", json_string_value(shell));
	}
	return 0;
}

int pty_command(const json_t *body, char **command, struct error *err)
{
	size_t len;
	char *text = NULL;
	FILE *out = open_memstream(&text, &len);
	int r = out ? put_command(out, body, err) : 0;

	if (!out || fclose(out) != 0) {
		free(text);
		return error_set(err, ENOMEM, "cannot keep a command");
	}
	if (r < 0)
		free(text);
	else
		*command = text;
	return r;
}
