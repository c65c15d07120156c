//! Who acts, in which capacity, with which assurance, for which readers. SPEC §3.

use crate::wire::number::numbers;

numbers! {
    /// The capacity in which somebody acts in a dossier.
    Role {
        /// Supervising judge (*juge chargé du contrôle des expertises*), CPC art. 155-1.
        Judge = 1 "judge",
        /// A clerk of the court's *greffe*, the `ClerkOffice`.
        Clerk = 2 "clerk",
        /// The designated expert (*expert judiciaire*), CPC art. 232.
        Expert = 3 "expert",
        /// A party's lawyer (*avocat*).
        Lawyer = 4 "lawyer",
        /// A party (*partie*).
        Party = 5 "party",
        /// A node, speaking for its organisation under the seal key.
        Node = 6 "node",
    }
}

numbers! {
    /// How the author was identified when the act was made. SPEC §3.4.
    Assurance {
        /// A key on certified hardware that the person holds.
        Hardware = 1 "hardware",
        /// A software key that the person holds.
        Software = 2 "software",
        /// A key that the person's organisation holds and uses after authenticating them.
        Hosted = 3 "hosted",
        /// The organisation's own seal.
        Seal = 4 "seal",
    }
}

numbers! {
    /// Who may open a sealed message or a document. SPEC §5.4.
    Class {
        /// The members' nodes, and so their operators.
        Member = 0 "member",
        /// The persons named only; the default for health data.
        Personal = 1 "personal",
    }
}

numbers! {
    /// What a node's organisation is.
    OrganisationKind {
        /// A court (*juridiction*).
        Court = 1 "court",
        /// A bar (*barreau*).
        Bar = 2 "bar",
        /// A company of experts (*compagnie d'experts*).
        ExpertCompany = 3 "expert-company",
    }
}
