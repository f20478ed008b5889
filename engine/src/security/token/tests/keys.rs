//! Which keys are taken, which of them a token gets, and how they are replaced.

use super::*;
use Algorithm::{ES256, ES384, EdDSA, HS256, HS512, PS256, RS256};

const CLAIMS: &str = r#"{"exp":1700000600}"#;

fn oct(more: &str) -> String {
    format!(r#"{{"kty":"oct","k":"{}"{more}}}"#, base64(SECRET))
}

fn set(keys: &[String]) -> String {
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}

fn member(name: &str) -> String {
    let line = ALL_JWKS.lines().find(|line| line.contains(&format!(r#""kid": "{name}""#))).unwrap();
    line.trim().trim_end_matches(',').to_owned()
}

#[test]
fn weak_private_and_unfit_keys_are_refused() {
    let (p256, ed) = (test_key!("p256.public.pem"), test_key!("ed25519.public.pem"));
    let refusals = [
        (Key::hmac(HS256, &SECRET[..31]), "weak_key"),
        (Key::hmac(HS512, &SECRET[..63]), "weak_key"),
        (Key::hmac(HS256, RSA_PUBLIC.as_bytes()), "weak_key"),
        (Key::hmac(RS256, SECRET), "key_algorithm"),
        (Key::pem(HS256, RSA_PUBLIC), "weak_key"),
        (Key::pem(RS256, test_key!("rsa-1024.public.pem")), "weak_key"),
        (Key::pem(RS256, p256), "key_algorithm"),
        (Key::pem(ES256, RSA_PUBLIC), "key_algorithm"),
        (Key::pem(ES384, p256), "key_algorithm"),
        (Key::pem(EdDSA, p256), "key_algorithm"),
        (Key::pem(ES256, ed), "key_algorithm"),
        (Key::pem(RS256, test_key!("rsa.private.pem")), "private_key"),
        (Key::pem(ES256, test_key!("p256.private.pem")), "private_key"),
        (Key::pem(EdDSA, test_key!("ed25519.private.pem")), "private_key"),
        (Key::pem(RS256, &RSA_PUBLIC.replace("PUBLIC KEY", "CERTIFICATE")), "unreadable_key"),
        (Key::pem(RS256, &RSA_PUBLIC.repeat(2)), "unreadable_key"),
        (Key::pem(RS256, &RSA_PUBLIC.replace('M', "*")), "key_algorithm"),
        (Key::pem(RS256, "secret"), "unreadable_key"),
        (Key::pem(RS256, ""), "unreadable_key"),
    ];
    for (at, (refused, code)) in refusals.into_iter().enumerate() {
        assert_eq!(refused.unwrap_err().code(), code, "row {at}");
    }
    assert!(Key::pem(PS256, test_key!("rsa.pkcs1.public.pem")).is_ok());
}

#[test]
fn a_jwk_says_what_it_is_for() {
    let short = base64(&SECRET[..31]);
    let weak = format!(r#"{{"kty":"RSA","alg":"RS256","n":"{}","e":"AQAB"}}"#, base64([0xff; 255]));
    let (rsa, ec) = (member("RS256"), member("ES256"));
    let rows = [
        (oct(r#","alg":"HS256""#), None, "accepted"),
        (oct(""), None, "key_algorithm"),
        (oct(""), Some(HS256), "accepted"),
        (oct(r#","alg":"HS512""#), Some(HS256), "key_algorithm"),
        (oct(r#","alg":"RS256""#), None, "key_algorithm"),
        (oct(r#","alg":"none""#), None, "unsupported_key"),
        (oct(r#","alg":"A256GCM""#), None, "unsupported_key"),
        (oct(r#","alg":5"#), None, "unreadable_key"),
        (oct(r#","alg":"HS256","use":"enc""#), None, "unsupported_key"),
        (oct(r#","alg":"HS256","use":"sig""#), None, "accepted"),
        (oct(r#","alg":"HS256","key_ops":["encrypt","sign"]"#), None, "unsupported_key"),
        (oct(r#","alg":"HS256","key_ops":["sign","verify"]"#), None, "accepted"),
        (oct(r#","alg":"HS256","key_ops":"verify""#), None, "unreadable_key"),
        (oct(r#","alg":"HS256","alg":"HS512""#), None, "unreadable_key"),
        (format!(r#"{{"kty":"oct","alg":"HS256","k":"{short}"}}"#), None, "weak_key"),
        (r#"{"kty":"oct","alg":"HS256","k":""}"#.into(), None, "weak_key"),
        (r#"{"kty":"oct","alg":"HS256"}"#.into(), None, "unreadable_key"),
        (weak, None, "weak_key"),
        (rsa.replace("AQAB", "AQ"), None, "unreadable_key"),
        (rsa.replace("AQAB", "AQAC"), None, "unreadable_key"),
        (rsa.replace("AQAB", "AQAB=="), None, "unreadable_key"),
        (rsa.replace("AQAB\"", "AQAB\", \"d\": \"AQAB\""), None, "private_key"),
        (rsa.replace("RS256", "HS256"), None, "key_algorithm"),
        (ec.replace("P-256", "P-384"), None, "key_algorithm"),
        (ec.replace("ES256", "ES384"), None, "key_algorithm"),
        (ec.replace("P-256", "secp256k1"), None, "unsupported_key"),
        (ec.replace("EC", "OKP"), None, "unsupported_key"),
        (member("EdDSA").replace("Ed25519", "Ed448"), None, "unsupported_key"),
        ("[]".into(), None, "unreadable_key"),
        ("{".into(), None, "unreadable_key"),
    ];
    for (jwk, pin, expected) in rows {
        let got = Key::jwk(&jwk, pin).map_or_else(|error| error.code(), |_| "accepted");
        assert_eq!(got, expected, "{jwk}");
    }
}

#[test]
fn a_document_of_keys_passes_over_what_is_not_for_verifying() {
    let good = oct(r#","alg":"HS256","kid":"good""#);
    let passed_over = [
        oct(r#","alg":"HS256","use":"enc""#),
        oct(r#","alg":"dir""#),
        r#"{"kty":"AKP","alg":"ML-DSA-44","pub":"AA"}"#.into(),
        r#"{"kty":"EC","crv":"P-521","alg":"ES512","x":"AA","y":"AA"}"#.into(),
    ];
    let keys = jwks(&set(&[&passed_over[..], std::slice::from_ref(&good)].concat())).unwrap();
    let token = sign(HS256, r#"{"alg":"HS256","kid":"good"}"#, CLAIMS);
    assert_eq!(code(Verifier::new(keys).verify(&token, NOW)), "accepted");

    let refused = |keys: &[String]| jwks(&set(keys)).unwrap_err().code();
    assert_eq!(refused(&passed_over), "no_keys");
    assert_eq!(refused(&[]), "no_keys");
    assert_eq!(refused(&[good.clone(), good.clone()]), "key_twice");
    assert_eq!(refused(&[good.clone(), oct("")]), "key_algorithm");
    assert_eq!(refused(&[good.clone(), r#"{"kty":"oct","alg":"HS256","k":"AA"}"#.into()]), "weak_key");
    assert_eq!(refused(&[good, "7".into()]), "unreadable_key");
    assert_eq!(jwks("{}").unwrap_err().code(), "unreadable_key");
    assert_eq!(jwks(r#"{"keys":{}}"#).unwrap_err().code(), "unreadable_key");
    assert_eq!(jwks(r#"{"keys":[],"keys":[]}"#).unwrap_err().code(), "unreadable_key");
}

#[test]
fn a_pin_is_for_the_keys_of_a_document_that_name_none() {
    let rsa = member("RS256").replace(r#""alg": "RS256", "#, "");
    let document = set(&[rsa, oct(r#","kid":"secret""#), member("ES256")]);
    assert_eq!(jwks(&document).unwrap_err(), KeyError::NoAlgorithm);
    let verifier = Verifier::new(Keys::jwks(&document, Some(RS256), &Limits::default()).unwrap());
    let verified = |algorithm: Algorithm, kid: &str| {
        let token = sign(algorithm, &format!(r#"{{"alg":"{algorithm}","kid":"{kid}"}}"#), CLAIMS);
        code(verifier.verify(&token, NOW))
    };
    assert_eq!(verified(RS256, "RS256"), "accepted");
    assert_eq!(verified(PS256, "RS256"), "algorithm");
    assert_eq!(verified(ES256, "ES256"), "accepted");
    assert_eq!(verified(HS256, "secret"), "unknown_key");
}

#[test]
fn a_token_gets_the_key_that_it_names() {
    let other: Vec<u8> = SECRET.iter().rev().copied().collect();
    let named = |kid: &str| Key::hmac(HS256, &other).unwrap().named(kid);
    let token = |kid: &str| sign(HS256, &format!(r#"{{"alg":"HS256"{kid}}}"#), CLAIMS);
    let verified =
        |keys: Vec<Key>, kid: &str| code(Verifier::new(Keys::new(keys).unwrap()).verify(&token(kid), NOW));
    let ours = || public(HS256);
    let (none, a, b) = ("", r#","kid":"a""#, r#","kid":"b""#);
    assert_eq!(verified(vec![ours().named("a"), named("b")], a), "accepted");
    assert_eq!(verified(vec![ours().named("a"), named("b")], b), "signature");
    assert_eq!(verified(vec![ours().named("a"), named("b")], none), "unknown_key");
    assert_eq!(verified(vec![ours().named("a")], none), "accepted");
    assert_eq!(verified(vec![ours()], none), "accepted");
    assert_eq!(verified(vec![ours()], a), "unknown_key");
    assert_eq!(verified(vec![named("a"), ours()], none), "accepted");
    assert_eq!(verified(vec![ours().named("a"), public(RS256).named("a")], a), "accepted");

    let twice = |keys: [Key; 2]| Keys::new(keys).unwrap_err();
    assert_eq!(twice([ours().named("a"), named("a")]), KeyError::Twice(Some("a".into())));
    assert_eq!(twice([ours(), ours()]), KeyError::Twice(None));
    assert_eq!(Keys::new([]).unwrap_err(), KeyError::NoKeys);
}

#[test]
fn keys_are_replaced_all_at_once() {
    let old = oct(r#","alg":"HS256","kid":"old""#);
    let new = member("ES256");
    let verifier = Verifier::new(jwks(&set(std::slice::from_ref(&old))).unwrap());
    let verified = |algorithm: Algorithm, kid: &str| {
        let token = sign(algorithm, &format!(r#"{{"alg":"{algorithm}","kid":"{kid}"}}"#), CLAIMS);
        code(verifier.verify(&token, NOW))
    };
    assert_eq!((verified(HS256, "old"), verified(ES256, "ES256")), ("accepted", "unknown_key"));
    verifier.replace_keys(jwks(&set(&[old, new.clone()])).unwrap());
    assert_eq!((verified(HS256, "old"), verified(ES256, "ES256")), ("accepted", "accepted"));
    verifier.replace_keys(jwks(&set(&[new])).unwrap());
    assert_eq!((verified(HS256, "old"), verified(ES256, "ES256")), ("unknown_key", "accepted"));
}

#[test]
fn keys_do_not_show_themselves() {
    let secret = String::from_utf8(SECRET.to_vec()).unwrap();
    let shown = format!("{:?} {:?}", only(public(HS256)), public(HS256));
    assert!(!shown.contains(&secret) && !shown.contains(&format!("{:?}", &SECRET[..4])[1..12]), "{shown}");
}
