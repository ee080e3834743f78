/*
 * The agent protocol: pffs <-> the guest's agent, over the VM's agent port.
 *
 * Theory of operation
 *
 * Frames: a header of 12 bytes (payload length u32, stream u32, type u8, zero
 * u8, epoch u16) and the payload. A stream is one run; its id is the host's
 * choice and never 0. Frames of stream 0 concern the whole guest.
 *
 * A guest that is ready sends AGENT_READY; the host answers with AGENT_WAKE.
 * To run code, the host sends AGENT_RUN, which states the code's length, and
 * the code in AGENT_CODE frames; the run starts with the last byte. The guest
 * answers AGENT_STARTED, then AGENT_STDOUT and AGENT_STDERR as bytes come, then
 * exactly one AGENT_EXIT. The host
 * feeds AGENT_STDIN within the window AGENT_STDIN_WINDOW, which AGENT_STDIN_TAKEN
 * refills, and ends it by AGENT_STDIN_EOF. AGENT_SIGNAL and AGENT_STDIN* for a
 * run that has ended are ignored: they crossed its end on the way.
 *
 * Frames carry the epoch of their sender. An epoch begins with AGENT_WAKE, which
 * also tells a forked machine who it is now; AGENT_AWAKE says that it has become
 * that: identity, clock, and fresh entropy for everything that has a generator. A
 * machine whose files alone are of use is told to stop what runs in it instead.
 *
 * AGENT_HOLD stops what runs while files are changed that belong together; AGENT_HELD says
 * that it has. Who asks again before the time is over has more, without an answer.
 *
 * AGENT_LIMITS says what the programs of the guest may take, all of them together, from
 * now on; forks keep it. AGENT_OUT_OF_MEMORY comes before the exit of a run during which
 * the kernel killed a process because there was no memory.
 *
 * AGENT_CHANGES frames follow a run's exit, with its stream, and end by one entry that
 * says so; then its stream id is free for good. AGENT_FIGURE frames come before it.
 *
 * A terminal is a stream, too: those from AGENT_TERMINALS on. AGENT_TERMINAL opens one,
 * with a program in it. AGENT_STDIN is what is typed, with the window as of a run;
 * AGENT_STDOUT what is shown; AGENT_EXIT, once, the end of the program. The terminal stays,
 * with what that left behind, until AGENT_TERMINAL_CLOSE ends both; then its stream id is
 * free.
 *
 * A connection from outside to a port of the guest is a stream, too: those from AGENT_PORTS
 * to AGENT_TERMINALS. AGENT_PORT_OPEN asks for one to a TCP port of the guest's own
 * addresses, AGENT_PORT_OPENED says how that went. Then bytes go both ways: AGENT_STDIN
 * with its window to the guest, AGENT_STDOUT to the host, which gives room back by
 * AGENT_PORT_TAKEN. AGENT_STDIN_EOF and AGENT_PORT_EOF end one direction each.
 * AGENT_PORT_CLOSED comes when both have ended, or the connection broke; AGENT_PORT_CLOSE
 * gives it up, and has no answer. All end with the epoch.
 *
 * AGENT_FILES and its kin carry requests about files: wire/files.h has their payloads.
 *
 * The guest is hostile: the host trusts no field, and ends a guest whose bytes
 * are no frames.
 */
#pragma once

#include "util/buf.h"
#include "util/error.h"
#include "wire/cursor.h"

#include <stdbool.h>
#include <stdint.h>

#define AGENT_HEADER	   12
#define AGENT_PAYLOAD_MAX  (280u << 10) /* FILES_IO_MAX, two paths and some more */
#define AGENT_CODE_MAX	   (16u << 20)	/* bytes of code in one run */
#define AGENT_STDIN_WINDOW (64u << 10)	/* bytes of stdin on the way at most */
#define AGENT_ENTROPY	   64		/* bytes of fresh entropy in AGENT_WAKE */
#define AGENT_FIGURES	   64		/* of one run */
#define AGENT_FIGURE_MAX   (16u << 20)	/* bytes of one figure */
#define AGENT_NAME_MAX	   64
#define AGENT_ID_MAX	   40
#define AGENT_TERMINALS	   0x80000000u	/* streams of terminals, and none of runs */
#define AGENT_PORTS	   0x40000000u	/* of connections to ports, up to these */
#define AGENT_PORT_WINDOW  (128u << 10) /* bytes of one on the way to the host at most */
#define AGENT_COMMAND_MAX  4096		/* bytes of a terminal's command */

