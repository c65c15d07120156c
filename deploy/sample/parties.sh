#!/usr/bin/env bash
# How a party whom no registry knows gets a key for one dossier, by public commands alone: the expert's authority delegates it,
# the expert enrols the party, the party acts and withdraws the key, and the delegation ends. It plays the authorities, the
# persons and a node in a new directory. OPERATIONS.md, "Parties without an authority", explains it; `make test` runs it.
# Usage: deploy/sample/parties.sh DIRECTORY; the program is `basoche`, or $BASOCHE.
set -euo pipefail

: "${1:?usage: parties.sh DIRECTORY}"
basoche=${BASOCHE:-basoche}
mkdir -p "$1"
cd "$1"
export BASOCHE_PASSPHRASE="a passphrase for trials"

say() { printf '\n== %s\n' "$*"; }
run() {
    printf '$ basoche %s\n' "$*" >&2
    "$basoche" "$@"
}
# Runs what must be refused with the code $1.
refused() {
    local code=$1
    shift
    if run "$@" --json >refused.json 2>&1; then
        echo "not refused: $*" >&2
        exit 1
    fi
    grep -q "\"code\":\"$code\"" refused.json || {
        cat refused.json >&2
        echo "not refused as $code: $*" >&2
        exit 1
    }
    echo "refused: $code"
}
# The member $1 of the line of JSON on standard input.
member() { sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p" | tail -n 1; }
later() { date -u -d "$1" +%Y-%m-%dT%H:%M:%SZ; }
# An act by the holder of wallet $2.
act() {
    local verb=$1 who=$2
    shift 2
    run dossier "$verb" --config node.toml --as "$who.wallet" --dossier "$dossier" "$@"
}

say "A court and a company of experts, a node, a judge, a clerk and an expert"
for authority in court:court company:expert-company; do
    name=${authority%%:*}
    run authority init --dir "$name" --origin "$name.example" --profession "${authority##*:}" --test
done
run authority anchors --out anchors.json court company
cat >node.toml <<TOML
data = "data"
listen = "127.0.0.1:0"
addresses = ["127.0.0.1:4433"]
anchors = "anchors.json"
passphrase_file = "passphrase"
allow_private_addresses = true
TOML
printf '%s\n' "$BASOCHE_PASSPHRASE" >passphrase
node=$(run node init --config node.toml --authority court.example --request node.json --json | member node)
organisation=$(run authority organisation --dir court --name 'Tribunal (essai)' --identifier court --json | member subject)
run authority node --dir court --organisation "$organisation" --request node.json
for person in court:judge court:clerk company:expert; do
    role=${person##*:}
    run wallet create --out "$role.wallet" --label "$role" --authority "${person%%:*}.example" --request "$role.json"
    run authority person --dir "${person%%:*}" --request "$role.json" --role "$role" --node "$node"
done
"$basoche" node run --config node.toml 2>node.log &
trap 'kill %1 2>/dev/null || true; wait 2>/dev/null || true' EXIT
for _ in $(seq 300); do
    grep -q 'ready on udp' node.log && break
    sleep 0.1
done
run annuaire import --config node.toml court company

say "A dossier under way, with a party who has no lawyer and no key"
whose() { run wallet show "$1.wallet" --json | member subject; }
expert=$(whose expert)
dossier=$(run dossier designate --config node.toml --as judge.wallet --case-number 26/00001 --head 'Décrire les désordres' \
    --judge "$(whose judge)" --clerk "$(whose clerk)" --expert "$expert" --provision 3000 \
    --provision-due "$(later '+30 days')" --report-due "$(later '+180 days')" --json | member dossier)
act accept expert
act provision-paid clerk --amount 3000

say "The company delegates it to the expert, for this dossier: two keys, for half a year. Its log does not say which dossier"
run authority delegate --dir company --subject "$expert" --dossier "$dossier" --keys 2 --until "$(later '+180 days')" --out delegation.json
if grep -q "$dossier" company/entries/*; then
    echo "the log says which dossier it is" >&2
    exit 1
fi

say "The party makes a key for this dossier, and the expert enrols it: not before the node knows of the delegation"
party=$(run wallet create --out party.wallet --label claimant --dossier "$dossier" --request party.json --json | member subject)
enrol() {
    local request=$1
    shift
    "$@" dossier enrol --config node.toml --as expert.wallet --dossier "$dossier" --delegation delegation.json \
        --request "$request.json" --name 'Demandeur' --at "$node"
}
enrol party refused not-delegated
run annuaire import --config node.toml company
enrolment=$(enrol party run --json | member message)
act dire party --text 'La fissure est antérieure.'

say "The party has lost the key: the expert withdraws it, and enrols another one of the same party"
act revoke-key expert --enrolment "$enrolment" --reason 'The telephone was stolen.' --invalid-since "$(later '-1 hour')"
refused signer-invalid dossier dire --config node.toml --as party.wallet --dossier "$dossier" --number 2 --text 'Not mine.'
run wallet create --out party-2.wallet --label claimant --dossier "$dossier" --party "$party" --request party-2.json
enrol party-2 run
act dire party-2 --number 2 --text 'La fissure a deux ans.'

say "A document for the party and the clerk alone is sealed for the party's key"
printf 'Certificat médical.\n' >certificate.txt
deposit=$(run document deposit --config node.toml --as clerk.wallet --dossier "$dossier" --class personal --to "$party" --json certificate.txt | member message)
run document open --config node.toml --as party-2.wallet --dossier "$dossier" --deposit "$deposit" --out opened.txt
cmp certificate.txt opened.txt

say "A third key is more than was delegated"
run wallet create --out other.wallet --label other --dossier "$dossier" --request other.json
enrol other refused not-delegated

say "The delegation is withdrawn: the keys end with it, what they signed stays"
run authority delegate --dir company --withdraw delegation.json
run annuaire import --config node.toml company
refused signer-invalid dossier dire --config node.toml --as party-2.wallet --dossier "$dossier" --number 3 --text 'Too late.'
run dossier show --config node.toml --dossier "$dossier"

say "Anybody can check it offline: the first dire is contested, what is for the party alone is not disclosed, all else is proved"
run export --config node.toml --dossier "$dossier" --out bundle.zip
run verify --anchors anchors.json bundle.zip || test $? = 3
say "Done."
