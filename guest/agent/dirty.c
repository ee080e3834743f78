/*
 * Theory of operation
 *
 * ext4 tells its tracepoint of each change of an inode, before it is in the journal. A BPF
 * program is attached to that, for all CPUs at once, though the perf event is of one. It
 * leaves out the other file systems by their device, and kernel workers: they bring to
 * the disk what was written long before, which is a change of the inode, too, but none of
 * the file. (A loop device would write by a worker: see guest/files/since.c.)
 *
 * An inode is noted by an update that holds the lock of its bucket, rather than in place:
 * one that is being dropped at that moment is there again.
 */
#include "guest/agent/dirty.h"

#include "guest/agent/log.h"
#include "guest/agent/tracing.h"
#include "util/cleanup.h"

#include <errno.h>
#include <linux/bpf.h>
#include <linux/magic.h>
#include <linux/perf_event.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#define MINORBITS 20 /* of a dev_t of the kernel's, include/linux/kdev_t.h */

/* Of the tracepoint's record, include/trace/events/ext4.h: dev_t dev; ino_t ino. */
#define RECORD_DEV 8
#define RECORD_INO 16

/* Of the program's stack, below r10. */
#define COMM  (-16)
#define INO   (-24)
#define TIME  (-32)
#define STATE (-40)

#define INSN(c, d, s, o, i)                                                                \
	{                                                                                  \
		.code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i)        \
	}
#define MOV(d, s)	     INSN(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 0, 0)
#define MOV_IMM(d, i)	     INSN(BPF_ALU64 | BPF_MOV | BPF_K, d, 0, 0, i)
#define ADD_IMM(d, i)	     INSN(BPF_ALU64 | BPF_ADD | BPF_K, d, 0, 0, i)
#define LOAD32(d, s, o)	     INSN(BPF_LDX | BPF_MEM | BPF_W, d, s, o, 0)
#define LOAD64(d, s, o)	     INSN(BPF_LDX | BPF_MEM | BPF_DW, d, s, o, 0)
#define STORE64(d, o, s)     INSN(BPF_STX | BPF_MEM | BPF_DW, d, s, o, 0)
#define ADD64(d, o, s)	     INSN(BPF_STX | BPF_ATOMIC | BPF_DW, d, s, o, BPF_ADD)
#define STORE32_IMM(d, o, i) INSN(BPF_ST | BPF_MEM | BPF_W, d, 0, o, i)
#define WIDE(d, s, v)                                                                      \
	INSN(BPF_LD | BPF_IMM | BPF_DW, d, s, 0, (int32_t)(uint32_t)(v)),                  \
	    INSN(0, 0, 0, 0, (int32_t)(uint32_t)((uint64_t)(v) >> 32))
#define MAP(d, fd)     WIDE(d, BPF_PSEUDO_MAP_FD, (uint32_t)(fd))
#define CALL(f)	       INSN(BPF_JMP | BPF_CALL, 0, 0, 0, f)
#define IF_EQ(d, s, o) INSN(BPF_JMP | BPF_JEQ | BPF_X, d, s, o, 0)
#define IF_NE(d, s, o) INSN(BPF_JMP | BPF_JNE | BPF_X, d, s, o, 0)
#define IF_ZERO(d, o)  INSN(BPF_JMP | BPF_JEQ | BPF_K, d, 0, o, 0)
#define GOTO(o)	       INSN(BPF_JMP | BPF_JA, 0, 0, o, 0)
#define EXIT	       INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)

static int make_map(uint32_t type, uint32_t key, uint32_t room, uint32_t flags)
{
	union bpf_attr attr = {0};

	attr.map_type = type;
	attr.key_size = key;
	attr.value_size = sizeof(uint64_t);
	attr.max_entries = room;
	attr.map_flags = flags;
	return dirty_bpf(BPF_MAP_CREATE, &attr, sizeof(attr));
}

