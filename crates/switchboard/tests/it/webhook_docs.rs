//! The snippets of `docs/webhooks.md` verify the signature of a request.

use std::{
    io::{Write as _, stderr},
    process::Command,
};

use switchboard_auth::webhook::sign;

const DOCS: &str = include_str!("../../../../docs/webhooks.md");

const BODY: &str = r#"{"event":"join","id":"é"}"#;

/// The code of the snippet in this language.
fn snippet(language: &str) -> &'static str {
    let start = format!("```{language}\n");
    let (_, rest) = DOCS.split_once(&start).expect("a snippet");
    rest.split_once("```").expect("its end").0
}

/// Runs a program with these arguments. `None` if it is not installed.
fn run(program: &str, args: &[&str]) -> Option<String> {
    let Ok(output) = Command::new(program).args(args).output() else {
        let skipped = writeln!(stderr(), "skipped: {program} is not installed");
        skipped.expect("stderr is open");
        return None;
    };
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{error}");
    Some(
        String::from_utf8(output.stdout)
            .expect("text")
            .trim()
            .to_owned(),
    )
}

fn cases() -> [(String, &'static str, &'static str); 5] {
    let valid = sign(b"secret-of-the-webhooks", 1_700_000_000, BODY.as_bytes());
    [
        (valid.clone(), "1700000000", "1700000299"),
        (valid.clone(), "1700000000", "1700000301"),
        (valid.clone(), "1700000001", "1700000001"),
        (valid.replace("v1=", "v0="), "1700000000", "1700000000"),
        (valid, "yesterday", "1700000000"),
    ]
}

#[test]
fn python_snippet_verifies_the_signature() {
    let code = format!(
        "{}\nimport sys\n_, t, s, b, now = sys.argv\nprint(verify(b'secret-of-the-webhooks', t, s, b.encode(), int(now)))",
        snippet("python")
    );
    for (index, (signature, timestamp, now)) in cases().iter().enumerate() {
        let args = ["-c", &code, timestamp, signature, BODY, now];
        let Some(printed) = run("python3", &args) else {
            return;
        };
        assert_eq!(printed == "True", index == 0, "{index}: {printed}");
    }
}

#[test]
fn node_snippet_verifies_the_signature() {
    let code = format!(
        "{}\nconst [t, s, b, now] = process.argv.slice(-4);\nconsole.log(verify('secret-of-the-webhooks', t, s, Buffer.from(b), Number(now)));",
        snippet("js")
    );
    for (index, (signature, timestamp, now)) in cases().iter().enumerate() {
        let args = [
            "--input-type=module",
            "-e",
            &code,
            "--",
            timestamp,
            signature,
            BODY,
            now,
        ];
        let Some(printed) = run("node", &args) else {
            return;
        };
        assert_eq!(printed == "true", index == 0, "{index}: {printed}");
    }
}
