/*
 * Stdin of runs: what writers have given, sent as the guest takes it.
 */
#include "pffs/core/guest/guest_parts.h"

#include "pffs/core/fork.h"
#include "pffs/core/record/freeze.h"
#include "pffs/core/record/journal.h"

#include <errno.h>

void guest_stdin_pump(struct feed *feed)
{
	struct run *run = feed->run;
	struct sandbox *sb = run ? run->sandbox : NULL;
	uint8_t piece[16384];
	size_t from;

	if (!sb || sb->making || sb->current != run || feed->ended || fork_in_flight(sb) ||
	    freeze_holds(sb))
		return;
	if (sb->freeze || sb->state == SANDBOX_STORED) {
		if ((feed->window && feed->sent < feed->bytes.size) ||
		    (!feed->writers && !feed->awaited))
			freeze_use(sb);
		return;
	}
	from = sb->channel.out.len;
	while (feed->window && feed->sent < feed->bytes.size) {
		size_t room = feed->window < sizeof(piece) ? feed->window : sizeof(piece);
		ssize_t n = stream_read(&feed->bytes, feed->sent, piece, room);

		if (n <= 0 || agent_put(&sb->channel.out, sb->epoch, run->guest_id,
					AGENT_STDIN, piece, (size_t)n) < 0)
			break;
		feed->sent += (uint64_t)n;
		feed->window -= (uint32_t)n;
	}
	stream_drop(&feed->bytes, feed->sent);
	if (!feed->writers && !feed->awaited && feed->sent == feed->bytes.size) {
		agent_put(&sb->channel.out, sb->epoch, run->guest_id, AGENT_STDIN_EOF, NULL,
			  0);
		feed->ended = true;
	}
	journal_said(sb, from);
	vmm_flush(&sb->channel);
}

struct feed *guest_stdin_next(struct sandbox *sb)
{
	if (sb->next_feed)
		return sb->next_feed;
	sb->next_feed = feed_new();
	if (sb->next_feed && !sb->ahead) {
		sb->ahead = feed_ref(sb->next_feed);
		sb->ahead->ahead_of = sb;
	}
	return sb->next_feed;
}

void guest_stdin_settled(struct feed *feed)
{
	if (!feed->ahead_of)
		return;
	feed->ahead_of->ahead = NULL;
	feed->ahead_of = NULL;
	feed_unref(feed);
}

static struct feed *add_writer(struct feed *feed)
{
	feed->writers++;
	feed->awaited = false;
	journal_feed(feed);
	return feed_ref(feed);
}

struct feed *guest_stdin_of(struct run *run)
{
	return add_writer(run->feed);
}

struct feed *guest_stdin_open(struct sandbox *sb)
{
	struct run *run = sb->current ? sb->current : sandbox_newest(sb);
	struct feed *feed;

	if (run && run->state != RUN_ENDED) {
		feed = run->feed;
	} else {
		feed = guest_stdin_next(sb);
	}
	return feed ? add_writer(feed) : NULL;
}

int guest_stdin_write(struct feed *feed, const void *data, size_t len, struct error *err)
{
	int r;

	if (feed->ended)
		return error_say(err, EPIPE,
				 "nobody reads this stdin any more: open stdin before the "
				 "run starts, and write before it ends");
	r = stream_append(&feed->bytes, data, len);
	if (r < 0)
		return error_set(err, -r, "cannot keep what waits on stdin");
	journal_stdin(feed, data, len);
	guest_stdin_pump(feed);
	return 0;
}

void guest_stdin_close(struct feed *feed)
{
	feed->writers--;
	journal_feed(feed);
	guest_stdin_pump(feed);
	feed_unref(feed);
}
