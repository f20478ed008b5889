//! Every algorithm takes what its own key signed, and nothing else.

use super::*;

const CLAIMS: &str = r#"{"sub":"7","exp":1700000600}"#;

fn header(algorithm: Algorithm) -> String {
    format!(r#"{{"alg":"{algorithm}","kid":"{algorithm}"}}"#)
}

#[test]
fn each_verifies_by_pem_or_secret_and_by_jwk() {
    let all = Verifier::new(jwks(ALL_JWKS).unwrap());
    for algorithm in Algorithm::ALL {
        let token = sign(algorithm, &header(algorithm), CLAIMS);
        let own = only(public(algorithm).named(algorithm.name()));
        assert_eq!(code(own.verify(&token, NOW)), "accepted", "{algorithm}");
        assert_eq!(code(all.verify(&token, NOW)), "accepted", "{algorithm} by JWK");
        assert_eq!(algorithm.name().parse(), Ok(algorithm));
    }
}

#[test]
fn none_takes_a_token_of_another() {
    for key in Algorithm::ALL {
        // Its name does not help a key to another algorithm, and the other's name not to its signature.
        for signer in Algorithm::ALL.into_iter().filter(|signer| *signer != key) {
            let named = only(public(key).named(signer.name()));
            let token = sign(signer, &header(signer), CLAIMS);
            assert_eq!(code(named.verify(&token, NOW)), "algorithm", "{signer} by a key for {key}");
            let token = sign(signer, &header(key), CLAIMS);
            let own = only(public(key).named(key.name()));
            assert_eq!(code(own.verify(&token, NOW)), "signature", "{signer} that says {key}");
        }
    }
}

#[test]
fn a_signature_with_one_bit_changed_is_none() {
    for algorithm in Algorithm::ALL {
        let token = sign(algorithm, &header(algorithm), CLAIMS);
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let verifier = only(public(algorithm).named(algorithm.name()));
        let mut bytes = super::super::decode("signature", signature).unwrap();
        for at in [0, bytes.len() / 2, bytes.len() - 1] {
            bytes[at] ^= 1;
            let changed = format!("{signed}.{}", base64(&bytes));
            assert_eq!(code(verifier.verify(&changed, NOW)), "signature", "{algorithm}, byte {at}");
            bytes[at] ^= 1;
        }
        for longer in [&bytes[..bytes.len() - 1], &[&bytes[..], &[0]].concat(), &[]] {
            let changed = format!("{signed}.{}", base64(longer));
            assert_eq!(code(verifier.verify(&changed, NOW)), "signature", "{algorithm}, {}", longer.len());
        }
    }
}

/// Examples A.1 and A.3 of RFC 7515.
#[test]
fn the_examples_of_the_specification_are_verified() {
    const PAYLOAD: &str =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let rows = [
        (
            "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9",
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
            r#"{"kty":"oct","alg":"HS256",
                "k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}"#,
        ),
        (
            "eyJhbGciOiJFUzI1NiJ9",
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
            r#"{"kty":"EC","crv":"P-256","alg":"ES256",
                "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#,
        ),
    ];
    for (header, signature, jwk) in rows {
        let verifier = only(Key::jwk(jwk, None).unwrap()).issuers(["joe"]);
        let token = format!("{header}.{PAYLOAD}.{signature}");
        assert_eq!(code(verifier.verify(&token, 1_300_819_379)), "accepted", "{header}");
        assert_eq!(code(verifier.verify(&token, 1_300_819_380)), "expired", "{header}");
    }
}
