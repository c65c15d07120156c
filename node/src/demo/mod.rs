//! The demonstration: three real nodes carry one assessment from the designation to the fee order.
//!
//! It drives `basoche` processes through the public commands only, and prints each so that it can be replayed.

mod files;
mod process;
mod stage;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

use process::{Node, Runner};
use stage::{Cast, Stage};

/// The demonstration failed: at which step, and why.
#[derive(Debug, Error)]
#[error("{step}: {why}")]
pub struct DemoError {
    /// The step.
    pub step: String,
    /// Why.
    pub why: String,
}

impl DemoError {
    fn new(step: impl ToString, why: impl ToString) -> Self {
        Self {
            step: step.to_string(),
            why: why.to_string(),
        }
    }
}

/// How to run.
pub struct Options {
    /// Stop at the end even on a terminal.
    pub once: bool,
    /// Keep everything in this directory, which must not exist or be empty.
    pub keep: Option<PathBuf>,
    /// Further exhibits to lodge.
    pub exhibits: Vec<PathBuf>,
}

/// What came of it. DESIGN §12.
#[derive(Serialize)]
pub struct Summary {
    v: u64,
    /// Whether everything went as told.
    pub ok: bool,
    nodes: usize,
    dossier: String,
    messages: usize,
    documents: usize,
    bytes: u64,
    receipts: usize,
    bundle: PathBuf,
    anchors: PathBuf,
    /// Whether a fresh process verified the bundle against the anchors.
    pub verified: bool,
    seconds: f64,
}

/// Runs the demonstration.
pub fn run(options: &Options) -> Result<Summary, DemoError> {
    let started = Instant::now();
    let place = Place::prepare(options.keep.as_deref())?;
    let runner = Runner::new(&place.run)?;
    runner.tell(
        "Trois juridictions et organisations, trois nœuds, une expertise. Autorités et certificats d'essai :",
    );
    runner.tell("rien de ce qui suit n'a de valeur juridique.");
    let Stage {
        mut nodes,
        cast,
        anchors,
    } = Stage::set(&runner)?;
    let dossier = assessment(&runner, &mut nodes, &cast, &options.exhibits)?;
    let view = runner.ask(&[
        "dossier",
        "show",
        "--config",
        "court/node.toml",
        "--dossier",
        &dossier,
    ])?;
    timeline(&runner, &view);
    quittances(&runner, &dossier)?;
    runner.step(
        "Le dossier de preuves est exporté, puis vérifié par un processus neuf qui ne parle à aucun nœud",
    );
    runner.ask(&[
        "export",
        "--config",
        "bar/node.toml",
        "--dossier",
        &dossier,
        "--out",
        "preuves.zip",
    ])?;
    let report = runner.ask(&[
        "verify",
        "--anchors",
        &anchors,
        "--as",
        "wallets/expert",
        "--passphrase-file",
        "passphrase",
        "preuves.zip",
    ])?;
    let claims = report["claims"].as_array().map_or(0, Vec::len);
    let quittances = list(&report, "claims")
        .iter()
        .filter(|claim| {
            claim["id"]
                .as_str()
                .is_some_and(|id| id.starts_with("quittance:"))
        })
        .filter(|claim| claim["verdict"] == "proved")
        .count();
    let verified = report["verdict"] == "proved" && report["anchored"] == true && quittances == 2;
    runner.tell(&format!(
        "Verdict : {} ({claims} vérifications)",
        report["verdict"].as_str().unwrap_or("?")
    ));
    let (messages, documents) = (list(&view, "messages"), list(&view, "documents"));
    let received = messages
        .iter()
        .filter(|message| message["level"] == "received")
        .count();
    let (bundle, anchors) = place.keep(&anchors)?;
    let summary = Summary {
        v: 1,
        ok: verified && received == messages.len() && view["phase"] == "closed",
        nodes: nodes.len(),
        messages: messages.len(),
        documents: documents.len(),
        bytes: documents
            .iter()
            .filter_map(|document| document["bytes"].as_u64())
            .sum(),
        receipts: received * (nodes.len() - 1),
        dossier,
        bundle,
        anchors,
        verified,
        seconds: (started.elapsed().as_secs_f64() * 10.0).round() / 10.0,
    };
    if !options.once && std::io::stdout().is_terminal() {
        runner.tell(&format!(
            "Les trois nœuds restent en marche ; commandes rejouables dans {}.",
            place.run.display()
        ));
        runner.tell("Ctrl-C pour arrêter.");
        // Ctrl-C reaches this process and the nodes alike; each drains and ends.
        loop {
            std::thread::park();
        }
    }
    for node in &mut nodes {
        node.stop()?;
    }
    place.clear();
    Ok(summary)
}

