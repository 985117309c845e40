//! `switchboard token`: makes and verifies the access tokens of users.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, Subcommand};
use rand::Rng as _;
use serde_json::{Value, json};
use switchboard::{
    Config, Grants, Principal, SigningKey, TOKEN_BYTES_MAX, TokenHeader, config::JwtConfig,
};

use crate::{report, settings, terminal};

/// Make and verify access tokens
///
/// Exits with 0; with 1 if a token is not valid or cannot be made; with 2 if the command line or a setting in the section
/// access is invalid.
#[derive(Debug, Args)]
pub(crate) struct TokenCommand {
    #[command(subcommand)]
    action: TokenAction,
}

#[derive(Debug, Subcommand)]
enum TokenAction {
    /// Sign a JSON Web Token with the secret of the settings, or with another key
    Create(Box<CreateArgs>),
    /// Verify a token as the server does, with the authenticators of the settings, and print its principal
    Verify(VerifyArgs),
    /// Print a random key for access.keys or access.jwt.secret
    Key,
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// The name under which the user is known
    #[arg(long)]
    subject: Option<String>,
    /// The display name of the user
    #[arg(long)]
    name: Option<String>,
    /// The namespace of the user's rooms
    #[arg(long)]
    space: Option<String>,
    /// A grant, as POWER or POWER:ROOMS; may be repeated. Without one, access.jwt.default_grants apply
    #[arg(long = "grant", value_name = "GRANT")]
    grants: Vec<String>,
    /// Data for your own programs, as JSON
    #[arg(long, value_name = "JSON")]
    metadata: Option<String>,
    /// The time for which the token is valid, as 90, 90s, 10m, 12h or 30d
    #[arg(long, value_name = "TIME", default_value = "1h")]
    ttl: String,
    /// The issuer [default: access.jwt.issuer]
    #[arg(long)]
    issuer: Option<String>,
    /// An audience; may be repeated [default: the first of access.jwt.audience]
    #[arg(long)]
    audience: Vec<String>,
    /// The ID of the key, for the header of the token
    #[arg(long, value_name = "ID")]
    key_id: Option<String>,
    /// Sign with the secret in this environment variable, instead of access.jwt.secret
    #[arg(long, value_name = "VARIABLE", conflicts_with = "key_file")]
    secret_env: Option<String>,
    /// Sign with the private key in this PEM file (RSA, P-256 or Ed25519)
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Read settings from this TOML file; environment variables override it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct VerifyArgs {
    /// The token; - reads it from standard input, where other users of the machine do not see it
    token: String,
    /// Read settings from this TOML file; environment variables override it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(command: TokenCommand) -> ExitCode {
    match command.action {
        TokenAction::Key => {
            terminal::print(&format!("{}\n", base16ct::lower::encode_string(&random())));
            ExitCode::SUCCESS
        }
        TokenAction::Create(args) => {
            with_settings("access.jwt.", args.config.as_deref(), |config| {
                create(&args, config)
            })
        }
        TokenAction::Verify(args) => with_settings("access.", args.config.as_deref(), |config| {
            verify(&args, config)
        }),
    }
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

/// Runs an action with the settings. Errors in settings outside this section are ignored.
fn with_settings(
    section: &str,
    file: Option<&Path>,
    action: impl FnOnce(&Config) -> anyhow::Result<ExitCode>,
) -> ExitCode {
    let (config, errors) = settings::read_for_command(file);
    let is_used = |key: &str| key.is_empty() || key.starts_with(section);
    let failed = |error: &anyhow::Error, code: ExitCode| {
        report::print_failure(error);
        code
    };
    match errors.into_iter().find(|error| is_used(&error.key)) {
        Some(error) => failed(&error.into(), report::USAGE.into()),
        None => action(&config).unwrap_or_else(|error| failed(&error, report::FAILED.into())),
    }
}

fn create(args: &CreateArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let jwt = &config.access.jwt;
    let key = signing_key(args, jwt)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let expires_at = now + seconds(&args.ttl)?;
    let claims = claims(args, jwt, now, expires_at)?;
    let token = key.token(args.key_id.as_deref(), &claims)?;
    if token.len() > TOKEN_BYTES_MAX {
        bail!(
            "the token would have {} bytes; the server accepts {TOKEN_BYTES_MAX}",
            token.len()
        );
    }
    let shown = match args.json {
        true => json!({ "token": token, "expires_at": expires_at }).to_string(),
        false => token,
    };
    terminal::print(&format!("{shown}\n"));
    Ok(ExitCode::SUCCESS)
}

fn signing_key(args: &CreateArgs, jwt: &JwtConfig) -> anyhow::Result<SigningKey> {
    if let Some(path) = &args.key_file {
        let shown = path.display();
        let text = fs::read(path).with_context(|| format!("{shown} cannot be read"))?;
        return SigningKey::of_pem(&text).with_context(|| format!("{shown} cannot be used"));
    }
    if let Some(name) = &args.secret_env {
        let secret = std::env::var(name);
        let secret = secret.map_err(|_| anyhow!("the environment variable {name} is not set"))?;
        let key = SigningKey::of_secret(secret.as_bytes());
        return key.with_context(|| format!("the environment variable {name} cannot be used"));
    }
    match &jwt.secret {
        Some(secret) => Ok(secret.signing_key()?),
        None => bail!(
            "there is no key: set access.jwt.secret in the file of --config or in SWITCHBOARD_ACCESS_JWT_SECRET, or name a key with --secret-env or --key-file"
        ),
    }
}

fn claims(args: &CreateArgs, jwt: &JwtConfig, now: u64, exp: u64) -> anyhow::Result<Value> {
    let mut claims = json!({ "iat": now, "exp": exp });
    let issuer = args.issuer.clone().unwrap_or_else(|| jwt.issuer.clone());
    let audience = match args.audience.is_empty() {
        true => jwt.audience.iter().take(1).cloned().collect(),
        false => args.audience.clone(),
    };
    let texts = [
        ("sub", args.subject.clone()),
        ("name", args.name.clone()),
        ("space", args.space.clone()),
        ("iss", Some(issuer).filter(|issuer| !issuer.is_empty())),
    ];
    for (claim, text) in texts {
        if let Some(text) = text {
            claims[claim] = text.into();
        }
    }
    match &*audience {
        [] => {}
        [one] => claims["aud"] = (&**one).into(),
        several => claims["aud"] = several.into(),
    }
    if !args.grants.is_empty() {
        Grants::parse(&args.grants)?;
        claims["grants"] = args.grants.as_slice().into();
    }
    if let Some(text) = &args.metadata {
        claims["metadata"] = serde_json::from_str(text).context("--metadata is not JSON")?;
    }
    Ok(claims)
}

/// Parses a time like `90`, `90s`, `10m`, `12h` or `30d`.
fn seconds(text: &str) -> anyhow::Result<u64> {
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];
    let found = units
        .iter()
        .find_map(|(unit, secs)| Some((text.strip_suffix(unit)?, *secs)));
    let (number, unit) = found.unwrap_or((text, 1));
    let number = number.parse::<u32>().ok().filter(|number| *number > 0);
    let number = number
        .with_context(|| format!("--ttl: {text:?} is not a time like 90s, 10m, 12h or 30d"))?;
    Ok(u64::from(number) * unit)
}

fn verify(args: &VerifyArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let token = token_text(&args.token)?;
    if config.access.is_open() {
        bail!(
            "access.authenticators = [\"none\"] reads no tokens; name the settings of the server with --config"
        );
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(switchboard::verify_token(&config.access, &token));
    let code = match result.is_ok() {
        true => ExitCode::SUCCESS,
        false => report::FAILED.into(),
    };
    let header = TokenHeader::of(&token);
    match (result, args.json) {
        (Ok(principal), true) => terminal::print(&format!("{}\n", principal_json(&principal))),
        (Ok(principal), false) => terminal::print(&principal_text(&principal)),
        (Err(error), true) => {
            let document = json!({ "valid": false, "error": error.to_string() });
            terminal::print(&format!("{document}\n"));
        }
        (Err(error), false) => {
            let header = header
                .map(|header| format!(" ({header})"))
                .unwrap_or_default();
            terminal::print_error(&format!("switchboard: {error}{header}"));
        }
    }
    Ok(code)
}

fn token_text(argument: &str) -> anyhow::Result<String> {
    if argument != "-" {
        return Ok(argument.to_owned());
    }
    let mut text = String::new();
    let limit = u64::try_from(TOKEN_BYTES_MAX)? + 2;
    io::stdin().take(limit).read_to_string(&mut text)?;
    Ok(text.trim().to_owned())
}

fn principal_json(principal: &Principal) -> Value {
    let metadata = principal.metadata.as_deref();
    let metadata = metadata.and_then(|text| serde_json::from_str::<Value>(text).ok());
    json!({
        "valid": true,
        "subject": principal.subject.as_deref(),
        "name": principal.display_name.as_deref(),
        "space": principal.space.as_str(),
        "grants": principal.grants.to_texts(),
        "expires_at": principal.expires_at,
        "metadata": metadata,
    })
}

/// The principal as lines. Texts of the token are quoted: they may have control characters.
fn principal_text(principal: &Principal) -> String {
    let quoted = |text: Option<&str>| text.map_or("none".to_owned(), |text| format!("{text:?}"));
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let left = |at: u64| format!("in {} s (at {at})", at.saturating_sub(now.as_secs()));
    format!(
        "The token is valid.\nsubject   {}\nname      {}\nspace     {:?}\ngrants    {:?}\nexpires   {}\nmetadata  {}\n",
        quoted(principal.subject.as_deref()),
        quoted(principal.display_name.as_deref()),
        principal.space.as_str(),
        principal.grants.to_texts(),
        principal.expires_at.map_or("never".to_owned(), left),
        principal.metadata.as_deref().unwrap_or("none"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ttl_has_a_unit_or_is_in_seconds() {
        for (text, secs) in [
            ("90", 90),
            ("90s", 90),
            ("10m", 600),
            ("12h", 43_200),
            ("30d", 2_592_000),
        ] {
            assert_eq!(seconds(text).expect(text), secs);
        }
        for text in ["", "0", "m", "-1", "1.5h", "10 m", "99999999999d"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
