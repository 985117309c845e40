//! Tests of tokens: known answers, each algorithm, each claim, each attack.

use std::{fs, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::{FutureExt as _, future::BoxFuture};
use serde_json::{Value, json};
use switchboard_core::{Power, RoomName};

use super::*;
use crate::{AccessConfig, AuthServices, AuthenticatorKind, FetchRequest, FetchResult};

const NOW: u64 = 1_700_000_000;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A client of no web service.
#[derive(Debug)]
struct NoFetch;

impl HttpFetch for NoFetch {
    fn fetch(&self, request: FetchRequest) -> BoxFuture<'_, FetchResult> {
        panic!("{request:?}");
    }

    fn run_detached(&self, _future: BoxFuture<'static, ()>) {}
}

fn file(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/keys");
    fs::read(folder.join(name)).expect(name)
}

fn with_secret() -> JwtConfig {
    JwtConfig {
        secret: Some(JwtSecret::parse(SECRET).expect("a secret")),
        ..JwtConfig::default()
    }
}

fn with_keys(text: &[u8]) -> JwtConfig {
    JwtConfig {
        keys_file: Some(("keys".to_owned(), KeySet::of_file(text).expect("keys"))),
        ..JwtConfig::default()
    }
}

fn decision(config: &JwtConfig, token: &str, now: u64) -> AuthDecision {
    let fetch: Arc<dyn HttpFetch> = Arc::new(NoFetch);
    let authenticator = JwtAuthenticator::new(config, &fetch);
    let mut credentials = Credentials::default();
    credentials.add_of_dialect(token).expect("short enough");
    let deciding = authenticator.authenticate(&credentials, now);
    deciding.now_or_never().expect("nothing to wait for")
}

/// The text of a decision: `admit`, `not mine` or the error.
fn outcome(config: &JwtConfig, token: &str, now: u64) -> String {
    match decision(config, token, now) {
        AuthDecision::NotMine => "not mine".to_owned(),
        AuthDecision::Admit(_) => "admit".to_owned(),
        AuthDecision::Deny(error) => error.to_string(),
    }
}

fn admitted(config: &JwtConfig, token: &str) -> Principal {
    match decision(config, token, NOW) {
        AuthDecision::Admit(principal) => principal,
        other @ (AuthDecision::NotMine | AuthDecision::Deny(_)) => panic!("{other:?}"),
    }
}

fn encoded(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// A token of the secret with this header and these claims, as they are.
fn raw_token(header: &str, claims: &str) -> String {
    let message = format!("{}.{}", encoded(header), encoded(claims));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = ring::hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

fn token_of(claims: &Value) -> String {
    raw_token(HEADER, &claims.to_string())
}

fn valid_claims() -> Value {
    json!({ "sub": "ada", "exp": NOW + 60 })
}

/// The valid claims with another value for one of them.
fn claims_with(name: &str, value: Value) -> Value {
    let mut claims = valid_claims();
    claims[name] = value;
    claims
}

const RFC_CLAIMS: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

const RFC_EXP: u64 = 1_300_819_380;

#[test]
fn tokens_of_rfc_7515_are_valid() {
    let secret =
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    let secret = URL_SAFE_NO_PAD.decode(secret).expect("base64url");
    let hmac = JwtConfig {
        keys_file: Some((
            "keys".to_owned(),
            KeySet::of_secret(&secret).expect("a secret"),
        )),
        ..JwtConfig::default()
    };
    let rsa = with_keys(br#"{"keys":[{"kty":"RSA","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"}]}"#);
    let p256 = with_keys(br#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#);
    let cases = [
        (
            hmac,
            "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9",
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        ),
        (
            rsa,
            "eyJhbGciOiJSUzI1NiJ9",
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
        ),
        (
            p256,
            "eyJhbGciOiJFUzI1NiJ9",
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        ),
    ];
    for (config, header, signature) in cases {
        let token = format!("{header}.{RFC_CLAIMS}.{signature}");
        assert_eq!(outcome(&config, &token, RFC_EXP), "admit", "{header}");
        let changed = format!("{header}.{}.{signature}", encoded(r#"{"exp":1300819380}"#));
        let wrong = "the access token is not valid: its signature is wrong";
        assert_eq!(outcome(&config, &changed, RFC_EXP), wrong, "{header}");
    }
}

#[test]
fn signature_of_rfc_8037_is_valid() {
    let keys = br#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let keys = KeySet::of_file(keys).expect("keys");
    let key = &keys.candidates(None, JwtAlgorithm::EdDsa)[0];
    let message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature = URL_SAFE_NO_PAD
        .decode("hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg")
        .expect("base64url");
    assert!(key.verifies(message, &signature));
    assert!(!key.verifies(&message[1..], &signature));
}

#[test]
fn token_of_each_private_key_is_valid_for_its_public_key_only() {
    let pairs = [
        ("rsa.pem", "rsa-public.pem"),
        ("rsa-pkcs1.pem", "rsa-certificate.pem"),
        ("p256.pem", "p256-public.pem"),
        ("ed25519.pem", "ed25519-public.pem"),
    ];
    for (private, public) in pairs {
        let key = SigningKey::of_pem(&file(private)).expect(private);
        let token = key.token(Some("any"), &valid_claims()).expect("signed");
        for (_, other) in pairs {
            let is_same = other.split(['-', '.']).next() == public.split(['-', '.']).next();
            let outcome = outcome(&with_keys(&file(other)), &token, NOW);
            assert_eq!(outcome == "admit", is_same, "{private}, {other}: {outcome}");
        }
    }
    let key = SigningKey::of_secret(SECRET.as_bytes()).expect("a secret");
    let token = key.token(None, &valid_claims()).expect("signed");
    assert_eq!(outcome(&with_secret(), &token, NOW), "admit");
}

#[test]
fn unusable_keys_are_refused_with_the_reason() {
    let jwk = |text: &str| KeySet::of_file(format!("{{\"keys\":[{text}]}}").as_bytes()).map(drop);
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let ed = |more: &str| {
        jwk(&format!(
            r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"{more}}}"#
        ))
    };
    let cases = [
        (
            KeySet::of_secret(&[b'x'; 31]).map(drop),
            KeyError::ShortSecret(31),
        ),
        (
            KeySet::of_file(&file("rsa-1024-public.pem")).map(drop),
            KeyError::RsaBits(1024),
        ),
        (
            KeySet::of_file(&file("p384-public.pem")).map(drop),
            KeyError::Unsupported,
        ),
        (
            KeySet::of_file(&file("p256.pem")).map(drop),
            KeyError::Private,
        ),
        (
            KeySet::of_file(&file("rsa-pkcs1.pem")).map(drop),
            KeyError::Private,
        ),
        (KeySet::of_file(b"").map(drop), KeyError::Unreadable),
        (KeySet::of_file(b"{}").map(drop), KeyError::Unreadable),
        (jwk(""), KeyError::NoKeys),
        (jwk(&vec!["{}"; 101].join(",")), KeyError::TooMany(101)),
        (jwk(r#"{"kty":"oct","k":"AAAA"}"#), KeyError::Unsupported),
        (
            jwk(r#"{"kty":"EC","crv":"P-384","x":"AA","y":"AA"}"#),
            KeyError::Unsupported,
        ),
        (
            jwk(r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#),
            KeyError::Damaged,
        ),
        (
            jwk(r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#),
            KeyError::RsaBits(17),
        ),
        (ed(r#","use":"enc""#), KeyError::OtherUse),
        (ed(r#","key_ops":["sign"]"#), KeyError::OtherUse),
        (ed(r#","alg":"RS256""#), KeyError::OtherUse),
        (ed(r#","d":"AA""#), KeyError::Private),
        (
            SigningKey::of_pem(&file("rsa-public.pem")).map(drop),
            KeyError::NotPrivate,
        ),
    ];
    for (result, error) in cases {
        assert_eq!(result, Err(error));
    }
    ed(r#","use":"sig","key_ops":["verify"],"alg":"Ed25519""#).expect("usable");
}

/// Each attack on the header, with the words of the refusal.
#[test]
fn attacks_with_the_header_are_refused() {
    let cases = [
        (r#"{"alg":"none"}"#, "it is not signed (alg none)"),
        (r#"{"alg":"NoNe"}"#, "it is not signed (alg none)"),
        (r#"{"alg":"hs256"}"#, "its algorithm is not allowed"),
        (r#"{"alg":"HS384"}"#, "its algorithm is not allowed"),
        (r#"{"alg":"RS256"}"#, "its algorithm is not allowed"),
        (r#"{"alg":["HS256"]}"#, "its alg is not a text"),
        (r#"{"alg":null}"#, "its alg is not a text"),
        (
            r#"{"alg":"none","alg":"HS256"}"#,
            "its header repeats a member",
        ),
        (
            r#"{"alg":"HS256","jwk":{"kty":"oct","k":"AAAA"}}"#,
            "it brings its own key",
        ),
        (
            r#"{"alg":"HS256","jku":"https://attacker.example/keys"}"#,
            "it brings its own key",
        ),
        (
            r#"{"alg":"HS256","x5u":"https://attacker.example/cert"}"#,
            "it brings its own key",
        ),
        (r#"{"alg":"HS256","x5c":[]}"#, "it brings its own key"),
        (
            r#"{"alg":"HS256","crit":["exp"],"exp":1}"#,
            "its header has an extension",
        ),
        (
            r#"{"alg":"HS256","b64":false}"#,
            "its header has an extension",
        ),
        (r#"{"alg":"HS256","kid":["a"]}"#, "its kid is not a text"),
        (
            r#"{"alg":"HS256","typ":"dpop+jwt"}"#,
            "its typ is neither JWT nor at+jwt",
        ),
        (
            r#"{"alg":"HS256","typ":1}"#,
            "its typ is neither JWT nor at+jwt",
        ),
    ];
    for (header, words) in cases {
        let token = raw_token(header, &valid_claims().to_string());
        let outcome = outcome(&with_secret(), &token, NOW);
        assert!(outcome.contains(words), "{header}: {outcome}");
    }
    let long = format!(r#"{{"alg":"HS256","kid":"{}"}}"#, "k".repeat(257));
    let token = raw_token(&long, &valid_claims().to_string());
    assert!(outcome(&with_secret(), &token, NOW).contains("256 bytes"));
    for typ in ["JWT", "jwt", "application/at+jwt", "at+jwt"] {
        let header = json!({ "alg": "HS256", "typ": typ, "x5t": "ignored" }).to_string();
        let token = raw_token(&header, &valid_claims().to_string());
        assert_eq!(outcome(&with_secret(), &token, NOW), "admit", "{typ}");
    }
}

/// The public key as the secret of an HMAC: the classic confusion of algorithms.
#[test]
fn public_key_is_no_secret() {
    for name in ["rsa-public.pem", "p256-public.pem", "ed25519-public.pem"] {
        let public = file(name);
        let key = SigningKey::of_secret(&public).expect("long enough");
        let token = key.token(None, &valid_claims()).expect("signed");
        let refused = outcome(&with_keys(&public), &token, NOW);
        assert!(
            refused.contains("its algorithm is not allowed"),
            "{refused}"
        );
        // An operator cannot allow it either: the key stays bound to its algorithm.
        let mut config = with_keys(&public);
        config.algorithms = vec![JwtAlgorithm::Hs256];
        let refused = outcome(&config, &token, NOW);
        assert!(refused.contains("its key (kid) is unknown"), "{refused}");
    }
}

#[test]
fn key_id_only_selects_a_key() {
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let keys = format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","x":"{x}","kid":"a"}}]}}"#);
    let config = with_keys(keys.as_bytes());
    let signer = SigningKey::of_pem(&file("ed25519.pem")).expect("a key");
    for id in [
        "../../../../dev/null",
        "' OR 1=1 --",
        "http://attacker.example/",
        "",
        "A",
        "a\0",
    ] {
        let token = signer.token(Some(id), &valid_claims()).expect("signed");
        let refused = outcome(&config, &token, NOW);
        assert!(
            refused.contains("its key (kid) is unknown"),
            "{id}: {refused}"
        );
    }
    for id in [Some("a"), None] {
        let token = signer.token(id, &valid_claims()).expect("signed");
        let refused = outcome(&config, &token, NOW);
        assert!(refused.contains("its signature is wrong"), "{refused}");
    }
}

#[test]
fn texts_that_are_no_tokens_are_left_to_others() {
    let valid = token_of(&valid_claims());
    let encrypted = format!("{valid}.a.b");
    for text in [
        "",
        "key-of-ada-000000",
        "a.b",
        "a.b.c",
        "..",
        "e30.e30.e30",
        &encrypted,
    ] {
        assert_eq!(outcome(&with_secret(), text, NOW), "not mine", "{text}");
    }
    let padded = format!("{valid}=");
    assert!(outcome(&with_secret(), &padded, NOW).contains("not base64url"));
    let cut = valid.rsplit_once('.').expect("a signature").0;
    let unsigned = format!("{cut}.");
    assert!(outcome(&with_secret(), &unsigned, NOW).contains("its signature is wrong"));
}

/// Each claim with a value and the words of the refusal.
#[test]
fn claims_that_do_not_hold_are_refused() {
    let cases = [
        ("exp", json!(NOW - 30), "has expired"),
        ("exp", json!("1800000000"), "the claim exp is not a time"),
        ("exp", json!(null), "the claim exp is not a time"),
        ("exp", json!(-1), "the claim exp is not a time"),
        ("exp", json!(1e300), "the claim exp is not a time"),
        ("nbf", json!(NOW + 31), "it is not valid yet (nbf)"),
        ("nbf", json!("0"), "the claim nbf is not a time"),
        ("nbf", json!(null), "the claim nbf is not a time"),
        (
            "iss",
            json!(["joe"]),
            "the claim iss is not the issuer's name",
        ),
        (
            "aud",
            json!("other"),
            "it is for an audience (aud), and the server has no",
        ),
        (
            "aud",
            json!([]),
            "it is for an audience (aud), and the server has no",
        ),
        ("aud", json!(1), "the claim aud is neither a text"),
        ("aud", json!([1]), "the claim aud has items"),
        ("sub", json!(7), "the claim sub is not a text"),
        ("sub", json!(""), "the claim sub is not a text"),
        ("sub", json!("s".repeat(257)), "the claim sub is not a text"),
        ("name", json!({}), "the claim name is not a text"),
        ("space", json!(""), "the claim space is not"),
        ("space", json!(1), "the claim space is not"),
        ("grants", json!("*"), "the claim grants is not a list"),
        ("grants", json!([1]), "the claim grants is not a list"),
        ("grants", json!(["fly"]), "the claim grants is not a list"),
        (
            "grants",
            json!(vec!["join"; 65]),
            "the claim grants is not a list",
        ),
        ("metadata", json!("m".repeat(4096)), "more than 4096 bytes"),
    ];
    for (name, value, words) in cases {
        let claims = claims_with(name, value);
        let refused = outcome(&with_secret(), &token_of(&claims), NOW);
        assert!(refused.contains(words), "{claims}: {refused}");
    }
    let without_exp = json!({ "sub": "ada" });
    let refused = outcome(&with_secret(), &token_of(&without_exp), NOW);
    assert!(refused.contains("the claim exp is missing"), "{refused}");
    let repeated = format!(r#"{{"exp":1,"exp":{}}}"#, NOW + 60);
    let deep = format!(r#"{{"exp":{},"x":{}}}"#, NOW + 60, "[".repeat(200));
    for claims in [&*repeated, &deep, "[]", "\"text\"", "", "{", "null"] {
        let refused = outcome(&with_secret(), &raw_token(HEADER, claims), NOW);
        assert!(
            refused.contains("its claims are not"),
            "{claims}: {refused}"
        );
    }
}

#[test]
fn issuer_and_audience_are_those_of_the_settings() {
    let config = JwtConfig {
        issuer: "joe".to_owned(),
        audience: vec!["a".to_owned(), "b".to_owned()],
        ..with_secret()
    };
    let cases = [
        (json!("joe"), json!("a"), "admit"),
        (json!("joe"), json!(["c", "b"]), "admit"),
        (
            json!("joe"),
            json!(["c"]),
            "it is for another audience (aud)",
        ),
        (json!("joe"), json!(""), "it is for another audience (aud)"),
        (json!("joe"), json!(null), "the claim aud is neither a text"),
        (json!("eve"), json!("a"), "not mine"),
        (json!("joe "), json!("a"), "not mine"),
        (json!(null), json!("a"), "the claim iss is not"),
        (json!(["joe"]), json!("a"), "the claim iss is not"),
    ];
    for (iss, aud, words) in cases {
        let claims = json!({ "iss": iss, "aud": aud, "exp": NOW + 60 });
        let outcome = outcome(&config, &token_of(&claims), NOW);
        assert!(outcome.contains(words), "{claims}: {outcome}");
    }
    let neither = token_of(&valid_claims());
    assert!(outcome(&config, &neither, NOW).contains("the claim iss is missing"));
    let no_audience = token_of(&claims_with("iss", json!("joe")));
    assert!(outcome(&config, &no_audience, NOW).contains("the claim aud is missing"));
}

#[test]
fn times_hold_with_the_leeway() {
    let config = JwtConfig {
        leeway: 10,
        ..with_secret()
    };
    let token = token_of(&json!({ "nbf": NOW, "exp": NOW as f64 + 60.5 }));
    let cases = [
        (NOW - 11, "it is not valid yet"),
        (NOW - 10, "admit"),
        (NOW + 69, "admit"),
        (NOW + 70, "has expired"),
    ];
    for (now, words) in cases {
        assert!(outcome(&config, &token, now).contains(words), "{now}");
    }
    assert_eq!(admitted(&config, &token).expires_at, Some(NOW + 70));
}

#[test]
fn claims_describe_the_principal() {
    let claims = json!({
        "sub": "ada", "name": "Ada", "space": "s", "exp": NOW + 60,
        "grants": ["join:team-*", "moderate:team-*"],
        "metadata": { "role": ["host"] }, "unknown": [1, { "a": null }],
    });
    let principal = admitted(&with_secret(), &token_of(&claims));
    assert_eq!(principal.subject.as_deref(), Some("ada"));
    assert_eq!(principal.display_name.as_deref(), Some("Ada"));
    assert_eq!(principal.space.as_str(), "s");
    assert_eq!(principal.metadata.as_deref(), Some(r#"{"role":["host"]}"#));
    assert_eq!(principal.expires_at, Some(NOW + 90));
    let room = |name: &str| RoomName::parse(name, 0).expect("a name");
    assert!(principal.grants.allows(Power::Join, &room("team-a")));
    assert!(!principal.grants.allows(Power::Join, &room("other")));
    assert!(!principal.grants.has(Power::Signal));
}

#[test]
fn token_without_grants_has_the_default_grants() {
    let token = token_of(&valid_claims());
    let principal = admitted(&with_secret(), &token);
    assert!(principal.grants.to_texts().is_empty());
    let config = JwtConfig {
        default_grants: Grants::participant(),
        ..with_secret()
    };
    assert_eq!(admitted(&config, &token).grants.to_texts(), ["*"]);
    let none = token_of(&claims_with("grants", json!([])));
    assert!(admitted(&config, &none).grants.to_texts().is_empty());
}

#[test]
fn next_authenticator_gets_the_tokens_of_other_issuers() {
    let config = AccessConfig {
        authenticators: vec![AuthenticatorKind::Jwt, AuthenticatorKind::None],
        jwt: JwtConfig {
            issuer: "joe".to_owned(),
            ..with_secret()
        },
        ..AccessConfig::default()
    };
    let chain = config.chain(&AuthServices {
        http: Arc::new(NoFetch),
        webhook: None,
    });
    let mut credentials = Credentials::default();
    let admitted = chain.authenticate(&credentials, NOW).now_or_never();
    assert!(admitted.expect("nothing to wait for").is_ok());
    let other = token_of(&claims_with("iss", json!("eve")));
    credentials.add_of_dialect(&other).expect("short enough");
    let refused = chain.authenticate(&credentials, NOW).now_or_never();
    let refused = refused.expect("nothing to wait for").expect_err("unknown");
    assert_eq!(refused, AuthError::Invalid("unknown key or issuer"));
}

#[test]
fn settings_do_not_show_keys() {
    let shown = format!("{:?}", with_secret());
    assert!(!shown.contains(SECRET), "{shown}");
    let key = SigningKey::of_secret(SECRET.as_bytes()).expect("a secret");
    assert_eq!(format!("{key:?}"), "SigningKey(Hs256)");
}
