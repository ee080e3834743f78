#include "pffs/api/runs.h"

#include "pffs/core/guest/guest.h"
#include "pffs/core/sandbox.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

static int find_language(const struct request *r, enum agent_language *language,
			 struct error *err)
{
	const char *name = "python";
	int result = request_text(r, "language", &name, err);

	if (result < 0)
		return result;
	*language = strcmp(name, "bash") == 0 ? AGENT_BASH : AGENT_PYTHON;
	if (*language == AGENT_BASH || strcmp(name, "python") == 0)
		return 0;
	return error_say(err, EINVAL, "language is python or bash, not \"%.40s\"", name);
}

static int find_timeout(const struct request *r, uint64_t *ms, struct error *err)
{
	const json_t *value = json_object_get(r->body, "timeout_seconds");
	double seconds = json_number_value(value);

	*ms = 0;
	if (!value || json_is_null(value))
		return 0;
	if (!json_is_number(value) || seconds < 0 || seconds > LIMIT_MAX_S)
		return error_say(err, EINVAL,
				 "timeout_seconds is to be a number of seconds, 0 for that "
				 "of the sandbox");
	*ms = (uint64_t)(seconds * 1000.0);
	if (seconds > 0 && !*ms)
		*ms = 1;
	return 0;
}

static int find_code(const struct request *r, const json_t **code, struct error *err)
{
	*code = json_object_get(r->body, "code");
	if (!json_is_string(*code))
		return error_say(err, EINVAL, "code is to be a string");
	if (json_string_length(*code) > AGENT_CODE_MAX)
		return error_say(err, EFBIG, "code is at most %u MiB",
				 AGENT_CODE_MAX >> 20);
	return 0;
}

/* A string is all of it. true: it comes by other requests (stdin.c). */
static int check_input(const struct request *r, struct error *err)
{
	const json_t *input = json_object_get(r->body, "stdin");

	return !input || json_is_null(input) || json_is_string(input) ||
		       json_is_boolean(input)
		   ? 0
		   : error_say(err, EINVAL, "stdin is to be a string, or true");
}

static void submit(struct run *run, const json_t *input)
{
	bool given = json_string_length(input) > 0;
	struct feed *feed = given ? guest_stdin_of(run) : NULL;
	struct error ignored; /* it has ended already */

	run->feed->awaited |= json_is_true(input);
	sandbox_submit_run(run);
	if (!feed)
		return;
	guest_stdin_write(feed, json_string_value(input), json_string_length(input),
			  &ignored);
	guest_stdin_close(feed);
}

struct run *runs_begin(struct request *r, struct error *err)
{
	enum agent_language language = AGENT_PYTHON;
	const json_t *code = NULL;
	struct run *run;
	uint64_t timeout = 0;
	int result = find_language(r, &language, err);

	if (result == 0)
		result = find_timeout(r, &timeout, err);
	if (result == 0)
		result = check_input(r, err);
	if (result == 0)
		result = find_code(r, &code, err);
	if (result < 0)
		return NULL;
	run = sandbox_begin_run(r->sb, language, err);
	if (!run)
		return NULL;
	run_ref(run);
	run->timeout_ms = timeout;
	result = run_write(run, json_string_value(code), json_string_length(code));
	if (result == 0) {
		submit(run, json_object_get(r->body, "stdin"));
		return run;
	}
	sandbox_cancel_run(run);
	run_unref(run);
	error_set(err, -result, "cannot keep the code");
	return NULL;
}
