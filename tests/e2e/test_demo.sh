#!/bin/bash
# The demonstration with a few steps: with MiniLM, with a backbone of our own, and interrupted.
# needs: assets venv long
# timeout: 900
set -u
cd "$(dirname "$0")/../.." || exit 1
export PYTHON=${PYTHON:-/usr/bin/python3} PEFTSCALE=${PEFTSCALE:-build/peftscale} RANKS=2
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failures=0
complain() {
  echo "FAIL: $*"
  failures=$((failures + 1))
}
if [ ! -f "${PEFTSCALE_ASSETS:-/nonexistent}/minilm-l6/tokenizer.json" ]; then
  echo "PEFTSCALE_ASSETS has no minilm-l6"
  exit 77
fi
wordnet=/usr/share/wordnet
[ -n "${WNHOME:-}" ] && wordnet=$WNHOME/dict
if [ ! -f "$wordnet/data.verb" ]; then
  echo "there is no WordNet (Debian: wordnet-base)"
  exit 77
fi
export PEFTSCALE_DATA="$work/prepared data"

# check_results DIR MODEL: one row per method with all seeds, numbers that can be true, and a report that names every method.
check_results() {
  "$PYTHON" - "$1" "$2" "$("$PEFTSCALE" list methods --json)" <<'PY'
import csv
import json
import sys

folder, model, listed = sys.argv[1:]
methods = [method["name"] for method in json.loads(listed)["methods"]]
with open(f"{folder}/table.csv", encoding="utf-8", newline="") as file:
    rows = {row["method"]: row for row in csv.DictReader(file)}
assert sorted(rows) == sorted(methods), f"methods in table.csv: {sorted(rows)}, not {sorted(methods)}"
for name, row in rows.items():
    def value(column):
        return float(row[column])
    assert row["model"] == model, f"{name}: model {row['model']}"
    assert row["metric"] == "accuracy" and row["ranks"] == "2" and row["seeds"] == "1 2 3" and row["runs"] == "3", row
    assert 0.01 < value("test_mean") < 0.9 and 0.01 < value("validation_mean") < 0.9, f"{name}: {row['test_mean']}"
    assert value("sent_bytes_with_head") >= value("sent_bytes") + 4 * value("head") and value("head") > 0, f"{name}: bytes"
trained = {name: int(row["trainable"]) for name, row in rows.items()}
assert trained["full"] > 10 * trained["lora"] > trained["head"] == 0, trained
with open(f"{folder}/report.html", encoding="utf-8") as file:
    report = file.read()
assert report.rstrip().endswith("</html>") and report.count("<svg") >= 3, "no whole report, or no figures in it"
assert all(f">{name}" in report or f" {name}" in report for name in methods), "a method is not in the report"
PY
}

# ---- MiniLM ----

results="$work/with minilm"
mkdir -p "$results"
echo kept >"$results/notes.txt"
# As after a download: the weights lie in the cache.
cached() { env -u PEFTSCALE_ASSETS "PEFTSCALE_CACHE=$PEFTSCALE_ASSETS" PEFTSCALE_OFFLINE=1 "$@"; }
DEMO_RESULTS=$results DEMO_STEPS=4 cached bash experiments/quickstart/demo.sh >"$work/minilm.log" 2>&1 || complain "the demonstration ended with status $?: $(tail -n 5 "$work/minilm.log")"
check_results "$results" minilm-l6 || complain "results with MiniLM"
[ -e "$results/notes.txt" ] || complain "another file was removed"
grep -q 'Left out' "$work/minilm.log" && complain "something was left out of the table"
awk 'length > 100 && / (ms|s) +[0-9.]+ % / { bad = 1 } END { exit bad }' "$work/minilm.log" || complain "the table is wider than 100 columns"
before=$(stat -c %y "$results/runs"/*.h5)
DEMO_RESULTS=$results DEMO_STEPS=4 cached bash experiments/quickstart/demo.sh >"$work/again.log" 2>&1 || complain "the second time it ended with status $?: $(tail -n 5 "$work/again.log")"
[ "$before" = "$(stat -c %y "$results/runs"/*.h5)" ] || complain "what was done was done again"

# ---- no weights ----

# The backbone is made here: that of the project may be a whole one.
bash experiments/wordnet-backbone/make.sh "$work/own" 6 >"$work/backbone.log" 2>&1 || complain "no backbone: $(tail -n 5 "$work/backbone.log")"
[ -f "$work/own/backbone/model.safetensors" ] || complain "no exported backbone"
results="$work/own/results"
env -u PEFTSCALE_ASSETS PEFTSCALE_CACHE="$work/empty" PEFTSCALE_OFFLINE=1 DEMO_RESULTS="$results" DEMO_STEPS=4 \
  bash experiments/quickstart/demo.sh "model.path=$work/own/backbone" >"$work/own.log" 2>&1 || complain "without weights the demonstration ended with status $?: $(tail -n 5 "$work/own.log")"
check_results "$results" wordnet-small || complain "results with the backbone of our own"
grep -q 'backbone of its own' "$work/own.log" || complain "it does not say that it makes its own backbone"
env -u PEFTSCALE_ASSETS PEFTSCALE_CACHE="$work/empty" PEFTSCALE_OFFLINE=1 "$PYTHON" experiments/support/get_minilm.py >"$work/out" 2>"$work/err"
code=$?
if [ $code != 3 ] || [ -s "$work/out" ] || [ "$(wc -l <"$work/err")" != 1 ]; then complain "get_minilm without weights: status $code, $(cat "$work/out" "$work/err")"; fi

# A spoilt file is not used.
mkdir -p "$work/spoilt"
cp -r "$PEFTSCALE_ASSETS/minilm-l6" "$work/spoilt/"
chmod -R u+w "$work/spoilt"
echo >>"$work/spoilt/minilm-l6/config.json"
PEFTSCALE_ASSETS="$work/spoilt" PEFTSCALE_CACHE="$work/empty" PEFTSCALE_OFFLINE=1 "$PYTHON" experiments/support/get_minilm.py >"$work/out" 2>&1
code=$?
if [ $code != 3 ] || ! grep -q 'config.json is not the published file' "$work/out"; then complain "get_minilm with a spoilt file: status $code, $(cat "$work/out")"; fi

# ---- interrupted ----

DEMO_RESULTS="$work/stopped" DEMO_STEPS=100000 setsid bash experiments/quickstart/demo.sh >"$work/stopped.log" 2>&1 &
demo=$!
for _ in $(seq 120); do
  compgen -G "$work/stopped/runs/*.h5.partial" >/dev/null && break
  sleep 0.5
done
sleep 1
kill -TERM "$demo"
wait "$demo"
code=$?
[ $code = 143 ] || complain "ended by SIGTERM it gave status $code, not 143"
for _ in $(seq 20); do
  pgrep -s "$demo" >/dev/null || break
  sleep 0.5
done
if pgrep -s "$demo" >/dev/null; then complain "processes are left: $(pgrep -a -s "$demo")"; fi
[ -e "$work/stopped/report.html" ] && complain "an interrupted demonstration wrote a report"

[ $failures = 0 ] || exit 1
echo "the demonstration works with MiniLM, without weights, and stops when told"