enum agent_type {
	/* host to guest */
	AGENT_WAKE = 1,
	AGENT_RUN = 2,
	AGENT_CODE = 3,
	AGENT_STDIN = 4,
	AGENT_STDIN_EOF = 5,
	AGENT_SIGNAL = 6,
	AGENT_RESET = 7,	/* replace the REPL by a new one */
	AGENT_FILES = 8,	/* a request about files */
	AGENT_FILES_CANCEL = 9, /* answer it, if it still waits */
	AGENT_HOLD = 10,	/* stop all processes for so many ms, u32; 0: go on */
	AGENT_TERMINAL = 11,	/* open one: struct agent_terminal */
	AGENT_TERMINAL_SIZE = 12,
	AGENT_TERMINAL_CLOSE = 13, /* SIGHUP, and soon SIGKILL to all that was started */
	AGENT_LIMITS = 14,	   /* what programs may take */
	AGENT_PORT_OPEN = 15,	   /* u16: connect to this TCP port of the guest's */
	AGENT_PORT_TAKEN = 16,	   /* u32: room for so many bytes more */
	AGENT_PORT_CLOSE = 17,	   /* nobody wants it any more */
	/* guest to host */
	AGENT_READY = 64,
	AGENT_STARTED = 65,
	AGENT_STDOUT = 66,
	AGENT_STDERR = 67,
	AGENT_EXIT = 68,
	AGENT_STDIN_TAKEN = 69,
	AGENT_RESET_DONE = 70, /* the new REPL answers */
	AGENT_AWAKE = 71, /* AGENT_WAKE has been done; u8, 1: FILES_MARK may be asked */
	AGENT_FILES_REPLY = 72,
	AGENT_FILES_CHANGED =
	    73,		    /* stream 0: numbers of watches, u32 each; UINT32_MAX: all */
	AGENT_CHANGES = 74, /* what a run changed: entries of enum agent_change */
	AGENT_FIGURE = 75,  /* its number, u32, and bytes of a PNG; none: that was all
			       of it; before AGENT_EXIT */
	AGENT_HELD = 76,    /* u8, 1: they have stopped; 0: one did not, and all go on */
	AGENT_OUT_OF_MEMORY = 77, /* the kernel killed for memory during a run */
	AGENT_PORT_OPENED = 78,	  /* u32: 0, or the errno of connect(2): that was all */
	AGENT_PORT_EOF = 79,	  /* the program sends no more */
	AGENT_PORT_CLOSED = 80,	  /* nothing follows */
};

/* In AGENT_CHANGES: this byte, and the path as a byte string; or this byte alone. */
enum agent_change {
	AGENT_CHANGES_END = 'E',     /* that was all; nothing of the run follows */
	AGENT_CHANGES_UNKNOWN = 'U', /* it could not be found out; the same */
	AGENT_CREATED = 'A',
	AGENT_DELETED = 'D',
	AGENT_MODIFIED = 'M',
};

enum agent_language {
	AGENT_PYTHON = 1, /* in the persistent REPL */
	AGENT_BASH = 2,	  /* a fresh bash */
	AGENT_SCRIPT = 3, /* executed as a file whose first line is #!interpreter */
};

enum agent_signal {
	AGENT_INTERRUPT = 1, /* SIGINT: KeyboardInterrupt in Python */
	AGENT_KILL = 2,	     /* SIGKILL to the run and all it started */
};

struct agent_frame {
	uint32_t stream;
	uint8_t type;
	uint16_t epoch;
	uint32_t len;
	const uint8_t *payload; /* inside the decoder's buffer */
};

struct agent_wake {
	uint16_t epoch;			/* of every frame from now on */
	uint64_t realtime_ns;		/* wall clock since 1970 */
	uint8_t entropy[AGENT_ENTROPY]; /* for the guest kernel's generator */
	char hostname[AGENT_NAME_MAX + 1];
	char id[AGENT_ID_MAX + 1]; /* "sbx_" and 32 hex digits */
	uint8_t frozen;		   /* 1: stop all processes, and become nobody else */
};

struct agent_run {
	uint8_t language;     /* enum agent_language */
	uint8_t stdin_open;   /* 0: the program sees end of file at once */
	uint32_t code_length; /* bytes, at most AGENT_CODE_MAX */
};

/* What all programs take together; 0: as much as there is. */
struct agent_limits {
	uint32_t memory_mib;
	uint32_t vcpus; /* they run on the first ones */
	uint32_t pids;	/* processes and threads */
	uint32_t disk_mib;
};

struct agent_exit {
	uint8_t signaled; /* 1: value is a signal number, 0: an exit code */
	uint8_t value;
};

