#!/bin/bash
# All that goes on in a machine goes on in its forks: clocks, timers, processes, threads,
# open files, pipes, sockets and registers.
. "$(dirname "$0")/lib.sh"
sandboxes+=(demo/forks/a demo/forks/b demo/forks/c)

# everywhere NAME WANT: the code prints the line WANT in all machines.
everywhere() {
	in_all
	is "$(command cat "$scratch/said")" "$(printf "%s $2\n" "${machines[@]}")" "$1"
}

sandbox demo
python demo <<'CODE'
import os, select, signal, socket, subprocess, sys, threading, time
from ctypes import CDLL, c_long
from queue import Queue

# A process that waits in read, a thread that waits for work.
cat = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
work, done = Queue(), Queue()
def worker():
    while True:
        done.put(work.get()())
threading.Thread(target=worker, daemon=True).start()

# A file in the middle, a deleted one, a pipe and sockets with something in them.
half_read = open("/root/file", "w+")
half_read.write("first\nsecond\n")
half_read.seek(6)
deleted = open("/root/deleted", "w+")
deleted.write("still here")
deleted.flush()
os.unlink("/root/deleted")
reader, writer = os.pipe()
os.write(writer, b"in the pipe")
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
peer = server.accept()[0]
client.sendall(b"in the socket")
waiting = socket.create_connection(server.getsockname())
CODE
is "$?" 0 "a machine in which much goes on"

# Timers that a fork has to be quicker than: when it was not, once more with more time.
for soon in 5 20 60; do
	python demo <<-CODE
	fired = Queue()
	armed = time.monotonic()
	signal.signal(signal.SIGALRM, lambda *_: fired.put("setitimer"))
	signal.setitimer(signal.ITIMER_REAL, $soon)
	threading.Timer($soon, fired.put, ["thread"]).start()
	timer_fd = CDLL(None).timerfd_create(time.CLOCK_MONOTONIC, 0)
	CDLL(None).timerfd_settime(timer_fd, 0, (c_long * 4)(0, 0, $soon, 0), None)
	sleeping = subprocess.Popen(["sleep", "$soon"])
	CODE
	ok "a fork before the timers fire" within "$wait_limit" mkdir demo/forks/a || done_testing
	pending=$(ask demo/forks/a <<< "print(time.monotonic() < armed + $soon)")
	[ "$pending" = False ] || break
	within 30 rmdir demo/forks/a
done
is "$pending" True "in which they are pending"
machines=(demo demo/forks/a)
everywhere "timers fire, once, and not before their time" "['setitimer', 'thread'] 1 0 True" <<CODE
names = sorted([fired.get(timeout=90), fired.get(timeout=90)])
select.select([timer_fd], [], [], 90)
expired = int.from_bytes(os.read(timer_fd, 8), "little")
print(names, expired, sleeping.wait(90), time.monotonic() >= armed + $soon)
CODE
everywhere "and not again" 0 <<< 'print(fired.qsize())'

# Processes that never rest while they are forked.
python demo <<'CODE'
def background(code):
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, text=True)

# Looks at the clocks without a pause until its stdin ends.
clock = background("""
import select, time
clocks = time.CLOCK_MONOTONIC, time.CLOCK_MONOTONIC_RAW, time.CLOCK_BOOTTIME
last, back = (0, 0, 0), 0
while not select.select([0], [], [], 0)[0]:
    now = [time.clock_gettime_ns(c) for c in clocks]
    back += any(n < l for n, l in zip(now, last))
    last = now
print(back)
""")

