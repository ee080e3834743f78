#include "pffs/api/parse.h"

#include "util/work.h"

#include <stdio.h>
#include <stdlib.h>

#define VALUES_MAX 100000u

struct parse {
	struct work work;
	struct buf text;
	parse_fn *done; /* NULL: nobody wants to know */
	void *ctx;
	json_t *json;
	json_error_t why;
	bool *over; /* tells parse_begin() that there was no thread to have */
};

/* Of each value jansson makes an object, which takes more than the text has. */
static bool has_too_many(const struct buf *text)
{
	const char *at = (const char *)buf_peek(text), *end = at + text->len;
	unsigned values = 0;
	bool quoted = false;

	for (; at < end && values <= VALUES_MAX; at++) {
		if (*at == '"')
			quoted = !quoted;
		else if (quoted && *at == '\\')
			at++;
		else if (!quoted)
			values += *at == ',' || *at == '[' || *at == '{';
	}
	return values > VALUES_MAX;
}

static json_t *load(const struct buf *text, json_error_t *why)
{
	if (has_too_many(text)) {
		snprintf(why->text, sizeof(why->text), "more than %u values", VALUES_MAX);
		return NULL;
	}
	return json_loadb((const char *)buf_peek(text), text->len, JSON_REJECT_DUPLICATES,
			  why);
}

static void run(struct work *work)
{
	struct parse *parse = container_of(work, struct parse, work);

	parse->json = load(&parse->text, &parse->why);
}

static void finish(struct work *work)
{
	struct parse *parse = container_of(work, struct parse, work);

	buf_fini(&parse->text);
	if (parse->done)
		parse->done(parse->ctx, parse->json, &parse->why);
	else
		json_decref(parse->json);
	if (parse->over)
		*parse->over = true;
	free(parse);
}

static void parse_now(struct buf *text, parse_fn *done, void *ctx)
{
	json_error_t why = {0};
	json_t *json = load(text, &why);

	buf_fini(text);
	done(ctx, json, &why);
}

struct parse *parse_begin(struct loop *loop, struct buf *text, parse_fn *done, void *ctx)
{
	bool over = false;
	struct parse *parse = text->len > PARSE_AT_ONCE ? calloc(1, sizeof(*parse)) : NULL;

	if (!parse) {
		parse_now(text, done, ctx);
		return NULL;
	}
	*parse = (struct parse){.text = *text, .done = done, .ctx = ctx};
	*text = (struct buf){0};
	parse->over = &over;
	work_begin(loop, &parse->work, run, finish);
	if (over)
		return NULL;
	parse->over = NULL;
	return parse;
}

void parse_cancel(struct parse *parse)
{
	if (parse)
		parse->done = NULL;
}
