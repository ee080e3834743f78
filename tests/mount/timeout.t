#!/bin/bash
# config/exec_timeout ends a run that takes too long: exit 124.
. "$(dirname "$0")/lib.sh"
sandbox demo
is "$(cat demo/config/exec_timeout)" 0 "at first there is no limit"
python demo <<< 'import time'

echo 6.5 > demo/config/exec_timeout
is "$(cat demo/config/exec_timeout)" 6.5 "what is written can be read"
echo 'print("begun", flush=True); time.sleep(1000)' > demo/exec
is "$(cat demo/exit)" 124 "a run that takes longer ends with 124"
is "$(cat demo/stdout)" begun "what it wrote is there"
is "$(cat demo/stderr)" "pffs: killed after 6.5 s: its time limit; Python begins anew, without its variables" "stderr says what happened"
echo 'sleep 1000' > demo/bash
is "$(cat demo/exit)" 124 "bash too"
is "$(cat demo/stderr)" "pffs: killed after 6.5 s: its time limit" "which had no variables"
echo 60 > demo/config/exec_timeout
echo 'echo quick' > demo/bash
is "$(cat demo/exit)" 0 "a quick one is not touched"

echo 8 > demo/config/exec_timeout
echo 'sleep 9; echo slow' > demo/bash
echo 0 > demo/config/exec_timeout
is "$(cat demo/exit)" 0 "0 takes the limit off, for the run that goes on too"
is "$(cat demo/stdout)" slow "which ends by itself"

for bad in -1 x 1s '1 2' nan inf 1e999 ''; do
	[ -n "$bad" ] || continue
	fails_with EINVAL "\"$bad\" is no limit" write demo/config/exec_timeout "$bad"
	like "$(cat demo/error)" 'exec_timeout' "and error says so"
done
is "$(cat demo/config/exec_timeout)" 0 "the limit is as it was"
done_testing
