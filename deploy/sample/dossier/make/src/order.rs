//! The order that designates the expert (*ordonnance de désignation*), CPC art. 145, 232 and 263 to 284.

use crate::Outcome;
use crate::page::Pages;
use crate::typeface::Fonts;

/// The heads of the expert's mission (*chefs de mission*), in order.
pub const MISSION: [&str; 9] = [
    "convoquer les parties et leurs avocats, se rendre sur les lieux, se faire remettre \
         sans délai tous les documents utiles (article 275) et entendre les parties en leurs \
         explications ;",
    "décrire les désordres allégués dans l'assignation, en particulier les infiltrations \
         en plafond et les fissures du mur de façade, avec leur date d'apparition ;",
    "en rechercher la cause ; dire, pour chacun, s'il provient de la conception, de \
         l'exécution, des matériaux, d'un défaut d'entretien ou d'une autre origine ;",
    "donner les éléments techniques qui permettent d'apprécier si ces désordres \
         compromettent la solidité de l'ouvrage ou l'usage normal des pièces touchées ;",
    "suivre l'ouverture des fissures par des jauges, pendant au moins douze semaines, et \
         en joindre le relevé ;",
    "indiquer les travaux propres à remédier aux désordres, en évaluer le coût et la \
         durée ;",
    "fournir tous éléments techniques et de fait de nature à permettre à la juridiction \
         saisie de déterminer les responsabilités encourues ;",
    "donner les éléments qui permettent d'évaluer les préjudices subis, dont la gêne \
         dans l'occupation des lieux ;",
    "adresser aux parties un pré-rapport, fixer le délai dans lequel elles présenteront \
         leurs observations, et y répondre (article 276).",
];

/// The PDF/A file.
pub fn write(fonts: &Fonts<'_>) -> Outcome<Vec<u8>> {
    let mut pages = Pages::new(fonts);
    pages.letterhead(
        "Juge des référés, contrôle des expertises",
        ["RG n° 26/00000", "Minute n° 26/00000"],
    );
    pages.title(
        "ORDONNANCE DE RÉFÉRÉ",
        "désignant un expert, rendue le 12 janvier 2026",
    );

    pages.paragraph(
        "**Demandeur :** le demandeur, propriétaire d'un appartement au dernier étage de \
         l'immeuble situé 12, rue de l'Exemple, à Exemple-Ville, représenté par l'avocat du \
         demandeur.",
    );
    pages.paragraph(
        "**Défendeur :** le défendeur, entreprise qui a réalisé en 2023 la réfection de \
         l'étanchéité de la toiture-terrasse, représenté par l'avocat du défendeur.",
    );
    pages.paragraph(
        "**Composition :** le juge des référés, également juge chargé du contrôle des \
         expertises, assisté du greffier. Débats à l'audience publique du 5 janvier 2026 ; \
         ordonnance contradictoire mise à disposition au greffe.",
    );

    pages.heading("Exposé du litige");
    pages.paragraph(
        "Le demandeur expose que, depuis novembre 2024, de l'eau pénètre par le plafond de \
         son séjour lors des pluies d'ouest et que des fissures sont apparues sur le mur de \
         façade, au droit de l'acrotère de la terrasse. Par acte du 1er décembre 2025, il a \
         assigné le défendeur afin qu'une expertise soit ordonnée sur le fondement de \
         l'article 145 du code de procédure civile.",
    );
    pages.paragraph(
        "Le défendeur conteste que ses travaux soient à l'origine des désordres. Il ne \
         s'oppose pas à la mesure et formule les protestations et réserves d'usage.",
    );

    pages.heading("Motifs");
    pages.paragraph(
        "Selon l'article 145 du code de procédure civile, s'il existe un motif légitime de \
         conserver ou d'établir avant tout procès la preuve de faits dont pourrait dépendre \
         la solution d'un litige, les mesures d'instruction légalement admissibles peuvent \
         être ordonnées à la demande de tout intéressé. Les photographies produites rendent \
         vraisemblables les désordres invoqués. Leur cause et leur évolution sont des \
         questions de fait qui requièrent les lumières d'un technicien (article 232) et que \
         des constatations ou une consultation ne suffiraient pas à éclairer (article 263). \
         Il convient d'ordonner une expertise, aux frais avancés du demandeur.",
    );

    pages.heading("Par ces motifs");
    pages.paragraph(
        "**Ordonnons** une expertise et **commettons** pour y procéder l'expert, inscrit sur \
         la liste de la cour d'appel dans les spécialités de l'étanchéité et des structures \
         du bâtiment, avec mission de :",
    );
    for (index, head) in MISSION.iter().enumerate() {
        pages.item(&format!("{}.", index + 1), head);
    }
    pages.paragraph(
        "**Disons** que l'expert fera connaître sans délai son acceptation et qu'il \
         commencera ses opérations dès qu'il sera averti que la provision mise à la charge \
         des parties a été consignée (article 267) ; que les parties ne communiqueront leurs \
         pièces par la voie électronique qu'à compter de cet avis ;",
    );
    pages.paragraph(
        "**Fixons** à **3 000 €** la provision à valoir sur la rémunération de l'expert, que \
         le demandeur consignera à la régie du greffe avant le **12 février 2026** (article \
         269), et rappelons qu'à défaut de consignation dans ce délai la désignation de \
         l'expert est caduque, sauf prorogation du délai ou relevé de caducité (article 271) \
         ;",
    );
    pages.paragraph(
        "**Disons** que l'expert pourra recueillir l'avis d'un autre technicien, mais \
         seulement dans une spécialité distincte de la sienne (article 278) ; qu'il \
         informera le juge chargé du contrôle de l'avancement de ses opérations (article \
         273), des difficultés qui feraient obstacle à sa mission (article 279) et de \
         l'insuffisance manifeste de la provision (article 280) ;",
    );
    pages.paragraph(
        "**Disons** que l'expert déposera son rapport au greffe avant le **30 septembre \
         2026** (article 265), qu'il en adressera un exemplaire aux parties avec sa demande \
         de rémunération, par tout moyen permettant d'en établir la réception, et que les \
         parties disposeront de quinze jours pour présenter leurs observations sur cette \
         demande (article 282), avant que le juge ne fixe la rémunération (article 284) ;",
    );
    pages.paragraph(
        "**Disons** que les actes, pièces, avis et rapports de l'expertise pourront être \
         échangés par la voie électronique entre le greffe, l'expert et les avocats \
         (articles 748-1 et suivants) ;",
    );
    pages.paragraph(
        "**Laissons** provisoirement les dépens à la charge du demandeur et **rappelons** \
         que la présente ordonnance est exécutoire à titre provisoire.",
    );
    pages.signatures(
        "Fait à Exemple-Ville, le 12 janvier 2026.",
        &["Le greffier", "Le juge des référés"],
    );
    pages.finish(
        "Ordonnance désignant un expert",
        "Le juge des référés",
        (2026, 1, 12),
    )
}
