//! The registry of a bundle: its authorities held to the user's anchors, its logs admitted leaf by leaf.

use std::collections::BTreeMap;
use std::io::{Read, Seek};

use basoche_protocol::crypto::sha256;
use basoche_protocol::error::Error;
use basoche_protocol::id::CertificateId;
use basoche_protocol::wire::frame::RegistryLeaf;
use basoche_protocol::wire::limits;
use basoche_registry::anchor::ANCHOR_FILE_BYTES;
use basoche_registry::{Anchors, Authority, Entry, Leaf, Replica};
use serde_bytes::ByteBuf;

use super::layout::{self, ANCHORS};
use super::members::Members;
use super::report::Claims;

/// The registry that the bundle carries, and whether the user believes all of its authorities.
pub(super) fn read<R: Read + Seek>(
    members: &mut Members<'_, R>,
    trusted: Option<&Anchors>,
    claims: &mut Claims,
) -> Option<(Replica, bool)> {
    let bytes = members.read(ANCHORS, ANCHOR_FILE_BYTES, "anchors", claims)?;
    let anchors = match Anchors::parse(&bytes) {
        Ok(anchors) if anchors.to_json().as_bytes() == bytes => anchors,
        Ok(_) => {
            claims.contradicted(
                "anchors",
                "not-canonical",
                ANCHORS,
                "not as an exporting node writes it",
            );
            return None;
        }
        Err(error) => {
            claims.contradicted("anchors", "malformed", ANCHORS, error.to_string());
            return None;
        }
    };
    let anchored = compare(&anchors, trusted, claims);
    let mut registry = Replica::new(anchors);
    import(members, &mut registry, claims);
    Some((registry, anchored))
}

/// Whether `trusted` names each authority, with the same root.
fn compare(anchors: &Anchors, trusted: Option<&Anchors>, claims: &mut Claims) -> bool {
    let Some(trusted) = trusted else {
        let what = "no anchors were given: the evidence is checked against the authorities that it names itself, \
                    which proves nothing to you; give --anchors";
        claims.undetermined("anchors", "not-anchored", Some(ANCHORS), what);
        return false;
    };
    let before = claims.failures();
    for authority in anchors.authorities() {
        let (origin, root) = (authority.origin(), roots(authority));
        let id = format!("anchors:{origin}");
        match trusted.authority(origin) {
            None => {
                let what = format!("authority {origin}, root certificate {root}, is not in your anchors");
                claims.undetermined(id, "not-anchored", Some(ANCHORS), what);
            }
            Some(known) if roots(known) != root => {
                let yours = roots(known);
                let what = format!("authority {origin} has root {root} here, {yours} in your anchors");
                claims.contradicted(id, "other-root", ANCHORS, what);
            }
            Some(known)
                if known.profession() != authority.profession()
                    || known.is_test() != authority.is_test()
                    || known.log_key() != authority.log_key() =>
            {
                let what = format!(
                    "authority {origin} has another profession, log key or test mark in your anchors"
                );
                claims.contradicted(id, "other-root", ANCHORS, what);
            }
            Some(_) => {
                let mark = if authority.is_test() {
                    ": TEST AUTHORITY, it stands for nobody"
                } else {
                    ""
                };
                claims.proved(
                    id,
                    Some(ANCHORS),
                    format!("authority {origin} is in your anchors{mark}"),
                );
            }
        }
    }
    claims.failures() == before
}

/// The certificates of an authority's roots, and how many of them sign together if it has several.
fn roots(authority: &Authority) -> String {
    let roots = authority
        .roots()
        .iter()
        .map(|root| root.certificate.id().to_string());
    let roots = roots.collect::<Vec<_>>().join(", ");
    match authority.threshold() {
        1 => roots,
        threshold => format!("{roots} ({threshold} sign together)"),
    }
}

fn import<R: Read + Seek>(members: &mut Members<'_, R>, registry: &mut Replica, claims: &mut Claims) {
    // By log, since a log may stand before or after another whose name begins as its own does.
    let mut logs: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (origin, index) in members.names().filter_map(layout::leaf_of) {
        logs.entry(origin.to_owned()).or_default().push(index);
    }
    for (origin, indexes) in logs {
        let id = format!("registry:{origin}");
        let before = claims.failures();
        let mut broken = false;
        for index in indexes {
            let name = layout::leaf_name(&origin, index);
            let Some(leaf) = members.read(&name, limits::LEAF_BYTES, &id, claims) else {
                continue;
            };
            let certificate = match certificate_of(&leaf) {
                Ok(Some(certificate)) => read_certificate(members, &certificate, &name, &id, claims),
                Ok(None) => Some(Vec::new()),
                Err(error) => {
                    claims.contradicted(&*id, error.code().name(), &name, error.to_string());
                    None
                }
            };
            // After an entry that is not admitted no later one has its place: the first is named, not all.
            let Some(certificate) = certificate.filter(|_| !broken) else {
                broken = true;
                continue;
            };
            let leaf = RegistryLeaf {
                leaf: ByteBuf::from(leaf),
                certificate: ByteBuf::from(certificate),
            };
            if let Err(error) = registry.admit(&origin, index, &leaf) {
                broken = true;
                let reason = error.to_string();
                claims.contradicted(&*id, Error::from(error).code().name(), &name, reason);
            }
        }
        if claims.failures() == before {
            let size = registry.tree(&origin).map_or(0, |tree| tree.size());
            let what =
                format!("{size} entries, each signed by the authority and admissible after those before");
            claims.proved(id, None, what);
        }
    }
}

/// The certificate that a leaf enrols.
fn certificate_of(leaf: &[u8]) -> Result<Option<CertificateId>, Error> {
    let leaf = Leaf::decode(leaf)?;
    let content = Entry::decode(leaf.envelope().payload())?.content;
    Ok(content.key().map(|key| key.certificate))
}

fn read_certificate<R: Read + Seek>(
    members: &mut Members<'_, R>,
    certificate: &CertificateId,
    leaf: &str,
    id: &str,
    claims: &mut Claims,
) -> Option<Vec<u8>> {
    let name = layout::certificate_name(certificate);
    if !members.contains(&name) {
        let what = format!("it enrols a certificate that is not here: {name}");
        if members.is_whole() {
            claims.contradicted(id, "missing", leaf, what);
        } else {
            claims.undetermined(id, "truncated", Some(leaf), what);
        }
        return None;
    }
    let der = members.read(&name, limits::CERTIFICATE_BYTES, id, claims)?;
    if sha256(&[&der]) != *certificate.as_bytes() {
        claims.contradicted(
            id,
            "other-certificate",
            &name,
            "the certificate is not the one its name states",
        );
        return None;
    }
    Some(der)
}