/** agent_exit_code() - as a shell has it: 128 and the number of a signal. */
static inline int agent_exit_code(const struct agent_exit *status)
{
	return status->signaled ? 128 + status->value : status->value;
}

struct agent_size {
	uint16_t rows, cols;
};

struct agent_terminal {
	struct agent_size size;
	char command[AGENT_COMMAND_MAX + 1]; /* for bash; empty: a login shell */
};

/**
 * agent_next() - the first whole frame of @in.
 *
 * Return: 1 with @frame filled (then consume agent_frame_size() bytes of @in),
 * 0 when more bytes are needed, -EPROTO with @err filled when the bytes are not
 * a frame.
 */
int agent_next(const struct buf *in, struct agent_frame *frame, struct error *err);

/** agent_frame_size() - header and payload of a frame, in bytes. */
static inline size_t agent_frame_size(const struct agent_frame *frame)
{
	return AGENT_HEADER + frame->len;
}

/**
 * agent_put() - append one frame to @out.
 * @len: at most AGENT_PAYLOAD_MAX.
 * Return: 0 or -ENOMEM, -EMSGSIZE.
 */
int agent_put(struct buf *out, uint16_t epoch, uint32_t stream, enum agent_type type,
	      const void *payload, size_t len);

/** agent_put_header() - write the AGENT_HEADER bytes in front of @len bytes of payload. */
void agent_put_header(uint8_t *at, uint16_t epoch, uint32_t stream, enum agent_type type,
		      size_t len);

/* One encoder and one decoder for each payload with fields. Encoders return as
 * agent_put() does, decoders 0 or -EPROTO with @err filled. */
int agent_put_wake(struct buf *out, const struct agent_wake *wake);
int agent_get_wake(const struct agent_frame *frame, struct agent_wake *wake,
		   struct error *err);
int agent_put_run(struct buf *out, uint16_t epoch, uint32_t stream,
		  const struct agent_run *run);
int agent_get_run(const struct agent_frame *frame, struct agent_run *run,
		  struct error *err);
int agent_put_signal(struct buf *out, uint16_t epoch, uint32_t stream,
		     enum agent_signal signal);
int agent_get_signal(const struct agent_frame *frame, uint8_t *signal, struct error *err);
int agent_put_exit(struct buf *out, uint16_t epoch, uint32_t stream,
		   const struct agent_exit *status);
int agent_get_exit(const struct agent_frame *frame, struct agent_exit *status,
		   struct error *err);
int agent_put_stdin_taken(struct buf *out, uint16_t epoch, uint32_t stream, uint32_t bytes);
int agent_get_stdin_taken(const struct agent_frame *frame, uint32_t *bytes,
			  struct error *err);
int agent_put_limits(struct buf *out, uint16_t epoch, const struct agent_limits *limits);
int agent_get_limits(const struct agent_frame *frame, struct agent_limits *limits,
		     struct error *err);
int agent_put_hold(struct buf *out, uint16_t epoch, uint32_t msecs);
int agent_get_hold(const struct agent_frame *frame, uint32_t *msecs, struct error *err);
int agent_get_held(const struct agent_frame *frame, uint8_t *stopped, struct error *err);
int agent_put_size(struct buf *out, uint16_t epoch, uint32_t stream,
		   const struct agent_size *size);
int agent_get_size(const struct agent_frame *frame, struct agent_size *size,
		   struct error *err);
int agent_put_terminal(struct buf *out, uint16_t epoch, uint32_t stream,
		       const struct agent_size *size, const char *command);
int agent_get_terminal(const struct agent_frame *frame, struct agent_terminal *terminal,
		       struct error *err);

/** agent_is_port() - is @stream that of a connection to a port? */
static inline bool agent_is_port(uint32_t stream)
{
	return stream >= AGENT_PORTS && stream < AGENT_TERMINALS;
}

int agent_put_port_open(struct buf *out, uint16_t epoch, uint32_t stream, uint16_t port);
int agent_get_port_open(const struct agent_frame *frame, uint16_t *port, struct error *err);
int agent_put_port_taken(struct buf *out, uint16_t epoch, uint32_t stream, uint32_t bytes);
int agent_get_port_taken(const struct agent_frame *frame, uint32_t *bytes,
			 struct error *err);
int agent_put_port_opened(struct buf *out, uint16_t epoch, uint32_t stream,
			  uint32_t errnum);
int agent_get_port_opened(const struct agent_frame *frame, uint32_t *errnum,
			  struct error *err);
