//! The settings of TLS.

use std::path::PathBuf;

use super::{SettingDef, quoted, row};

pub(super) fn rows() -> [SettingDef; 4] {
    [
        row(
            "tls",
            "cert",
            "A PEM file with the certificate chain of all listeners, the server's certificate first. With it they speak HTTPS and WSS; empty for plain HTTP. On SIGHUP it is read again with tls.key.",
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

fn file(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| text.into())
}

fn shown(file: &Option<PathBuf>) -> String {
    quoted(file.as_deref().unwrap_or("".as_ref()).display())
}
