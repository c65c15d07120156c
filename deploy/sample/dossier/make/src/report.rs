//! The expert's report (*rapport d'expertise*), CPC art. 238, 276 and 282.

use crate::french::{amount, hundredths};
use crate::page::{Align, COLUMN, Pages};
use crate::typeface::Fonts;
use crate::{Outcome, facts, order, pre_report};

/// The PDF/A file; `photo` is the JPEG printed in section 3.
pub fn write(fonts: &Fonts<'_>, photo: Vec<u8>) -> Outcome<Vec<u8>> {
    let mut pages = Pages::new(fonts);
    pages.letterhead(
        "Expertise ordonnée le 12 janvier 2026",
        ["RG n° 26/00000", "Minute n° 26/00000"],
    );
    pages.title("RAPPORT D'EXPERTISE", "déposé au greffe le 14 septembre 2026");
    pages.paragraph(&format!("**Objet :** {}.", facts::SUBJECT));
    pages.paragraph(
        "**Parties :** le demandeur, assisté de l'avocat du demandeur ; le défendeur, \
         assisté de l'avocat du défendeur. **Destinataires :** le juge chargé du contrôle, \
         le greffe, les avocats des parties.",
    );

    pages.heading("1. Mission");
    pages.paragraph("Par ordonnance de référé du 12 janvier 2026, l'expert a reçu mission de :");
    for (index, head) in order::MISSION.iter().enumerate() {
        pages.item(&format!("{}.", index + 1), head);
    }

    pages.heading("2. Déroulement des opérations");
    let steps = [
        ["Date", "Diligence"],
        ["16 janvier 2026", "Acceptation de la mission"],
        [
            "9 février 2026",
            "Avis du greffe : provision de 3 000 € consignée ; début des opérations",
        ],
        [
            "10 mars 2026",
            "Réunion n° 1 sur les lieux ; pose des jauges J1 à J3",
        ],
        [
            "7 avril 2026",
            "Réunion n° 2 ; essai d'arrosage ; découverte du relevé d'étanchéité",
        ],
        ["5 mai, 2 juin 2026", "Lectures contradictoires des jauges"],
        [
            "22 juin 2026",
            "Pré-rapport adressé aux parties ; dires attendus jusqu'au 20 juillet 2026",
        ],
        [
            "6 juillet 2026",
            "Dire n° 1 du demandeur ; le défendeur n'a pas présenté de dire",
        ],
    ];
    pages.table(
        &[(0.24 * COLUMN, Align::Left), (0.76 * COLUMN, Align::Left)],
        &steps.map(|step| step.to_vec()),
    );
    pages.paragraph(
        "Toutes les réunions se sont tenues contradictoirement, les parties et leurs avocats \
         présents ou régulièrement convoqués. L'expert n'a eu recours à aucun autre \
         technicien.",
    );

    pages.heading("3. Constatations");
    pages.paragraph(
        "**Infiltrations.** Auréole de 1,8 m sur 0,6 m au plafond du séjour, le long de la \
         façade ; auréole de 0,7 m sur 0,4 m au plafond de la chambre attenante. Teneur en \
         eau au droit des auréoles : 24 %, contre 8 % au centre des pièces. Le 7 avril 2026, \
         l'eau est apparue au plafond après quarante minutes d'arrosage du seul pied \
         d'acrotère. Le relevé d'étanchéité s'élève à 8 cm au-dessus de la protection, pour \
         15 cm prévus au marché ; le solin est décollé sur 14 m.",
    );
    pages.paragraph(
        "**Fissures.** Trois fissures partent de l'acrotère. F1 (photographie, partie basse) \
         descend sur 1,1 m et porte une dérivation à mi-hauteur ; F2 et F3 sont plus fines \
         et plus courtes.",
    );
    pages.picture(
        photo,
        290.0,
        "Fissure F1, face intérieure du mur de façade, 12 mars 2026. Réglet en millimètres \
         (pièce n° 1).",
    )?;
    pre_report::widths(&mut pages);

    pages.heading("4. Réponses aux chefs de mission");
    let [j1, j2, j3] = facts::widening().map(hundredths);
    pages.item(
        "1.",
        "Les parties ont été convoquées et entendues ; leurs pièces ont été examinées.",
    );
    pages.item(
        "2.",
        "Les désordres allégués existent ; la section 3 les décrit. Les premiers signes \
         datent de novembre 2024, dix-huit mois environ après les travaux.",
    );
    pages.item(
        "3.",
        "Les infiltrations ont pour cause la hauteur insuffisante du relevé d'étanchéité et \
         le décollement du solin : défauts d'exécution. Les fissures ont pour cause les \
         variations dimensionnelles de l'acrotère, que rien ne désolidarise du mur \
         (conception), aggravées par l'eau que retient la maçonnerie.",
    );
    pages.item(
        "4.",
        "La solidité de l'ouvrage n'est pas compromise. L'usage du séjour est restreint le \
         long de la façade par temps de pluie, sur 4 m² environ.",
    );
    pages.item(
        "5.",
        &format!(
            "Du 10 mars au 2 juin 2026, les fissures se sont ouvertes de {j1} mm (F1), {j2} mm \
         (F2) et {j3} mm (F3), tandis que l'air passait de 11 à 23 °C. Le relevé est joint \
         (annexe 2)."
        ),
    );
    pages.item(
        "6.",
        "Les travaux suivants sont propres à remédier aux désordres ; leur durée est de \
         quatre semaines, par temps sec.",
    );
    let items: Vec<(&str, u64)> = facts::WORKS.into_iter().chain([facts::WORKS_ADDED]).collect();
    let total = pre_report::works(&mut pages, &items);
    pages.item(
        "7.",
        "Le relevé et le solin ont été posés par le défendeur en 2023. La liaison de \
         l'acrotère et du mur est antérieure à ces travaux ; le devis accepté ne la \
         comprenait pas. Un entretien annuel du solin aurait révélé son décollement sans \
         l'empêcher.",
    );
    pages.item(
        "8.",
        "La gêne porte sur 4 m² du séjour, de novembre 2024 à la fin des travaux, par temps \
         de pluie.",
    );
    pages.item(
        "9.",
        "Le pré-rapport a été adressé aux parties le 22 juin 2026 ; la section 5 répond au \
         dire reçu.",
    );

    pages.heading("5. Réponse au dire n° 1 du demandeur (article 276)");
    let answers = [
        ["Observation", "Suite donnée par l'expert"],
        [
            "Chef n° 6 : la chambre attenante est omise",
            "Fondée. Le poste est ajouté pour 1 240,00 € HT, prix du marché pour la surface \
         relevée, au lieu des 1 395,00 € demandés.",
        ],
        [
            "Chef n° 5 : la fissure F1 est-elle stabilisée ?",
            "Non : elle s'ouvre avec la chaleur. L'agrafage avec garnissage souple admet ce \
         mouvement ; il suffit une fois l'acrotère remis au sec.",
        ],
        [
            "Chef n° 8 : surface et durée de la gêne",
            "Précisées au chef n° 8 ci-dessus.",
        ],
    ];
    pages.table(
        &[(0.36 * COLUMN, Align::Left), (0.64 * COLUMN, Align::Left)],
        &answers.map(|answer| answer.to_vec()),
    );
    pages.paragraph("Le dire est joint au rapport, comme le demandeur l'a demandé.");

    pages.heading("6. Conclusion");
    pages.paragraph(&format!(
        "Les infiltrations proviennent de l'exécution du relevé d'étanchéité et de son solin \
         en 2023 ; les fissures, de la liaison de l'acrotère et du mur, que l'eau aggrave. \
         Les remises en état s'élèvent à **{} € TTC**. L'expert demande une rémunération de \
         {} € TTC, selon la note jointe, que les parties peuvent discuter dans les quinze \
         jours de sa réception (article 282).",
        amount(total),
        amount(facts::fee_claim_cents()),
    ));
    pages.paragraph(
        "**Annexes :** 1. photographie (photo-fissure.jpg) ; 2. relevé des jauges \
         (releve-mesures.xlsx) ; 3. dire n° 1 (dire-n1.docx) ; 4. note d'honoraires \
         (note-honoraires.csv).",
    );
    pages.signatures("Clos à Exemple-Ville, le 14 septembre 2026.", &["", "L'expert"]);
    pages.finish("Rapport d'expertise", "L'expert", (2026, 9, 14))
}
