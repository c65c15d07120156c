#!/usr/bin/env bash
# How keys follow each other in the registry, by public commands alone: officers, a renewal (case 2-A), a key given anew
# by two officers (case 2-B) and the veto of who still holds the old one, a suspension, revocations. It plays the
# authority, the persons and a node in a new directory. OPERATIONS.md, "Officers and keys", explains it; `make test` runs it.
# Usage: deploy/sample/keys.sh DIRECTORY; the program is `basoche`, or $BASOCHE.
set -euo pipefail

: "${1:?usage: keys.sh DIRECTORY}"
basoche=${BASOCHE:-basoche}
mkdir -p "$1"
cd "$1"
export BASOCHE_PASSPHRASE="a passphrase for trials"

say() { printf '\n== %s\n' "$*"; }
run() {
    printf '$ basoche %s\n' "$*" >&2
    "$basoche" "$@"
}
# The member $1 of the line of JSON on standard input.
member() { sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p" | tail -n 1; }
# What the node's registry says now of the lawyer's latest certificate.
worth() { "$basoche" annuaire show --config node.toml --json | sed "s/.*\"subject\":\"$lawyer\"//" | member status; }
later() { date -u -d "$1" +%Y-%m-%dT%H:%M:%SZ; }

say "The authority: a root that stays offline, and two officers who enrol in its name"
run authority init --dir bar --origin bar.example --profession bar --test
run authority log-key --dir bar
for n in 1 2; do
    run wallet create --out "officer-$n.wallet" --label "officer $n" --authority bar.example --request "officer-$n.json"
    run authority officer --dir bar --request "officer-$n.json" --revocations-per-hour 10 --until "$(later '+1 year')"
done
run authority anchors --out anchors.json bar

say "A node, and a lawyer whom it serves, enrolled by the first officer"
cat >node.toml <<TOML
data = "data"
listen = "127.0.0.1:0"
addresses = ["127.0.0.1:4433"]
anchors = "anchors.json"
passphrase_file = "passphrase"
allow_private_addresses = true
TOML
printf '%s\n' "$BASOCHE_PASSPHRASE" >passphrase
node=$(run node init --config node.toml --authority bar.example --request node.json --json | member node)
organisation=$(run authority organisation --dir bar --as officer-1.wallet --name 'Barreau (essai)' --identifier bar --json | member subject)
run authority node --dir bar --as officer-1.wallet --organisation "$organisation" --request node.json
lawyer=$(run wallet create --out lawyer.wallet --label lawyer --authority bar.example --request lawyer.json --json | member subject)
run authority person --dir bar --as officer-1.wallet --request lawyer.json --role lawyer --node "$node"

"$basoche" node run --config node.toml 2>node.log &
trap 'kill %1 2>/dev/null || true; wait 2>/dev/null || true' EXIT
for _ in $(seq 300); do
    grep -q 'ready on udp' node.log && break
    sleep 0.1
done
run annuaire import --config node.toml bar
test "$(worth)" = valid

say "Case 2-A: the lawyer renews the key; the old one may sign for another month"
run wallet renew --as lawyer.wallet --config node.toml --out lawyer-2.wallet --label lawyer --until "$(later '+30 days')" --request renewal.json
run authority accept --dir bar --as officer-1.wallet --request renewal.json
run annuaire import --config node.toml bar
new=$(run wallet show lawyer-2.wallet --json | member certificate)
"$basoche" annuaire show --config node.toml --json | grep -q "$new"
test "$(worth)" = valid

say "Case 2-B: somebody says that the key is lost. One officer is not enough"
run wallet create --out lawyer-3.wallet --label lawyer --subject "$lawyer" --authority bar.example --request anew.json
if run authority reassociate --dir bar --as officer-1.wallet --request anew.json --identity remote; then
    echo "one officer alone gave a key anew" >&2
    exit 1
fi
run authority reassociate --dir bar --as officer-1.wallet --request anew.json --identity remote --draft anew.draft
run authority cosign --dir bar --as officer-2.wallet --capacity second-officer --draft anew.draft
entry=$(run authority enter --dir bar --as officer-2.wallet --draft anew.draft --json | member index)
run annuaire import --config node.toml bar
test "$(worth)" = "not yet enrolled" # for 72 hours

say "The lawyer still has the key, and objects"
run wallet veto --as lawyer-2.wallet --config node.toml --entry "$entry" --request veto.json
run authority accept --dir bar --as officer-2.wallet --request veto.json
run annuaire import --config node.toml bar
test "$(worth)" = valid

say "A suspension, and its end"
run authority suspend --dir bar --as officer-1.wallet --subject "$lawyer"
run annuaire import --config node.toml bar
test "$(worth)" = suspended
run authority lift --dir bar --as officer-1.wallet --subject "$lawyer"
run annuaire import --config node.toml bar
test "$(worth)" = valid

say "A further role and a specialty, granted and withdrawn"
shown() { "$basoche" annuaire show --config node.toml; }
run authority attribute --dir bar --as officer-1.wallet --subject "$lawyer" --grant --role party --competence cnb-2011:droit-immobilier
run annuaire import --config node.toml bar
shown | grep -q "lawyer, party at .*competent for cnb-2011:droit-immobilier"
run annuaire search --config node.toml --role lawyer --competence droit-immobilier essai | grep -q "^$lawyer lawyer, party"
run authority attribute --dir bar --as officer-1.wallet --subject "$lawyer" --withdraw --role party --competence cnb-2011:droit-immobilier
run annuaire import --config node.toml bar
if shown | grep -q "party\|droit-immobilier"; then
    echo "what was withdrawn is still shown" >&2
    exit 1
fi

say "Revocations: the lawyer withdraws the old key, an officer the new one"
old=$(run wallet show lawyer.wallet --json | member certificate)
run wallet revoke --as lawyer-2.wallet --config node.toml --of "$lawyer" --certificate "$old" --reason superseded --request old.json
run authority accept --dir bar --as officer-1.wallet --request old.json
run authority revoke --dir bar --as officer-1.wallet --certificate "$new" --reason role-ended
run annuaire import --config node.toml bar
test "$(worth)" = "revoked: the role has ended"

say "A certificate authority of the trade: persons may have its certificates, on a card for instance"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 3650 -subj '/CN=CA (essai)' \
    -addext 'basicConstraints=critical,CA:TRUE' -addext 'keyUsage=critical,keyCertSign,cRLSign' 2>/dev/null
cat >ca.cnf <<'CNF'
[ca]
default_ca = trial
[trial]
database = ca.index
serial = ca.serial
new_certs_dir = .
default_md = sha256
policy = any
x509_extensions = signs
crlnumber = ca.crlnumber
[any]
commonName = supplied
[signs]
keyUsage = critical,digitalSignature,nonRepudiation
CNF
touch ca.index
echo 4242 >ca.serial
echo 01 >ca.crlnumber
ca() { openssl ca -config ca.cnf -cert ca.pem -keyfile ca.key "$@" 2>/dev/null; }
run authority certificate-authority --dir bar --certificate ca.pem --algorithm ES256 --until "$(later '+5 years')"
run wallet create --out plain.wallet --label advocate --request plain.json
run wallet certificate-request --as plain.wallet --out advocate.csr
openssl req -inform DER -in advocate.csr -out advocate.csr.pem
ca -batch -notext -days 365 -in advocate.csr.pem -out advocate.pem
advocate=$(run wallet certify --as plain.wallet --certificate advocate.pem --out advocate.wallet --authority bar.example --request advocate.json --json | member subject)
run authority person --dir bar --as officer-1.wallet --request advocate.json --role lawyer --node "$node"
# $1 days from now the next list is due.
publish_list() { ca -gencrl -crldays "$1" -out list.pem; }
publish_list 7
run authority crl --dir bar --list list.pem

say "The certificate authority withdraws a certificate. Its list says so; the log does, once an officer has entered it"
ca -revoke advocate.pem -crl_reason keyCompromise
publish_list 7
if run authority crl --dir bar --list list.pem; then
    echo "a certificate that is withdrawn there and in force here was not told of" >&2
    exit 1
fi
# An officer who may withdraw nothing alone stops at the first.
run wallet create --out officer-3.wallet --label 'officer 3' --authority bar.example --request officer-3.json
run authority officer --dir bar --request officer-3.json --revocations-per-hour 0 --until "$(later '+1 year')"
code=0
run authority crl --dir bar --as officer-3.wallet --list list.pem --enter || code=$?
test "$code" = 77
run authority crl --dir bar --as officer-1.wallet --list list.pem --enter
run authority crl --dir bar --list list.pem
run annuaire import --config node.toml bar
"$basoche" annuaire show --config node.toml --json | sed "s/.*\"subject\":\"$advocate\"//" | grep -q 'revoked: the key is compromised'
# A list whose successor is overdue proves nothing of today.
ca -gencrl -crl_lastupdate 20200101000000Z -crl_nextupdate 20200108000000Z -out old.pem
code=0
run authority crl --dir bar --list old.pem || code=$?
test "$code" = 3

say "Where the node is reached: it asks itself"
run node endpoint --config node.toml --request endpoint.json
run authority accept --dir bar --as officer-1.wallet --request endpoint.json
run annuaire import --config node.toml bar
"$basoche" annuaire history --config node.toml "$node" | grep -q endpoint

say "The root puts an officer out of office; what was enrolled stays"
run authority revoke --dir bar --certificate "$(run wallet show officer-2.wallet --json | member certificate)" --reason role-ended
if run authority suspend --dir bar --as officer-2.wallet --subject "$lawyer"; then
    echo "an officer without office made an entry" >&2
    exit 1
fi
run annuaire import --config node.toml bar
run annuaire history --config node.toml "$lawyer"

say "The log as files under a signed checkpoint, and checked from there"
run authority publish --dir bar --out log
run annuaire verify --anchors anchors.json log

say "A copy of the log, from what the node holds: the same files"
run annuaire cosign --config node.toml log/checkpoint
run annuaire export --config node.toml --origin bar.example --out copy
diff -r log copy
run annuaire verify --anchors anchors.json copy
say "Done."
