//! Chooses the certificate for the host name that a client sends (SNI, RFC 6066, section 3).

use std::{collections::HashMap, fmt, sync::Arc};

use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{ServerCertificate, acme::AcmeChallenges};

/// The certificates by host name.
pub(super) struct ByName {
    default: Arc<CertifiedKey>,
    /// By the name in lower case; a wildcard name without its `*`, as `.example.org`.
    by_name: HashMap<String, Arc<CertifiedKey>>,
    /// The certificates for ACME servers.
    challenges: Option<Arc<AcmeChallenges>>,
}

impl ByName {
    /// The first certificate is the default. If two certificates have a name, the earlier one is used.
    pub(super) fn new(all: &[ServerCertificate], challenges: Option<Arc<AcmeChallenges>>) -> Self {
        let mut by_name = HashMap::new();
        for certificate in all {
            for name in certificate.names() {
                let name = name.to_ascii_lowercase();
                let name = name.strip_prefix('*').unwrap_or(&name).to_owned();
                let certified = || certificate.certified();
                by_name.entry(name).or_insert_with(certified);
            }
        }
        Self {
            default: all[0].certified(),
            by_name,
            challenges,
        }
    }

    /// The certificate for this name. A wildcard stands for one label (RFC 6125, section 6.4.3).
    fn find(&self, name: Option<&str>) -> Arc<CertifiedKey> {
        let find = |name: &str| {
            let name = name.to_ascii_lowercase();
            let parent = name.find('.').map(|dot| &name[dot..]);
            let exact = self.by_name.get(&name);
            exact.or_else(|| self.by_name.get(parent?)).cloned()
        };
        name.and_then(find).unwrap_or_else(|| self.default.clone())
    }
}

impl fmt::Debug for ByName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match &self.challenges {
            Some(challenges) if AcmeChallenges::is_verified_by(&hello) => {
                challenges.certificate(hello.server_name()?)
            }
            Some(_) | None => Some(self.find(hello.server_name())),
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use rustls::pki_types::PrivateKeyDer;

    use super::{
        super::{ServerCertificate, Storage},
        *,
    };

    fn certificate(names: &[&str]) -> ServerCertificate {
        let key = KeyPair::generate().expect("a key");
        let names = names.iter().copied().map(String::from);
        let params = CertificateParams::new(names.collect::<Vec<_>>()).expect("names");
        let chain = vec![params.self_signed(&key).expect("signed").der().clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let certificate = ServerCertificate::new(chain, key, Storage::Given);
        certificate.expect("a certificate")
    }

    #[test]
    fn certificate_is_chosen_by_the_host_name_of_the_client() {
        let all = [
            certificate(&["a.example", "shared.example"]),
            certificate(&["b.example", "shared.example", "*.b.example"]),
            certificate(&["x.b.example"]),
        ];
        let by_name = ByName::new(&all, None);
        for (name, expected) in [
            (None, 0),
            (Some("a.example"), 0),
            (Some("unknown.example"), 0),
            (Some("localhost"), 0),
            (Some("shared.example"), 0),
            (Some("b.example"), 1),
            (Some("B.Example"), 1),
            (Some("y.b.example"), 1),
            (Some("z.y.b.example"), 0),
            (Some("x.b.example"), 2),
        ] {
            let found = by_name.find(name);
            assert!(Arc::ptr_eq(&found, &all[expected].certified()), "{name:?}");
        }
    }
}
