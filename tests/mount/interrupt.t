#!/bin/bash
# interrupt ends a run and keeps the state; kill ends all that the run started.
. "$(dirname "$0")/lib.sh"
sandbox demo

said() { # said TEXT: stdout has it by now
	within 1 cat demo/stdout 2>/dev/null | grep -q "$1"
}

python demo <<< 'x = 41'
printf 'import time\nprint("waiting", flush=True)\ntime.sleep(1000)\n' > demo/exec
ok "a long run starts" wait_for "$wait_limit" said waiting
echo interrupt > demo/ctl
like "$(cat demo/stderr)" KeyboardInterrupt "interrupt is a KeyboardInterrupt"
is "$(cat demo/exit)" 130 "its exit is 130"
is "$(echo 'print(x + 1)' > demo/exec; cat demo/stdout)" 42 "the state is kept"

printf 'try:\n print("waiting", flush=True)\n while True: pass\nexcept KeyboardInterrupt:\n print("caught")\n' > demo/exec
ok "a busy loop starts" wait_for "$wait_limit" said waiting
echo interrupt > demo/ctl
is "$(cat demo/stdout)" $'waiting\ncaught' "code can catch it"
is "$(cat demo/exit)" 0 "and end well"

echo 'trap "echo trapped; exit 3" INT; echo waiting; while :; do sleep 0.1; done' > demo/bash
ok "bash starts" wait_for "$wait_limit" said waiting
echo interrupt > demo/ctl
is "$(cat demo/exit)" 3 "bash gets SIGINT"
is "$(cat demo/stdout)" $'waiting\ntrapped' "and can trap it"

echo 'trap "" INT TERM; sleep 1000 & echo $! > /tmp/child; echo waiting; wait' > demo/bash
ok "a stubborn run starts" wait_for "$wait_limit" said waiting
echo kill > demo/ctl
is "$(cat demo/exit)" 137 "kill is SIGKILL"
echo 'kill -0 "$(cat /tmp/child)" 2>/dev/null && echo alive || echo gone' > demo/bash
is "$(cat demo/stdout)" gone "for all that the run started"

printf 'print("waiting", flush=True)\nwhile True: pass\n' > demo/exec
ok "Python loops" wait_for "$wait_limit" said waiting
echo kill > demo/ctl
is "$(cat demo/exit)" 137 "kill ends Python"
is "$(echo 'print("again")' > demo/exec; cat demo/stdout)" again "and a new one takes its place"

printf 'print("waiting", flush=True)\nimport time; time.sleep(1000)\n' > demo/exec
ok "a run starts" wait_for "$wait_limit" said waiting
echo 'print("next")' > demo/exec
is "$(cat demo/status | grep -c '^state running')" 1 "another waits behind it"
echo interrupt > demo/ctl
is "$(cat demo/stdout)" next "and runs when it was interrupted"
like "$(cat demo/runs/$(($(value demo/status run) - 1))/stderr)" KeyboardInterrupt \
	"which only the one before it was"
done_testing
