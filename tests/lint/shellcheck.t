#!/bin/bash
# Every shell script is free of what shellcheck finds.
. "$(dirname "$0")/lint.sh"
need shellcheck
mapfile -t files < <(shell_scripts)
lint_each shellcheck shellcheck -x -P SCRIPTDIR -P . FILE --- "${files[@]}"
