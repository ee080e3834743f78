#!/bin/bash
# stdin feeds the program that runs; without a writer a program sees the end of file.
. "$(dirname "$0")/lib.sh"
sandbox demo

echo 'input()' > demo/exec
like "$(cat demo/stderr)" EOFError "without a writer input() sees the end of file"
echo 'cat; echo end' > demo/bash
is "$(cat demo/stdout)" end "so does a program of bash"

echo hi > demo/stdin
echo 'print(input() + "!")' > demo/exec
is "$(cat demo/stdout)" 'hi!' "what waits on stdin is for the next run"

{ echo 'cat -n' > demo/bash; echo one; echo two; } > demo/stdin
is "$(cat demo/stdout)" $'     1\tone\n     2\ttwo' "a writer that is there before the run feeds it to its close"

{
	echo 'while read -r line; do echo "got $line"; done; echo over' > demo/bash
	exec 5< demo/stdout
	echo a
	IFS= read -r -t "$wait_limit" line <&5
	echo "$line" > "$scratch/first"
	echo b
} > demo/stdin
is "$(command cat "$scratch/first")" "got a" "a program can answer before the next line comes"
is "$(within "$wait_limit" cat <&5)" $'got b\nover' "and sees the end when the writer closes"
exec 5<&-

head -c 1000000 /dev/urandom > "$scratch/data"
{ echo 'sha256sum | cut -c1-64' > demo/bash; command cat "$scratch/data"; } > demo/stdin
is "$(cat demo/stdout)" "$(sha256sum < "$scratch/data" | cut -c1-64)" "a million bytes arrive exact"

ok "a write after the run's end is EPIPE" within "$wait_limit" python3 - <<'CODE'
import errno, os, time
pipe = os.open("demo/stdin", os.O_WRONLY)
with open("demo/bash", "w") as bash:
    bash.write("true")
with open("demo/exit") as code:
    assert code.read() == "0\n"
try:
    os.write(pipe, b"too late\n")
    raise SystemExit("the write succeeded")
except OSError as e:
    assert e.errno == errno.EPIPE, e
CODE
fails_with EACCES "stdin cannot be read" read-nonblock demo/stdin
done_testing
