#include "vmctl/conlog.h"

#include <string.h>

void conlog_init(struct conlog *log)
{
	log->total = 0;
	pthread_mutex_init(&log->lock, NULL);
}

void conlog_write(struct conlog *log, const void *data, size_t len)
{
	const char *from = data;

	pthread_mutex_lock(&log->lock);
	if (len > CONLOG_SIZE) {
		from += len - CONLOG_SIZE;
		log->total += len - CONLOG_SIZE;
		len = CONLOG_SIZE;
	}
	while (len) {
		size_t at = log->total % CONLOG_SIZE, n = CONLOG_SIZE - at;

		if (n > len)
			n = len;
		memcpy(log->ring + at, from, n);
		log->total += n;
		from += n;
		len -= n;
	}
	pthread_mutex_unlock(&log->lock);
}

void conlog_text(struct conlog *log, char *text)
{
	pthread_mutex_lock(&log->lock);
	for (uint64_t i = log->total > CONLOG_SIZE ? log->total - CONLOG_SIZE : 0;
	     i < log->total; i++) {
		char c = log->ring[i % CONLOG_SIZE];

		if (c == '\r')
			continue;
		if ((c < ' ' || c >= 0x7f) && c != '\n' && c != '\t')
			c = '?';
		*text++ = c;
	}
	*text = '\0';
	pthread_mutex_unlock(&log->lock);
}
