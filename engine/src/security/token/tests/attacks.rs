//! Attacks on tokens by name. Each is refused, and beside it stands a twin that lacks only the attack and is taken.

use proptest::prelude::*;

use super::*;
use Algorithm::{ES256, HS256, PS256, RS256};

const EXP: &str = r#""exp":1700000600"#;

/// A name, the attack, its twin, and the code of the refusal.
type Row = (&'static str, String, String, &'static str);

/// An RSA key `rsa` for RS256 and a secret `hs` for HS256; one issuer, one audience, half a minute.
fn verifier() -> Verifier {
    let keys = [public(RS256).named("rsa"), public(HS256).named("hs")];
    Verifier::new(Keys::new(keys).unwrap())
        .issuers(["https://id.example"])
        .audiences(["orders"])
        .leeway(std::time::Duration::from_secs(30))
}

/// Claims that are taken, with more of them.
fn claims(more: &str) -> String {
    format!(r#"{{"sub":"7","iss":"https://id.example","aud":"orders"{more}}}"#)
}

fn fine() -> String {
    claims(&format!(",{EXP}"))
}

/// A header for `hs`, with more members.
fn header(more: &str) -> String {
    format!(r#"{{"alg":"HS256","kid":"hs"{more}}}"#)
}

fn twin() -> String {
    sign(HS256, &header(""), &fine())
}

/// Signed as the twin is; the header has `more`.
fn with_header(more: &str) -> String {
    sign(HS256, &header(more), &fine())
}

/// Signed as the twin is; these are the claims.
fn with_claims(claims: &str) -> String {
    sign(HS256, &header(""), claims)
}

fn check(rows: impl IntoIterator<Item = Row>) {
    let verifier = verifier();
    let mut wrong = Vec::new();
    for (name, attack, twin, refusal) in rows {
        let (attacked, accepted) =
            (code(verifier.verify(&attack, NOW)), verifier.verify(&twin, NOW).map(drop));
        if attacked != refusal {
            wrong.push(format!("{name}: {attacked}, not {refusal}"));
        }
        if let Err(error) = accepted {
            wrong.push(format!("the twin of {name}: {error}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_algorithm_is_none_in_any_case() {
    check(["none", "None", "NONE", "nOnE", ""].map(|alg| {
        let header = format!(r#"{{"alg":"{alg}","kid":"hs"}}"#);
        ("unsigned", format!("{}.{}.", base64(header), base64(fine())), twin(), "algorithm")
    }));
    check(["none", "NONE"].map(|alg| {
        let header = format!(r#"{{"alg":"{alg}","kid":"hs"}}"#);
        ("signed all the same", sign(HS256, &header, &fine()), twin(), "algorithm")
    }));
    check([
        ("no alg", sign(HS256, r#"{"kid":"hs"}"#, &fine()), twin(), "malformed"),
        ("alg is no text", sign(HS256, r#"{"alg":["HS256"],"kid":"hs"}"#, &fine()), twin(), "malformed"),
        ("no signature", twin().rsplit_once('.').unwrap().0.to_owned() + ".", twin(), "signature"),
    ]);
}

#[test]
fn a_public_key_is_no_secret() {
    let header = r#"{"alg":"HS256","kid":"rsa"}"#;
    let rsa = || sign(RS256, r#"{"alg":"RS256","kid":"rsa"}"#, &fine());
    let der = test_key!("rsa.public.pem").lines().filter(|line| !line.starts_with('-')).collect::<String>();
    check([
        ("the PEM as a secret", forge(RSA_PUBLIC.as_bytes(), header, &fine()), rsa(), "algorithm"),
        (
            "without its last line end",
            forge(RSA_PUBLIC.trim().as_bytes(), header, &fine()),
            rsa(),
            "algorithm",
        ),
        ("its base64 as a secret", forge(der.as_bytes(), header, &fine()), rsa(), "algorithm"),
    ]);
    // A verifier that knows nothing but the public key, and a token that names no key.
    let verifier = only(public(RS256));
    let claims = format!("{{{EXP}}}");
    let forged = forge(RSA_PUBLIC.as_bytes(), r#"{"alg":"HS256"}"#, &claims);
    assert_eq!(code(verifier.verify(&forged, NOW)), "algorithm");
    assert_eq!(code(verifier.verify(&sign(RS256, r#"{"alg":"RS256"}"#, &claims), NOW)), "accepted");
}

#[test]
fn an_algorithm_that_no_key_is_for_is_refused() {
    let rsa = || sign(RS256, r#"{"alg":"RS256","kid":"rsa"}"#, &fine());
    check([
        (
            "same key, other padding",
            sign(PS256, r#"{"alg":"PS256","kid":"rsa"}"#, &fine()),
            rsa(),
            "algorithm",
        ),
        ("no such key", sign(ES256, r#"{"alg":"ES256"}"#, &fine()), rsa(), "algorithm"),
        ("other case", sign(HS256, r#"{"alg":"hs256","kid":"hs"}"#, &fine()), twin(), "algorithm"),
        ("unknown", sign(HS256, r#"{"alg":"HS1","kid":"hs"}"#, &fine()), twin(), "algorithm"),
        ("key wrapping", sign(HS256, r#"{"alg":"RSA1_5","kid":"hs"}"#, &fine()), twin(), "algorithm"),
    ]);
}

#[test]
fn an_empty_or_short_secret_opens_nothing() {
    for (algorithm, min) in [(HS256, 32), (Algorithm::HS384, 48), (Algorithm::HS512, 64)] {
        assert_eq!(Key::hmac(algorithm, b"").unwrap_err(), KeyError::ShortSecret(algorithm, 0));
        let short = &SECRET[..min - 1];
        assert_eq!(Key::hmac(algorithm, short).unwrap_err(), KeyError::ShortSecret(algorithm, min - 1));
        assert!(Key::hmac(algorithm, &SECRET[..min]).is_ok());
    }
    check([
        ("signed with nothing", forge(b"", &header(""), &fine()), twin(), "signature"),
        ("signed with zeros", forge(&[0; 64], &header(""), &fine()), twin(), "signature"),
    ]);
}

#[test]
fn a_kid_is_a_name_and_nothing_else() {
    let kids = [
        "../../../../../../dev/null",
        "hs/../hs",
        "' UNION SELECT 'key' --",
        "hs' OR '1'='1",
        "hs\\u0000",
        "hs ",
        "HS",
        "",
        "*",
        "|/bin/true",
        "\\\"",
    ];
    check(kids.map(|kid| {
        let header = format!(r#"{{"alg":"HS256","kid":"{kid}"}}"#);
        ("kid, signed well", sign(HS256, &header, &fine()), twin(), "unknown_key")
    }));
    check(kids.map(|kid| {
        let header = format!(r#"{{"alg":"HS256","kid":"{kid}"}}"#);
        ("kid, signed with an empty file", forge(b"", &header, &fine()), twin(), "unknown_key")
    }));
    check([("kid is a list", sign(HS256, r#"{"alg":"HS256","kid":["hs"]}"#, &fine()), twin(), "malformed")]);
}

#[test]
fn a_key_that_the_token_brings_is_never_used() {
    const THEIRS: &[u8] = b"a secret that the attacker knows, and brings with the token";
    let brought = format!(r#","jwk":{{"kty":"oct","alg":"HS256","kid":"hs","k":"{}"}}"#, base64(THEIRS));
    check(
        [
            brought.as_str(),
            r#","jku":"https://attacker.example/jwks.json""#,
            r#","x5u":"https://attacker.example/chain.pem""#,
            r#","x5c":["MIIBszCCAVmgAwIBAgIU"]"#,
        ]
        // The twin says the same, and is of our key: what it brings is passed over.
        .map(|more| ("brought key", forge(THEIRS, &header(more), &fine()), with_header(more), "signature")),
    );
}

#[test]
fn no_extension_is_critical_and_known() {
    check(
        [r#"["exp"]"#, r#"["b64"]"#, r#"["https://x.example"]"#, "[]", r#""b64""#, "null"]
            .map(|crit| ("crit", with_header(&format!(r#","crit":{crit}"#)), twin(), "critical")),
    );
    let unencoded = with_header(r#","b64":false,"crit":["b64"]"#);
    check([("payload that is not encoded", unencoded, twin(), "critical")]);
}

#[test]
fn an_expiry_is_there_and_is_a_date_to_come() {
    let exp = |exp: &str| with_claims(&claims(&format!(r#","exp":{exp}"#)));
    check([("no exp", with_claims(&claims("")), exp("1700000600"), "missing_claim")]);
    check(
        ["0", "1", "1699999000", "1699999969.5", "1.6e9"]
            .map(|past| ("past", exp(past), exp("1700000600"), "expired")),
    );
    let no_dates = [
        r#""1700000600""#,
        "1e300",
        "9e18",
        "253402300800",
        "-1",
        "-1e300",
        "-0.5",
        "null",
        "true",
        "[1700000600]",
        r#"{"exp":1700000600}"#,
    ];
    check(no_dates.map(|no_date| ("no date", exp(no_date), exp("1700000600"), "invalid_claim")));
    // What no reader takes for a number is no claim either.
    check(
        ["1e999", "99999999999999999999", "0x6553f3d8", "NaN", "Infinity", "+1700000600", "01700000600"]
            .map(|no_json| ("no number", exp(no_json), exp("253402300799"), "malformed")),
    );
    check([("a fraction is cut off", exp("1699999970.9"), exp("1699999971.1"), "expired")]);
}

#[test]
fn a_token_of_the_future_is_refused() {
    let nbf = |nbf: &str| with_claims(&claims(&format!(r#",{EXP},"nbf":{nbf}"#)));
    check(
        ["1700000031", "1700000030.1", "253402300799"]
            .map(|later| ("nbf", nbf(later), nbf("1700000030"), "not_yet_valid")),
    );
    check(
        [r#""1600000000""#, "1e300", "null", "-1"]
            .map(|no_date| ("nbf that is no date", nbf(no_date), nbf("1600000000"), "invalid_claim")),
    );
    let iat = |iat: &str| with_claims(&claims(&format!(r#",{EXP},"iat":{iat}"#)));
    check([("iat that is no date", iat(r#""yesterday""#), iat("1600000000"), "invalid_claim")]);
}

#[test]
fn clocks_may_be_off_by_the_leeway_and_not_a_second_more() {
    let verified = |claims: &str, now: u64| {
        let token = with_claims(&self::claims(claims));
        code(verifier().verify(&token, now))
    };
    let expires = r#","exp":1700000000"#;
    assert_eq!(verified(expires, NOW + 28), "accepted");
    assert_eq!(verified(expires, NOW + 29), "accepted");
    assert_eq!(verified(expires, NOW + 30), "expired");
    assert_eq!(verified(expires, NOW + 31), "expired");
    let begins = r#","exp":1800000000,"nbf":1700000000"#;
    assert_eq!(verified(begins, NOW - 31), "not_yet_valid");
    assert_eq!(verified(begins, NOW - 30), "accepted");
    assert_eq!(verified(begins, NOW - 29), "accepted");
    assert_eq!(verified(begins, 0), "not_yet_valid");
    assert_eq!(verified(begins, u64::MAX), "expired");
}

#[test]
fn without_leeway_a_token_ends_on_its_second() {
    let verifier = only(public(HS256));
    let token = sign(HS256, r#"{"alg":"HS256"}"#, r#"{"exp":1700000000,"nbf":1700000000}"#);
    assert_eq!(code(verifier.verify(&token, NOW - 1)), "not_yet_valid");
    assert_eq!(code(verifier.verify(&token, NOW)), "expired");
    let token = sign(HS256, r#"{"alg":"HS256"}"#, r#"{"exp":1700000001,"nbf":1700000000}"#);
    assert_eq!(code(verifier.verify(&token, NOW)), "accepted");
    assert_eq!(code(verifier.verify(&token, NOW + 1)), "expired");
}

#[test]
fn a_token_for_others_or_of_others_is_refused() {
    let aud = |aud: &str| with_claims(&format!(r#"{{"iss":"https://id.example",{EXP}{aud}}}"#));
    let ours = || aud(r#","aud":"orders""#);
    check([
        ("no aud", aud(""), ours(), "missing_claim"),
        ("other aud", aud(r#","aud":"payments""#), ours(), "audience"),
        ("aud in other case", aud(r#","aud":"Orders""#), ours(), "audience"),
        ("aud that starts so", aud(r#","aud":"orders.evil""#), ours(), "audience"),
        ("empty aud", aud(r#","aud":"""#), ours(), "audience"),
        ("aud is null", aud(r#","aud":null"#), ours(), "invalid_claim"),
        ("aud is an object", aud(r#","aud":{"orders":true}"#), ours(), "invalid_claim"),
    ]);
    let array = || aud(r#","aud":["payments","orders"]"#);
    check([
        ("array without ours", aud(r#","aud":["payments","other"]"#), array(), "audience"),
        ("empty array", aud(r#","aud":[]"#), array(), "audience"),
        ("array in an array", aud(r#","aud":["payments",["orders"]]"#), array(), "invalid_claim"),
        ("array with a number", aud(r#","aud":[1,"orders"]"#), array(), "invalid_claim"),
    ]);
    let iss = |iss: &str| with_claims(&format!(r#"{{"aud":"orders",{EXP}{iss}}}"#));
    let ours = || iss(r#","iss":"https://id.example""#);
    check([
        ("no iss", iss(""), ours(), "missing_claim"),
        ("other iss", iss(r#","iss":"https://evil.example""#), ours(), "issuer"),
        ("iss that starts so", iss(r#","iss":"https://id.example.evil""#), ours(), "issuer"),
        ("iss with a slash", iss(r#","iss":"https://id.example/""#), ours(), "issuer"),
        ("iss is an array", iss(r#","iss":["https://id.example"]"#), ours(), "invalid_claim"),
    ]);
}

#[test]
fn an_audience_that_nobody_asked_for_is_refused() {
    let token = |more: &str| sign(HS256, r#"{"alg":"HS256"}"#, &format!("{{{EXP}{more}}}"));
    let verifier = only(public(HS256));
    assert_eq!(code(verifier.verify(&token(r#","aud":"payments""#), NOW)), "audience");
    assert_eq!(code(verifier.verify(&token(""), NOW)), "accepted");
    assert_eq!(code(verifier.any_audience().verify(&token(r#","aud":"payments""#), NOW)), "accepted");
}

#[test]
fn nothing_is_said_twice() {
    let (sub, twice) = (r#"{"sub":"7","iss":"https://id.example","aud":"orders""#, "malformed");
    check([
        ("claim", with_claims(&format!(r#"{sub},{EXP},"sub":"8"}}"#)), twin(), twice),
        ("claim with an escape", with_claims(&format!(r#"{sub},{EXP},"s\u0075b":"8"}}"#)), twin(), twice),
        ("exp", with_claims(&format!(r#"{sub},"exp":1,{EXP}}}"#)), twin(), twice),
        ("inside a claim", with_claims(&format!(r#"{sub},{EXP},"x":{{"a":1,"a":2}}}}"#)), twin(), twice),
        ("alg", with_header(r#","alg":"none""#), twin(), twice),
        ("kid", with_header(r#","kid":"rsa""#), twin(), twice),
    ]);
}

#[test]
fn base64_has_one_spelling() {
    let encoded = |header: &str, claims: &str| sign_encoded(HS256, &private(HS256), header, claims);
    let (header, claims) = (base64(header("")), base64(fine()));
    // 32 bytes leave the last character two bits too many: this sets one.
    let stray = |text: &str| {
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let (rest, last) = text.split_at(text.len() - 1);
        let at = ALPHABET.iter().position(|byte| *byte == last.as_bytes()[0]).unwrap();
        format!("{rest}{}", char::from(ALPHABET[at | 1]))
    };
    // Of a length that leaves bits over; what the parts say is the same.
    let odd = |text: String| if text.len().is_multiple_of(3) { text + " " } else { text };
    let (odd_header, odd_claims) = (base64(odd(self::header(""))), base64(odd(fine())));
    let good = || encoded(&header, &claims);
    check([
        ("padding behind the header", encoded(&format!("{header}="), &claims), good(), "malformed"),
        ("padding behind the claims", encoded(&header, &format!("{claims}==")), good(), "malformed"),
        ("padding behind the signature", good() + "=", good(), "malformed"),
        ("line end", good() + "\n", good(), "malformed"),
        ("space", encoded(&header, &format!(" {claims}")), good(), "malformed"),
        ("a character that is not of it", encoded(&header, &format!("{claims}+/")), good(), "malformed"),
        ("stray bits in the signature", stray(&good()), good(), "malformed"),
        (
            "stray bits in the header",
            encoded(&stray(&odd_header), &claims),
            encoded(&odd_header, &claims),
            "malformed",
        ),
        (
            "stray bits in the claims",
            encoded(&header, &stray(&odd_claims)),
            encoded(&header, &odd_claims),
            "malformed",
        ),
    ]);
}

#[test]
fn what_is_not_one_signed_token_is_refused() {
    let parts: Vec<String> = twin().split('.').map(Into::into).collect();
    let [header, claims, signature] = &parts[..] else { panic!("three parts") };
    let flattened = format!(r#"{{"protected":"{header}","payload":"{claims}","signature":"{signature}"}}"#);
    check([
        ("JWE", format!("{header}.{claims}.{claims}.{claims}.{signature}"), twin(), "encrypted"),
        ("a header of JWE", with_header(r#","enc":"A256GCM""#), twin(), "encrypted"),
        ("nested", with_header(r#","cty":"JWT""#), twin(), "nested"),
        ("nested in other case", with_header(r#","cty":"application/jwt""#), twin(), "nested"),
        (
            "a token for another use",
            with_header(r#","typ":"logout+jwt""#),
            with_header(r#","typ":"JWT""#),
            "type",
        ),
        ("JSON serialisation", flattened, twin(), "malformed"),
        ("nothing", String::new(), twin(), "malformed"),
        ("dots", "..".into(), twin(), "malformed"),
        ("two parts", format!("{header}.{claims}"), twin(), "malformed"),
        ("four parts", format!("{header}.{claims}.{signature}."), twin(), "malformed"),
        ("scheme", format!("Bearer {}", twin()), twin(), "malformed"),
        ("claims that are a list", with_claims("[]"), twin(), "malformed"),
        ("claims that are a token", with_claims(&twin()), twin(), "malformed"),
        (
            "claims that are not UTF-8",
            sign_encoded(HS256, &private(HS256), header, &base64(b"\xff")),
            twin(),
            "malformed",
        ),
        ("deep claims", with_claims(&"[".repeat(5_000)), twin(), "malformed"),
        ("a header that is a list", sign(HS256, r#"["HS256"]"#, &fine()), twin(), "malformed"),
    ]);
}

#[test]
fn a_megabyte_is_refused_unread() {
    let filled = |bytes: usize| with_claims(&claims(&format!(r#",{EXP},"x":"{}""#, "x".repeat(bytes))));
    check([("a megabyte", filled(1 << 20), filled(1 << 10), "too_long")]);
}

#[test]
fn a_signature_is_about_one_header_and_these_claims() {
    let part = |token: String, at: usize| token.split('.').nth(at).unwrap().to_owned();
    let joined = |header: String, claims: String, signature: String| format!("{header}.{claims}.{signature}");
    let other_header = base64(header(r#","typ":"JWT""#));
    let other_claims = base64(fine().replace(r#""7""#, r#""1""#));
    let signature = || part(twin(), 2);
    check([
        ("other header", joined(other_header, part(twin(), 1), signature()), twin(), "signature"),
        ("other claims", joined(part(twin(), 0), other_claims, signature()), twin(), "signature"),
        ("a part of it", joined(part(twin(), 0), part(twin(), 1), base64([0; 16])), twin(), "signature"),
        (
            "of another token",
            joined(part(twin(), 0), part(twin(), 1), part(with_header(r#","x":1"#), 2)),
            twin(),
            "signature",
        ),
    ]);
}

#[test]
fn what_a_stranger_wrote_stays_one_line_of_the_log() {
    let token = sign(HS256, r#"{"alg":"HS256","kid":"x\nERROR forged \u001b[31m"}"#, "{}");
    let long = sign(HS256, &format!(r#"{{"alg":"HS256","kid":"{}"}}"#, "k".repeat(5_000)), "{}");
    let twice = sign(HS256, r#"{"alg":"HS256","a\nb":1,"a\nb":2}"#, "{}");
    for token in [token, long, twice] {
        let told = verifier().verify(&token, NOW).unwrap_err().to_string();
        assert!(told.len() < 300, "{told}");
        assert!(!told.chars().any(char::is_control), "{told:?}");
    }
}

proptest! {
    /// ECDSA has a second signature for each first, which is none of the few changes that are made here.
    #[test]
    fn a_token_that_was_changed_is_no_token(
        which in 0_usize..3,
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..4, 0x20_u8..0x7f), 1..4),
    ) {
        let algorithm = [HS256, ES256, Algorithm::EdDSA][which];
        let header = format!(r#"{{"alg":"{algorithm}"}}"#);
        let token = sign(algorithm, &header, &format!(r#"{{"sub":"7",{EXP}}}"#));
        let verifier = only(public(algorithm));
        prop_assert!(verifier.verify(&token, NOW).is_ok());
        let mut bytes = token.clone().into_bytes();
        for (at, kind, byte) in changes {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 if bytes.len() > 1 => drop(bytes.remove(at)),
                _ => bytes.truncate(at + 1),
            }
        }
        let changed = String::from_utf8(bytes).unwrap();
        prop_assert_eq!(verifier.verify(&changed, NOW).is_ok(), changed == token, "{}", changed);
    }

    #[test]
    fn no_text_does_harm(token in r"(\PC{0,40}|[A-Za-z0-9_=-]{0,40})(\.[A-Za-z0-9_=-]{0,40}){0,5}") {
        prop_assert!(only(public(HS256)).verify(&token, NOW).is_err());
    }
}
