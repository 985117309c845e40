//! The banner that a starting server prints: its listeners and the URLs of its pages and dialects.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};
use switchboard::{
    Config, Server,
    config::{LogFormat, VoiceIdentity},
    network,
    tls::{ServerCertificate, Storage},
};

use crate::{report, terminal};

/// Prints the address of a listener, and the pages and dialects that are served there: all of them, or no page and only
/// `sole_dialect`.
pub(crate) fn announce(
    server: &Server,
    address: SocketAddr,
    sole_dialect: Option<&'static str>,
    certificate: Option<&ServerCertificate>,
) {
    let served = ServedUrls::new(server.config(), address, sole_dialect, certificate);
    terminal::print_briefly(&match server.config().log.format {
        LogFormat::Text => served.text(),
        LogFormat::Json => served.json(),
    });
}

/// Prints the URL of the internal listener, and the file of the admin key.
pub(crate) fn announce_internal(server: &Server, address: SocketAddr, key: Option<&Path>) {
    let url = switchboard::internal_url(address);
    terminal::print_briefly(&match server.config().log.format {
        LogFormat::Text => {
            let internal = format!("  {:<14} {url} (metrics, probes, admin API)\n", "internal");
            let key = key.map(|file| format!("  {:<14} in {}\n", "admin token", file.display()));
            internal + &key.unwrap_or_default()
        }
        LogFormat::Json => {
            let fields = json!({
                "internal_address": address.to_string(),
                "url": url,
                "admin_token_file": key.map(|file| file.display().to_string()),
            });
            report::json_line("INFO", "internal listener", fields)
        }
    });
}

/// Prints the engine and the address of a node of a cluster.
pub(crate) fn announce_engine(server: &Server) {
    let Some(url) = server.advertised_url() else {
        return;
    };
    let engine = &server.config().engine.url;
    terminal::print_briefly(&match server.config().log.format {
        LogFormat::Text => {
            format!("  engine         {engine} (other nodes reach this one at {url})\n")
        }
        LogFormat::Json => {
            let fields = json!({ "engine": engine.to_string(), "advertise_url": url });
            report::json_line("INFO", "engine", fields)
        }
    });
}

/// Prints a hint that calls between networks fail, if no STUN or TURN server is set.
pub(crate) fn announce_ice(server: &Server) {
    if !server.config().ice.is_empty() {
        return;
    }
    terminal::print_briefly(&match server.config().log.format {
        LogFormat::Text => format!("  {:<14} none: {ICE_HINT}\n", "ICE servers"),
        LogFormat::Json => {
            let fields = json!({ "ice_servers": 0, "hint": ICE_HINT });
            report::json_line("INFO", "no ICE servers", fields)
        }
    });
}

/// Prints where a self-signed certificate is stored, and its fingerprint, which browsers show.
pub(crate) fn announce_certificate(server: &Server, certificate: &ServerCertificate) {
    let (stored, file) = match certificate.storage() {
        Storage::Given => return,
        Storage::Acme(file) => return announce_acme(server, Some((certificate, file))),
        Storage::Temporary => return announce_acme(server, None),
        Storage::SelfSigned(file) => (format!("kept in {}", file.display()), Some(file)),
        Storage::Memory(reason) => (format!("until the server stops ({reason})"), None),
    };
    let (fingerprint, valid_until) = (certificate.fingerprint(), certificate.valid_until());
    terminal::print_briefly(&match server.config().log.format {
        LogFormat::Text => format!(
            "  {:<14} self-signed, valid until {valid_until}, {stored}\n  {:<14} {fingerprint}\n",
            "certificate", "SHA-256"
        ),
        LogFormat::Json => {
            let fields = json!({
                "file": file.map(|file| file.display().to_string()),
                "valid_until": valid_until,
                "sha256": fingerprint,
            });
            report::json_line("INFO", "self-signed certificate", fields)
        }
    });
}

/// Prints the certificate of an ACME server, and its file; or that it has still to be requested.
fn announce_acme(server: &Server, certificate: Option<(&ServerCertificate, &PathBuf)>) {
    let config = server.config();
    let acme = &config.tls.acme;
    let names = acme.domains.join(", ");
    let state = match certificate {
        Some((certificate, file)) => {
            let (until, file) = (certificate.valid_until(), file.display());
            format!("valid until {until}, kept in {file}")
        }
        None => format!(
            "to be requested from {}; self-signed until then",
            acme.directory
        ),
    };
    terminal::print_briefly(&match config.log.format {
        LogFormat::Text => format!("  {:<14} for {names}: {state}\n", "certificate"),
        LogFormat::Json => {
            let fields = json!({
                "domains": acme.domains,
                "directory": acme.directory,
                "file": certificate.map(|(_, file)| file.display().to_string()),
                "valid_until": certificate.map(|(certificate, _)| certificate.valid_until()),
            });
            report::json_line("INFO", "ACME certificate", fields)
        }
    });
}

/// Prints the address of a listener that redirects to HTTPS.
pub(crate) fn announce_redirect(server: &Server, address: SocketAddr, port: u16) {
    terminal::print_briefly(&match server.config().log.format {
        LogFormat::Text => format!("  {:<14} http://{address} to port {port}\n", "redirects"),
        LogFormat::Json => {
            let fields = json!({ "address": address.to_string(), "https_port": port });
            report::json_line("INFO", "redirecting", fields)
        }
    });
}

