//! `switchboard token`, and tokens of and for `pyjwt`.

use std::{
    io::Write as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

const SECRET_VARIABLE: (&str, &str) = ("SWITCHBOARD_ACCESS_JWT_SECRET", SECRET);

const AUTHENTICATORS: (&str, &str) = ("SWITCHBOARD_ACCESS_AUTHENTICATORS", "jwt");

fn key(name: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let path = folder.join("../switchboard-auth/tests/keys").join(name);
    path.display().to_string()
}

/// Runs `switchboard token` with this standard input.
fn token(args: &[&str], variables: &[(&str, &str)], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_switchboard"))
        .arg("token")
        .args(args)
        .env_remove("PORT")
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut stdin = child.stdin.take().expect("piped");
    // A command that does not read its input closes the pipe.
    drop(stdin.write_all(input.as_bytes()));
    drop(stdin);
    child.wait_with_output().expect("the command ends")
}

fn printed(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn complaint(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The principal of a token that is valid with these settings.
fn principal(text: &str, variables: &[(&str, &str)]) -> Value {
    let output = token(&["verify", "-", "--json"], variables, text);
    serde_json::from_str(&printed(&output, 0)).expect("JSON")
}

#[test]
fn token_of_the_settings_is_valid_with_them() {
    let mut variables = vec![
        AUTHENTICATORS,
        SECRET_VARIABLE,
        ("SWITCHBOARD_ACCESS_JWT_ISSUER", "joe"),
        ("SWITCHBOARD_ACCESS_JWT_AUDIENCE", "a,b"),
    ];
    let args = [
        "create",
        "--subject",
        "ada",
        "--name",
        "Ada L",
        "--space",
        "s",
        "--grant",
        "*:team-*",
        "--grant",
        "moderate:team-a",
        "--metadata",
        "{\"a\": 1}",
        "--ttl",
        "10m",
    ];
    let created = printed(&token(&args, &variables, ""), 0);
    let found = principal(&created, &variables);
    assert_eq!(found["valid"], true);
    assert_eq!(found["subject"], "ada");
    assert_eq!(found["name"], "Ada L");
    assert_eq!(found["space"], "s");
    assert_eq!(found["grants"], json!(["*:team-*", "moderate:team-a"]));
    assert_eq!(found["metadata"], json!({ "a": 1 }));
    let text = printed(&token(&["verify", &created], &variables, ""), 0);
    assert!(
        text.starts_with("The token is valid.\nsubject   \"ada\""),
        "{text}"
    );

    variables[2].1 = "eve";
    let refused = complaint(&token(&["verify", &created], &variables, ""), 1);
    let header = "(alg \"HS256\", no kid, iss \"joe\")";
    assert!(
        refused.contains(header) && !refused.contains(SECRET),
        "{refused}"
    );
}

#[test]
fn mistakes_have_words_and_exit_codes() {
    let refused = complaint(&token(&["create"], &[], ""), 1);
    assert!(refused.contains("access.jwt.secret"), "{refused}");
    let short = [("SWITCHBOARD_ACCESS_JWT_SECRET", "short-secret")];
    let refused = complaint(&token(&["create"], &short, ""), 2);
    assert!(
        refused.contains("12 bytes") && !refused.contains("short-secret"),
        "{refused}"
    );
    let refused = complaint(
        &token(&["create", "--ttl", "soon"], &[SECRET_VARIABLE], ""),
        1,
    );
    assert!(refused.contains("--ttl"), "{refused}");
    let refused = complaint(
        &token(&["create", "--grant", "fly"], &[SECRET_VARIABLE], ""),
        1,
    );
    assert!(refused.contains("\"fly\" is no power"), "{refused}");
    let refused = complaint(&token(&["verify", "a.b.c"], &[], ""), 1);
    assert!(refused.contains("reads no tokens"), "{refused}");
    let settings = [AUTHENTICATORS, SECRET_VARIABLE];
    let output = token(&["verify", "-", "--json"], &settings, "a.b.c");
    let document: Value = serde_json::from_str(&printed(&output, 1)).expect("JSON");
    assert_eq!(document["valid"], false);
    let args = ["create", "--key-file", &key("rsa-public.pem")];
    let refused = complaint(&token(&args, &[], ""), 1);
    assert!(refused.contains("there is no private key"), "{refused}");
    assert_eq!(
        token(&["create", "--secret", "x"], &[], "").status.code(),
        Some(2)
    );
}

#[test]
fn random_key_is_a_secret_and_differs_each_time() {
    let [one, other] = [(); 2].map(|()| printed(&token(&["key"], &[], ""), 0));
    assert_ne!(one, other);
    let settings = [AUTHENTICATORS, ("SWITCHBOARD_ACCESS_JWT_SECRET", &*one)];
    let created = printed(&token(&["create", "--subject", "ada"], &settings, ""), 0);
    assert_eq!(principal(&created, &settings)["subject"], "ada");
    let in_other = [("MY_SECRET", &*one)];
    let created = token(&["create", "--secret-env", "MY_SECRET"], &in_other, "");
    assert_eq!(
        principal(&printed(&created, 0), &settings)["subject"],
        Value::Null
    );
}

/// The algorithms, each with the file of the private and of the public key.
const KEY_PAIRS: [(&str, &str, &str); 3] = [
    ("RS256", "rsa.pem", "rsa-public.pem"),
    ("ES256", "p256.pem", "p256-public.pem"),
    ("EdDSA", "ed25519.pem", "ed25519-public.pem"),
];

#[test]
fn token_of_a_private_key_is_valid_with_its_public_key() {
    for (_, private, public) in KEY_PAIRS {
        let args = [
            "create",
            "--subject",
            "ada",
            "--key-file",
            &key(private),
            "--key-id",
            "k",
        ];
        let created = printed(&token(&args, &[], ""), 0);
        let path = key(public);
        let settings = [AUTHENTICATORS, ("SWITCHBOARD_ACCESS_JWT_KEYS_FILE", &*path)];
        assert_eq!(principal(&created, &settings)["subject"], "ada", "{public}");
    }
}

/// Runs a Python program with `pyjwt`. Returns the text that it prints.
fn python(program: &str, args: &[&str]) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(folder.join("../../target/pyjwt/bin/python"));
    let output = command.args(["-c", program]).args(args).output();
    printed(&output.expect("Python runs"), 0)
}

const ENCODE: &str = "import jwt, sys, time
algorithm, key = sys.argv[1:]
key = open(key).read() if algorithm != 'HS256' else key
claims = {'sub': 'ada', 'exp': int(time.time()) + 60, 'aud': ['x', 'a'], 'grants': ['join:team-*'], 'name': 'Ada \u{1F60A}'}
print(jwt.encode(claims, key, algorithm=algorithm, headers={'kid': 'k'}))";

const DECODE: &str = "import jwt, sys
algorithm, key, token = sys.argv[1:]
key = open(key).read() if algorithm != 'HS256' else key
claims = jwt.decode(token, key, algorithms=[algorithm], audience='a', options={'require': ['exp', 'iat', 'sub']})
print(claims['sub'], claims['grants'])";

#[test]
#[cfg_attr(not(has_pyjwt), ignore = "needs pyjwt (xtask/setup.sh test)")]
fn pyjwt_and_the_server_accept_the_tokens_of_each_other() {
    let hmac = [(
        "HS256",
        SECRET.to_owned(),
        SECRET_VARIABLE.0,
        SECRET.to_owned(),
    )];
    let pairs = KEY_PAIRS.map(|(algorithm, private, public)| {
        let variable = "SWITCHBOARD_ACCESS_JWT_KEYS_FILE";
        (algorithm, key(private), variable, key(public))
    });
    for (algorithm, private, variable, public) in hmac.into_iter().chain(pairs) {
        let audience = ("SWITCHBOARD_ACCESS_JWT_AUDIENCE", "a");
        let settings = [AUTHENTICATORS, (variable, &*public), audience];
        let encoded = python(ENCODE, &[algorithm, &private]);
        let found = principal(&encoded, &settings);
        assert_eq!(found["subject"], "ada", "{algorithm}");
        assert_eq!(found["name"], "Ada \u{1F60A}");
        assert_eq!(found["grants"], json!(["join:team-*"]));
        let mut args = vec!["create", "--subject", "ada", "--grant", "list"];
        if algorithm != "HS256" {
            args.extend(["--key-file", &private]);
        }
        let created = printed(&token(&args, &settings, ""), 0);
        let decoded = python(DECODE, &[algorithm, &public, &created]);
        assert_eq!(decoded, "ada ['list']", "{algorithm}");
    }
}
