//! The settings of TLS.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use super::{
    Reason, SECS_MAX, SettingDef, addresses, check_url, list, one_of, quoted, row, to_field_type,
    within,
};
use crate::{
    config::raw_value::RawValue,
    tls::{CertificateFiles, TlsVersion, acme::is_domain},
};

/// Maximum entries of `tls.certificates`.
const CERTIFICATES_MAX: usize = 256;

/// Maximum names of `tls.acme.domains`: those of one certificate of Let's Encrypt.
const DOMAINS_MAX: usize = 100;

/// Maximum of `tls.hsts_max_age` in seconds: two years.
const HSTS_SECS_MAX: u64 = 2 * 365 * 24 * 60 * 60;

const VERSIONS: [(&str, TlsVersion); 2] = [("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)];

pub(super) fn rows() -> Vec<SettingDef> {
    let mut rows = Vec::from(certificates());
    rows.extend(https());
    rows.extend(acme());
    rows
}

fn certificates() -> [SettingDef; 6] {
    [
        row(
            "tls",
            "cert",
            "A PEM file with the certificate chain of all listeners, the server's certificate first. With it they speak HTTPS and WSS; empty for plain HTTP.",
            |config, raw| {
                config.tls.cert = file(raw.text()?);
                Ok(())
            },
            |config| shown(&config.tls.cert),
        ),
        row(
            "tls",
            "key",
            "A PEM file with the private key of the certificate, as PKCS#8, PKCS#1 or SEC1, not encrypted.",
            |config, raw| {
                config.tls.key = file(raw.text()?);
                Ok(())
            },
            |config| shown(&config.tls.key),
        ),
        row(
            "tls",
            "certificates",
            "More certificates, as { cert = \"FILE\", key = \"FILE\" }; in a file also as [[tls.certificates]], in the environment as inline TOML or JSON. A client gets the one for the host name that it asks for (SNI); without a name, or with an unknown one, it gets that of tls.cert, or the first of these.",
            |config, raw| files(raw).map(|files| config.tls.certificates = files),
            |config| {
                let shown = config.tls.certificates.iter().map(|files| {
                    let [cert, key] = [&files.cert, &files.key].map(|file| quoted(file.display()));
                    format!("{{ cert = {cert}, key = {key} }}")
                });
                format!("[{}]", shown.collect::<Vec<_>>().join(", "))
            },
        ),
        secs!(
            "tls",
            "reload_secs",
            "Seconds between two looks at the files of certificates and keys. When they have changed, also by a changed link, they are read again; connections stay open. 0 for SIGHUP only.",
            tls.reload_interval,
            0..=SECS_MAX
        ),
        boolean!(
            "tls",
            "self_signed",
            "Whether all listeners speak HTTPS and WSS with a self-signed certificate. A browser warns about it once; after that, the page may use the camera and microphone on other machines too. --tls-self-signed sets it.",
            tls.self_signed
        ),
        row(
            "tls",
            "self_signed_file",
            "The file that stores the self-signed certificate and its key, created if it is missing; empty for self-signed.pem in $STATE_DIRECTORY, or switchboard/self-signed.pem in $XDG_STATE_HOME or ~/.local/state.",
            |config, raw| {
                config.tls.self_signed_file = file(raw.text()?);
                Ok(())
            },
            |config| shown(&config.tls.self_signed_file),
        ),
    ]
}

fn https() -> [SettingDef; 4] {
    [
        row(
            "tls",
            "min_version",
            "The oldest version of TLS that clients may use: \"1.2\" or \"1.3\".",
            |config, raw| one_of(raw, &VERSIONS).map(|version| config.tls.min_version = version),
            |config| {
                let is_set = |(_, version): &&(_, TlsVersion)| *version == config.tls.min_version;
                quoted(VERSIONS.iter().find(is_set).map_or("1.2", |(name, _)| name))
            },
        ),
        int!(
            "tls",
            "hsts_max_age",
            "Seconds for which a browser that was here uses only HTTPS for this host, on all its ports (Strict-Transport-Security); 0 for no such header. It is never sent with a self-signed certificate. The default of one day can be taken back within a day.",
            tls.hsts_max_age,
            0..=HSTS_SECS_MAX
        ),
        row(
            "tls",
            "redirect_listen",
            "Addresses of listeners without TLS that only redirect to HTTPS, as \":80\". They answer /healthz and HTTP-01 challenges of ACME too.",
            |config, raw| addresses(raw).map(|listen| config.tls.redirect_listen = listen),
            |config| list(&config.tls.redirect_listen),
        ),
        int!(
            "tls",
            "redirect_port",
            "The port of the HTTPS URLs to which tls.redirect_listen redirects; 0 for the port of the main listener. Set it if another port is published, as by Docker.",
            tls.redirect_port,
            0..=u64::from(u16::MAX)
        ),
    ]
}

fn acme() -> [SettingDef; 5] {
    [
        row(
            "tls.acme",
            "domains",
            "Host names for which the server requests a certificate by ACME and renews it, in place of tls.cert; each must lead to this server. With tls.redirect_listen on port 80 the authority verifies them there (HTTP-01), else on port 443 (TLS-ALPN-01). Setting it accepts the terms of the authority. Empty for no ACME.",
            |config, raw| domains(raw).map(|domains| config.tls.acme.domains = domains),
            |config| list(&config.tls.acme.domains),
        ),
        row(
            "tls.acme",
            "email",
            "The address to which the authority may send warnings; empty for none.",
            |config, raw| {
                let text = raw.text()?;
                if !text.is_empty() && !text.contains('@') {
                    return Err(Reason::unexpected(
                        text,
                        "an address like \"me@example.org\"",
                    ));
                }
                config.tls.acme.email = text.to_owned();
                Ok(())
            },
            |config| quoted(&config.tls.acme.email),
        ),
        row(
            "tls.acme",
            "directory",
            "The URL of the ACME directory. The default is Let's Encrypt; for trials use its staging directory, \"https://acme-staging-v02.api.letsencrypt.org/directory\".",
            |config, raw| {
                let text = raw.text()?;
                if !text.starts_with("https://") {
                    return Err(Reason::unexpected(text, "a URL that begins with https://"));
                }
                check_url(text)?;
                config.tls.acme.directory = text.to_owned();
                Ok(())
            },
            |config| quoted(&config.tls.acme.directory),
        ),
        row(
            "tls.acme",
            "directory_ca",
            "A PEM file with the root certificates of an ACME server of your own; empty for those that this machine trusts.",
            |config, raw| {
                config.tls.acme.directory_ca = file(raw.text()?);
                Ok(())
            },
            |config| shown(&config.tls.acme.directory_ca),
        ),
        row(
            "tls.acme",
            "folder",
            "The folder that keeps the account, the certificate and their keys, created if it is missing; empty for acme in $STATE_DIRECTORY, or switchboard/acme in $XDG_STATE_HOME or ~/.local/state.",
            |config, raw| {
                config.tls.acme.folder = file(raw.text()?);
                Ok(())
            },
            |config| shown(&config.tls.acme.folder),
        ),
    ]
}

fn domains(raw: &RawValue) -> Result<Vec<String>, Reason> {
    let domains = raw.list()?;
    if domains.len() > DOMAINS_MAX {
        return Err(Reason::TooMany {
            count: domains.len(),
            unit: "names",
            max: DOMAINS_MAX,
        });
    }
    match domains.iter().find(|domain| !is_domain(domain)) {
        Some(other) => Err(Reason::unexpected(
            other,
            "a host name like \"calls.example.org\", without a wildcard, address or port",
        )),
        None => Ok(domains),
    }
}

fn file(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| text.into())
}

fn shown(file: &Option<PathBuf>) -> String {
    quoted(file.as_deref().unwrap_or("".as_ref()).display())
}

fn files(raw: &RawValue) -> Result<Vec<CertificateFiles>, Reason> {
    let tables = raw.tables().map_err(|_| Reason::Secret {
        expected: "a list of tables, like [{ cert = \"FILE\", key = \"FILE\" }], in TOML or JSON",
    })?;
    if tables.len() > CERTIFICATES_MAX {
        return Err(Reason::TooMany {
            count: tables.len(),
            unit: "certificates",
            max: CERTIFICATES_MAX,
        });
    }
    let tables = tables.iter().enumerate();
    let files = tables.map(|(index, table)| {
        pair(table).map_err(|reason| reason.within(format!("certificate {}", index + 1)))
    });
    files.collect()
}

/// The files of one certificate.
fn pair(table: &BTreeMap<String, RawValue>) -> Result<CertificateFiles, Reason> {
    if let Some(other) = table
        .keys()
        .find(|key| !["cert", "key"].contains(&key.as_str()))
    {
        let key = other.clone();
        let keys = "cert, key";
        return Err(Reason::UnknownKey { key, keys });
    }
    let path = |key: &'static str| {
        let text = table.get(key).map(RawValue::text).transpose();
        let text = text.map_err(|reason| reason.within(key))?;
        text.and_then(file).ok_or(Reason::NoCertificateFile(key))
    };
    Ok(CertificateFiles {
        cert: path("cert")?,
        key: path("key")?,
    })
}
