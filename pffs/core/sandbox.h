/*
 * One sandbox: a virtual machine with a name, its runs, and what is said of it.
 *
 * Theory of operation: every sandbox is a fork (fork.h), of another one or of the
 * machine of a template (template.h). It may exist before its machine does; what
 * needs the machine waits in the run queue. When the
 * machine ends, by itself or from outside, every run that has not ended ends
 * with 137 and the sandbox is dead, until it gets another machine (merge.h), if it
 * ever does. sandbox_destroy() takes it
 * out of the world; open files may keep the structure for longer.
 */
#pragma once

#include "pffs/core/core.h"
#include "pffs/core/limits.h"
#include "pffs/core/net/net.h"
#include "pffs/core/resources.h"
#include "pffs/core/run.h"

#include <sys/types.h>

#define SANDBOX_NAME_MAX  64
#define SANDBOX_ID_LEN	  36   /* "sbx_" and 32 hex digits */
#define SANDBOX_RUNS_KEPT 1000 /* older runs are forgotten */
#define DIFF_PATHS_MAX	  65536u
#define EXIT_KILLED	  137 /* 128 + SIGKILL */
#define EXIT_TIMEOUT	  124

/*
 * A folder is a directory that sandboxes are in: the mount's root, the forks/ of a
 * template or the forks/ of a sandbox. Its key is never used for two of them. The
 * machines of templates are in a folder that nobody sees.
 */
typedef uint64_t folder_t;
#define FOLDER_ROOT	       ((folder_t)0)
#define FOLDER_TEMPLATE(index) ((folder_t)1 << 62 | (index))
#define FOLDER_FORKS(serial)   ((folder_t)1 << 63 | (serial))
#define FOLDER_HIDDEN	       ((folder_t)3 << 62)

enum sandbox_state {
	SANDBOX_STARTING,
	SANDBOX_READY,	/* the guest answers */
	SANDBOX_FROZEN, /* it stands still; it can be forked */
	SANDBOX_STORED, /* its machine is in a file, see freeze.h */
	SANDBOX_DEAD,
};

struct sandbox {
	struct link link; /* on core->sandboxes until destroyed */
	struct core *core;
	unsigned refs;
	bool gone;	 /* destroyed; the structure lives for open files */
	bool making;	 /* nobody sees it yet, but its name is taken */
	bool adrift;	 /* it is of a former pffs, and its machine has yet to be taken up:
			    attach.h */
	uint64_t serial; /* never used twice by one core */
	uint64_t event_count;
	folder_t folder; /* where its name belongs */
	char name[SANDBOX_NAME_MAX + 1];
	char id[SANDBOX_ID_LEN + 1];
	size_t template;		    /* index into core->templates */
	uint64_t image;			    /* that its machine was booted from, by
					       struct template's number of it */
	char parent_id[SANDBOX_ID_LEN + 1]; /* of the sandbox it is a fork of, or empty */
	unsigned generation;		    /* forks between it and its template */
	uid_t uid;
	gid_t gid;
	mode_t mode;			  /* of its directory, permission bits only */
	struct timespec created, changed; /* CLOCK_REALTIME */

	enum sandbox_state state;
	char reason[256]; /* why it is dead */
	struct error error;
	struct channel channel;
	uint32_t vm; /* 0 until vmctl has made it */
	int pid;     /* of the VM's process, as vmctl sees it */
	struct buf in;
	size_t handling;       /* bytes of the frame at the start of @in that is being dealt
				  with */
	uint64_t position;     /* while adrift: up to where its guest was heard */
	struct buf unsure;     /* likewise: frames to it that may not have arrived */
	uint64_t journal_size; /* of the file of journal.h, */
	uint64_t journal_start;	 /* and what it was when it was begun */
	uint64_t said_ns;	 /* when the guest was told what is in it last, */
	uint64_t typed_ns;	 /* and something of a terminal */
	int journal_fd;		 /* -1: none */
	bool booting;		 /* it was, and its agent has yet to say READY */
	uint16_t epoch;		 /* of the newest WAKE */
	uint16_t heard;		 /* of the newest AWAKE */
	unsigned fork_number;	 /* the newest that a fork got for a name */
	struct link forks;	 /* struct fork: those that vmctl has not made yet */
	struct fork *birth;	 /* the fork that makes it, until it has woken */
	bool notes_changes;	 /* its guest does: it can be asked for moments */
	bool fork_woke;		 /* one of it has, ever */
	struct lineage *lineage; /* of its machine, see lineage.h; NULL: unknown */
	struct twin *base;	 /* its fork point, see twin.h; or NULL */
	bool base_lost;		 /* it had one, and a former pffs has ended since */
	struct twin *twin;	 /* that this is the machine of; or NULL */
	struct freeze *freeze;	 /* while it is being frozen, or resumed; or NULL */
	unsigned saving;       /* of a template: how often vmctl writes it; no fork then */
	uint64_t stored_bytes; /* of the file that its machine is in, or was */
	struct merge *merge;   /* that it takes part in; see merge.h */
	struct merge_files *merge_files; /* likewise */
	struct hold *hold;		 /* while its programs stand still; or NULL */
	char *merge_report;		 /* of the last merge into it; or NULL */
	struct loop_timer limit; /* until ready; later: until a killed run has ended */

	struct link runs; /* in order of number */
	unsigned run_count;
	uint32_t last_number;
	struct run *current;	  /* the one in the guest */
	struct feed *next_feed;	  /* stdin of the run that comes next */
	struct feed *ahead;	  /* that, or of a run whose code is being written: what
				     the journal has of no run; or NULL */
	struct link terminals;	  /* terminal.h; in order of number */
	uint32_t last_terminal;	  /* the newest number of one */
	struct ports *ports;	  /* net/ports.h; NULL until there are any */
	uint64_t exec_timeout_ms; /* 0: none */
	struct limits limits;
	struct resources resources;
	struct net net;
	char *diff_paths; /* lines; NULL or empty: all */