# Holds a pattern in xmm0 to xmm15, and compares without a pause until its stdin ends:
# hold(rdi: the pattern, rsi: room to look at what the registers hold, rdx: stop).
registers = background("""
import ctypes, mmap, os, sys, threading
loads = stores = bytes()
for n in range(16):
    rex = [0x44] * (n >= 8)
    at = (16 * n).to_bytes(4, "little")
    loads += bytes([0xf3, *rex, 0x0f, 0x6f, 0x87 | n % 8 << 3]) + at   # movdqu xmmN, [rdi + at]
    stores += bytes([0xf3, *rex, 0x0f, 0x7f, 0x86 | n % 8 << 3]) + at  # movdqu [rsi + at], xmmN
loop = stores + bytes.fromhex(
    "b801000000"      # mov eax, 1
    "b900010000"      # mov ecx, 256
    "5756f3a65e5f"    # push rdi; push rsi; repe cmpsb; pop rsi; pop rdi
    "750b"            # jne to the ret
    "31c0"            # xor eax, eax
    "803a00"          # cmp byte [rdx], 0
    "0f84")           # je to the first of the stores
loop += (-len(loop) - 4).to_bytes(4, "little", signed=True)
code = loads + loop + bytes.fromhex("c3")
room = mmap.mmap(-1, len(code), prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
room.write(code)
hold = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p)(
    ctypes.addressof(ctypes.c_char.from_buffer(room)))
stop = ctypes.create_string_buffer(1)
def wait():
    sys.stdin.read()
    stop[0] = 1
threading.Thread(target=wait).start()
print(hold(os.urandom(256), ctypes.create_string_buffer(256), stop))
""")
CODE
is "$?" 0 "busy processes"
before=$(ask demo <<< 'print(time.monotonic_ns())')
ok "a fork" within "$wait_limit" mkdir demo/forks/b || done_testing
ok "and another" within "$wait_limit" mkdir demo/forks/c || done_testing
machines=(demo demo/forks/b demo/forks/c)
everywhere "none of which ever saw a clock go back" 0 <<'CODE'
print(clock.communicate()[0].strip())
CODE
everywhere "registers hold what they held" 0 <<'CODE'
print(registers.communicate()[0].strip())
CODE
everywhere "monotonic time goes on from where it was in the parent" True <<CODE
print(time.monotonic_ns() > $before)
CODE

machines=(demo demo/forks/a demo/forks/b demo/forks/c)
everywhere "a process that waited in read reads" "b'a line'" <<'CODE'
cat.stdin.write(b"a line\n")
cat.stdin.flush()
print(cat.stdout.readline().strip())
CODE
everywhere "a thread that waited for work does it" 42 <<'CODE'
work.put(lambda: 6 * 7)
print(done.get())
CODE
everywhere "an open file has its offset" second <<< 'print(half_read.readline().strip())'
everywhere "a deleted one its content" "still here" <<< 'deleted.seek(0); print(deleted.read())'
everywhere "what was in a pipe is there" "in the pipe" <<< 'print(os.read(reader, 99).decode())'
everywhere "and in a socket" "in the socket" <<< 'print(peer.recv(99).decode())'
everywhere "and it goes on both ways" "there and back" <<'CODE'
client.sendall(b"there")
there = peer.recv(99)
peer.sendall(b" and back")
print((there + client.recv(99)).decode())
CODE
everywhere "a connection that waited to be accepted is" "welcome" <<'CODE'
server.accept()[0].sendall(b"welcome")
print(waiting.recv(99).decode())
CODE

# A machine that shares its processor may sleep for longer now and then, but never for less.
for machine in "${machines[@]}"; do
	slept=$(ask "$machine" <<-'CODE'
	naps = []
	while len(naps) < 20 and not any(nap <= 0.3 for nap in naps):
	    start = time.monotonic()
	    time.sleep(0.1)
	    naps.append(time.monotonic() - start)
	print(min(naps) >= 0.09 and min(naps) <= 0.3 or naps)
	CODE
	)
	is "$slept" True "$machine: sleep(0.1) takes 0.09 to 0.3 seconds"
done
for machine in "${machines[@]}"; do
	from=$(date +%s.%N)
	its=$(ask "$machine" <<< 'print(time.time())')
	like "$(awk -v from="$from" -v its="$its" -v to="$(date +%s.%N)" \
		'BEGIN { print (its > from - 2 && its < to + 2) ? "right" : its - from }')" \
		right "$machine: the wall clock is right"
done
done_testing
