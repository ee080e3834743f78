#!/bin/bash
# A stranger's first session works as README shows it.
. "$(dirname "$0")/lib.sh"
sandboxes+=(demo)

ok "mkdir makes a sandbox" within 30 mkdir demo
echo 'x = 41' > demo/exec
is "$(echo 'print(x + 1)' > demo/exec; cat demo/stdout)" 42 "a run sees what the one before it left"
is "$(cat demo/exit)" 0 "its exit code is 0"
is "$(cat demo/stderr)" "" "and nothing was on stderr"

said=$(echo 'uname -a; ls /' > demo/bash; cat demo/stdout; cat demo/exit)
like "$said" '^Linux demo ' "bash says where it runs, and that is not here"
like "$said" $'\nbin\n' "and what is there"
like "$said" $'\n0$' "and ends well"

ok "rmdir ends it" within 30 rmdir demo
not_ok "and it is gone" test -e demo
is "$(ls | grep -cx demo)" 0 "from the list too"
done_testing
