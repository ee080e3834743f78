#!/bin/bash
# Blocking reads can be waited for, polled, interrupted and refused, as on any file.
. "$(dirname "$0")/lib.sh"
sandbox demo
printf 'import time\nfor i in range(1000):\n print(i, flush=True)\n time.sleep(0.2)\n' > demo/exec
ok "a slow run begins" wait_for "$wait_limit" test -s demo/stdout

timeout "$wait_limit" tail -n 100 -f demo/stdout > "$scratch/tail" 2>&1 &
tail=$!
ok "tail -f shows lines as they come" wait_for 60 grep -qx 3 "$scratch/tail"
ok "and more of them" wait_for 60 grep -qx 8 "$scratch/tail"
kill "$tail"
wait "$tail" 2> "$scratch/ignored"
ok "and ends when it is told to" test ! -d "/proc/$tail"

within 2 cat demo/exit > "$scratch/exit"
is "$?" 124 "timeout cat ends a read that waits"
is "$(command cat "$scratch/exit")" "" "which gave nothing"
is "$(pgrep -fc "cat $PWD/demo/exit" || true)" 0 "no process is stuck in it"

fails_with EAGAIN "O_NONBLOCK does not wait for exit" read-nonblock demo/exit
ok "poll tells when there is more to read" within "$wait_limit" python3 - <<'CODE'
import os, select
fd = os.open("demo/stdout", os.O_RDONLY | os.O_NONBLOCK)
poll = select.poll()
poll.register(fd, select.POLLIN)
lines = 0
while lines < 3:
    assert poll.poll(60000), "poll() told of nothing"
    try:
        lines += os.read(fd, 65536).count(b"\n") > 0
    except BlockingIOError:
        pass
exits = os.open("demo/exit", os.O_RDONLY)
poll = select.poll()
poll.register(exits, select.POLLIN)
assert not poll.poll(500), "poll() told of an exit that has not come"
CODE
ok "epoll and select see the end of the run" within "$wait_limit" python3 - <<'CODE'
import os, select, threading
fd = os.open("demo/exit", os.O_RDONLY)
epoll = select.epoll()
epoll.register(fd, select.EPOLLIN)
assert not epoll.poll(0.5)
def interrupt():
    with open("demo/ctl", "w") as ctl:
        ctl.write("interrupt\n")
threading.Timer(1, interrupt).start()
assert epoll.poll(60), "epoll told of nothing"
assert select.select([fd], [], [], 0)[0] == [fd]
assert os.read(fd, 10).strip().isdigit()
CODE
ok "a signal interrupts a read" within "$wait_limit" python3 - <<'CODE'
import os, signal
class Came(Exception): pass
def raise_it(*_): raise Came
with open("demo/bash", "w") as bash: bash.write("sleep 5")
signal.signal(signal.SIGALRM, raise_it)
signal.setitimer(signal.ITIMER_REAL, 1)
try:
    open("demo/exit").read()
    raise SystemExit("the read was not interrupted")
except Came:
    pass
CODE
is "$(cat demo/exit)" 0 "and harms no run"
is "$(within 10 tail -n 1 demo/runs/1/output | wc -l)" 1 "tail without -f works on what is kept"
size=$(stat -c %s demo/runs/1/stdout)
is "$(cat demo/runs/1/stdout | wc -c)" "$size" "stat knows its size"
done_testing
