//! The origins whose pages may use the server, and the hosts under which it may be asked: the rules of
//! `access.allowed_origins` and `access.allowed_hosts`, pure.
//!
//! A browser sends the origin of a page with each WebSocket handshake and each request across origins (Fetch standard,
//! section 3.2). Programs send none, so requests without `Origin` pass. The host of a request protects against DNS
//! rebinding: a page whose name was changed to the address of this server has the server's origin, but its own host.

use std::fmt;

use axum::http::{HeaderMap, Uri, header};

mod authority;

use authority::Authority;

/// The longest origin or host that a suggestion for the configuration repeats, in bytes.
const SUGGESTED_BYTES_MAX: usize = 128;

/// The largest number of listed values that a suggestion repeats.
const SUGGESTED_VALUES_MAX: usize = 8;

/// An origin with a host (RFC 6454, section 4). All parts are normalized.
#[derive(Clone, Debug, PartialEq, Eq)]
struct WebOrigin {
    scheme: String,
    authority: Authority,
}

impl WebOrigin {
    /// Parses the text form of an origin. `None` for everything else, also for `null`.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let is_scheme_char = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if !scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            || !scheme.bytes().all(is_scheme_char)
        {
            return None;
        }
        let scheme = scheme.to_ascii_lowercase();
        // Some embedded browsers send the origin `file://`.
        let authority = match (scheme.as_str(), rest) {
            ("file", "") => Authority::default(),
            _ => Authority::parse(rest)?.without_port(default_port(&scheme)),
        };
        Some(Self { scheme, authority })
    }

    /// Whether a request with this `Host`, over TLS or not, goes to this origin.
    ///
    /// An `https` page may use a server that is asked without TLS: a reverse proxy ends the TLS connection, because a
    /// browser does not send such requests itself. An `http` page may not use a server that is asked with TLS.
    fn is_origin_of(&self, host: &Authority, is_tls: bool) -> bool {
        let is_scheme_right = match self.scheme.as_str() {
            "https" => true,
            "http" => !is_tls,
            _ => false,
        };
        let host = host.clone().without_port(default_port(&self.scheme));
        is_scheme_right && self.authority == host
    }
}

/// The port that a URL of this scheme has if it names none.
fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

/// A value of `access.allowed_origins`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum OriginPattern {
    /// `*`: every origin.
    Any,
    /// `null`: the origin of sandboxed frames and local files.
    Null,
    /// One origin.
    Exact(WebOrigin),
    /// `https://*.example.org`: the origins of all names below a domain, not of the domain itself.
    Subdomains(WebOrigin),
}

impl OriginPattern {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "*" => return Some(Self::Any),
            "null" => return Some(Self::Null),
            _ => {}
        }
        let text = match text.ends_with("://") {
            true => text,
            false => text.strip_suffix('/').unwrap_or(text),
        };
        match text.split_once("://*.") {
            Some((scheme, domain)) => {
                let origin = WebOrigin::parse(&format!("{scheme}://{domain}"))?;
                origin
                    .authority
                    .is_domain()
                    .then_some(Self::Subdomains(origin))
            }
            None => WebOrigin::parse(text).map(Self::Exact),
        }
    }

    fn matches(&self, sent: &SentOrigin) -> bool {
        match (self, sent) {
            (Self::Any, _) | (Self::Null, SentOrigin::Null) => true,
            (Self::Exact(listed), SentOrigin::Web(sent)) => listed == sent,
            (Self::Subdomains(domain), SentOrigin::Web(sent)) => {
                domain.scheme == sent.scheme && sent.authority.is_below(&domain.authority)
            }
            (Self::Null, SentOrigin::Web(_))
            | (Self::Exact(_) | Self::Subdomains(_), SentOrigin::Null)
            | (_, SentOrigin::Invalid) => false,
        }
    }
}

/// A value of `access.allowed_hosts`: a host with or without a port, or `*.example.org`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum HostPattern {
    Exact(Authority),
    Subdomains(Authority),
}

impl HostPattern {
    fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("*.") {
            Some(domain) => {
                let domain = Authority::parse(domain)?;
                domain.is_domain().then_some(Self::Subdomains(domain))
            }
            None => Authority::parse(text).map(Self::Exact),
        }
    }

    /// Whether a request with this host matches. A value without a port matches every port.
    fn matches(&self, host: &Authority) -> bool {
        match self {
            Self::Exact(listed) => listed.includes(host),
            Self::Subdomains(domain) => host.is_subdomain_of(domain),
        }
    }
}

/// The origin that a request names.
#[derive(Clone, Debug, PartialEq, Eq)]
enum SentOrigin {
    Null,
    Web(WebOrigin),
    /// A text that is no origin.
    Invalid,
}

