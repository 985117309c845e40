//! The settings of TLS.

use std::path::PathBuf;

use super::{SettingDef, quoted, row};

pub(super) fn rows() -> [SettingDef; 4] {
    [
        row(
            "tls",
            "cert",
            "The certificate of all listeners, which then speak HTTPS and WSS: a PEM file with the server's certificate first and those that certify it after it; empty for plain HTTP. SIGHUP reads it and tls.key again.",
            |config, given| {
                config.tls.cert = file(given.text()?);
                Ok(())
            },
            |config| shown(&config.tls.cert),
        ),
        row(
            "tls",
            "key",
            "The PEM file of the certificate's key, PKCS#8, PKCS#1 or SEC1, not encrypted.",
            |config, given| {
                config.tls.key = file(given.text()?);
                Ok(())
            },
            |config| shown(&config.tls.key),
        ),
        flag!(
            "tls",
            "self_signed",
            "Whether all listeners speak HTTPS and WSS with a self-signed certificate. Browsers warn of it once; after that, cameras and microphones of other machines work. --tls-self-signed sets it.",
            tls.self_signed
        ),
        row(
            "tls",
            "self_signed_file",
            "The file that keeps the self-signed certificate and its key, made when it is missing; empty for self-signed.pem in $STATE_DIRECTORY, or switchboard/self-signed.pem in $XDG_STATE_HOME or ~/.local/state.",
            |config, given| {
                config.tls.self_signed_file = file(given.text()?);
                Ok(())
            },
            |config| shown(&config.tls.self_signed_file),
        ),
    ]
}

fn file(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| text.into())
}

fn shown(file: &Option<PathBuf>) -> String {
    quoted(file.as_deref().unwrap_or("".as_ref()).display())
}
