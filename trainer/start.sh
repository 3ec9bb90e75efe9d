#!/bin/sh
# Starts the job of the box whose folder is $1, once: sets up Python by uv from wheels, then trainer.prepare goes on.
# POSIX sh and util-linux's flock only; everything that fails is written as the box's last word (work/result.json).
BOX=$1
cd "$BOX" || exit 3
mkdir -p work
exec 9>>.job.lock
flock -w 3 9 || exit 0 # it runs already; the lock is held by whatever this script becomes (a poll holds it for an instant)
rm -f work/result.json work/stop
PATH=$HOME/.local/bin:$HOME/.cargo/bin:$PATH
export PATH UV_NO_PROGRESS=1 UV_PYTHON_PREFERENCE=system

unfit() {
    printf '{"v":1,"exit_code":24,"reason":"%s"}' "$1" >work/.result.tmp && mv work/.result.tmp work/result.json
    exit 24
}

command -v uv >/dev/null || curl -LsSf https://astral.sh/uv/install.sh 2>>work/setup.log | sh >>work/setup.log 2>&1
command -v uv >/dev/null || python3 -m pip install --user --quiet uv >>work/setup.log 2>&1
command -v uv >/dev/null || unfit "uv could not be installed on the instance; see setup.log"
if [ ! -x env/bin/python ]; then
    uv venv --quiet --python '>=3.11,<3.14' env >>work/setup.log 2>&1 || unfit "no Python 3.11 to 3.13 could be had on the instance; see setup.log"
fi
PYTHONPATH=$BOX exec env/bin/python -P -m trainer.prepare "$BOX"
