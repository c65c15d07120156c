//! What a verification found.

use basoche_protocol::id::{Incarnation, SubjectId};
use serde::Serialize;

/// What the evidence says of a claim, or of all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It follows from the evidence and the anchors.
    Proved,
    /// The evidence is not enough, one way or the other.
    Undetermined,
    /// The evidence contradicts it.
    Contradicted,
}

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Claim {
    /// What it is about: `archive`, `manifest`, `anchors:<origin>`, `registry:<origin>`, `journal:<node>`,
    /// `fork:<node>`, `head:<node>`, `message:<id>`, `document:<root>`, `quittance:<barrier>`, `plaintext:<root>`, `summary`, `member`.
    pub id: String,
    /// What was found.
    pub verdict: Verdict,
    /// `ok`, a refusal code of SPEC §11, or a code of SPEC §12.4.
    pub code: &'static str,
    /// The member that it is about.
    pub member: Option<String>,
    /// In words.
    pub reason: String,
}

/// How far the evidence reaches: all of a chain's entries below `size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Reach {
    /// The writer.
    pub node: SubjectId,
    /// The life of its store.
    pub incarnation: Incarnation,
    /// Entries proved, from 0.
    pub size: u64,
}

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    v: u64,
    verdict: Verdict,
    anchored: bool,
    complete_to: Vec<Reach>,
    claims: Vec<Claim>,
    #[serde(skip)]
    malformed: bool,
}

impl Report {
    /// The verdict is the worst of the claims', but for what is not disclosed; without anchors nothing is proved.
    pub(super) fn new(claims: Vec<Claim>, anchored: bool, complete_to: Vec<Reach>) -> Self {
        // What only recipients can show is no gap in the evidence: it is said, and lowers nothing.
        let counted = claims.iter().filter(|claim| claim.code != NOT_DISCLOSED);
        let worst = counted.map(|claim| claim.verdict).max();
        let least = if anchored {
            Verdict::Proved
        } else {
            Verdict::Undetermined
        };
        Self {
            v: 1,
            // Nothing checked is nothing proved.
            verdict: worst.map_or(Verdict::Undetermined, |worst| worst.max(least)),
            anchored,
            complete_to,
            claims,
            malformed: false,
        }
    }

    /// The file is no bundle at all.
    pub(super) fn malformed(reason: String) -> Self {
        let claim = Claim {
            id: "archive".into(),
            verdict: Verdict::Undetermined,
            code: "not-a-bundle",
            member: None,
            reason,
        };
        Self {
            malformed: true,
            ..Self::new(vec![claim], false, Vec::new())
        }
    }

    /// The verdict on the whole.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Whether the user's anchors name every authority that the bundle relies on.
    pub fn anchored(&self) -> bool {
        self.anchored
    }

    /// How many personal documents nobody has opened here: what they say is not proved.
    pub fn undisclosed(&self) -> usize {
        self.claims
            .iter()
            .filter(|claim| claim.code == NOT_DISCLOSED)
            .count()
    }

    /// How far each chain is proved, ascending by chain.
    pub fn complete_to(&self) -> &[Reach] {
        &self.complete_to
    }

    /// Everything that was checked.
    pub fn claims(&self) -> &[Claim] {
        &self.claims
    }

    /// `{"v","verdict","anchored","complete_to","claims":[{"id","verdict","code","member","reason"}]}`, one line.
    pub fn to_json(&self) -> String {
        // Unwrap safety: texts, numbers and booleans in memory.
        #[allow(clippy::expect_used)]
        serde_json::to_string(self).expect("encoding to memory")
    }

    /// 0 proved and anchored, 1 contradicted, 3 undetermined or not anchored, 65 not a bundle at all.
    pub fn exit_code(&self) -> u8 {
        match self.verdict {
            _ if self.malformed => 65,
            Verdict::Contradicted => 1,
            Verdict::Proved if self.anchored => 0,
            Verdict::Proved | Verdict::Undetermined => 3,
        }
    }
}

/// The code of a personal document that nobody has opened for the verification: no evidence is missing.
pub(super) const NOT_DISCLOSED: &str = "not-disclosed";

/// Claims under way.
#[derive(Debug, Default)]
pub(super) struct Claims {
    all: Vec<Claim>,
    failures: usize,
}

impl Claims {
    pub(super) fn add(
        &mut self,
        verdict: Verdict,
        id: impl Into<String>,
        code: &'static str,
        member: Option<&str>,
        reason: impl Into<String>,
    ) {
        self.failures += usize::from(verdict != Verdict::Proved);
        self.all.push(Claim {
            id: id.into(),
            verdict,
            code,
            member: member.map(str::to_owned),
            reason: reason.into(),
        });
    }

    pub(super) fn proved(&mut self, id: impl Into<String>, member: Option<&str>, reason: impl Into<String>) {
        self.add(Verdict::Proved, id, "ok", member, reason);
    }

    pub(super) fn contradicted(
        &mut self,
        id: impl Into<String>,
        code: &'static str,
        member: &str,
        reason: impl Into<String>,
    ) {
        self.add(Verdict::Contradicted, id, code, Some(member), reason);
    }

    pub(super) fn undetermined(
        &mut self,
        id: impl Into<String>,
        code: &'static str,
        member: Option<&str>,
        reason: impl Into<String>,
    ) {
        self.add(Verdict::Undetermined, id, code, member, reason);
    }

    /// How many claims are not proved: what has failed between two counts is known without a search.
    pub(super) fn failures(&self) -> usize {
        self.failures
    }

    /// Whether all is proved but for the user's belief in the authorities and what only recipients can show.
    pub(super) fn hold_together(&self) -> bool {
        let holds = |claim: &Claim| {
            claim.verdict == Verdict::Proved || claim.id.starts_with("anchors") || claim.code == NOT_DISCLOSED
        };
        self.all.iter().all(holds)
    }

    pub(super) fn into_vec(self) -> Vec<Claim> {
        self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(verdicts: &[Verdict], anchored: bool) -> Report {
        let mut claims = Claims::default();
        for verdict in verdicts {
            claims.add(*verdict, "archive", "ok", None, "");
        }
        Report::new(claims.into_vec(), anchored, Vec::new())
    }

    #[test]
    fn the_exit_code_is_that_of_the_worst_claim() {
        use Verdict::{Contradicted, Proved, Undetermined};
        for (claims, anchored, code) in [
            (&[Proved, Proved][..], true, 0),
            (&[Proved], false, 3),
            (&[], true, 3),
            (&[Proved, Undetermined], true, 3),
            (&[Undetermined, Contradicted, Proved], true, 1),
            (&[Contradicted], false, 1),
        ] {
            assert_eq!(report(claims, anchored).exit_code(), code, "{claims:?}");
        }
        assert_eq!(Report::malformed("a photograph".into()).exit_code(), 65);
    }

    #[test]
    fn the_report_has_the_members_that_outsiders_rely_on() {
        let json = r#"{"v":1,"verdict":"undetermined","anchored":false,"complete_to":[],"claims":[{"id":"archive","verdict":"undetermined","code":"not-a-bundle","member":null,"reason":"a photograph"}]}"#;
        assert_eq!(Report::malformed("a photograph".into()).to_json(), json);
    }
}