impl SentOrigin {
    fn parse(value: &[u8]) -> Self {
        match std::str::from_utf8(value) {
            Ok("null") => Self::Null,
            Ok(text) if text.is_ascii() => WebOrigin::parse(text).map_or(Self::Invalid, Self::Web),
            Ok(_) | Err(_) => Self::Invalid,
        }
    }
}

/// A value in the configuration that is not a pattern of an origin or a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InvalidPattern {
    /// The value as it is written.
    pub(crate) value: String,
    /// The form that it should have.
    pub(crate) expected: &'static str,
}

/// The form of a value of `access.allowed_origins`.
const EXPECTED_ORIGIN: &str =
    "an origin like \"https://app.example.org\" or \"https://*.example.org\", \"null\" or \"*\"";

/// The form of a value of `access.allowed_hosts`.
const EXPECTED_HOST: &str =
    "a host like \"example.org\", \"example.org:8080\", \"[::1]\" or \"*.example.org\"";

/// Checks a value of `access.allowed_origins`.
///
/// # Errors
/// If it is not an origin or a pattern.
pub(crate) fn check_origin(value: &str) -> Result<(), InvalidPattern> {
    parse_origin(value).map(drop)
}

/// Checks a value of `access.allowed_hosts`.
///
/// # Errors
/// If it is not a host or a pattern.
pub(crate) fn check_host(value: &str) -> Result<(), InvalidPattern> {
    parse_host(value).map(drop)
}

fn parse_origin(value: &str) -> Result<OriginPattern, InvalidPattern> {
    OriginPattern::parse(value).ok_or_else(|| InvalidPattern {
        value: value.to_owned(),
        expected: EXPECTED_ORIGIN,
    })
}

fn parse_host(value: &str) -> Result<HostPattern, InvalidPattern> {
    HostPattern::parse(value).ok_or_else(|| InvalidPattern {
        value: value.to_owned(),
        expected: EXPECTED_HOST,
    })
}

/// The request that is checked, and facts about its connection.
#[derive(Clone, Debug)]
pub(crate) struct RequestTarget<'a> {
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
    /// Whether the client has a TLS connection, to this server or to a trusted proxy.
    pub(crate) is_tls: bool,
    /// Whether the connection comes from a trusted proxy, whose `X-Forwarded-Host` is believed.
    pub(crate) is_proxied: bool,
}

impl RequestTarget<'_> {
    /// The host to which the client has sent the request. `None` if it is missing, repeated or invalid.
    fn host(&self) -> Option<Authority> {
        if self.is_proxied
            && let Some(forwarded) = self.headers.get("x-forwarded-host")
        {
            let last = forwarded.to_str().ok()?.rsplit(',').next()?;
            return Authority::parse(last.trim());
        }
        self.received_hosts()?.into_iter().next()
    }

    /// The hosts in the request as it was received: that of the URI, if it is absolute, and that of `Host`. `None` if
    /// there is no host, if one is invalid, or if `Host` is repeated.
    fn received_hosts(&self) -> Option<Vec<Authority>> {
        let mut values = self.headers.get_all(header::HOST).iter();
        let of_header = values.next();
        if values.next().is_some() {
            return None;
        }
        let of_uri = self.uri.authority().map(|authority| authority.as_str());
        let of_header = of_header.map(|value| value.to_str().unwrap_or_default());
        let hosts = of_uri.into_iter().chain(of_header).map(Authority::parse);
        let hosts: Option<Vec<_>> = hosts.collect();
        hosts.filter(|hosts| !hosts.is_empty())
    }
}

/// The reason why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotAllowed {
    /// The origin of the page is not allowed.
    Origin,
    /// The host of the request is not allowed.
    Host,
}

/// The allowed origins and hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OriginRules {
    origins: Vec<OriginPattern>,
    /// Empty: every host.
    hosts: Vec<HostPattern>,
    /// The listed values, for suggestions.
    listed_origins: Vec<String>,
    listed_hosts: Vec<String>,
}

impl Default for OriginRules {
    /// Every origin and every host.
    fn default() -> Self {
        Self {
            origins: vec![OriginPattern::Any],
            hosts: Vec::new(),
            listed_origins: vec!["*".to_owned()],
            listed_hosts: Vec::new(),
        }
    }
}

impl OriginRules {
    /// No page of another origin, and every host.
    pub(crate) fn closed() -> Self {
        Self {
            origins: Vec::new(),
            listed_origins: Vec::new(),
            ..Self::default()
        }
    }

