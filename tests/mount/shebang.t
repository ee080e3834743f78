#!/bin/bash
# Code whose first line is #!interpreter runs under that, as a file would.
. "$(dirname "$0")/lib.sh"
sandbox demo

printf '#!/bin/sh\necho "$0" | grep -c . ; echo sh; exit 5\n' > demo/exec
is "$(cat demo/stdout)" $'1\nsh' "#!/bin/sh through exec"
is "$(cat demo/exit)" 5 "with its exit code"
printf '#!/usr/bin/env python3\nimport sys\nprint(sys.stdin.read() == "", "y" in globals())\ny = 1\n' > demo/exec
is "$(cat demo/stdout)" 'True False' "a fresh Python, with stdin at its end"
echo 'print("y" in globals())' > demo/exec
is "$(cat demo/stdout)" False "the REPL knows nothing of it"
printf '#!/usr/bin/perl -w\nprint "perl ", 6 * 7, "\\n";' > demo/exec
is "$(cat demo/stdout)" 'perl 42' "#!/usr/bin/perl with an argument"
printf '#!/bin/cat\nkept as it is: \\ $x\n' > demo/exec
is "$(cat demo/stdout)" $'#!/bin/cat\nkept as it is: \\ $x' "the code comes as written"
printf '#!/no/such/interpreter\nx\n' > demo/exec
like "$(cat demo/exit)" '^12[67]$' "an interpreter that is not there fails the run"
like "$(cat demo/stderr)" 'no/such/interpreter' "and stderr says which"
printf '#!/bin/sh\necho via bash\n' > demo/bash
is "$(cat demo/stdout)" 'via bash' "#! works through bash too"
is "$(echo 'print("still here")' > demo/exec; cat demo/stdout)" "still here" "the REPL goes on"
done_testing