static int load(const struct dirty *dirty, uint32_t device)
{
	uint64_t worker;
	union bpf_attr attr = {0};

	memcpy(&worker, "kworker/", sizeof(worker));
	const struct bpf_insn program[] = {
	    /* 0: is it the upper layer's device? */
	    MOV(6, 1),
	    LOAD32(1, 6, RECORD_DEV),
	    WIDE(2, 0, device),
	    IF_NE(1, 2, 36),
	    /* 5: who is it? */
	    MOV(1, 10),
	    ADD_IMM(1, COMM),
	    MOV_IMM(2, 16),
	    CALL(BPF_FUNC_get_current_comm),
	    LOAD64(1, 10, COMM),
	    WIDE(2, 0, worker),
	    IF_EQ(1, 2, 28),
	    /* 13: inodes[ino] = now */
	    LOAD64(1, 6, RECORD_INO),
	    STORE64(10, INO, 1),
	    CALL(BPF_FUNC_ktime_get_ns),
	    MOV(7, 0),
	    STORE64(10, TIME, 7),
	    MAP(1, dirty->inodes),
	    MOV(2, 10),
	    ADD_IMM(2, INO),
	    MOV(3, 10),
	    ADD_IMM(3, TIME),
	    MOV_IMM(4, BPF_ANY),
	    CALL(BPF_FUNC_map_update_elem),
	    MOV(8, 0),
	    /* 27: state[noted]++, or state[lost] = now */
	    STORE32_IMM(10, STATE, DIRTY_NOTED),
	    IF_ZERO(8, 1),
	    STORE32_IMM(10, STATE, DIRTY_LOST),
	    MAP(1, dirty->state),
	    MOV(2, 10),
	    ADD_IMM(2, STATE),
	    CALL(BPF_FUNC_map_lookup_elem),
	    IF_ZERO(0, 5),
	    IF_ZERO(8, 2),
	    STORE64(0, 0, 7),
	    GOTO(2),
	    MOV_IMM(1, 1),
	    ADD64(0, 0, 1),
	    /* 41: */
	    MOV_IMM(0, 0),
	    EXIT,
	};

	attr.prog_type = BPF_PROG_TYPE_TRACEPOINT;
	attr.insns = (uint64_t)(uintptr_t)program;
	attr.insn_cnt = sizeof(program) / sizeof(program[0]);
	attr.license = (uint64_t)(uintptr_t) "GPL";
	return dirty_bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
}

/* The event stays as long as its descriptor, which nobody closes. */
static int attach(int program)
{
	int event = tracing_number("ext4/ext4_mark_inode_dirty");
	struct perf_event_attr attr = {
	    .type = PERF_TYPE_TRACEPOINT,
	    .size = sizeof(attr),
	    .config = (uint64_t)event,
	    .sample_period = 1,
	};
	cleanup_close int fd = -1;

	if (event < 0)
		return event;
	fd = (int)syscall(SYS_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);
	if (fd < 0 || ioctl(fd, PERF_EVENT_IOC_SET_BPF, program) < 0 ||
	    ioctl(fd, PERF_EVENT_IOC_ENABLE, 0) < 0)
		return -errno;
	steal_fd(&fd);
	return 0;
}

static int begin(struct dirty *dirty, uint32_t device)
{
	cleanup_close int program = -1;
	int begun, r;

	dirty->inodes =
	    make_map(BPF_MAP_TYPE_HASH, sizeof(uint64_t), DIRTY_MAX, BPF_F_NO_PREALLOC);
	dirty->state = make_map(BPF_MAP_TYPE_ARRAY, sizeof(uint32_t), DIRTY_STATES, 0);
	if (dirty->inodes < 0 || dirty->state < 0)
		return dirty->inodes < 0 ? dirty->inodes : dirty->state;
	program = load(dirty, device);
	begun = program < 0 ? program : tracing_begin();
	r = begun < 0 ? begun : attach(program);
	tracing_end(begun);
	return r;
}

static void forget(struct dirty *dirty)
{
	if (dirty->inodes >= 0)
		close(dirty->inodes);
	if (dirty->state >= 0)
		close(dirty->state);
	*dirty = (struct dirty){-1, -1};
}

struct dirty dirty_init(int upper)
{
	struct dirty dirty = {-1, -1};
	struct statfs fs;
	struct stat st;
	int r = -EOPNOTSUPP;

	if (upper < 0)
		return dirty;
	if (fstatfs(upper, &fs) == 0 && fs.f_type == EXT4_SUPER_MAGIC &&
	    fstat(upper, &st) == 0)
		r = begin(&dirty, major(st.st_dev) << MINORBITS | minor(st.st_dev));
	if (r < 0) {
		log_say("changes of files cannot be noted: %s", strerror(-r));
		forget(&dirty);
	}
	return dirty;
}
