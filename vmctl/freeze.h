/*
 * The requests about frozen machines: freeze, save, thaw, drop, images.
 *
 * Theory of operation
 *
 * To freeze a VM its streams are held, as for a fork (channel.h), and its process writes it
 * to a file. When the client has had the last byte of the VM the file gets its name, the
 * client its reply, and the VM ends. Whatever goes wrong before frees the request, and the
 * VM runs on.
 *
 * A VM that was made of a file is seen by nobody before its process says that it has found
 * the file good, and runs it.
 */
#pragma once

#include "util/error.h"

#include <jansson.h>

struct broker;
struct client;
struct request;
struct vmproc;

/**
 * freeze_begin() - write @vm to the store and end it, for @client, the owner of its
 * channel.
 * @image: the name of the snapshot.
 * @base:  the name of one to compare with; nothing happens by it if it is not there. A VM
 *	   that was made of a file is compared with what that was compared with.
 *
 * Return: 0 or -errno with @err filled.
 */
int freeze_begin(struct client *client, json_t *seq, struct vmproc *vm, const char *image,
		 const char *base, struct error *err);

/** freeze_save() - write the memory of @vm, which is parked and stays so, to compare others
 * with. At once if there is a snapshot of that name. Return: as freeze_begin(). */
int freeze_save(struct client *client, json_t *seq, struct vmproc *vm, const char *image,
		struct error *err);

/** freeze_thaw() - make a VM of a snapshot, which stays. Return: as freeze_begin(). */
int freeze_thaw(struct client *client, json_t *seq, const char *image, const char *name,
		const char *group, struct error *err);

/** freeze_drop() - forget a snapshot, and what is needed by it alone. */
int freeze_drop(struct broker *broker, const char *image, struct error *err);

/** freeze_answer() - the VM's process has answered. Return: 0 or -EPROTO. */
int freeze_answer(struct request *request, json_t *message);

/** freeze_started() - the guest of @vm, which is made of a snapshot, runs. */
void freeze_started(struct vmproc *vm);

/** freeze_dead() - @vm, which was to be made of a snapshot, has died; it is to be freed. */
void freeze_dead(struct vmproc *vm);

/** freeze_tidy() - a VM that needed the snapshot @base is gone, or a snapshot that did. */
void freeze_tidy(struct broker *broker, const char *base);

/** freeze_tidy_all() - the memories that were saved for machines that there are not. */
void freeze_tidy_all(struct broker *broker);

/** freeze_undo() - @vm was being frozen for a client that has not been told so: it runs on.
 */
void freeze_undo(struct vmproc *vm);

/** freeze_end() - the request is about to be freed. */
void freeze_end(struct request *request);
