#!/usr/bin/env bash
# How an authority's entries come to count only once witnesses of all professions have seen them, by public commands alone:
# three nodes become witnesses, the policy names them, three authorities sign it in their first entries, and what the bar
# enrols counts once its checkpoint is cosigned. One witness away: two of three are enough. Two away: nothing is granted,
# and what is withdrawn counts all the same. Then a thief of the bar's keys shows one node another history: every node ends
# up with the proof, and the bar goes on under another key. OPERATIONS.md, "Witnesses", explains it; `make test` runs it.
# Usage: deploy/sample/quorum.sh DIRECTORY; the program is `basoche`, or $BASOCHE.
set -euo pipefail

: "${1:?usage: quorum.sh DIRECTORY}"
basoche=${BASOCHE:-basoche}
mkdir -p "$1"
cd "$1"
export BASOCHE_PASSPHRASE="a passphrase for trials"
names=(court bar company)
declare -A profession=([court]=court [bar]=bar [company]=expert-company) node=() process=()

say() { printf '\n== %s\n' "$*"; }
run() {
    printf '$ basoche %s\n' "$*" >&2
    "$basoche" "$@"
}
# The member $1 of the line of JSON on standard input.
member() { sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p" | tail -n 1; }
# What the node $1 says now of the certificate $2.
worth() { "$basoche" annuaire show --config "$1.toml" --json | sed "s/.*\"certificate\":\"$2\"//" | sed 's/}.*//' | member status; }
# Waits until "$@" is true.
until_true() {
    for _ in $(seq 300); do
        "$@" && return
        sleep 0.1
    done
    echo "not within 30 seconds: $*" >&2
    exit 1
}
# Writes the configuration of the node $1.
configure() {
    cat >"$1.toml" <<TOML
data = "$1-data"
listen = "127.0.0.1:$port"
addresses = ["127.0.0.1:$port"]
anchors = "anchors.json"
passphrase_file = "passphrase"
allow_private_addresses = true
TOML
    port=$((port + 1))
}
start() {
    "$basoche" node run --config "$1.toml" 2>>"$1.log" &
    process[$1]=$!
}
stop() {
    kill "${process[$1]}"
    wait "${process[$1]}"
}
# Enrols, in the log kept in $1, the person $2, and has the node $3 import that; the person's certificate is in $2.certificate.
enrol() {
    run wallet create --out "$2.wallet" --label "$2" --authority bar.example --request "$2.json"
    run authority person --dir "$1" --request "$2.json" --role lawyer --node "${node[bar]}"
    run wallet show "$2.wallet" --json | member certificate >"$2.certificate"
    run annuaire import --config "$3.toml" "$1"
}
is_up() { "$basoche" node status --config "$1.toml" >/dev/null 2>&1 || test $? = 75; }
is_worth() { test "$(worth "$1" "$2")" = "$3"; }
trap 'kill "${process[@]}" 2>/dev/null || true; wait 2>/dev/null || true' EXIT

say "Three nodes, each a witness"
printf '%s\n' "$BASOCHE_PASSPHRASE" >passphrase
port=$((20000 + RANDOM % 20000))
for name in "${names[@]}"; do
    configure "$name"
    node[$name]=$(run node init --config "$name.toml" --authority "$name.example" --request "$name.json" --json | member node)
    run node witness --config "$name.toml" --name "$name.example/witness" --json | member witness >"$name.vkey"
done

say "The policy: two of the three professions; every authority signs it in its first entry"
write_policy() {
    for name in "${names[@]}"; do echo "witness $name $(cat "$name.vkey")"; done
    echo "group professions 2 court bar company"
    echo "quorum professions"
}
write_policy >policy
for name in "${names[@]}"; do
    run authority init --dir "$name-authority" --origin "$name.example" --profession "${profession[$name]}" --test --policy policy
    organisation=$(run authority organisation --dir "$name-authority" --name "$name (essai)" --identifier "$name" --json | member subject)
    run authority node --dir "$name-authority" --organisation "$organisation" --request "$name.json"
done
run authority anchors --out anchors.json court-authority bar-authority company-authority

say "Each node starts from the whole of the three logs; nothing in them counts yet, so no node knows another"
for name in "${names[@]}"; do
    start "$name"
    until_true is_up "$name"
    run annuaire import --config "$name.toml" court-authority bar-authority company-authority
done
for name in "${names[@]}"; do
    run authority publish --dir "$name-authority" --out "$name-log"
done

say "The first publication is made by hand: the checkpoint goes from witness to witness as a file"
for name in "${names[@]}"; do
    for witness in court bar; do
        run annuaire cosign --config "$witness.toml" --wait 1 "$name-log/checkpoint" || test $? = 75
    done
    run authority publication --dir "$name-authority" --checkpoint "$name-log/checkpoint"
done
for name in "${names[@]}"; do
    run annuaire import --config "$name.toml" court-authority bar-authority company-authority
done
connected() { "$basoche" node status --config bar.toml --json | grep -o '"connected":true' | wc -l | grep -q 2; }
until_true connected

say "A lawyer is enrolled: it is in the log, and counts only once the witnesses have seen it"
enrol bar-authority lawyer bar
lawyer=$(<lawyer.certificate)
is_worth bar "$lawyer" "its enrolment is not published"
publish() {
    run authority publish --dir bar-authority --out bar-log
    run annuaire cosign --config bar.toml --wait "$1" bar-log/checkpoint || return
    run authority publication --dir bar-authority --checkpoint bar-log/checkpoint
    run annuaire import --config bar.toml bar-authority
}
publish 30
until_true is_worth court "$lawyer" valid
until_true is_worth company "$lawyer" valid

say "The company's node is away: two professions are a quorum"
stop company
enrol bar-authority other bar
other=$(<other.certificate)
publish 30
until_true is_worth court "$other" valid

say "The court's node is away too: nothing is granted, and what is withdrawn counts at once"
stop court
enrol bar-authority third bar
third=$(<third.certificate)
run authority revoke --dir bar-authority --certificate "$lawyer" --reason key-compromise
run annuaire import --config bar.toml bar-authority
if publish 2; then
    echo "one profession alone was a quorum" >&2
    exit 1
fi
is_worth bar "$third" "its enrolment is not published"
is_worth bar "$lawyer" "revoked: the key is compromised"

say "They are back, and hear what they have missed"
start court
start company
until_true is_up court
until_true connected
publish 30
until_true is_worth company "$third" valid
is_worth company "$lawyer" "revoked: the key is compromised"
run annuaire show --config company.toml | grep '^registry'

say "A new node begins with what the bar's log has come to, instead of its first entries"
configure late
run node init --config late.toml --authority bar.example --request late.json >/dev/null
organisation=$(run authority organisation --dir bar-authority --name "Autre barreau (essai)" --identifier late --json | member subject)
run authority node --dir bar-authority --organisation "$organisation" --request late.json
run authority state-root --dir bar-authority
run annuaire import --config bar.toml bar-authority
publish 30
run annuaire snapshot --config court.toml --out snapshot
# One byte of it is another: nothing of it is taken.
cp snapshot poisoned
printf '\377' | dd of=poisoned bs=1 seek=$(($(wc -c <snapshot) / 2)) conv=notrunc status=none
if run annuaire restore --config late.toml poisoned; then
    echo "a poisoned snapshot was taken" >&2
    exit 1
fi
run annuaire restore --config late.toml snapshot
start late
until_true is_up late
until_true is_worth late "$third" valid
is_worth late "$lawyer" "revoked: the key is compromised"
stop late
unset 'process[late]'

say "The company's witness key is lost: another one takes another policy, to which the roots of most authorities agree"
stop company
mv company-data/keys/witness.key lost.key
run node witness --config company.toml --name company.example/witness-2 --json | member witness >company.vkey
write_policy >policy-1
policy() { # enters it in the log kept in $1, agreed to by the others
    run authority policy --dir "$1" --anchors anchors.json --policy policy-1 --number 1 "${@:2}"
}
for name in "${names[@]}"; do
    run authority agree --dir "$name-authority" --anchors anchors.json --policy policy-1 --number 1 --out "$name.agreed"
done
if policy bar-authority; then
    echo "one authority alone has changed whose witnesses count" >&2
    exit 1
fi
test ! -e bar-authority/anchors.json
policy court-authority --agreed bar.agreed
policy bar-authority --agreed court.agreed --agreed company.agreed
policy company-authority --agreed bar.agreed
start company
until_true is_up company
run annuaire import --config bar.toml court-authority bar-authority company-authority
knows_policy() { "$basoche" annuaire show --config "$1.toml" | grep '^registry bar.example' | grep -q 'the quorum of policy 1'; }
for name in "${names[@]}"; do until_true knows_policy "$name"; done
stop court
enrol bar-authority fourth bar
fourth=$(<fourth.certificate)
publish 30
until_true is_worth company "$fourth" valid
start court
until_true is_up court
until_true is_worth court "$fourth" valid

say "Somebody has copied the bar's keys, and shows the court's node, while it is alone, another history"
cp -r bar-authority stolen
stop court
show() { # the log kept in $1, published in $2, to the node $3
    run authority publish --dir "$1" --out "$2"
    run annuaire cosign --config "$3.toml" --wait 1 "$2/checkpoint" || test $? = 75
}
enrol bar-authority real bar
show bar-authority real-log bar
stop bar
stop company
start court
until_true is_up court
enrol stolen ghost court
show stolen ghost-log court
ghost=$(<ghost.certificate)
is_worth court "$ghost" "its enrolment is not published"

say "The nodes meet again: everybody has the proof, and nothing more is granted in that log"
start bar
start company
is_forked() { "$basoche" annuaire show --config "$1.toml" | grep '^registry bar.example' | grep -q 'TWO HISTORIES'; }
for name in "${names[@]}"; do until_true is_forked "$name"; done
if run annuaire cosign --config bar.toml --wait 1 real-log/checkpoint; then
    echo "a log that contradicted itself was cosigned" >&2
    exit 1
fi
is_worth court "$ghost" "its enrolment is not published"
"$basoche" annuaire show --config court.toml | grep '^registry court.example' | grep -vq 'TWO HISTORIES'

say "The bar goes on under another key from what was published; most authorities agree, and whoever holds something else gives way"
run authority revoke --dir bar-authority --certificate "$other" --reason cessation
run annuaire fork-proof --config company.toml --origin bar.example --out fork.proof
run authority continuation --dir bar-authority --anchors anchors.json --proof fork.proof --out bar.proposal
goes_on() { run authority continue --dir bar-authority --anchors anchors.json --proposal bar.proposal "$@"; }
if goes_on; then
    echo "one authority alone has gone on under another key" >&2
    exit 1
fi
run authority consent --dir court-authority --anchors anchors.json --proposal bar.proposal --out court.consent
goes_on --consent court.consent 2>given-up
cat given-up >&2
grep -q "the revocation of certificate $other" given-up
test -e bar-authority/given-up-1
# The bar's own node and the company's hold what is given up, the court's holds what the thief has shown it.
heads() { "$basoche" annuaire show --config "$1.toml" | grep '^registry bar.example'; }
run annuaire import --config bar.toml bar-authority
same_heads() { test "$(heads court | cut -d, -f1,2)" = "$(heads bar | cut -d, -f1,2)" && test "$(heads company | cut -d, -f1,2)" = "$(heads bar | cut -d, -f1,2)"; }
until_true same_heads
ls court-data/put-away bar-data/put-away company-data/put-away
if "$basoche" annuaire show --config court.toml --json | grep -q "$ghost"; then
    echo "the court still has what the thief enrolled" >&2
    exit 1
fi
for name in "${names[@]}"; do
    if is_forked "$name"; then
        echo "$name holds the proof against the key of before against the log" >&2
        exit 1
    fi
done
enrol bar-authority again bar
again=$(<again.certificate)
publish 30
until_true is_worth court "$again" valid
until_true is_worth company "$again" valid
is_worth court "$fourth" valid
is_worth court "$lawyer" "revoked: the key is compromised"
# The thief still has the key of before: nobody cosigns what it signs, and nobody accuses the log of it.
run authority publish --dir stolen --out ghost-log
if run annuaire cosign --config court.toml --wait 1 ghost-log/checkpoint; then
    echo "a checkpoint under the key of before was cosigned" >&2
    exit 1
fi
heads court | grep 'under log key 1' | grep -vq 'TWO HISTORIES'
run annuaire verify --anchors anchors.json bar-log court-authority company-authority >/dev/null
say "Done."
