//! Cases of the messages: for each a smallest and a full one that are accepted, and the ways to spoil it.

use basoche_conformance::vector::{Named, Stage, Vector, What};

use super::cbor::Value::{self, A, M, U};
use super::cbor::bytes;
use super::kinds::residual;
use super::world::{Person, envelope};

/// One message type: how it is written, and which of its values can be spoilt how.
pub(crate) struct Kind {
    /// The number.
    pub(crate) code: u64,
    /// The name.
    pub(crate) name: &'static str,
    pub(crate) signer: Person,
    pub(crate) stranger: Option<Person>,
    pub(crate) minimal: Value,
    pub(crate) full: Value,
    /// A field that must be there, and a value of another type for it.
    pub(crate) required: (u64, Value),
    /// What is outside a range: name, key of the body, value.
    pub(crate) ranges: Vec<(&'static str, u64, Value)>,
    /// Further cases: name, what it shows, the code if it is refused, body.
    pub(crate) further: Vec<(&'static str, &'static str, Option<&'static str>, Value)>,
}

/// The world as the messages see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    /// The dossier.
    pub(crate) dossier: [u8; 32],
    /// A message on file that brought the document.
    pub(crate) deposit: [u8; 32],
}

/// A payload of this type and body.
pub(crate) fn payload(
    code: u64,
    author: &Person,
    dossier: Option<[u8; 32]>,
    refs: &[[u8; 32]],
    body: Value,
) -> Value {
    let mut fields = vec![(0, "v", U(1)), (1, "type", U(code))];
    fields.extend(dossier.map(|dossier| (2, "dossier", bytes(&dossier))));
    fields.extend([
        (3, "author", bytes(&author.id())),
        (4, "role", U(author.role)),
        (5, "assurance", U(if author.role == 6 { 4 } else { 2 })),
        (6, "class", U(0)),
        (7, "refs", A(refs.iter().map(|id| bytes(id)).collect())),
        (8, "salt", bytes(&[0x5e; 16])),
        (9, "body", body),
    ]);
    M(fields)
}

impl Kind {
    /// The payload of the smallest accepted case: the example of SPEC §6.
    pub(crate) fn example(&self, context: &Context) -> Value {
        self.payload(context, &self.signer, &[], self.minimal.clone())
    }

    fn payload(&self, context: &Context, author: &Person, refs: &[[u8; 32]], body: Value) -> Value {
        let dossier = (self.code != 1).then_some(context.dossier);
        payload(self.code, author, dossier, refs, body)
    }

