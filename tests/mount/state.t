#!/bin/bash
# Python keeps its state from run to run; bash is a fresh shell each time.
. "$(dirname "$0")/lib.sh"
sandbox one two

python one <<'CODE'
import os, json
total = 1
def add(n):
    global total
    total += n
    return total
CODE
is "$(echo 'print(add(41))' > one/exec; cat one/stdout)" 42 "functions and globals stay"
is "$(echo 'print(json.dumps([total]))' > one/exec; cat one/stdout)" "[42]" "and imports"
is "$(echo 'print(total)' > two/exec; cat two/exit; cat two/stderr | tail -n 1)" \
	$'1\nNameError: name \'total\' is not defined' "another sandbox knows nothing of it"

echo 'total + 1' > one/exec
is "$(cat one/stdout)" "" "the value of a last expression is not echoed"
is "$(echo 'import asyncio; await asyncio.sleep(0); print("awaited")' > one/exec; cat one/stdout)" \
	awaited "await works at the top level"

echo 'raise ValueError("no")' > one/exec
is "$(cat one/exit)" 1 "an exception is exit 1"
is "$(echo 'print(total)' > one/exec; cat one/stdout)" 42 "and leaves the state alone"
echo 'def broken(:' > one/exec
like "$(cat one/stderr)" SyntaxError "a syntax error says so"
is "$(cat one/exit)" 1 "and is exit 1"

echo 'v=1; cd /tmp; export v' > one/bash
is "$(cat one/exit)" 0 "bash runs"
is "$(echo 'echo "[$v]"' > one/bash; cat one/stdout)" "[]" "the next bash has no variables of it"
echo 'echo kept > /root/file' > one/bash
is "$(echo 'print(open("/root/file").read(), end="")' > one/exec; cat one/stdout)" kept \
	"but files are kept, for Python too"
not_ok "and do not exist in the other" python two <<'CODE'
open("/root/file")
CODE

echo reset > one/ctl
echo 'print(total)' > one/exec
is "$(cat one/exit)" 1 "after a reset the old state is gone"
is "$(echo 'print(open("/root/file").read(), end="")' > one/exec; cat one/stdout)" kept \
	"and files are still there"
done_testing
