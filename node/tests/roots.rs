//! An authority whose roots sign together: `authority init --further-root`, `cosign`, `enter`. REG-10, REG-12.
#![allow(clippy::unwrap_used)]

mod office;

use office::Office;
use serde_json::Value;

/// What several custodians do at their machines: here in one directory.
struct Custodians(Office);

impl Custodians {
    fn new() -> Self {
        let office = Office::bare();
        for name in ["root-2", "root-3"] {
            let request = format!("{name}.json");
            let create = [
                "wallet",
                "create",
                "--out",
                name,
                "--label",
                name,
                "--request",
                &request,
            ];
            office.secret(&create).ok();
        }
        let init = [
            "authority",
            "init",
            "--origin",
            "bar.example",
            "--profession",
            "bar",
            "--test",
            "--dir",
            "bar",
        ];
        let roots = [
            "--further-root",
            "root-2.json",
            "--further-root",
            "root-3.json",
            "--threshold",
            "2",
        ];
        let refused = office.secret(&[init.as_slice(), &roots].concat());
        refused.fails(2, "usage", "several roots", "--draft");
        office
            .secret(&[init.as_slice(), &roots, &["--draft", "first.draft"]].concat())
            .ok();
        Self(office)
    }

    fn say(&self, verb: &str, rest: &[&str]) -> office::Said {
        self.0
            .secret(&[&["authority", verb, "--dir", "bar"], rest].concat())
    }

    fn cosign(&self, draft: &str, wallet: &str) -> office::Said {
        self.say(
            "cosign",
            &["--draft", draft, "--capacity", "root", "--as", wallet],
        )
    }
}

const ORGANISATION: [&str; 4] = ["--name", "Barreau", "--identifier", "1"];

#[test]
fn two_of_three_roots_begin_a_log_and_go_on_with_it() {
    let custodians = Custodians::new();
    let enter = |draft| custodians.say("enter", &["--draft", draft]);
    enter("first.draft").fails(77, "signer-invalid", "1 of the authority's roots", "cosign");
    custodians.cosign("first.draft", "root-2").ok();
    assert_eq!(enter("first.draft").ok()["index"], 0);
    enter("first.draft").fails(77, "head-mismatch", "index 0", "have it signed again");
    // Nobody signs what the log would not take.
    let late = custodians.cosign("first.draft", "root-3");
    late.fails(77, "head-mismatch", "index 0", "have it signed again");

    // One root alone states nothing, whichever; a draft of one that another signs is an entry.
    let alone = custodians.say("organisation", &ORGANISATION);
    alone.fails(77, "signer-invalid", "1 of the authority's roots", "--draft FILE");
    let drafted = custodians.say(
        "organisation",
        &[&ORGANISATION[..], &["--draft", "second.draft", "--as", "root-3"]].concat(),
    );
    assert_eq!(drafted.ok()["draft"], "second.draft");
    custodians.cosign("second.draft", "root-3").ok();
    enter("second.draft").fails(65, "bad-value", "signed already", "Nothing was written");
    let drafted = custodians.say(
        "organisation",
        &[&ORGANISATION[..], &["--draft", "third.draft", "--as", "root-3"]].concat(),
    );
    drafted.ok();
    custodians.cosign("third.draft", "root-2").ok();
    assert_eq!(enter("third.draft").ok()["index"], 1);

    // Whoever is given the anchors checks it.
    let anchors = ["authority", "anchors", "--out", "roots.json", "bar"];
    custodians.0.ask(&anchors).ok();
    let check = ["annuaire", "verify", "--anchors", "roots.json", "bar"];
    assert_eq!(custodians.0.ask(&check).ok()["registries"][0]["size"], 2);
    let written = std::fs::read(custodians.0.root.join("roots.json")).unwrap();
    let written: Value = serde_json::from_slice(&written).unwrap();
    let bar = &written["authorities"][0];
    assert_eq!(
        (&bar["threshold"], bar["further_roots"].as_array().unwrap().len()),
        (&2.into(), 2)
    );
    // Under other anchors, with one root, it is another log.
    let mut other = written.clone();
    let bar = other["authorities"][0].as_object_mut().unwrap();
    bar.remove("threshold");
    bar.remove("further_roots");
    std::fs::write(custodians.0.root.join("other.json"), other.to_string()).unwrap();
    let check = ["annuaire", "verify", "--anchors", "other.json", "bar"];
    assert_eq!(custodians.0.ask(&check).exit, 77);
}