    /// The rules of these settings.
    ///
    /// # Errors
    /// The first value that is not a pattern.
    pub(crate) fn new(origins: &[String], hosts: &[String]) -> Result<Self, InvalidPattern> {
        let parsed_origins = origins.iter().map(|value| parse_origin(value));
        let parsed_hosts = hosts.iter().map(|value| parse_host(value));
        Ok(Self {
            origins: parsed_origins.collect::<Result<_, _>>()?,
            hosts: parsed_hosts.collect::<Result<_, _>>()?,
            listed_origins: origins.to_vec(),
            listed_hosts: hosts.to_vec(),
        })
    }

    /// Allows further origins that other settings list. A value `*` has no effect, because it would make the list
    /// useless, and neither has a value that is no origin.
    #[must_use]
    pub(crate) fn with_origins<'a>(mut self, values: impl IntoIterator<Item = &'a str>) -> Self {
        let parsed = values.into_iter().filter_map(OriginPattern::parse);
        let is_useful = |pattern: &OriginPattern| *pattern != OriginPattern::Any;
        self.origins.extend(parsed.filter(is_useful));
        self
    }

    /// Whether every origin is allowed.
    pub(crate) fn allows_every_origin(&self) -> bool {
        self.origins.contains(&OriginPattern::Any)
    }

    /// Whether every request is allowed.
    pub(crate) fn allows_everything(&self) -> bool {
        self.hosts.is_empty() && self.allows_every_origin()
    }

    /// Checks the host and the origin of a request.
    ///
    /// # Errors
    /// The one that is not allowed.
    pub(crate) fn check(&self, target: &RequestTarget<'_>) -> Result<(), NotAllowed> {
        if !self.allows_host(target) {
            return Err(NotAllowed::Host);
        }
        if self.allows_every_origin() {
            return Ok(());
        }
        let mut origins = target.headers.get_all(header::ORIGIN).iter();
        match origins.all(|origin| self.allows_origin(origin.as_bytes(), target)) {
            true => Ok(()),
            false => Err(NotAllowed::Origin),
        }
    }

    fn allows_host(&self, target: &RequestTarget<'_>) -> bool {
        let is_listed = |host: &Authority| self.hosts.iter().any(|pattern| pattern.matches(host));
        self.hosts.is_empty()
            || target
                .received_hosts()
                .is_some_and(|hosts| hosts.iter().all(is_listed))
    }

    fn allows_origin(&self, origin: &[u8], target: &RequestTarget<'_>) -> bool {
        let sent = SentOrigin::parse(origin);
        if self.origins.iter().any(|pattern| pattern.matches(&sent)) {
            return true;
        }
        let SentOrigin::Web(origin) = sent else {
            return false;
        };
        let host = target.host();
        host.is_some_and(|host| origin.is_origin_of(&host, target.is_tls))
    }

    /// The line of the section `[access]` that would allow a refused request. `None` if the request has no valid origin
    /// or host, or a long one.
    pub(crate) fn suggestion(
        &self,
        reason: NotAllowed,
        target: &RequestTarget<'_>,
    ) -> Option<Suggestion> {
        let (key, listed, value) = match reason {
            NotAllowed::Origin => {
                let sent = target.headers.get(header::ORIGIN)?.to_str().ok()?;
                let is_valid = SentOrigin::parse(sent.as_bytes()) != SentOrigin::Invalid;
                let sent = is_valid.then(|| sent.to_owned())?;
                ("allowed_origins", &self.listed_origins, sent)
            }
            NotAllowed::Host => {
                let mut hosts = target.received_hosts()?.into_iter();
                let is_refused = |host: &Authority| !self.hosts.iter().any(|h| h.matches(host));
                let host = hosts.find(is_refused)?.host().to_owned();
                ("allowed_hosts", &self.listed_hosts, host)
            }
        };
        let is_short = value.len() <= SUGGESTED_BYTES_MAX && listed.len() <= SUGGESTED_VALUES_MAX;
        let values = listed.iter().filter(|_| is_short).cloned();
        (value.len() <= SUGGESTED_BYTES_MAX).then(|| Suggestion {
            key,
            values: values.chain([value]).collect(),
            is_whole: is_short,
        })
    }
}

/// A line of the section `[access]` that would allow a refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Suggestion {
    key: &'static str,
    values: Vec<String>,
    /// Whether the line has all listed values, so that it can replace the setting.
    is_whole: bool,
}

impl fmt::Display for Suggestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = self.values.iter().cloned().map(toml::Value::String);
        let values = toml::Value::Array(values.collect());
        match self.is_whole {
            true => write!(f, "[access] {} = {values}", self.key),
            false => write!(f, "[access] {}: add {values}", self.key),
        }
    }
}

#[cfg(test)]
mod tests;
