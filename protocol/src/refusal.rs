//! The one table of refusal codes. SPEC §11 is its twin: a test holds them together.

use crate::wire::number::numbers;

/// When the same bytes may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Never: they will be refused for ever.
    Never,
    /// After something else has changed: a registry import, an act of somebody else, a date.
    AfterChange,
    /// Later, without any change: the node was busy.
    Later,
}

numbers! {
    /// A stable refusal code. Numbers are never reused: 1xx malformed, 2xx untrusted, 3xx refused by the procedure,
    /// 4xx incompatible, 5xx the node's own state.
    Code {
        /// The bytes end too early.
        Truncated = 100 "truncated",
        /// Not the one encoding of its value.
        NotCanonical = 101 "not-canonical",
        /// Nested too deep.
        TooDeep = 102 "too-deep",
        /// Over the limit of its kind.
        TooLarge = 103 "too-large",
        /// Something follows the value.
        TrailingBytes = 104 "trailing-bytes",
        /// A field is missing, unknown or of another type.
        WrongShape = 105 "wrong-shape",
        /// The protected header is not the fixed serialisation.
        BadHeader = 106 "bad-header",
        /// No message has this type.
        UnknownType = 107 "unknown-type",
        /// A field is outside its range.
        BadValue = 108 "bad-value",
        /// The certificate is not in the registry.
        UnknownSigner = 200 "unknown-signer",
        /// The signature does not verify.
        BadSignature = 201 "bad-signature",
        /// The certificate was not valid at that instant.
        SignerInvalid = 202 "signer-invalid",
        /// Signed as another kind of structure.
        WrongTyp = 203 "wrong-typ",
        /// The claimed time lies too far ahead.
        ClaimedAhead = 204 "claimed-ahead",
        /// The author is not the certificate's subject.
        AuthorMismatch = 205 "author-mismatch",
        /// The registry does not attest the role.
        RoleNotHeld = 206 "role-not-held",
        /// The opened message is not the announced one.
        IdMismatch = 207 "id-mismatch",
        /// The seal does not open.
        NotOpenable = 208 "not-openable",
        /// The head does not cover the entries.
        HeadMismatch = 209 "head-mismatch",
        /// No authority lets the author enrol parties in this dossier.
        NotDelegated = 210 "not-delegated",
        /// No such dossier here.
        UnknownDossier = 300 "unknown-dossier",
        /// Not in the roster.
        NotParticipant = 301 "not-participant",
        /// That role may not send that type.
        SenderRole = 302 "sender-role",
        /// The act has no place in this phase.
        WrongPhase = 303 "wrong-phase",
        /// Exhibits wait for the provision.
        ProvisionUnpaid = 304 "provision-unpaid",
        /// A once-only act is there already.
        AlreadyDone = 305 "already-done",
        /// The time for dires is still running.
        DiresStillDue = 306 "dires-still-due",
        /// A dire has no answer.
        DireUnanswered = 307 "dire-unanswered",
        /// A reference is not on file.
        UnknownReference = 308 "unknown-reference",
        /// The document's bytes are not stored.
        DocumentMissing = 309 "document-missing",
        /// The act belongs to somebody else.
        NotCompetent = 310 "not-competent",
        /// The change contradicts the roster.
        RosterConflict = 311 "roster-conflict",
        /// The court let another history of the chain count.
        SetAside = 312 "set-aside",
        /// The chain is forked, and no other member has this history.
        ForkedChain = 313 "forked-chain",
        /// A legal hold covers what is to be erased.
        OnHold = 314 "on-hold",
        /// The message is erased.
        Erased = 315 "erased",
        /// The named frontier is not within what the recording node had.
        FrontierUnheld = 316 "frontier-unheld",
        /// Only a recipient of a personal document hands its key on.
        NotRecipient = 319 "not-recipient",
        /// The message version is not supported.
        Version = 400 "version",
        /// The dossier's rules are not known here.
        Rules = 401 "rules",
        /// The node has no room in a queue.
        Busy = 500 "busy",
        /// The node is stopping.
        Stopping = 501 "stopping",
        /// The node's disk is full.
        StorageFull = 502 "storage-full",
    }
}

impl Code {
    /// When the same bytes may be sent again.
    pub const fn retry(self) -> Retry {
        match self {
            Self::Truncated
            | Self::NotCanonical
            | Self::TooDeep
            | Self::TooLarge
            | Self::TrailingBytes
            | Self::WrongShape
            | Self::BadHeader
            | Self::UnknownType
            | Self::BadValue
            | Self::BadSignature
            | Self::SignerInvalid
            | Self::WrongTyp
            | Self::AuthorMismatch
            | Self::IdMismatch
            | Self::NotOpenable
            | Self::HeadMismatch
            | Self::SenderRole
            | Self::AlreadyDone
            | Self::NotCompetent
            | Self::SetAside
            | Self::Erased
            | Self::Version => Retry::Never,
            Self::UnknownSigner
            | Self::ClaimedAhead
            | Self::RoleNotHeld
            | Self::NotDelegated
            | Self::UnknownDossier
            | Self::NotParticipant
            | Self::WrongPhase
            | Self::ProvisionUnpaid
            | Self::DiresStillDue
            | Self::DireUnanswered
            | Self::UnknownReference
            | Self::DocumentMissing
            | Self::RosterConflict
            | Self::ForkedChain
            | Self::FrontierUnheld
            | Self::NotRecipient
            | Self::OnHold
            | Self::Rules => Retry::AfterChange,
            Self::Busy | Self::Stopping | Self::StorageFull => Retry::Later,
        }
    }

    /// What a person can do about it, in one sentence.
    pub const fn action(self) -> &'static str {
        match self.retry() {
            Retry::Later => match self {
                Self::StorageFull => "Have the node's operator free disk space, then try again.",
                _ => "Try again in a few seconds.",
            },
            Retry::AfterChange => match self {
                Self::UnknownSigner | Self::RoleNotHeld => {
                    "Import the authority's newest entries, then try again."
                }
                Self::NotDelegated => {
                    "Have your authority delegate it to you for this dossier (`basoche authority delegate`), and import its newest entries."
                }
                Self::ClaimedAhead => "Set the clock of the signing machine, then sign again.",
                Self::ProvisionUnpaid => "Wait for the clerk's notice that the provision is paid in.",
                Self::DiresStillDue => "Wait for the date set by the pre-report.",
                Self::DireUnanswered => "Answer every dire in the report.",
                Self::FrontierUnheld => "Ask the node for its frontier again, and sign a new message.",
                Self::DocumentMissing => "Deposit the document at this node first.",
                Self::NotRecipient => {
                    "Ask one of the document's recipients for it: `basoche document grant`."
                }
                Self::UnknownDossier | Self::NotParticipant => {
                    "Check the dossier's id, and that the expert has added you to the roster."
                }
                Self::OnHold => "Release the hold first: `basoche dossier show` lists those that stand.",
                _ => "Look at `basoche dossier show` for the dossier's phase.",
            },
            Retry::Never if matches!(self, Self::AlreadyDone | Self::Erased) => {
                "Nothing to do: it is on file."
            }
            Retry::Never => "Do not send it again: correct the message and sign a new one.",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_go_both_ways() {
        for code in Code::ALL {
            assert_eq!(Code::from_number(code.number()), Some(*code));
            assert_eq!(Code::from_name(code.name()), Some(*code));
        }
    }
}
