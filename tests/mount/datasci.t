#!/bin/bash
# python-datasci has numpy, pandas and matplotlib in the REPL from the start.
. "$(dirname "$0")/lib.sh"
[ -d templates/python-datasci ] || skip_all "no template python-datasci: guest/images/build"
where=templates/python-datasci/forks
sandbox "$where/demo"
ok "mkdir in the template's forks makes one" test -d "$where/demo"
is "$(value "$where/demo/status" template)" python-datasci "of that template"
ok "and it can be moved to the root" mv "$where/demo" moved
sandboxes+=(moved)
echo 'print(np.arange(4).sum(), pd.Series([1, 2]).mean(), plt.get_backend().lower())' > moved/exec
is "$(cat moved/stdout)" '6 1.5 agg' "np, pd and plt are there"
is "$(cat moved/exit)" 0 "without an error"
is "$(cat moved/stderr)" "" "or a warning"
echo 'import scipy.linalg; print(round(scipy.linalg.det(np.eye(2) * 2)))' > moved/exec
is "$(cat moved/stdout)" 4 "scipy too"
python moved <<'CODE'
plt.plot([1, 2, 3])
plt.savefig("/tmp/figure.png")
CODE
is "$?" 0 "a figure is drawn"
is "$(echo 'head -c 8 /tmp/figure.png' > moved/bash; cat moved/stdout | od -An -tx1)" \
	" 89 50 4e 47 0d 0a 1a 0a" "as PNG"

# The session of README.md about forks.
sandboxes+=(twin/forks/1 twin/forks/2 twin/forks/3 twin/forks/4 twin/forks/5 twin/forks/x twin)
echo python-datasci > templates/.default
mkdir twin; echo 'import pandas as pd; df = pd.DataFrame({"a": range(10**6)})' > twin/exec
mkdir twin/forks/x
echo default > templates/.default
is "$(echo 'print(len(df))' > twin/forks/x/exec; cat twin/forks/x/stdout)" 1000000 "a twin has what the machine has"
echo 5 > twin/forks/.n
is "$(ls twin/forks | tr '\n' ' ')" "1 2 3 4 5 x " "five more at once"
is "$(echo 'print(len(df))' > twin/forks/5/exec; cat twin/forks/5/stdout)" 1000000 "which have it, too"
echo 'echo one > /root/one' > twin/forks/1/bash
echo 'echo two > /root/two' > twin/forks/2/bash
is "$(cat twin/forks/{1,2}/exit)" "0
0" "two forks write files"
echo files 1 2 > twin/merge
is "$(echo 'cat /root/one /root/two' > twin/bash; cat twin/stdout)" "one
two" "which are merged into it"
echo 'df = df.head(3)' > twin/forks/x/exec
echo x > twin/merge
is "$(echo 'print(len(df))' > twin/exec; cat twin/stdout)" 3 "and it becomes what one has become"
done_testing
