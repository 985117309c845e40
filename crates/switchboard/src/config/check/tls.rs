//! Validates the TLS files, and TLS between the nodes of a cluster.

use super::{Reason, Validator, VoiceIdentity};
use crate::tls::ServerCertificate;

/// A certificate with fewer days left is reported as a warning.
const DAYS_LEFT_MIN: i64 = 14;

impl Validator<'_> {
    pub(super) fn tls(&mut self) {
        let tls = &self.config.tls;
        let missing = match (&tls.cert, &tls.key) {
            (Some(_), None) => Some(["tls.cert", "tls.key"]),
            (None, Some(_)) => Some(["tls.key", "tls.cert"]),
            (Some(_), Some(_)) | (None, None) => None,
        };
        let has_files = tls.cert.is_some() || tls.key.is_some();
        if let Some(pair) = missing {
            self.report_pair(
                pair,
                "must be set with",
                "a certificate and its key belong together",
            );
        } else if tls.self_signed && has_files {
            let why = "the listeners have one certificate";
            self.report_pair(["tls.self_signed", "tls.cert"], "must be false with", why);
        } else if tls.self_signed_file.is_some() && !tls.self_signed {
            let why = "the file would not be used";
            self.report_pair(
                ["tls.self_signed_file", "tls.self_signed"],
                "must be empty with",
                why,
            );
        } else {
            match ServerCertificate::check(tls) {
                Ok(certificate) => self.tls_between_nodes(certificate.as_ref()),
                Err(error) => self.report(&[error.setting()], error),
            }
        }
    }

    /// Checks TLS between the nodes of a cluster. Nodes forward voice requests to each other over HTTPS and verify the
    /// certificate of the target node, so it must be valid for the host of the advertised URL.
    fn tls_between_nodes(&mut self, certificate: Option<&ServerCertificate>) {
        let config = self.config;
        let has_voice = config.voice.gostream.identity != VoiceIdentity::Off;
        if config.engine.url.is_empty() || !config.tls.is_on() || !has_voice {
            return;
        }
        if config.tls.self_signed {
            let why = "nodes forward voice requests to each other over HTTPS and do not trust self-signed certificates; set tls.cert and tls.key, or gostream.identity = \"off\"";
            return self.report_pair(["tls.self_signed", "engine.url"], "must be false with", why);
        }
        let url = &config.engine.advertise_url;
        let is_named = url.strip_prefix("https://").is_some_and(|host| {
            certificate.is_none_or(|certificate| certificate.is_for(host_of(host)))
        });
        if !is_named {
            let rule = "must be \"https://NAME:PORT\" with a name of the certificate in";
            let why = "the other nodes forward voice requests there and verify the name";
            self.report_pair(["engine.advertise_url", "tls.cert"], rule, why);
        }
    }

    /// Reports a certificate that is not valid yet or expires soon.
    pub(super) fn certificate_dates(&mut self) {
        let Ok(Some(certificate)) = ServerCertificate::check(&self.config.tls) else {
            return;
        };
        // A self-signed certificate is replaced at the start of the server, before it expires.
        if self.config.tls.self_signed {
            return;
        }
        let (start, end) = (certificate.valid_from(), certificate.valid_until());
        if !certificate.is_valid_yet() {
            self.report(&["tls.cert"], Reason::NotValidYet(start));
        } else if certificate.days_left() < DAYS_LEFT_MIN {
            self.report(&["tls.cert"], Reason::EndsSoon(end));
        }
    }
}

/// The host of `HOST` or `HOST:PORT`, without brackets.
fn host_of(authority: &str) -> &str {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        Some(_) | None => authority,
    };
    host.trim_start_matches('[').trim_end_matches(']')
}
