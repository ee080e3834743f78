/*
 * Intrusive doubly linked list. A head is a link that points at itself.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct link {
	struct link *prev, *next;
};

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/** list_init() - make @head an empty list, or a link that is on no list. */
static inline void list_init(struct link *head)
{
	head->prev = head->next = head;
}

static inline bool list_empty(const struct link *head)
{
	return head->next == head;
}

/** list_add_before() - put @item before @pos; with the head as @pos: at the end. */
static inline void list_add_before(struct link *pos, struct link *item)
{
	item->prev = pos->prev;
	item->next = pos;
	pos->prev->next = item;
	pos->prev = item;
}

/** list_del() - take @item off its list; it is then a link on no list. */
static inline void list_del(struct link *item)
{
	item->prev->next = item->next;
	item->next->prev = item->prev;
	list_init(item);
}

/* Iteration that survives removal of the current item. */
#define list_for_each(var, head, type, member)                                             \
	for (struct link *it_ = (head)->next, *nx_ = it_->next;                            \
	     it_ != (head) && ((var) = container_of(it_, type, member), true);             \
	     it_ = nx_, nx_ = it_->next)
