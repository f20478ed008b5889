//! Who the bearer of a token is, and what else a verifier may want.

use super::*;
use crate::security::token::{Identified, Mapping};
use Algorithm::HS256;

fn token(claims: &str) -> String {
    sign(HS256, r#"{"alg":"HS256"}"#, claims)
}

fn identify(mapping: &Mapping, claims: &str) -> Result<Identified, TokenError> {
    let token = token(&format!(r#"{{"exp":1700000600,{claims}}}"#));
    mapping.identify(&only(public(HS256)).verify(&token, NOW).unwrap())
}

/// User, tenant, roles and scopes in one line, or the code of the refusal.
fn who(mapping: &Mapping, claims: &str) -> String {
    match identify(mapping, claims) {
        Ok(Identified { user, tenant, roles, scopes, .. }) => {
            let name = |id: Option<crate::id::Identity>| id.map_or("-".to_owned(), |id| id.to_string());
            format!("{} {} {roles:?} {scopes:?}", name(user), name(tenant))
        }
        Err(error) => error.code().into(),
    }
}

#[test]
fn claims_become_an_identity() {
    let rows = [
        (r#""sub":"7""#, "7 - [] []"),
        (r#""sub":7,"tenant_id":9"#, "7 9 [] []"),
        (r#""sub":"a","tenant_id":"""#, "a - [] []"),
        (r#""sub":"a","tenant_id":null"#, "a - [] []"),
        (r#""sub":"a","roles":["x","y z"],"scope":"r w""#, r#"a - ["x", "y z"] ["r", "w"]"#),
        (r#""sub":"a","roles":"x  y","scp":["r"]"#, r#"a - ["x", "y"] ["r"]"#),
        (r#""sub":"a","roles":null,"scopes":["r"],"scp":["w"]"#, r#"a - [] ["r"]"#),
        (r#""sub":"a","scope":"","scp":["w"]"#, "a - [] []"),
        (r#""x":1"#, "missing_claim"),
        (r#""sub":null"#, "missing_claim"),
        (r#""sub":"""#, "invalid_claim"),
        (r#""sub":7.0"#, "invalid_claim"),
        (r#""sub":true"#, "invalid_claim"),
        (r#""sub":["a"]"#, "invalid_claim"),
        (r#""sub":"a","tenant_id":["t"]"#, "invalid_claim"),
        (r#""sub":"a","tenant_id":false"#, "invalid_claim"),
        (r#""sub":"a","roles":{"admin":true}"#, "invalid_claim"),
        (r#""sub":"a","roles":["x",1]"#, "invalid_claim"),
        (r#""sub":"a","scope":7"#, "invalid_claim"),
    ];
    for (claims, expected) in rows {
        assert_eq!(who(&Mapping::default(), claims), expected, "{claims}");
    }
}

#[test]
fn claims_may_have_other_names() {
    let mapping = Mapping {
        user: Some("uid".into()),
        tenant: Some("https://x.example/org".into()),
        roles: Some("groups".into()),
        scopes: vec!["may".into()],
    };
    let claims = r#""sub":"a","uid":"u","https://x.example/org":"o","groups":["g"],"may":"r""#;
    assert_eq!(who(&mapping, claims), r#"u o ["g"] ["r"]"#);
    assert_eq!(who(&mapping, r#""sub":"a""#), "missing_claim");
    let nobody = Mapping { user: None, tenant: None, roles: None, scopes: vec![] };
    assert_eq!(who(&nobody, claims), "- - [] []");
}

#[test]
fn all_claims_and_the_expiry_are_kept() {
    let identified = identify(&Mapping::default(), r#""sub":"a","x":{"y":[1,2.5,"é"]}"#).unwrap();
    assert_eq!(identified.expires, Some(1_700_000_600));
    assert_eq!(identified.claims.to_string(), r#"{"exp":1700000600,"sub":"a","x":{"y":[1,2.5,"é"]}}"#);
}

#[test]
fn what_is_required_must_be_there() {
    let verifier = only(public(HS256)).require(["jti"]);
    let verified = |claims: &str| code(verifier.verify(&token(claims), NOW));
    assert_eq!(verified(r#"{"exp":1700000600,"jti":"1"}"#), "accepted");
    assert_eq!(verified(r#"{"exp":1700000600,"jti":null}"#), "missing_claim");
    assert_eq!(verified(r#"{"exp":1700000600}"#), "missing_claim");
}

#[test]
fn a_token_without_expiry_is_taken_where_that_is_said() {
    let verifier = only(public(HS256)).expiry_optional();
    assert_eq!(verifier.verify(&token("{}"), NOW).unwrap().expires, None);
    assert_eq!(code(verifier.verify(&token(r#"{"exp":1}"#), NOW)), "expired");
    assert_eq!(code(verifier.verify(&token(r#"{"exp":null}"#), NOW)), "invalid_claim");
}

#[test]
fn types_are_compared_as_media_types() {
    let verified = |verifier: Verifier, typ: &str| {
        let token = sign(HS256, &format!(r#"{{"alg":"HS256","typ":"{typ}"}}"#), r#"{"exp":1700000600}"#);
        code(verifier.verify(&token, NOW))
    };
    for typ in ["JWT", "jwt", "at+jwt", "application/at+JWT", "Application/jwt"] {
        assert_eq!(verified(only(public(HS256)), typ), "accepted", "{typ}");
    }
    for typ in ["", "JOSE", "secevent+jwt", "application/", "text/jwt"] {
        assert_eq!(verified(only(public(HS256)), typ), "type", "{typ}");
    }
    let access_only = || only(public(HS256)).types(["at+jwt"]);
    assert_eq!(verified(access_only(), "JWT"), "type");
    assert_eq!(verified(access_only(), "at+jwt"), "accepted");
}
