//! Making an authority, and the anchors of several. REG-10.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use basoche_protocol::role::OrganisationKind;
use basoche_registry::log::Policy;
use basoche_registry::{Anchors, Authority, AuthorityLog};
use serde_json::json;

use super::files::{bad_request, person};
use super::office::{Ledger, Office, Public, Statement};
use super::{ENTRIES, LOG_KEY, OfficeArgs, PUBLIC, WALLET};
use crate::cli::fault::exit;
use crate::cli::{Fault, Output};
use crate::files::{write_atomic, write_new};
use crate::log_key::LogKey;
use crate::wallet::Wallet;

/// The roots of an authority that is being made.
pub(super) struct Roots<'a> {
    pub(super) further: &'a [PathBuf],
    pub(super) threshold: usize,
}

pub(super) fn init(
    args: &OfficeArgs,
    origin: &str,
    profession: OrganisationKind,
    test: bool,
    roots: &Roots<'_>,
    policy: Option<String>,
    output: &Output,
) -> Result<ExitCode, Fault> {
    let dir = &args.dir;
    if roots.threshold > 1 && args.draft.is_none() {
        let what = "several roots must sign the first entry: give --draft FILE, then `cosign` and `enter` it";
        return Err(Fault::usage(what));
    }
    let further = roots
        .further
        .iter()
        .map(|path| person(path).map(|request| request.certificate));
    let further_roots: Vec<String> = further.collect::<Result<_, _>>()?;
    let unwritable = |path: &Path| {
        let path = path.to_owned();
        move |error: std::io::Error| Fault::unwritable(&path, &error)
    };
    let passphrase = args.passphrase.read()?;
    std::fs::create_dir_all(dir).map_err(unwritable(dir))?;
    if std::fs::read_dir(dir).map_err(unwritable(dir))?.next().is_some() {
        let message = format!("{} is not empty", dir.display());
        return Err(
            Fault::new(exit::CANNOT_WRITE, "not-empty", message, dir.display())
                .action("Choose a new directory: an authority is never replaced."),
        );
    }
    let request = Wallet::create(&dir.join(WALLET), origin, &passphrase)?;
    let log = policy
        .is_some()
        .then(|| LogKey::create(&dir.join(LOG_KEY), origin, &passphrase));
    let log = log.transpose()?;
    let public = Public {
        v: 1,
        origin: origin.to_owned(),
        profession,
        test,
        certificate: request.certificate,
        further_roots,
        threshold: (roots.threshold > 1).then_some(roots.threshold),
        log: log.map(|key| key.to_string()),
        policy,
    };
    let authority = public.authority(dir).inspect_err(|_| {
        // The origin is impossible: leave the directory as it was found. What cannot be removed does no harm.
        let _ = std::fs::remove_file(dir.join(WALLET));
        let _ = std::fs::remove_file(dir.join(LOG_KEY));
    })?;
    let entries = dir.join(ENTRIES);
    std::fs::create_dir(&entries).map_err(unwritable(&entries))?;
    let wallet = Wallet::open(&dir.join(WALLET), &passphrase)?;
    let certificate = basoche_protocol::jose::Signer::certificate(&wallet);
    let genesis = authority.genesis();
    let mut office = Office {
        ledger: Ledger {
            dir: dir.clone(),
            log: AuthorityLog::new(authority),
            public,
            leaves: Vec::new(),
        },
        wallet,
        draft: args.draft.clone(),
    };
    let json = serde_json::to_vec_pretty(&office.ledger.public).unwrap_or_default();
    let genesis = office.sign(Statement::of_the_log(genesis))?;
    let stated = match &args.draft {
        Some(draft) => {
            genesis.write(draft)?;
            None
        }
        None => Some(office.ledger.enter(genesis)?),
    };
    // Last: without it the directory is no authority's.
    let path = dir.join(PUBLIC);
    write_new(&path, &json, 0o644).map_err(unwritable(&path))?;
    let (entry, index) = (
        stated.as_ref().map(|one| &one.entry),
        stated.as_ref().map(|one| one.index),
    );
    let answer = json!({ "v": 1, "origin": origin, "certificate": certificate, "entry": entry, "index": index, "draft": args.draft });
    output.answer(&answer, || {
        format!(
            "The authority {origin} is in {}. Keep {WALLET} offline; publish {PUBLIC} and {ENTRIES}.",
            dir.display()
        )
    });
    Ok(ExitCode::SUCCESS)
}

/// Reads a policy, and checks it.
pub(super) fn read_policy(path: &Path) -> Result<String, Fault> {
    let bytes = std::fs::read(path).map_err(|error| Fault::unreadable(path, &error))?;
    let policy = Policy::parse(&bytes).map_err(|error| bad_request(path, error))?;
    Ok(policy.text().to_owned())
}

pub(super) fn anchors(out: &Path, dirs: &[PathBuf], output: &Output) -> Result<ExitCode, Fault> {
    let mut authorities: Vec<Authority> = Vec::new();
    for (place, dir) in dirs.iter().enumerate() {
        let authority = Public::read(dir)?.authority(dir)?;
        let earlier = authorities
            .iter()
            .position(|one| one.origin() == authority.origin());
        if let Some(earlier) = earlier {
            let (one, other) = (dirs[earlier].display(), dirs[place].display());
            let message = format!(
                "{one} and {other} are both authorities named {}",
                authority.origin()
            );
            return Err(Fault::new(exit::USAGE, "duplicate-authority", message, other)
                .action("Give each authority once."));
        }
        authorities.push(authority);
    }
    let anchors = Anchors::new(authorities).map_err(Fault::usage)?;
    write_atomic(out, anchors.to_json().as_bytes(), 0o644).map_err(|error| Fault::unwritable(out, &error))?;
    let row = |one: &Authority| {
        let certificate = one.roots()[0].certificate.id();
        json!({ "origin": one.origin(), "profession": one.profession(), "test": one.is_test(), "certificate": certificate })
    };
    let rows: Vec<_> = anchors.authorities().iter().map(row).collect();
    output.answer(&json!({ "v": 1, "anchors": out, "authorities": rows }), || {
        format!("{} authorities are in {}.", rows.len(), out.display())
    });
    Ok(ExitCode::SUCCESS)
}
