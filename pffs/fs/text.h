/*
 * Files whose contents are a small text made when they are opened.
 */
#pragma once

#include "pffs/fs/handle.h"

/* file_ops members for such a file; add .render, and .store when it is writable. */
#define TEXT_OPS                                                                           \
	.open = text_open, .read = text_read, .write = text_write, .size = text_size

int text_open(struct handle *h, struct error *err);
ssize_t text_read(struct handle *h, uint64_t offset, char *to, size_t len);
int text_write(struct handle *h, const char *data, size_t len, struct error *err);
uint64_t text_size(const struct node *node);

/** text_words() - cut @text at its blanks. Return: how many words; @max at most are in
 * @words. */
size_t text_words(char *text, char **words, size_t max);
