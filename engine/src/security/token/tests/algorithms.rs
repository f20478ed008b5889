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
