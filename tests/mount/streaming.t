#!/bin/bash
# Output can be read while the run goes on, and ends when it ends.
. "$(dirname "$0")/lib.sh"
sandbox demo
cat > demo/exec <<'CODE'
import sys, time
print("first", flush=True)
print("problem", file=sys.stderr, flush=True)
time.sleep(1000)
CODE
exec 3< demo/stdout
IFS= read -r -t "$wait_limit" line <&3
is "$line" first "a line can be read while the run goes on"
is "$(value demo/status state)" running "which status says"
is "$(value demo/runs/1/status state)" running "and the run's own"
exec 4< demo/stderr
IFS= read -r -t "$wait_limit" line <&4
is "$line" problem "stderr comes by itself, live too"
is "$(within 2 cat demo/exit; echo $?)" 124 "exit waits while the run goes on"

echo interrupt > demo/ctl
is "$(within "$wait_limit" cat <&3)" "" "after the end there is the end of file"
like "$(within "$wait_limit" cat <&4)" KeyboardInterrupt "on stderr after what it said last"
exec 3<&- 4<&-

# Much output with a slow reader: nothing is lost, nothing stalls.
echo 'for i in range(200000): print(i)' > demo/exec
is "$(cat demo/exit)" 0 "a run does not wait for its reader"
is "$(cat demo/stdout | sha256sum)" "$(seq 0 199999 | sha256sum)" "who then gets all of it"
is "$(cat demo/stdout | tail -n 1)" 199999 "every time"

# The two streams come through two pipes: what is apart in time stays in order.
cat > demo/exec <<'CODE'
for i in range(3):
    print("o", i, flush=True); time.sleep(0.3)
    print("e", i, file=sys.stderr, flush=True); time.sleep(0.3)
CODE
is "$(cat demo/output)" "$(printf 'o 0\ne 0\no 1\ne 1\no 2\ne 2')" "output has both streams as they came"
is "$(cat demo/stdout)" "$(printf 'o 0\no 1\no 2')" "stdout its own lines"
is "$(cat demo/stderr)" "$(printf 'e 0\ne 1\ne 2')" "and stderr its own"
done_testing
