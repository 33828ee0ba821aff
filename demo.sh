#!/usr/bin/env bash
# A first minute with Candor: a broker, a plain 3.1.1 client and an extended one, and a refusal that says why.
# Everything runs on this machine and ends by itself.
set -euo pipefail
cd "$(dirname "$0")"
cargo build --quiet -p candor-broker -p candor-client
target=${CARGO_TARGET_DIR:-target}/debug
broker=$target/candor-broker candor=$target/candor
folder=$(mktemp -d)
trap 'kill "$pid" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$folder"' EXIT

cat > "$folder/rules.toml" <<'RULES'
[[rule]]
name = "everybody may use the demo, but not its secrets"
action = "deny"
publish = ["demo/secret/#"]

[[rule]]
name = "the rest is open"
action = "allow"
publish = ["#"]
subscribe = ["#"]
RULES

"$broker" --listen mqtt://127.0.0.1:0 --rules-file "$folder/rules.toml" --data-dir "$folder/data" --log error > "$folder/listening" &
pid=$!
until grep -qs '^listening' "$folder/listening"; do kill -0 "$pid"; done
url=$(sed -n 's/^listening //p' "$folder/listening" | head -n 1)
echo "== the broker serves at $url; what it declares:"
"$candor" probe "$url" | sed '/^  limits/,$d'

echo; echo "== a plain 3.1.1 subscriber, an extended publisher with metadata"
"$candor" sub --url "$url" --dialect 3.1.1 -q 1 -t 'demo/#' -v -C 1 -W 10 > "$folder/plain" &
plain=$!
"$candor" sub --url "$url" --json -q 1 -t 'demo/#' -C 1 -W 10 > "$folder/extended" &
extended=$!
until [ -s "$folder/plain" ] && [ -s "$folder/extended" ]; do
  "$candor" pub --url "$url" -q 1 -t demo/hello -m 'good morning' --prop content-type=text/plain > /dev/null
done
wait "$plain" "$extended"
echo "plain:    $(cat "$folder/plain")"
echo "extended: $(cat "$folder/extended")"

echo; echo "== a publish that is refused, extended: the reason arrives and the connection lives"
"$candor" pub --url "$url" -q 1 -t demo/secret/x -m no || echo "(exit status $?)"
echo; echo "== the same in 3.1.1: no acknowledgement is sent for a message that was not taken"
"$candor" pub --url "$url" --dialect 3.1.1 -q 1 -t demo/secret/x -m no || echo "(exit status $?)"
