//! The JWS vectors of C2SP/wycheproof against the signature primitive: every case whose algorithm and key we support.
//!
//! Our headers have one form, which no foreign JWS has; so only strict base64url, the rule that a key serves its one
//! algorithm (ENV-14) and the primitive itself are tried here. The file stands beside the checkout, in
//! `../shared/vectors/wycheproof`, or under `$BASOCHE_VECTORS`; without it the tests count as skipped.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, panic};

use basoche_conformance::checkout;
use basoche_protocol::jose::{Algorithm, VerifyingKey};
use basoche_protocol::text::b64url_decode;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use serde_json::Value;

/// Cases of ES256, PS256, PS384, PS512 and RS256 keys, of the file's 401.
const CASES: usize = 347;

type Test = (&'static str, fn(&[Case]));

const TESTS: [Test; 2] = [
    (
        "every_supported_case_ends_as_it_should",
        every_supported_case_ends_as_it_should,
    ),
    ("a_false_expectation_is_found", a_false_expectation_is_found),
];

fn every_supported_case_ends_as_it_should(cases: &[Case]) {
    assert_eq!(cases.len(), CASES);
    assert_eq!(surprises(cases), Vec::<&str>::new());
    assert!(cases.iter().filter(|case| case.valid).count() > 15);
}

/// Negative control: whichever expectation is turned round, that case and no other is reported.
fn a_false_expectation_is_found(cases: &[Case]) {
    let mut cases = cases.to_vec();
    for place in (0..cases.len()).step_by(10) {
        cases[place].valid ^= true;
        assert_eq!(surprises(&cases), [cases[place].name.as_str()]);
        cases[place].valid ^= true;
    }
}

fn surprises(cases: &[Case]) -> Vec<&str> {
    let wrong = cases.iter().filter(|case| case.verifies() != case.valid);
    wrong.map(|case| case.name.as_str()).collect()
}

#[derive(Clone)]
struct Case {
    name: String,
    key: VerifyingKey,
    jws: String,
    valid: bool,
}

impl Case {
    fn verifies(&self) -> bool {
        let Some((input, signature)) = self.jws.rsplit_once('.') else {
            return false;
        };
        let Some((header, payload)) = input.split_once('.') else {
            return false;
        };
        let parts = [header, payload, signature].map(b64url_decode);
        let [Some(header), Some(_), Some(signature)] = parts else {
            return false;
        };
        let Ok(header) = serde_json::from_slice::<Value>(&header) else {
            return false;
        };
        header["alg"] == self.key.algorithm().name() && self.key.verify(input.as_bytes(), &signature).is_ok()
    }
}

fn key(jwk: &Value) -> Option<VerifyingKey> {
    let algorithm = Algorithm::from_name(jwk["alg"].as_str()?)?;
    let number = |name: &str| BigNum::from_slice(&b64url_decode(jwk[name].as_str()?)?).ok();
    let spki = match jwk["kty"].as_str()? {
        "RSA" => PKey::from_rsa(Rsa::from_public_components(number("n")?, number("e")?).ok()?).ok()?,
        "EC" if jwk["crv"] == "P-256" => {
            let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).ok()?;
            let key =
                EcKey::from_public_key_affine_coordinates(&group, &*number("x")?, &*number("y")?).ok()?;
            PKey::from_ec_key(key).ok()?
        }
        _ => return None,
    };
    VerifyingKey::from_spki(algorithm, &spki.public_key_to_der().ok()?).ok()
}

fn read(file: &Path) -> Vec<Case> {
    let file: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let mut cases = Vec::new();
    for group in file["testGroups"].as_array().unwrap() {
        let Some(key) = key(&group["public"]) else {
            continue;
        };
        for test in group["tests"].as_array().unwrap() {
            let jws = test["jws"].as_str().unwrap_or_default();
            // RFC 7520 figure 20 signs PS384 under a key that says PS256: valid there, refused by ENV-14.
            let other_algorithm = test["comment"] == "Figure20";
            cases.push(Case {
                name: format!("{} {}", test["tcId"], test["comment"]),
                key: key.clone(),
                jws: jws.to_owned(),
                valid: test["result"] == "valid" && !other_algorithm,
            });
        }
    }
    cases
}

/// The file with the vectors, or why there is none.
fn file() -> Result<PathBuf, String> {
    let beside = checkout().join("../shared/vectors");
    let named = env::var_os("BASOCHE_VECTORS").map(PathBuf::from);
    let file = named
        .as_ref()
        .unwrap_or(&beside)
        .join("wycheproof/json_web_signature_test.json");
    match (file.is_file(), named) {
        (true, _) => Ok(file),
        (false, None) => Err(format!("no vectors in {}", file.display())),
        (false, Some(_)) => panic!("BASOCHE_VECTORS is set, but there is no {}", file.display()),
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let filters: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let wanted = |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(*filter));
    let tests: Vec<Test> = TESTS.into_iter().filter(|(name, _)| wanted(name)).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        tests.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} tests", tests.len());
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    match file() {
        Err(reason) => {
            for (name, _) in &tests {
                println!("test {name} ... ignored, {reason}");
                skipped += 1;
            }
        }
        Ok(file) => {
            let cases = read(&file);
            for (name, test) in &tests {
                // The cases are only read: a panic leaves none of them half changed.
                let good = panic::catch_unwind(panic::AssertUnwindSafe(|| test(&cases))).is_ok();
                println!("test {name} ... {}", if good { "ok" } else { "FAILED" });
                *(if good { &mut passed } else { &mut failed }) += 1;
            }
        }
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {verdict}. {passed} passed; {failed} failed; {skipped} ignored; 0 measured; {} filtered out\n",
        TESTS.len() - tests.len()
    );
    ExitCode::from(u8::from(failed > 0))
}
