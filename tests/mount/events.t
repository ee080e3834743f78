#!/bin/bash
# events tells what happens to sandboxes, a JSON object a line.
. "$(dirname "$0")/lib.sh"
timeout "$wait_limit" cat events > "$scratch/all" &
sandbox demo quiet
timeout "$wait_limit" cat demo/events > "$scratch/demo" &
reader=$!
echo 'print(1)' > demo/exec
is "$(cat demo/exit)" 0 "a run"
id=$(value demo/status id)
told() { # told FILE PATTERN
	grep -q "$2" "$1"
}
ok "the sandbox's events tell of it" wait_for 30 told "$scratch/demo" '"run":1'
ok "so do all events" wait_for 30 told "$scratch/all" '"run":1'
fails_with EAGAIN "O_NONBLOCK at the end does not wait" drain-nonblock demo/events
within 30 rmdir demo
wait "$reader"
is "$?" 0 "the events of a sandbox end with it"
ok "every line is an object with time, event, sandbox and id" python3 - "$scratch/demo" "$id" <<'CODE'
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
assert lines
for line in lines:
    assert line["time"] and line["event"] and line["sandbox"] == "demo", line
    assert line["id"] == sys.argv[2], line
assert len({line["seq"] for line in lines}) == len(lines)
CODE
within 15 cat events > "$scratch/late"
ok "a late reader gets what came before" told "$scratch/late" "$id"
seq() { # seq FILE: of its last event
	sed -n 's/.*"seq":\([0-9]*\).*/\1/p' "$1" | tail -n 1
}
ok "who opens for writing as well can begin now, or after the last that he read" within "$wait_limit" python3 - "$(seq "$scratch/late")" <<'CODE'
import errno, json, os, sys
def begin(file, where):
    fd = os.open(file, os.O_RDWR | os.O_NONBLOCK)
    os.write(fd, where.encode())
    return fd
def told(fd):
    try:
        return [json.loads(line) for line in os.read(fd, 1 << 20).decode().splitlines()]
    except BlockingIOError:
        return []
last = int(sys.argv[1])
now, after, again = begin("events", "now\n"), begin("events", str(last + 1)), begin("events", "%d\n" % last)
assert told(now) == told(after) == []
assert [event["seq"] for event in told(again)] == [last]
own = begin("quiet/events", "1")
assert {event["sandbox"] for event in told(own)} == {"quiet"}
for bad in "then", "-1", "1 2", "\n", str(last + 1000), "9" * 30:
    try:
        os.write(own, bad.encode())
        raise AssertionError(bad)
    except OSError as error:
        assert error.errno == errno.EINVAL, error
assert told(own) == []
with open("quiet/exec", "w") as f: f.write("pass")
with open("quiet/exit") as f: assert f.read() == "0\n"
assert [event["event"] for event in told(now)] == ["run_started", "run_ended"]
assert [event["seq"] for event in told(after)] == [last + 1, last + 2]
assert len(told(own)) == 2
CODE
is "$({ echo now >&3; timeout 1 cat <&3; } 3<> events)" "" "in a shell, too"
ok "poll tells of a new event" within "$wait_limit" python3 - <<'CODE'
import os, select
fd = os.open("events", os.O_RDONLY | os.O_NONBLOCK)
def drain():
    try:
        while os.read(fd, 65536): pass
    except BlockingIOError: pass
drain()
poll = select.poll()
poll.register(fd, select.POLLIN)
assert not poll.poll(300)
with open("quiet/exec", "w") as f: f.write("pass")
assert poll.poll(60000)
assert os.read(fd, 65536).startswith(b"{")
CODE
done_testing
