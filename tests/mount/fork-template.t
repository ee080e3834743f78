#!/bin/bash
# Every sandbox is a fork of a template's machine, which boots once; and a sandbox that
# was set up by hand becomes a template.
. "$(dirname "$0")/lib.sh"

sandbox first
is "$(echo 'print(1)' > first/exec; cat first/stdout)" 1 "a sandbox of the default template"
is "$(value first/status parent)" templates/default "status names what it was forked from"
is "$(value first/status generation)" 0 "as the first generation"
sandbox second
is "$(value second/status state)" ready "the next one is ready when mkdir returns"
ask='import sys; print(id(sys))' # an address, random at each boot
echo "$ask" > first/exec
echo "$ask" > second/exec
is "$(cat first/stdout)" "$(cat second/stdout)" "because both come of one boot"
sandbox templates/default/forks/third
is "$(echo templates/default/forks/*)" templates/default/forks/third "templates/NAME/forks lists"
ok "what is there can be moved to the root" mv templates/default/forks/third third
sandboxes+=(third)
is "$(echo 'print(3)' > third/exec; cat third/stdout)" 3 "and goes on"

# known SANDBOX: a machine that has told its numbers once tells them again, however slow it is.
known() {
	grep -qs cpu_usec "$1/stats"
}
wait_for 30 known first
for key in cpu_usec memory_private memory_shared disk_bytes; do
	like "$(value first/stats $key)" '^[0-9]+$' "stats tell $key"
done
ok "a machine that runs needs memory" [ "$(value first/stats memory_private)" -gt 0 ]
is "$(value first/stats runs)" 2 "and they count runs"
is "$(value first/stats forks)" 0 "and forks"
ok "a fork of it" within "$wait_limit" mkdir first/forks/x
wait_for 30 known first/forks/x
is "$(value first/stats forks) $(value first/forks/x/stats runs)" "1 0" "is counted, and has had no runs"
fails_with EBUSY "a sandbox with forks stays: EBUSY" rmdir first
like "$(cat error)" "first has forks" "and the error of the root says why"
ok "the fork goes" within 30 rmdir first/forks/x

python first <<'CODE'
import decimal
table = {n: n * n for n in range(1000)}
open("/root/ready", "w").write("yes\n")
CODE
id=$(value first/status id)
echo 'import time; time.sleep(600)' > second/exec
fails_with EBUSY "a sandbox that runs is no template: EBUSY" rename second templates/busy
like "$(cat error)" "runs that have not ended" "and error says why"
fails_with EEXIST "nor one with the name of another: EEXIST" rename first templates/default
fails_with EINVAL "or with a bad one: EINVAL" rename first 'templates/a b'
ok "a sandbox is moved into templates" within "$wait_limit" mv first templates/warm
not_ok "and is no sandbox any more" [ -e first ]
is "$(value templates/warm/info sandbox)" "$id" "its info names it"
sandboxes+=(warm-1 templates/warm/forks/2 templates/warm)
ok "a sandbox is made of it" within "$wait_limit" mkdir templates/warm/forks/2
is "$(echo 'print(table[31], open("/root/ready").read(), end="")' > templates/warm/forks/2/exec
	cat templates/warm/forks/2/stdout)" "961 yes" "with its memory and its files"
is "$(value templates/warm/forks/2/status run)" 1 "and runs of its own"
is "$(value templates/warm/forks/2/status template)" warm "status names the template"
echo warm > templates/.default
ok "it can be the default" within "$wait_limit" mkdir warm-1
echo default > templates/.default
is "$(echo 'print(len(table))' > warm-1/exec; cat warm-1/stdout)" 1000 "of plain mkdir"
fails_with EBUSY "a template with forks in it stays: EBUSY" rmdir templates/warm
ok "they can be moved" mv templates/warm/forks/2 warm-2
sandboxes+=(warm-2)
ok "then the template can be removed" rmdir templates/warm
is "$(echo 'print(len(table))' > warm-2/exec; cat warm-2/stdout)" 1000 "which harms nobody"
fails_with EPERM "the template of an image stays: EPERM" rmdir templates/default
done_testing
