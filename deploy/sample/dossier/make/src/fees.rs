//! The two plain files: the expert's fee claim (*note d'honoraires*), CPC art. 282 and 284,
//! and the list of exhibits (*bordereau de pièces*).

use std::fmt::Write as _;

use crate::facts;

/// The fee claim, as French spreadsheets read one: UTF-8, semicolons, decimal commas.
pub fn fee_claim() -> String {
    let mut csv = String::from("Poste;Quantité;Unité;Prix unitaire HT (€);Montant HT (€)\n");
    let mut line = |label: &str, quantity: &str, unit: &str, price: &str, cents: u64| {
        // Writing to a string cannot fail.
        let _ = writeln!(csv, "{label};{quantity};{unit};{price};{}", plain(cents));
    };
    let mut net = 0;
    for (label, quarters) in facts::FEES {
        let cents = quarters * facts::HOUR_CENTS / 4;
        line(
            label,
            &plain(quarters * 25),
            "heure",
            &plain(facts::HOUR_CENTS),
            cents,
        );
        net += cents;
    }
    for (label, cents) in facts::EXPENSES {
        line(label, "1", "forfait", &plain(cents), cents);
        net += cents;
    }
    let tax = net * facts::FEES_TAX_PERCENT / 100;
    line("Total HT", "", "", "", net);
    line(&format!("TVA {} %", facts::FEES_TAX_PERCENT), "", "", "", tax);
    line("Total TTC demandé", "", "", "", net + tax);
    line("Provision consignée", "", "", "", facts::PROVISION_CENTS);
    line(
        "Solde à restituer",
        "",
        "",
        "",
        facts::PROVISION_CENTS - net - tax,
    );
    let _ = writeln!(csv, "{}, {};;;;", facts::NOTICE, facts::CASE);
    csv
}

fn plain(cents: u64) -> String {
    format!("{},{:02}", cents / 100, cents % 100)
}

/// The list of the exhibits that the claimant's lawyer communicates.
pub fn exhibit_list() -> String {
    format!(
        "{court}
{case}

BORDEREAU DES PIÈCES COMMUNIQUÉES PAR L'AVOCAT DU DEMANDEUR
à l'expert et à l'avocat du défendeur (article 275 du code de procédure civile)

Pièce n° 1   photo-fissure.jpg     Fissure F1, mur de façade, 12 mars 2026
Pièce n° 2   releve-mesures.xlsx   Relevé contradictoire des jauges J1 à J3,
                                   du 10 mars au 2 juin 2026

L'avocat du demandeur

{notice}.
",
        court = facts::COURT,
        case = facts::CASE,
        notice = facts::NOTICE,
    )
}