/// The procedure, act by act. Returns the dossier.
fn assessment(
    runner: &Runner,
    nodes: &mut [Node],
    cast: &Cast,
    more: &[PathBuf],
) -> Result<String, DemoError> {
    let court = |verb: &[&str]| runner.ask(verb);
    runner.step("Le juge désigne l'expert (CPC art. 264, 265) : l'acte fonde le dossier");
    let founded = court(&[
        "dossier",
        "designate",
        "--config",
        "court/node.toml",
        "--as",
        "wallets/judge",
        "--passphrase-file",
        "passphrase",
        "--case-number",
        "26/00000",
        "--head",
        "Décrire les désordres",
        "--head",
        "En rechercher les causes",
        "--judge",
        &cast.judge,
        "--clerk",
        &cast.clerk,
        "--expert",
        &cast.expert,
        "--provision",
        "3000",
        "--provision-due",
        "2027-01-31T23:59:59+01:00",
        "--report-due",
        "2027-06-30T23:59:59+02:00",
        "--payer",
        &cast.party,
        "--wait",
        "received",
    ])?;
    let dossier = text(&founded, "dossier")?;
    let act = |who: &str, node: &str, noun: &str, verb: &str, rest: &[&str]| {
        let (config, wallet) = (format!("{node}/node.toml"), format!("wallets/{who}"));
        let mut line = vec![
            noun,
            verb,
            "--config",
            &config,
            "--as",
            &wallet,
            "--passphrase-file",
            "passphrase",
        ];
        line.extend(["--dossier", &dossier]);
        line.extend(rest);
        runner.ask(&line)
    };
    runner.step(
        "Le greffe dépose l'ordonnance (art. 268) ; l'expert l'ouvre, puis accepte la mission (art. 267)",
    );
    let order = act(
        "clerk",
        "court",
        "document",
        "deposit",
        &[
            "--title",
            "Ordonnance",
            "--wait",
            "received",
            "exhibits/ordonnance.pdf",
        ],
    )?;
    wait_available(runner, "company", &dossier, &text(&order, "message")?, 1)?;
    act(
        "expert",
        "company",
        "document",
        "open",
        &[
            "--deposit",
            &text(&order, "message")?,
            "--out",
            "opened-ordonnance.pdf",
        ],
    )?;
    same(runner, "exhibits/ordonnance.pdf", "opened-ordonnance.pdf")?;
    act("expert", "company", "dossier", "accept", &["--wait", "received"])?;
    runner.step("Une pièce avant la consignation : le nœud la refuse et n'en garde rien");
    let early = runner.refused(&[
        "document",
        "deposit",
        "--config",
        "company/node.toml",
        "--as",
        "wallets/expert",
        "--passphrase-file",
        "passphrase",
        "--dossier",
        &dossier,
        "exhibits/bordereau.txt",
    ])?;
    if early["error"]["code"] != "provision-unpaid" {
        return Err(DemoError::new(
            "une pièce avant la consignation",
            format!("refused with {early}"),
        ));
    }
    runner
        .step("L'expert rattache la partie et les avocats : le nœud du barreau reçoit le dossier et sa clé");
    let lawyers = [
        format!("{}={}", cast.claimant_lawyer, cast.party),
        cast.defendant_lawyer.clone(),
    ];
    act(
        "expert",
        "company",
        "dossier",
        "add",
        &[
            "--party",
            &cast.party,
            "--lawyer",
            &lawyers[0],
            "--lawyer",
            &lawyers[1],
            "--wait",
            "received",
        ],
    )?;
    runner.step("Le greffe donne avis de la consignation (art. 267, 269) : les opérations commencent");
    act(
        "clerk",
        "court",
        "dossier",
        "provision-paid",
        &["--amount", "3000", "--wait", "received"],
    )?;
    runner.step("L'avocat du demandeur dépose ses pièces : toutes les parties les reçoivent au même instant (art. 16)");
    let mut number = 0;
    let mut lodge = |file: &str, wait: &str| {
        number += 1;
        let digits = number.to_string();
        act(
            "claimant-lawyer",
            "bar",
            "document",
            "deposit",
            &[
                "--number",
                &digits,
                "--id",
                &format!("piece-{digits}"),
                "--wait",
                wait,
                file,
            ],
        )
    };
    let photo = lodge("exhibits/photo-fissure.jpg", "received")?;
    health_data(runner, &act, &dossier)?;
    runner
        .step("Panne : le nœud de la compagnie d'experts est tué (SIGKILL). Les dépôts continuent sans lui");
    nodes[2].kill(runner)?;
    lodge("exhibits/releve-mesures.xlsx", "transmitted")?;
    lodge("exhibits/bordereau.txt", "transmitted")?;
    runner.step("Un document de 256 Mo, pendant la panne ; puis le nœud revient et rattrape tout seul");
    let large = lodge("exhibits/releves-bruts.bin", "transmitted")?;
    nodes[2].start(runner)?;
    lodge("exhibits/releve-mesures.xlsx", "received")?;
    for file in more {
        let path = std::fs::canonicalize(file).map_err(|error| DemoError::new(file.display(), error))?;
        lodge(&path.display().to_string(), "received")?;
    }
    wait_available(runner, "company", &dossier, &text(&large, "message")?, 1)?;
    act(
        "expert",
        "company",
        "document",
        "open",
        &[
            "--deposit",
            &text(&photo, "message")?,
            "--out",
            "opened-photo.jpg",
        ],
    )?;
    act(
        "expert",
        "company",
        "document",
        "open",
        &[
            "--deposit",
            &text(&large, "message")?,
            "--out",
            "opened-releves.bin",
        ],
    )?;
    same(runner, "exhibits/releves-bruts.bin", "opened-releves.bin")?;
    wait_available(runner, "bar", &dossier, &text(&photo, "message")?, 3)?;
    act(
        "defendant-lawyer",
        "bar",
        "document",
        "open",
        &[
            "--deposit",
            &text(&photo, "message")?,
            "--out",
            "opened-photo-2.jpg",
        ],
    )?;
    runner.step("L'expert diffuse son pré-rapport et fixe le terme des dires (art. 276)");
    let due = crate::effects::now() + basoche_protocol::time::Span::from_seconds(8);
    act(
        "expert",
        "company",
        "dossier",
        "pre-report",
        &[
            "--dires-due",
            &due.to_string(),
            "--wait",
            "received",
            "exhibits/pre-rapport.pdf",
        ],
    )?;
    let dire = act(
        "claimant-lawyer",
        "bar",
        "dossier",
        "dire",
        &[
            "--text",
            "La fissure est évolutive : voir le relevé.",
            "--file",
            "exhibits/dire-n1.docx",
            "--wait",
            "received",
        ],
    )?;
    runner.step("Le terme passé, l'expert dépose son rapport et répond à chaque dire (art. 282)");
    while crate::effects::now() < due {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let answer = format!(
        "{}=Les relevés le confirment : voir le rapport, § 4.",
        text(&dire, "message")?
    );
    let report = act(
        "expert",
        "company",
        "dossier",
        "report",
        &["--answer", &answer, "--wait", "received", "exhibits/rapport.pdf"],
    )?;
    wait_available(runner, "court", &dossier, &text(&report, "message")?, 2)?;
    act(
        "judge",
        "court",
        "document",
        "open",
        &[
            "--deposit",
            &text(&report, "message")?,
            "--out",
            "opened-rapport.pdf",
        ],
    )?;
    runner.step("L'expert demande sa rémunération ; le juge la taxe (art. 282, 284) ; le greffe clôt");
    act(
        "expert",
        "company",
        "dossier",
        "fee-claim",
        &[
            "--amount",
            "2940",
            "--wait",
            "received",
            "exhibits/note-honoraires.csv",
        ],
    )?;
    act(
        "judge",
        "court",
        "dossier",
        "fee-order",
        &["--amount", "2940", "--wait", "received"],
    )?;
    act("clerk", "court", "dossier", "close", &["--wait", "received"])?;
    settle(runner, &dossier)?;
    Ok(dossier)
}

/// An act of somebody at a node: who, where, noun, verb, the rest.
type Act<'a> = dyn Fn(&str, &str, &str, &str, &[&str]) -> Result<Value, DemoError> + 'a;

/// A medical certificate is lodged for persons only: their wallets open it, and no node can.
fn health_data(runner: &Runner, act: &Act<'_>, dossier: &str) -> Result<(), DemoError> {
    runner.step(
        "Une donnée de santé : le certificat n'est chiffré que pour les personnes ; aucun exploitant de nœud ne peut le lire",
    );
    let file = format!("exhibits/{}", files::CERTIFICATE.0);
    let rest = [
        "--health",
        "--number",
        "100",
        "--title",
        "Certificat médical",
        "--wait",
        "received",
        &file,
    ];
    let lodged = act("party", "bar", "document", "deposit", &rest)?;
    if lodged["class"] != "personal" {
        return Err(DemoError::new(
            "une donnée de santé",
            format!("was lodged as {lodged}"),
        ));
    }
    let deposit = text(&lodged, "message")?;
    for (who, node) in [("expert", "company"), ("judge", "court")] {
        wait_available(runner, node, dossier, &deposit, 1)?;
        let out = format!("opened-certificat-{who}.txt");
        act(
            who,
            node,
            "document",
            "open",
            &["--deposit", &deposit, "--out", &out],
        )?;
        same(runner, &file, &out)?;
    }
    Ok(())
}

/// Waits until a node states that it keeps a document ready for `persons` persons.
fn wait_available(
    runner: &Runner,
    node: &str,
    dossier: &str,
    deposit: &str,
    persons: usize,
) -> Result<(), DemoError> {
    let config = format!("{node}/node.toml");
    let show = ["dossier", "show", "--config", &config, "--dossier", dossier];
    let roles: &[&str] = match node {
        "court" => &["judge", "clerk"],
        "company" => &["expert"],
        _ => &["lawyer", "party"],
    };
    runner.until(&show, &format!("{deposit} available at {node}"), |view| {
        let document = list(view, "documents")
            .into_iter()
            .find(|document| document["deposit"] == deposit);
        let ready = document.map_or(0, |document| {
            let ready = |one: &&Value| {
                one["available_at"].is_string() && roles.iter().any(|role| one["role"] == **role)
            };
            list(&document, "addressees").iter().filter(ready).count()
        });
        ready >= persons
    })
}

/// Waits until every message is received by all, the nodes' own statements included, and all nodes agree.
fn settle(runner: &Runner, dossier: &str) -> Result<(), DemoError> {
    let mut hashes = Vec::new();
    for node in ["court", "bar", "company"] {
        let config = format!("{node}/node.toml");
        let show = ["dossier", "show", "--config", &config, "--dossier", dossier];
        runner.until(&show, "every message received by all", |view| {
            let available = |document: &Value| {
                list(document, "addressees")
                    .iter()
                    .all(|one| one["available_at"].is_string())
            };
            list(view, "messages")
                .iter()
                .all(|message| message["level"] == "received")
                && list(view, "documents").iter().all(available)
                && list(view, "quittances").iter().all(|one| one["complete"] == true)
        })?;
    }
    for node in ["court", "bar", "company"] {
        let status = runner.ask(&["node", "status", "--config", &format!("{node}/node.toml")])?;
        let of = list(&status, "dossiers")
            .into_iter()
            .find(|one| one["id"] == dossier);
        hashes.push(of.map(|one| one["state_hash"].clone()));
    }
    if hashes[0].is_some() && hashes.windows(2).all(|pair| pair[0] == pair[1]) {
        runner.tell("Les trois nœuds ont le même état, octet pour octet.");
        Ok(())
    } else {
        Err(DemoError::new(
            "the nodes agree",
            format!("state hashes {hashes:?}"),
        ))
    }
}

/// What was opened is what was lodged.
fn same(runner: &Runner, lodged: &str, opened: &str) -> Result<(), DemoError> {
    let digest = |name: &str| files::sha256(&runner.path(name)).map_err(|error| DemoError::new(name, error));
    if digest(lodged)? == digest(opened)? {
        Ok(())
    } else {
        Err(DemoError::new(opened, "differs from what was lodged"))
    }
}

/// Who signed, at each milestone, that they hold all of it.
fn quittances(runner: &Runner, dossier: &str) -> Result<(), DemoError> {
    runner.step("Quittances de contradictoire (art. 16) : qui a signé qu'il détient tout, à chaque étape");
    let show = [
        "dossier",
        "quittance",
        "--config",
        "court/node.toml",
        "--dossier",
        dossier,
    ];
    let answer = runner.ask(&show)?;
    let all = list(&answer, "quittances");
    if all.len() != 2 {
        return Err(DemoError::new("two barriers", format!("{answer}")));
    }
    for one in all {
        let signed = list(&one, "nodes")
            .iter()
            .filter(|node| node["signed_at"].is_string())
            .count();
        runner.tell(&format!(
            "Barrière du {} : {signed} nœuds sur {} ont signé détenir {} écritures et {} documents",
            one["recorded_at"].as_str().unwrap_or("—"),
            list(&one, "nodes").len(),
            one["entries"],
            one["documents"]
        ));
    }
    Ok(())
}

/// The three dates of each document, per addressee.
fn timeline(runner: &Runner, view: &Value) {
    runner.step("Chronologie : dépôt, mise à disposition, ouverture, par destinataire");
    for document in list(view, "documents") {
        let word = |value: &Value| value.as_str().unwrap_or("—").to_owned();
        let bytes = document["bytes"].as_u64().unwrap_or(0);
        runner.tell(&format!(
            "{} ({bytes} octets), déposé {}",
            word(&document["name"]),
            word(&document["deposited_at"])
        ));
        for one in list(&document, "addressees") {
            let (available, opened) = (word(&one["available_at"]), word(&one["opened_at"]));
            runner.tell(&format!(
                "    {:<7} disponible {available}   ouvert {opened}",
                word(&one["role"])
            ));
        }
    }
}

fn list(value: &Value, key: &str) -> Vec<Value> {
    value[key].as_array().cloned().unwrap_or_default()
}

fn text(value: &Value, key: &str) -> Result<String, DemoError> {
    let text = value[key].as_str().map(str::to_owned);
    text.ok_or_else(|| DemoError::new("an answer", format!("has no {key}: {value}")))
}

/// Where the demonstration runs and what it leaves.
struct Place {
    /// The working directory of every command.
    run: PathBuf,
    /// Where bundle and anchors stay.
    left: PathBuf,
    temporary: bool,
}

impl Place {
    fn prepare(keep: Option<&Path>) -> Result<Self, DemoError> {
        let absolute =
            |path: &Path| std::path::absolute(path).map_err(|error| DemoError::new(path.display(), error));
        let fail = |path: &Path, error: std::io::Error| DemoError::new(path.display(), error);
        let (run, left, temporary) = match keep {
            Some(keep) => (absolute(keep)?, absolute(keep)?, false),
            None => (
                absolute(Path::new("target/demo/run"))?,
                absolute(Path::new("target/demo"))?,
                true,
            ),
        };
        if temporary && run.exists() {
            std::fs::remove_dir_all(&run).map_err(|error| fail(&run, error))?;
        }
        std::fs::create_dir_all(&run).map_err(|error| fail(&run, error))?;
        let mut entries = std::fs::read_dir(&run).map_err(|error| fail(&run, error))?;
        if entries.next().is_some() {
            return Err(DemoError::new(
                run.display(),
                "is not empty; give --keep another directory",
            ));
        }
        Ok(Self { run, left, temporary })
    }

    /// Moves bundle and anchors to where they stay; gives their absolute paths.
    fn keep(&self, anchors: &str) -> Result<(PathBuf, PathBuf), DemoError> {
        let mut kept = Vec::new();
        for name in ["preuves.zip", anchors] {
            let (from, to) = (self.run.join(name), self.left.join(name));
            if from != to {
                std::fs::copy(&from, &to).map_err(|error| DemoError::new(to.display(), error))?;
            }
            kept.push(to);
        }
        Ok((kept.remove(0), kept.remove(0)))
    }

    fn clear(&self) {
        if self.temporary {
            // What stays is what counts; a directory that cannot be removed is removed at the next start.
            let _ = std::fs::remove_dir_all(&self.run);
        }
    }
}
