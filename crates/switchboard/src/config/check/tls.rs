//! Validates the TLS files, and TLS between the nodes of a cluster.

use super::{PORT, Reason, Validator, VoiceIdentity, is_same_socket};
use crate::tls::ServerCertificates;

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
        if let Some(pair) = missing {
            self.report_pair(
                pair,
                "must be set with",
                "a certificate and its key belong together",
            );
        } else if tls.self_signed && tls.has_files() {
            let why = "a self-signed certificate is for servers without another one";
            let other = if tls.cert.is_some() {
                "tls.cert"
            } else {
                "tls.certificates"
            };
            self.report_pair(["tls.self_signed", other], "must be false with", why);
        } else if let Some(other) = self.conflict_with_acme() {
            let why = "the certificate of the authority is used in their place";
            self.report_pair(["tls.acme.domains", other], "must be empty with", why);
        } else if let Some(useless) = self.useless_acme_setting() {
            let why = "the authority is asked for the names in tls.acme.domains";
            self.report_pair([useless, "tls.acme.domains"], "must be empty with", why);
        } else if tls.self_signed_file.is_some() && !tls.self_signed {
            let why = "the file would not be used";
            self.report_pair(
                ["tls.self_signed_file", "tls.self_signed"],
                "must be empty with",
                why,
            );
        } else if !tls.redirect_listen.is_empty() && !tls.is_on() {
            let why = "there would be no HTTPS to redirect to";
            self.report_pair(
                ["tls.redirect_listen", "tls.cert"],
                "must be empty with",
                why,
            );
        } else {
            match ServerCertificates::check(tls) {
                Ok(certificates) => self.tls_between_nodes(certificates.as_ref()),
                Err(error) => self.report(&[error.setting()], error),
            }
        }
    }

    /// The setting of another certificate, if ACME is on.
    fn conflict_with_acme(&self) -> Option<&'static str> {
        let tls = &self.config.tls;
        let others = [
            ("tls.cert", tls.cert.is_some() || tls.key.is_some()),
            ("tls.certificates", !tls.certificates.is_empty()),
            ("tls.self_signed", tls.self_signed),
        ];
        let mut others = others.into_iter().filter(|_| tls.acme.is_on());
        others.find_map(|(setting, is_set)| is_set.then_some(setting))
    }

    /// A setting of ACME that has no effect, because ACME is off.
    fn useless_acme_setting(&self) -> Option<&'static str> {
        let acme = &self.config.tls.acme;
        let settings = [
            ("tls.acme.email", !acme.email.is_empty()),
            ("tls.acme.directory_ca", acme.directory_ca.is_some()),
            ("tls.acme.folder", acme.folder.is_some()),
        ];
        let mut settings = settings.into_iter().filter(|_| !acme.is_on());
        settings.find_map(|(setting, is_set)| is_set.then_some(setting))
    }

    /// Checks TLS between the nodes of a cluster. Nodes forward voice requests to each other over HTTPS and verify the
    /// certificate of the target node, so it must be valid for the host of the advertised URL.
    fn tls_between_nodes(&mut self, certificates: Option<&ServerCertificates>) {
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
            let name = host_of(host);
            let domains = &config.tls.acme.domains;
            if config.tls.acme.is_on() {
                domains
                    .iter()
                    .any(|domain| domain.eq_ignore_ascii_case(name))
            } else {
                certificates.is_none_or(|certificates| certificates.is_for(name))
            }
        });
        if !is_named {
            let rule = "must be \"https://NAME:PORT\" with a name of the certificate in";
            let why = "the other nodes forward voice requests there and verify the name";
            let setting = if config.tls.acme.is_on() {
                "tls.acme.domains"
            } else {
                "tls.cert"
            };
            self.report_pair(["engine.advertise_url", setting], rule, why);
        }
    }

    /// Reports addresses of redirecting listeners that another listener has too. If that is the internal listener, the
    /// server runs without it.
    pub(super) fn redirect_addresses(&mut self) {
        let redirects = &self.config.tls.redirect_listen;
        let listeners = self.config.listeners();
        for (index, address) in redirects.iter().enumerate() {
            let earlier = redirects.iter().take(index);
            let earlier = earlier.map(|address| (*address, "tls.redirect_listen".to_owned()));
            let others = listeners.iter().enumerate().map(|(index, other)| {
                let setting = if index == 0 {
                    PORT.to_owned()
                } else {
                    other.setting()
                };
                (other.address, setting)
            });
            let mut others = others.chain(earlier);
            if let Some((_, other)) = others.find(|(other, _)| is_same_socket(*other, *address)) {
                let keys = ["tls.redirect_listen", &other];
                let (address, settings) = (*address, self.settings_text(&keys));
                self.report(&keys, Reason::AddressInUse { address, settings });
            }
        }
    }

    /// Reports each certificate that is not valid yet or expires soon.
    pub(super) fn certificate_dates(&mut self) {
        let tls = &self.config.tls;
        let Ok(Some(certificates)) = ServerCertificates::check(tls) else {
            return;
        };
        for (certificate, ([setting, _], file, _)) in certificates.iter().zip(tls.files()) {
            let (start, end) = (certificate.valid_from(), certificate.valid_until());
            let reason = if !certificate.is_valid_yet() {
                Reason::NotValidYet(start)
            } else if certificate.days_left() < DAYS_LEFT_MIN {
                Reason::EndsSoon(end)
            } else {
                continue;
            };
            self.report(
                &[setting],
                reason.within(format!("{:?}", file.display().to_string())),
            );
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
