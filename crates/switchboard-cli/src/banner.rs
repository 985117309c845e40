//! The banner of a server that starts: where it listens, and the addresses to use.

use std::net::SocketAddr;

use serde_json::{Map, Value, json};
use switchboard::{
    Config, Server,
    config::{LogFormat, VoiceIdentity},
};

use crate::{report, terminal};

/// Prints the address of a listener and the pages and dialects served there: all, or the dialect `alone`.
pub(crate) fn announce(server: &Server, address: SocketAddr, alone: Option<&'static str>) {
    let served = Served::new(server.config(), address, alone);
    terminal::print_briefly(&match server.config().log.format {
        LogFormat::Text => served.text(),
        LogFormat::Json => served.json(),
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

/// Says that calls between networks fail, if clients are told of no STUN or TURN server.
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

const ICE_HINT: &str = "calls between networks need STUN and TURN servers, set in [ice]";

/// The pages and dialects that are served at one address.
struct Served {
    address: SocketAddr,
    alone: Option<&'static str>,
    /// Names of pages and dialects, each with a URL. A name may be there twice.
    pages: Vec<(&'static str, String)>,
    dialects: Vec<(&'static str, String)>,
}

impl Served {
    fn new(config: &Config, address: SocketAddr, alone: Option<&'static str>) -> Self {
        let host = match address {
            address if address.ip().is_unspecified() => format!("localhost:{}", address.port()),
            address => address.to_string(),
        };
        let mut pages = Vec::new();
        let mut dialects = Vec::new();
        if let Some(dialect) = alone {
            let path = Config::served_alone(dialect).unwrap_or_default();
            dialects.push((dialect, format!("ws://{host}{path}")));
        } else {
            pages.push(("call page", format!("http://{host}/")));
            if config.voice.gostream.identity != VoiceIdentity::Off {
                pages.push(("voice", format!("http://{host}/voice")));
            }
            for (dialect, paths) in config.served() {
                let url = |path| (dialect, format!("ws://{host}{path}"));
                dialects.extend(paths.into_iter().map(url));
            }
        }
        Self {
            address,
            alone,
            pages,
            dialects,
        }
    }

    fn text(&self) -> String {
        let alone = self.alone.map(|dialect| format!(" for {dialect} alone"));
        let first = format!(
            "Switchboard listens on {}{}\n",
            self.address,
            alone.unwrap_or_default()
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
        if let Some(dialect) = self.alone {
            fields["alone"] = dialect.into();
        }
        report::json_line("INFO", "listening", fields)
    }
}

/// All URLs of each name.
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
