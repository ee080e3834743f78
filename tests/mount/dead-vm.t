#!/bin/bash
# A virtual machine that dies: readers see what was written and then the end, nothing
# hangs, and only that sandbox is lost.
. "$(dirname "$0")/lib.sh"
sandbox demo other

python other <<< 'x = 41'
printf 'import time\nprint("written", flush=True)\ntime.sleep(1000)\n' > demo/exec
exec 3< demo/stdout
IFS= read -r -t "$wait_limit" line <&3
is "$line" written "a run goes on"
echo 'print("never")' > demo/exec
timeout "$wait_limit" cat demo/runs/1/exit > "$scratch/exit" &
reader=$!

ok "kill -9 for its process" vmctl kill "$(value demo/status vm)" 9
wait "$reader"
is "$(command cat "$scratch/exit")" 137 "a reader that waited for exit gets 137"
is "$(within "$wait_limit" cat <&3; echo "[$?]")" "[0]" "a reader of stdout gets the end of file"
exec 3<&-
is "$(cat demo/runs/1/stdout)" written "what was written is kept"
is "$(cat demo/exit)" 137 "a run that still waited in the queue ends with 137 too"
ok "status says dead" state_is demo dead
like "$(value demo/status reason)" '(kill|signal)' "and why"
fails_with EIO "a write to exec is EIO" write demo/exec 'print(1)'
like "$(cat demo/error)" 'dead' "with a sentence in error"
fails_with EIO "so is one to bash" write demo/bash 'true'
fails_with EIO "and to stdin" write demo/stdin 'x'
fails_with EIO "and to ctl" write demo/ctl 'interrupt'
ok "rmdir works" within 30 rmdir demo
not_ok "and it is gone" test -e demo
is "$(echo 'print(x + 1)' > other/exec; cat other/stdout)" 42 "the other sandbox noticed nothing"

sandbox demo
echo 'print("a new life")' > demo/exec
is "$(cat demo/stdout)" "a new life" "the same name can be made again"
echo 'echo going; sync; echo c > /proc/sysrq-trigger; sleep 1000' > demo/bash
is "$(cat demo/exit)" 137 "a guest whose kernel panics ends its run with 137"
ok "and is dead" wait_for 30 state_is demo dead
like "$(value demo/status reason)" '.' "for a reason"

sandbox off
echo 'echo b > /proc/sysrq-trigger; sleep 1000' > off/bash
ok "a guest that resets itself ends" wait_for "$wait_limit" state_is off dead
is "$(cat off/exit)" 137 "with 137"

# The machine of the template is lost, and lost once more while it boots again.
template_vm() {
	vm=$(vmctl list | awk '$7 == "default" && $8 == "default" && $2 == "running" { print $1 }')
	[ -n "$vm" ]
}
ok "the template has a machine" wait_for 30 template_vm
ok "which is killed" vmctl kill "$vm" 9
gone() { ! template_vm; }
wait_for 30 gone
sandbox starting
is "$(value starting/status state)" starting "a sandbox waits for it to boot again"
echo 'print("never")' > starting/exec
ok "the machine comes back" wait_for 30 template_vm
ok "and is killed before it is ready" vmctl kill "$vm" 9
is "$(cat starting/exit)" 137 "the run of the sandbox ends with 137"
ok "and it is dead" wait_for 30 state_is starting dead
like "$(value starting/status reason)" 'killed' "for that reason"
sandbox again
is "$(echo 'print(1)' > again/exec; cat again/stdout)" 1 "the next sandbox has a machine again"
is "$(echo 'print(x + 1)' > other/exec; cat other/stdout)" 42 "the other sandbox still noticed nothing"
done_testing
