#!/bin/bash
# runs/N/changes: what a run created, deleted and modified, and nothing else.
. "$(dirname "$0")/lib.sh"
sandbox demo

bash_in demo 'mkdir /root/d; echo 1 > /root/d/a; echo 2 > /tmp/b'
is "$(cat demo/last/changes)" $'A root/d\nA root/d/a\nA tmp/b' "what a run made"
is "$(stat -c %s demo/last/changes)" 28 "its size is true"
first=$(readlink demo/last)

python demo <<< 'import os
open("/root/d/a", "a").write("more")
os.remove("/tmp/b")
os.remove("/etc/debian_version")
open("/etc/issue", "a").write("x")
open("/etc/issue.net", "r+").close()
open("/root/new\nline \"\xe9\"", "w").write("x")'
is "$(cat demo/last/changes)" 'D etc/debian_version
M etc/issue
M root/d/a
A "root/new\nline \"\303\251\""
D tmp/b' "modified, deleted, of the image, too; a copy that is equal is no change"
is "$(cat "demo/$first/changes")" $'A root/d\nA root/d/a\nA tmp/b' "an older run keeps its own"

bash_in demo 'cat /root/d/a > /dev/null; : > /run/x; echo > /dev/shm/y'
is "$(cat demo/last/changes)" "" "reading changes nothing, and /run and /dev are no files of the sandbox"

bash_in demo '(sleep 0.3; echo late > /root/late) > /dev/null 2>&1 < /dev/null &'
late_is_there() {
	bash_in demo 'test -e /root/late'
}
wait_for 30 late_is_there
bash_in demo 'echo own > /root/own'
is "$(cat demo/last/changes)" "A root/own" "what comes between two runs is no run's"

bash_in demo 'rm -r /usr/share/doc/bash; mkdir /usr/share/doc/bash; mv /root/d /root/e; chmod 600 /root/own'
lines=$(cat demo/last/changes)
is "$(grep -c '^D usr/share/doc/bash/' <<< "$lines")" "$(grep -c '^D usr' <<< "$lines")" \
	"of a directory that is made anew, what was in it is deleted"
is "$(grep -v ' usr/' <<< "$lines")" $'D root/d\nD root/d/a\nA root/e\nA root/e/a\nM root/own' \
	"a rename, and a mode"

echo 'import time; open("/root/slow", "w"); print("x", flush=True); time.sleep(10)' > demo/exec
within "$wait_limit" head -c 1 demo/stdout > /dev/null
n=$(readlink demo/last)
is "$(dd if="demo/$n/changes" iflag=nonblock status=none 2>&1 | grep -c 'temporarily unavailable')" 1 \
	"EAGAIN while it runs"
is "$(within "$wait_limit" cat "demo/$n/changes")" "A root/slow" "a reader waits for the end"

mkdir demo/forks/f
bash_in demo/forks/f 'echo > /root/in-fork'
is "$(cat demo/forks/f/last/changes)" "A root/in-fork" "in a fork"
echo 'import time; open("/root/before", "w").close(); print("x", flush=True); time.sleep(15); open("/root/after", "w").close()' > demo/exec
within "$wait_limit" head -c 1 demo/stdout > /dev/null
mkdir demo/forks/g
is "$(within "$wait_limit" cat "demo/forks/g/last/changes")" $'A root/after\nA root/before' \
	"of a run that goes on in a fork: from its start, in the parent"
rmdir demo/forks/*
done_testing