/// Prints a hint that cameras of other devices need HTTPS, if other devices can reach the main listener and no reverse
/// proxy is configured.
pub(crate) fn announce_no_tls(server: &Server, main: Option<SocketAddr>) {
    let config = server.config();
    let is_reached = main.is_some_and(|main| network::reachable_address(main.ip()).is_some());
    if !is_reached || !config.server.trusted_proxies.is_empty() {
        return;
    }
    terminal::print_briefly(&match config.log.format {
        LogFormat::Text => format!("  {:<14} off: {HTTPS_HINT}\n", "HTTPS"),
        LogFormat::Json => {
            let fields = json!({ "https": false, "hint": HTTPS_HINT });
            report::json_line("INFO", "no HTTPS", fields)
        }
    });
}

/// Prints that pages of every origin may connect, if they may.
pub(crate) fn announce_origins(server: &Server) {
    if !server.config().allows_every_origin() {
        return;
    }
    terminal::print_briefly(&match server.config().log.format {
        LogFormat::Text => format!("  {:<14} all: {ORIGINS_HINT}\n", "origins"),
        LogFormat::Json => {
            let fields = json!({ "origins": "all", "hint": ORIGINS_HINT });
            report::json_line("INFO", "all origins", fields)
        }
    });
}

/// The consequence of the default of `access.allowed_origins`.
pub(crate) const ORIGINS_HINT: &str =
    "pages of every website may connect (access.allowed_origins limits them)";

const HTTPS_HINT: &str =
    "cameras and microphones of other devices need it (--tls-self-signed, or [tls])";

const ICE_HINT: &str = "calls between networks need STUN and TURN servers, set in [ice]";

/// The pages and dialects that are served at one address.
struct ServedUrls {
    address: SocketAddr,
    /// The only dialect that is served; `None` for all dialects and the pages.
    sole_dialect: Option<&'static str>,
    /// Names of pages and their URLs. Here and in `dialects`, a name may occur more than once.
    pages: Vec<(&'static str, String)>,
    dialects: Vec<(&'static str, String)>,
}

impl ServedUrls {
    fn new(
        config: &Config,
        address: SocketAddr,
        sole_dialect: Option<&'static str>,
        certificate: Option<&ServerCertificate>,
    ) -> Self {
        let (http, ws) = match certificate {
            Some(_) => ("https", "wss"),
            None => ("http", "ws"),
        };
        let host = host(address, certificate);
        let mut pages = Vec::new();
        let mut dialects = Vec::new();
        if let Some(dialect) = sole_dialect {
            let path = config.served_alone(dialect).unwrap_or_default();
            dialects.push((dialect, format!("{ws}://{host}{path}")));
        } else {
            pages.push(("call page", format!("{http}://{host}/")));
            if config.voice.gostream.identity != VoiceIdentity::Off {
                pages.push(("voice", format!("{http}://{host}/voice")));
            }
            if let Some(host) = host_for_others(address, certificate) {
                pages.push(("other devices", format!("{http}://{host}/")));
            }
            for (dialect, paths) in config.served() {
                let url = |path| (dialect, format!("{ws}://{host}{path}"));
                dialects.extend(paths.into_iter().map(url));
            }
        }
        Self {
            address,
            sole_dialect,
            pages,
            dialects,
        }
    }

    fn text(&self) -> String {
        let suffix = self
            .sole_dialect
            .map(|dialect| format!(" for {dialect} alone"));
        let first = format!(
            "Switchboard listens on {}{}\n",
            self.address,
            suffix.unwrap_or_default()
        );
        let urls = self.pages.iter().chain(&self.dialects);
        let urls = urls.map(|(name, url)| format!("  {name:<14} {url}\n"));
        first + &urls.collect::<String>()
    }

    fn json(&self) -> String {
        let mut fields = json!({
            "address": self.address.to_string(),
            "pages": by_name(&self.pages),
            "dialects": by_name(&self.dialects),
        });
        if let Some(dialect) = self.sole_dialect {
            fields["alone"] = dialect.into();
        }
        report::json_line("INFO", "listening", fields)
    }
}

/// The host and port by which a browser on this machine reaches an address.
fn host(address: SocketAddr, certificate: Option<&ServerCertificate>) -> String {
    if !address.ip().is_unspecified() {
        return address.to_string();
    }
    let named = certificate.filter(|certificate| !certificate.is_for("localhost"));
    let name = named.and_then(ServerCertificate::first_name);
    let name = name.as_deref().unwrap_or("localhost");
    format!("{name}:{}", address.port())
}

/// The host and port by which other machines reach a listener on all addresses. `None` if the certificate is not for
/// the IP address; the other URLs have a name of the certificate then.
fn host_for_others(
    address: SocketAddr,
    certificate: Option<&ServerCertificate>,
) -> Option<SocketAddr> {
    if !address.ip().is_unspecified() {
        return None;
    }
    let ip = network::reachable_address(address.ip())?;
    certificate
        .is_none_or(|certificate| is_usable(certificate, ip))
        .then(|| SocketAddr::new(ip, address.port()))
}

/// Whether a browser accepts the certificate at this address. A self-signed certificate that the user has accepted
/// is valid at every address.
fn is_usable(certificate: &ServerCertificate, ip: IpAddr) -> bool {
    let is_accepted = matches!(
        certificate.storage(),
        Storage::SelfSigned(_) | Storage::Memory(_)
    );
    is_accepted || certificate.is_for(&ip.to_string())
}

/// Groups the URLs by name.
fn by_name(urls: &[(&'static str, String)]) -> Value {
    let mut by_name: Map<String, Value> = Map::new();
    for (name, url) in urls {
        let of_name = by_name.entry(*name).or_insert_with(|| json!([]));
        if let Some(of_name) = of_name.as_array_mut() {
            of_name.push(url.as_str().into());
        }
    }
    by_name.into()
}
