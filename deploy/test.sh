#!/usr/bin/env bash
# make test and make long: the lints, then every test. The whole output is in target/test.log; the last line is
# "N passed, N failed, N skipped", summed over all test programs. Exit code 0 only if cargo says so, nothing
# failed and something ran. BASOCHE_LONG=1 makes the tests that count (seeds, kills, power cuts,
# deposits under loss) count higher.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

log=target/test.log
mkdir -p target

if ! deploy/lint.sh; then
    echo "the lints failed; no test was run"
    echo "0 passed, 1 failed, 0 skipped"
    exit 1
fi

status=0
cargo test --workspace --locked --no-fail-fast 2>&1 | tee "$log" || status=$?

# test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s
read -r passed failed skipped < <(
    sed -nE 's/.*test result: (ok|FAILED)\. ([0-9]+) passed; ([0-9]+) failed; ([0-9]+) ignored;.*/\2 \3 \4/p' "$log" |
        awk '{ passed += $1; failed += $2; skipped += $3 } END { print passed + 0, failed + 0, skipped + 0 }'
)
if ((status != 0 && failed == 0)); then
    echo "cargo test ended with $status although no test reports a failure (it did not compile, or a program died)"
    failed=1
fi
if ((passed + failed == 0)); then
    echo "no test was run"
    failed=1
fi
echo "$passed passed, $failed failed, $skipped skipped"
((failed == 0))