	struct files *files;	   /* files.h; NULL until it is needed */
	struct usage_state *usage; /* usage.h; likewise */
};

/**
 * sandbox_new() - the structure alone, in the world, without a machine.
 * @folder:   where its name belongs.
 * @template: index into core->templates.
 *
 * Return: the sandbox (the core holds the reference), or NULL with @err filled.
 */
struct sandbox *sandbox_new(struct core *core, folder_t folder, const char *name,
			    size_t template, uid_t uid, gid_t gid, struct error *err);

/** sandbox_adopt_vm() - its machine is there, and has to become ready in time. */
void sandbox_adopt_vm(struct sandbox *sb, uint32_t vm, int pid, uint64_t limit_ms);

/** sandbox_take_machine() - lose one's own machine, and get that of @from. */
void sandbox_take_machine(struct sandbox *sb, struct sandbox *from);

/** sandbox_hide() - it is no sandbox any more but the machine of a template. */
void sandbox_hide(struct sandbox *sb);

/** sandbox_check_name() - may @name be made in @folder? Return: 0, -EINVAL, -EEXIST. */
int sandbox_check_name(struct core *core, folder_t folder, const char *name,
		       struct error *err);

/** sandbox_in_folder() - there are sandboxes there, or will be soon. */
bool sandbox_in_folder(const struct core *core, folder_t folder);

/** sandbox_count_forks() - those that can be seen in its forks/. */
unsigned sandbox_count_forks(const struct sandbox *sb);

/** sandbox_is_busy() - it has forks, runs that have not ended, or a merge. */
bool sandbox_is_busy(const struct sandbox *sb);

/** sandbox_add_run() - put a new run on the list; takes over its reference. */
void sandbox_add_run(struct sandbox *sb, struct run *run);

/** sandbox_restore_run() - likewise, one that had its place in the queue before. */
void sandbox_restore_run(struct sandbox *sb, struct run *run);

/** sandbox_move_run() - make a run of @from the newest one of @sb. */
void sandbox_move_run(struct sandbox *sb, struct sandbox *from, struct run *run);

/** sandbox_give_up_vm() - end its machine, which is of no more use. */
void sandbox_give_up_vm(struct sandbox *sb);

/** sandbox_let_go() - take it out of the world, and leave what is on disk. */
void sandbox_let_go(struct sandbox *sb);

/** sandbox_discard_vm() - end a machine that no sandbox has. */
void sandbox_discard_vm(struct core *core, uint32_t vm);

/** sandbox_destroy() - end the machine and take the sandbox out of the world. */
void sandbox_destroy(struct sandbox *sb);

/** sandbox_rename() - give it another name or folder. Return: 0, -EINVAL, -EEXIST. */
int sandbox_rename(struct sandbox *sb, folder_t folder, const char *name,
		   struct error *err);

struct sandbox *sandbox_find(struct core *core, folder_t folder, const char *name);
struct sandbox *sandbox_by_serial(struct core *core, uint64_t serial);

/** sandbox_is_shown() - it is neither hidden nor still being made. */
bool sandbox_is_shown(const struct sandbox *sb);

/** sandbox_is_known() - what is known of it is kept on disk: it is shown or will be, or it
 * is hidden and could not be made again. */
bool sandbox_is_known(const struct sandbox *sb);

/** sandbox_of_id() - also one that is not shown. */
struct sandbox *sandbox_of_id(struct core *core, const char *id);

/** sandbox_by_id() - one that is shown. */
struct sandbox *sandbox_by_id(struct core *core, const char *id);

/** sandbox_of_folder() - whose forks/ a folder is; NULL when it is no sandbox's. */
struct sandbox *sandbox_of_folder(struct core *core, folder_t folder);

struct sandbox *sandbox_ref(struct sandbox *sb);
void sandbox_unref(struct sandbox *sb);

/** sandbox_die() - the machine has ended or must: final. Ends every run. */
void sandbox_die(struct sandbox *sb, const char *reason);

/** sandbox_state_name() - "starting", "ready", "running", "frozen" or "dead". */
const char *sandbox_state_name(const struct sandbox *sb);

/** sandbox_fail() - keep @err as the newest error. Return: @err->code. */
int sandbox_fail(struct sandbox *sb, const struct error *err);

/** sandbox_event() - append an event about @sb; @fields is stolen. */
void sandbox_event(struct sandbox *sb, const char *event, json_t *fields);

/** sandbox_event_ended() - append the event of a run that has ended. */
void sandbox_event_ended(struct sandbox *sb, const struct run *run);

/**
 * sandbox_begin_run() - a new run, about to be written.
 * Return: it (the sandbox keeps one reference), or NULL with @err filled.
 */
struct run *sandbox_begin_run(struct sandbox *sb, enum agent_language language,
			      struct error *err);

/** sandbox_cancel_run() - forget a run whose code was never completed. */
void sandbox_cancel_run(struct run *run);

/** sandbox_submit_run() - its code is complete: queue it, start it when it can. */
void sandbox_submit_run(struct run *run);

/** sandbox_end_run() - a run of @sb has come to its end. */
void sandbox_end_run(struct sandbox *sb, struct run *run, int exit_code);

/** sandbox_newest() - the run with the highest number, or NULL. */
struct run *sandbox_newest(const struct sandbox *sb);

/** sandbox_run() - the run with that number, or NULL. */
struct run *sandbox_run(const struct sandbox *sb, uint32_t number);
