#!/bin/bash
# A fork is a twin of the running machine: memory, files and the run that goes on.
. "$(dirname "$0")/lib.sh"
sandboxes+=(promoted demo/forks/late demo/forks/x/forks/y demo/forks/x demo)
within 30 mkdir demo

ok "a machine that still starts can be forked: mkdir waits for it" \
	within "$wait_limit" mkdir demo/forks/late
is "$(echo 'print(6 * 7)' > demo/forks/late/exec; cat demo/forks/late/stdout)" 42 \
	"and the fork works"

python demo <<'CODE'
import random, socket, uuid
values = list(range(100000))
open("/root/file", "w").write("before\n")
CODE
ok "mkdir forks a running machine" within "$wait_limit" mkdir demo/forks/x
is "$(echo 'print(len(values), sum(values))' > demo/forks/x/exec; cat demo/forks/x/stdout)" \
	"100000 4999950000" "the fork has its parent's memory"
is "$(echo 'cat /root/file' > demo/forks/x/bash; cat demo/forks/x/stdout)" before "and its files"

python demo <<< 'values.append("parent"); open("/root/file", "w").write("parent\n")'
python demo/forks/x <<< 'values.append("child"); open("/root/file", "w").write("child\n")'
look='print(values[-1], open("/root/file").read().strip())'
is "$(echo "$look" > demo/exec; cat demo/stdout)" "parent parent" "the parent goes its own way"
is "$(echo "$look" > demo/forks/x/exec; cat demo/forks/x/stdout)" "child child" "and so does the fork"

# Nothing that should be unique is the same in both.
ask='print(socket.gethostname(), open("/etc/machine-id").read().strip(),
	random.getrandbits(64), uuid.uuid4(), open("/proc/sys/kernel/random/uuid").read().strip())'
echo "$ask" > demo/exec
echo "$ask" > demo/forks/x/exec
read -r -a mine < <(cat demo/stdout)
read -r -a its < <(cat demo/forks/x/stdout)
is "${mine[0]} ${its[0]}" "demo x" "each has its own hostname"
for i in 1 2 3 4; do
	not_ok "and its own $(echo machine-id random uuid4 kernel-random | cut -d ' ' -f $i)" \
		[ "${mine[$i]}" = "${its[$i]}" ]
done
not_ok "and its own id" [ "$(value demo/status id)" = "$(value demo/forks/x/status id)" ]
is "$(value demo/forks/x/status parent)" "$(value demo/status id)" "status names the parent"
is "$(value demo/forks/x/status generation)" 1 "and the generation"

ok "a fork can be forked" within "$wait_limit" mkdir demo/forks/x/forks/y
is "$(echo "$look" > demo/forks/x/forks/y/exec; cat demo/forks/x/forks/y/stdout)" "child child" \
	"and has what its parent had"

fails_with EEXIST "a name that exists: EEXIST" mkdir demo/forks/x
fails_with EINVAL "a bad name: EINVAL" mkdir 'demo/forks/a b'
fails_with EBUSY "a sandbox with forks stays: EBUSY" rmdir demo/forks/x
ok "forks are listed" [ "$(echo demo/forks/*)" = "demo/forks/late demo/forks/x" ]
ok "a fork can be promoted" mv demo/forks/x/forks/y promoted
ok "then its parent can be removed" within 30 rmdir demo/forks/x
is "$(echo "$look" > promoted/exec; cat promoted/stdout)" "child child" "which does it no harm"

# A run that goes on does so in both; output is neither lost nor told twice.
cat > "$scratch/count" <<'CODE'
import time
for i in range(200):
    print(i, flush=True)
    time.sleep(0.05)
CODE
command cat "$scratch/count" > promoted/exec
printed() { [ "$(stat -c %s promoted/stdout)" -gt 10 ]; }
wait_for "$wait_limit" printed
number=$(value promoted/status run)
ok "a machine in the middle of a run can be forked" within "$wait_limit" mkdir promoted/forks/z
sandboxes=(promoted/forks/z "${sandboxes[@]}")
is "$(cat promoted/stdout)" "$(seq 0 199)" "the run goes on in the parent"
is "$(cat "promoted/forks/z/runs/$number/stdout")" "$(seq 0 199)" \
	"and in the fork, whose record has all of it, once"
is "$(cat promoted/forks/z/exit)" 0 "and ends there too"

vmctl kill "$(value promoted/status vm)" 9 > "$scratch/killed"
ok "the parent is killed" wait_for 30 state_is promoted dead
is "$(echo 'print(values[-1])' > promoted/forks/z/exec; cat promoted/forks/z/stdout)" child \
	"and its fork lives on"
fails_with EIO "a dead machine cannot be forked: EIO" mkdir promoted/forks/no
like "$(cat promoted/error)" dead "and error says why"
done_testing