    /// The accepted and refused cases.
    pub(crate) fn cases(&self, context: &Context) -> Vec<Named> {
        let mut cases = Vec::new();
        let mut add =
            |name: &str, comment: &str, stage, code: Option<&str>, signer: &Person, payload: &[u8]| {
                let vector = Vector::new(What::Envelope, comment, stage, code, &envelope(signer, payload));
                cases.push((format!("{}/{name}", self.name), vector));
            };
        let signer = &self.signer;
        let reached = if self.code == 1 {
            Stage::Decide
        } else {
            Stage::Signature
        };
        let minimal = self.example(context);
        let body = |body: Value| minimal.clone().with(9, body).encode();
        add(
            "accept_minimal",
            "every option absent",
            reached,
            None,
            signer,
            &minimal.encode(),
        );
        // What orders to erase and to keep are worth hangs on no other message. ERA-4.
        let bare = matches!(self.code, 14 | 15);
        let refs = [[0x01; 32], [0x02; 32]];
        let full = |refs| self.payload(context, signer, refs, self.full.clone());
        let (refs, referring) = (if bare { &[][..] } else { &refs }, full(&refs));
        let full = full(refs);
        add(
            "accept_full",
            if bare {
                "every option and an extension"
            } else {
                "every option, two references and an extension"
            },
            reached,
            None,
            signer,
            &full.encode(),
        );

        for (name, comment, code, further) in &self.further {
            let (outcome, stage) = match code {
                None => ("accept", reached),
                Some(_) => ("refuse", Stage::Payload),
            };
            let name = format!("{outcome}_{name}");
            add(&name, comment, stage, *code, signer, &body(further.clone()));
        }

        let mut refuse = |name: &str, comment: &str, code: &str, payload: Vec<u8>| {
            add(
                &format!("refuse_{name}"),
                comment,
                Stage::Payload,
                Some(code),
                signer,
                &payload,
            );
        };
        if bare {
            refuse(
                "refs",
                "it refers to messages (ERA-4)",
                "bad-value",
                referring.encode(),
            );
        }
        if self.code == 14 {
            let none = self.minimal.clone().with(3, residual(7, &[])).with(2, U(2));
            refuse(
                "no_document",
                "only documents, of which there are none (ERA-1)",
                "bad-value",
                body(none),
            );
            let extent = body(self.minimal.clone().with(2, U(3)));
            refuse(
                "extent",
                "no extent has this number (ENC-9)",
                "wrong-shape",
                extent,
            );
        }
        if self.code == 15 {
            let both = self.full.clone().with(2, bytes(&[0x0e; 32]));
            refuse(
                "hold_and_lift",
                "it holds and lifts (ERA-6)",
                "bad-value",
                body(both),
            );
        }
        let (key, other_type) = &self.required;
        if self.code == 12 {
            let without_body = minimal.clone().without(9).encode();
            refuse("missing_field", "no body (ENC-10)", "wrong-shape", without_body);
        } else {
            let missing = body(self.minimal.clone().without(*key));
            refuse(
                "missing_field",
                "a field of the body is missing (ENC-10)",
                "wrong-shape",
                missing,
            );
        }
        let unknown = body(self.minimal.clone().with(99, U(0)));
        refuse(
            "unknown_key",
            "the body has a key 99 (ENC-10)",
            "wrong-shape",
            unknown,
        );
        let wrong_type = body(self.minimal.clone().with(*key, other_type.clone()));
        refuse(
            "wrong_type",
            "a field of the body is of another type",
            "wrong-shape",
            wrong_type,
        );
        let bad_ext = body(self.minimal.clone().with(0, bytes(&[0x80])));
        refuse(
            "ext_no_map",
            "the extension is an array (ENV-15)",
            "bad-value",
            bad_ext,
        );
        for (name, key, value) in &self.ranges {
            let spoilt = body(self.minimal.clone().with(*key, value.clone()));
            refuse(
                name,
                "a field of the body is outside its range",
                "bad-value",
                spoilt,
            );
        }
        let class = minimal.clone().with(6, U(1)).encode();
        refuse(
            "class",
            "sealed for another class than the table's (ENV-16)",
            "bad-value",
            class,
        );
        let dossier = if self.code == 1 {
            minimal.clone().with(2, bytes(&context.dossier))
        } else {
            minimal.clone().without(2)
        };
        refuse(
            "dossier",
            "only the founding act has no dossier (ENV-5)",
            "bad-value",
            dossier.encode(),
        );
        let long_head = minimal.clone().with(0, Value::Raw(vec![0x18, 0x01])).encode();
        refuse(
            "not_canonical",
            "v is 1 in two bytes (ENC-2)",
            "not-canonical",
            long_head,
        );
        let null = body(self.minimal.clone().with(0, Value::Raw(vec![0xf6])));
        refuse(
            "null_for_absent",
            "null stands for the absent extension (ENC-4)",
            "not-canonical",
            null,
        );

        if let Some(stranger) = &self.stranger {
            let payload = self
                .payload(context, stranger, &[], self.minimal.clone())
                .encode();
            let comment = "sent in a role that the table does not give it (DOS-2)";
            add(
                "refuse_sender_role",
                comment,
                Stage::Decide,
                Some("sender-role"),
                stranger,
                &payload,
            );
        }
        cases
    }
}
