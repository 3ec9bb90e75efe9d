# Ends this instance at the instant in FILE, by the instance's own key, whoever else is gone.
# First start: FILE is made with $1, unix seconds. A start after a reboot keeps it. The laptop may set it anew.
F=${2:-$HOME/.cloudtune-ends-at}
[ -s "$F" ] || { echo "$1" >"$F.new" && mv "$F.new" "$F"; }
v() { x=$(printenv "$1") || x=$(tr '\0' '\n' </proc/1/environ | sed -n "s/^$1=//p" | head -1); echo "$x"; }
while [ "$(date +%s)" -lt "$(cat "$F")" ]; do sleep 1; done
while :; do end; sleep 15; done
