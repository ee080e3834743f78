/*
 * The network of a sandbox, as pffs knows it: its policy, and how loose that may get.
 *
 * Theory of operation
 *
 * A policy (wire/policy.h) is never changed: who sets something puts a changed copy in its
 * place, and vmctl is told (`policy`, docs/protocols.md), if the sandbox has a
 * machine. So the order of what vmctl is asked is the order of what happened, and a fork
 * that is asked for has the policy that was told before: vmctl gives it to the child, and
 * @told says so here, without a word more.
 *
 * The ceiling of a fork is the policy that its parent had when it was asked for. What is
 * set has to be within it; since that is true of the parent as well, it is so down to any
 * depth. What is made of an image has none. A sandbox takes policy and ceiling along
 * wherever it moves, and keeps them when it gets another machine by a merge.
 *
 * Nobody is connected that no policy was told of: the machine of a template gets the
 * default of the mount when it is parked, fork points and what else nobody sees `off`.
 */
#pragma once

#include "pffs/core/net/net_log.h"
#include "util/error.h"
#include "util/loop.h"
#include "wire/policy.h"

#include <jansson.h>
#include <stdio.h>

struct ca_trust;
struct core;
struct sandbox;

struct net {
	struct policy *policy;	/* reference */
	struct policy *ceiling; /* reference; NULL: none */
	struct policy *told; /* reference: what vmctl has for the machine; NULL: nothing */
	bool connected;	     /* says vmctl */
	bool changed;	     /* since it was written to the journal */
	struct loop_timer soon; /* until that, and until vmctl is told */
	struct ca_trust *trust; /* while the guest is given the CA; or NULL */
	bool wants_trust;	/* it is to be, when there is a machine again */
	struct net_log log;
};

/** net_init() - a sandbox that has nothing but the default of the mount. */
void net_init(struct sandbox *sb);

/** net_fini() - let go of all. */
void net_fini(struct sandbox *sb);

/** net_close() - @sb is nobody's sandbox, and has no business in a network. */
void net_close(struct sandbox *sb);

/** net_inherit() - @child is to be a fork of @parent. */
void net_inherit(struct sandbox *child, const struct sandbox *parent);

/** net_forked() - @child has a machine, which vmctl gave the policy @told. Tell it more, if
 * that is not the one of @child. @told: borrowed; NULL: none. */
void net_forked(struct sandbox *child, struct policy *told);

/** net_apply() - write the policy of @sb to the journal, and tell vmctl, if they lack it.
 */
void net_apply(struct sandbox *sb);

/** net_lost() - @sb has no machine now, or nobody knows what vmctl has for it. */
void net_lost(struct sandbox *sb);

/** net_away() - likewise, until net_resumed(). What its guest was being given comes then.
 */
void net_away(struct sandbox *sb);

/** net_resumed() - @sb has a machine again, of which nothing is known but that. */
void net_resumed(struct sandbox *sb);

/**
 * net_set_egress() - as written to net/egress: on, off or allow.
 * Return: 0, -EINVAL, or -EPERM when the ceiling is lower, with @err filled.
 */
int net_set_egress(struct sandbox *sb, const char *value, struct error *err);

/**
 * net_set_allow() - as written to net/allow.
 * @add: to what there is; otherwise in its place.
 * More may follow: vmctl is told soon, or by net_apply().
 * Return: 0, -EINVAL, -EFBIG, -EPERM with @err filled; nothing has changed then.
 */
int net_set_allow(struct sandbox *sb, const char *text, size_t len, bool add,
		  struct error *err);

/** net_set_secrets() - likewise, as written to net/secrets. */
int net_set_secrets(struct sandbox *sb, const char *text, size_t len, bool add,
		    struct error *err);

/** net_check() - may @sb have @policy? Return: 0, or -EPERM with @err filled. */
int net_check(const struct sandbox *sb, const struct policy *policy, struct error *err);

/**
 * net_set() - have another policy. vmctl is told soon, or by net_apply().
 * @policy: a reference is taken, and it is not changed any more.
 * Return: 0, or -EPERM with @err filled.
 */
int net_set(struct sandbox *sb, struct policy *policy, struct error *err);

/** net_trust() - @sb has secrets, or another machine: its programs have to trust the proxy,
 * if there are any secrets. One that is frozen is not resumed for that. */
void net_trust(struct sandbox *sb);

/** net_print_allow(), net_print_secrets() - as read, without the values of secrets. */
void net_print_allow(const struct sandbox *sb, FILE *out);
void net_print_secrets(const struct sandbox *sb, FILE *out);

/** net_print_status() - KEY VALUE lines. */
void net_print_status(const struct sandbox *sb, FILE *out);

/** net_heard() - what vmctl says of the network of @sb: the event `net`. */
void net_heard(struct sandbox *sb, const json_t *event);

/** net_record() - what is kept on disk of it, with the values of secrets. Return: new. */
json_t *net_record(const struct sandbox *sb);

/** net_restore() - take that up. What cannot be read is closed. */
void net_restore(struct sandbox *sb, const json_t *record);
