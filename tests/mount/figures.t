#!/bin/bash
# runs/N/figures: what matplotlib drew, as PNGs.
. "$(dirname "$0")/lib.sh"
[ -d templates/python-datasci ] || skip_all "there is no image with matplotlib"
within 60 mkdir templates/python-datasci/forks/plots || skip_all "no sandbox with matplotlib"
wait_limit=400 # to draw is slow in an emulated guest
sandboxes+=(templates/python-datasci/forks/plots)
demo=templates/python-datasci/forks/plots

is_png() {
	[ "$(head -c 8 "$1" | od -An -tx1 | tr -d ' \n')" = 89504e470d0a1a0a ] &&
		[ "$(tail -c 8 "$1" | od -An -tx1 | tr -d ' \n')" = 49454e44ae426082 ]
}

ok "a run draws" python $demo <<< 'import matplotlib.pyplot as plt
plt.plot([1, 2, 3]); plt.show()
plt.figure(figsize=(1, 1))
plt.figure(figsize=(2, 1))'
is "$(ls $demo/last/figures | tr '\n' ' ')" "1.png 2.png 3.png " "what it showed, and what it left open"
for n in 1 2 3; do
	ok "$n.png is a whole PNG" is_png $demo/last/figures/$n.png
done
is "$(stat -c %s $demo/last/figures/1.png)" "$(cat $demo/last/figures/1.png | wc -c)" "its size is true"
is "$(cat $demo/last/stderr)" "" "without a warning"
not_ok "figures are no changes" grep -q figure $demo/last/changes
run=$(readlink $demo/last)
sum=$(cat $demo/last/figures/1.png | sha256sum)

ok "the next run draws nothing" python $demo <<< 'print(plt.get_fignums())'
is "$(cat $demo/stdout)" "[]" "what was shown is closed"
is "$(ls $demo/last/figures)" "" "and has no figures"
is "$(cat "$demo/$run/figures/1.png" | sha256sum)" "$sum" "the figures of an older run stay"

echo 'import time; plt.plot([1]); plt.show(); print("shown", flush=True); time.sleep(60)' > $demo/exec
within "$wait_limit" head -c 5 $demo/stdout > /dev/null
ok "one that is shown is there while the run goes on" is_png $demo/last/figures/1.png
is "$(cat $demo/status | grep -c running)" 1 "which it does"
echo interrupt > $demo/ctl
cat $demo/exit > /dev/null
echo 'for i in range(70): plt.figure(figsize=(1, 1)); plt.show()' > $demo/exec
is "$(cat $demo/exit) $(ls $demo/last/figures | wc -l)" "0 64" "64 of a run are kept"

mkdir $demo/forks/f
ok "a fork draws, too" python $demo/forks/f <<< 'plt.plot([1])'
ok "its figure is a PNG" is_png $demo/forks/f/last/figures/1.png
rmdir $demo/forks/f
python $demo <<< 'import os
if os.fork() == 0: plt.plot([1]); os._exit(0)
os.wait()'
is "$(ls $demo/last/figures)" "" "a child process draws nothing for the run"
done_testing
