//! The text that opens a bundle, for whoever is handed one.

use basoche_protocol::id::{DossierId, SubjectId};
use basoche_protocol::time::Instant;
use basoche_registry::Anchors;

/// French first, then English.
pub(super) fn text(dossier: DossierId, node: SubjectId, now: Instant, anchors: &Anchors) -> String {
    let authorities = |test: &str, real: &str| {
        let line = |authority: &basoche_registry::Authority| {
            let mark = if authority.is_test() { test } else { real };
            let roots = authority.roots().iter();
            let roots: String = roots
                .map(|root| format!("    {}\n", root.certificate.id()))
                .collect();
            format!("  {}  {mark}\n{roots}", authority.origin())
        };
        anchors.authorities().iter().map(line).collect::<String>()
    };
    let french = authorities(
        "AUTORITÉ D'ESSAI : elle n'engage personne",
        "autorité d'enregistrement",
    );
    let english = authorities("TEST AUTHORITY: it stands for nobody", "registration authority");
    format!(
        "\
DOSSIER DE PREUVE D'UNE EXPERTISE JUDICIAIRE (Basoche)
(English below)

Dossier  {dossier}
Exporté  {now} par le nœud {node}
Autorités de l'annuaire, avec l'empreinte SHA-256 de leur certificat racine :
{french}
CE QUE C'EST. Tous les messages d'un dossier d'expertise, signés par leurs auteurs ; le journal de chaque nœud qui
les a reçus, signé par lui ; les documents ; l'annuaire qui dit à qui sont les clés. Les documents et leurs clés y
sont EN CLAIR : ne remettez ce fichier qu'à qui a le droit de les lire. Des documents personnels (de santé, par exemple)
il n'y a que le chiffré, documents/*/ciphertext : aucun nœud n'en a la clé ; un destinataire les vérifie avec
basoche verify --as PORTEFEUILLE.

VÉRIFIER AVEC BASOCHE, sans réseau :
  basoche verify --anchors ANCRES.json CE-FICHIER.zip
Les ancres sont les certificats racines des autorités auxquelles VOUS faites confiance. Obtenez-les par un autre
chemin que ce fichier : celles de registry/anchors.json sont celles que le nœud exportateur prétend croire.

VÉRIFIER SANS BASOCHE :
  1. Décompressez, puis : sha256sum -c SHA256SUMS
  2. L'en-tête d'un message (messages/*.jws, JWS compact, RFC 7515) nomme son certificat par x5t#S256. En hexadécimal,
     c'est le nom de son fichier dans registry/certificates. Sa clé publique :
       openssl x509 -inform DER -in registry/certificates/EMPREINTE.der -pubkey -noout
  3. Vérifiez la signature avec toute bibliothèque JOSE, par exemple jwcrypto en Python :
       from jwcrypto import jwk, jws
       jeton = jws.JWS(); jeton.deserialize(open('messages/ID.jws').read(), jwk.JWK.from_pem(cle_publique))
     manifest.jws se vérifie de même ; il signe l'empreinte de SHA256SUMS.
  4. L'identifiant d'un message est SHA-256 de sa partie signée : tout ce qui précède le second point.

CE QUI EST PROUVÉ : qui a signé quoi ; que tel nœud l'avait reçu au plus tard à l'heure de telle tête de journal ;
l'ordre et l'intégrité du journal jusqu'à ses têtes ; que les documents sont ceux que les messages désignent.
CE QUI NE L'EST PAS : que rien n'existe au-delà des têtes ; que les horloges des nœuds étaient justes (aucun horodatage
qualifié ici) ; que quelqu'un n'a PAS ouvert un document : l'absence d'ouverture ne prouve rien.

--------------------------------------------------------------------------------------------------------------------

EVIDENCE OF A COURT-ORDERED EXPERT ASSESSMENT (Basoche)

Dossier   {dossier}
Exported  {now} by node {node}
Authorities of the registry, with the SHA-256 of their root certificates:
{english}
WHAT THIS IS. Every message of a dossier, signed by its author; the journal of each node that received it, signed by
that node; the documents; the registry that says whose the keys are. Documents and their keys are NOT ENCRYPTED here:
hand this file only to those who may read them. Of personal documents (health data, say) there is the ciphertext alone,
documents/*/ciphertext: no node has the key; a recipient verifies them with basoche verify --as WALLET.

TO VERIFY WITH BASOCHE, offline:
  basoche verify --anchors ANCHORS.json THIS-FILE.zip
The anchors are the root certificates of the authorities that YOU believe. Get them by another way than this file:
those in registry/anchors.json are the ones that the exporting node claims to believe.

TO VERIFY WITHOUT BASOCHE:
  1. Unzip, then: sha256sum -c SHA256SUMS
  2. The header of a message (messages/*.jws, compact JWS, RFC 7515) names its certificate by x5t#S256. In hexadecimal
     that is its file's name in registry/certificates. Its public key:
       openssl x509 -inform DER -in registry/certificates/DIGEST.der -pubkey -noout
  3. Verify the signature with any JOSE library, as above. manifest.jws is verified alike; it signs the digest of
     SHA256SUMS.
  4. A message's id is the SHA-256 of what is signed: everything before its second full stop.

WHAT IS PROVED: who signed what; that a node had received it no later than the time of such a head of its journal; the
order and integrity of the journal up to its heads; that the documents are those that the messages name.
WHAT IS NOT: that nothing exists beyond the heads; that the nodes' clocks were right (there are no qualified timestamps
here); that somebody did NOT open a document: the absence of an opening proves nothing.
"
    )
}
