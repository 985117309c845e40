use axum::http::{HeaderName, HeaderValue};

use super::*;

fn rules(origins: &[&str], hosts: &[&str]) -> OriginRules {
    let owned = |values: &[&str]| values.iter().map(|&value| value.to_owned()).collect();
    let (origins, hosts): (Vec<_>, Vec<_>) = (owned(origins), owned(hosts));
    OriginRules::new(&origins, &hosts).expect("valid patterns")
}

/// The headers of a request.
fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
    let pairs = pairs.iter().map(|(name, value)| {
        let value = HeaderValue::from_bytes(value).expect("a header value");
        (HeaderName::from_static(name), value)
    });
    let mut headers = HeaderMap::new();
    pairs.for_each(|(name, value)| {
        headers.append(name, value);
    });
    headers
}

fn check_of(
    rules: &OriginRules,
    pairs: &[(&'static str, &[u8])],
    (is_tls, is_proxied): (bool, bool),
) -> Result<(), NotAllowed> {
    let (uri, headers) = (Uri::from_static("/ws"), headers(pairs));
    rules.check(&RequestTarget {
        uri: &uri,
        headers: &headers,
        is_tls,
        is_proxied,
    })
}

/// Whether a page of `origin` may use a server at `server.test`.
fn allows(listed: &[&str], origin: &str) -> bool {
    let pairs: [(_, &[u8]); 2] = [("host", b"server.test"), ("origin", origin.as_bytes())];
    check_of(&rules(listed, &[]), &pairs, (false, false)).is_ok()
}

#[test]
fn origins_match_by_scheme_host_and_port() {
    for (listed, origin, expected) in [
        ("*", "https://a.example", true),
        ("*", "nonsense", true),
        ("https://a.example", "https://a.example", true),
        ("https://a.example", "http://a.example", false),
        ("https://a.example", "https://b.example", false),
        ("https://a.example", "https://a.example.evil.test", false),
        ("https://a.example", "https://evila.example", false),
        ("https://a.example", "https://a.example:8443", false),
        ("https://a.example:8443", "https://a.example:8443", true),
        ("https://a.example:8443", "https://a.example", false),
        // Case, default ports, the trailing dot and the slash at the end.
        ("HTTPS://A.Example/", "https://a.example", true),
        ("https://a.example", "HTTPS://A.EXAMPLE", true),
        ("https://a.example:443", "https://a.example", true),
        ("https://a.example", "https://a.example:443", true),
        ("http://a.example:80", "http://a.example", true),
        ("http://a.example:443", "http://a.example", false),
        ("https://a.example.", "https://a.example", true),
        ("https://a.example", "https://a.example.", true),
        ("https://a.example", "https://a.example..", false),
        // Internationalized names: browsers send them in ASCII.
        (
            "https://bücher.example",
            "https://xn--bcher-kva.example",
            true,
        ),
        (
            "https://BÜCHER.example",
            "https://xn--bcher-kva.example",
            true,
        ),
        (
            "https://xn--bcher-kva.example",
            "https://xn--bcher-kva.example",
            true,
        ),
        ("https://bücher.example", "https://bücher.example", false),
        // Addresses.
        ("http://192.0.2.1:8080", "http://192.0.2.1:8080", true),
        ("http://[2001:db8::1]", "http://[2001:DB8:0::1]", true),
        ("http://[2001:db8::1]:80", "http://[2001:db8::1]", true),
        ("http://[2001:db8::1]", "http://[2001:db8::2]", false),
        ("http://[::1]:8080", "http://[::1]:8080", true),
        // Origins of applications.
        ("capacitor://localhost", "capacitor://localhost", true),
        (
            "chrome-extension://abcdef",
            "chrome-extension://abcdef",
            true,
        ),
        (
            "chrome-extension://abcdef",
            "chrome-extension://abcdeg",
            false,
        ),
        ("file://", "file://", true),
        ("file://", "null", false),
        // The opaque origin.
        ("null", "null", true),
        ("null", "https://null", false),
        ("https://null", "null", false),
        ("https://a.example", "null", false),
        // Values that are no origins.
        ("https://a.example", "https://a.example/path", false),
        ("https://a.example", "https://user@a.example", false),
        (
            "https://a.example",
            "https://a.example https://a.example",
            false,
        ),
        (
            "https://a.example",
            "https://a.example,https://a.example",
            false,
        ),
        ("https://a.example", "a.example", false),
        ("https://a.example", "//a.example", false),
        ("https://a.example", "https://a.example:x", false),
        ("https://a.example", "https://a.example:99999", false),
        ("https://a.example", "", false),
    ] {
        assert_eq!(allows(&[listed], origin), expected, "{listed} {origin:?}");
    }
}

#[test]
fn a_pattern_matches_names_below_its_domain_only() {
    for (listed, origin, expected) in [
        ("https://*.example.org", "https://a.example.org", true),
        ("https://*.example.org", "https://a.b.example.org", true),
        ("https://*.example.org", "https://A.EXAMPLE.org.:443", true),
        ("https://*.example.org", "https://example.org", false),
        ("https://*.example.org", "https://.example.org", false),
        ("https://*.example.org", "https://evilexample.org", false),
        (
            "https://*.example.org",
            "https://a.example.org.evil.test",
            false,
        ),
        ("https://*.example.org", "http://a.example.org", false),
        ("https://*.example.org", "https://a.example.org:8443", false),
        (
            "https://*.example.org:8443",
            "https://a.example.org:8443",
            true,
        ),
        (
            "https://*.bücher.example",
            "https://a.xn--bcher-kva.example",
            true,
        ),
        ("https://*.example.org", "null", false),
        ("https://*.example.org", "https://*.example.org", false),
    ] {
        assert_eq!(allows(&[listed], origin), expected, "{listed} {origin:?}");
    }
    assert!(allows(
        &["https://b.test", "https://*.c.test", "null"],
        "https://x.c.test"
    ));
}

#[test]
fn values_that_are_no_patterns_are_rejected() {
    for value in [
        "",
        "a.example",
        "https://",
        "https://*",
        "https://*.",
        "https://a.*.example",
        "*://a.example",
        "https://a.example/path",
        "https://*.192.0.2.1",
        "https://user@a.example",
        "**",
        "NULL",
    ] {
        assert!(check_origin(value).is_err(), "{value:?}");
    }
    for value in [
        "",
        "*",
        "https://a.example",
        "a.example/",
        "*.",
        "a..b",
        "[::1",
        "::1",
        "a b",
    ] {
        assert!(check_host(value).is_err(), "{value:?}");
    }
    let error = check_origin("a.example").expect_err("no scheme");
    assert_eq!(
        (error.value.as_str(), error.expected),
        ("a.example", EXPECTED_ORIGIN)
    );
}

#[test]
fn requests_without_an_origin_pass_and_each_of_several_origins_is_checked() {
    let rules = rules(&["https://a.test", "https://b.test"], &[]);
    let host = ("host", &b"server.test"[..]);
    let check = |origins: &[&'static [u8]]| {
        let origins = origins.iter().map(|origin| ("origin", *origin));
        let pairs: Vec<_> = std::iter::once(host).chain(origins).collect();
        check_of(&rules, &pairs, (false, false))
    };
    assert_eq!(check(&[]), Ok(()));
    assert_eq!(check(&[b"https://a.test", b"https://b.test"]), Ok(()));
    for refused in [
        &[&b"https://a.test"[..], b"https://evil.test"][..],
        &[b"https://evil.test", b"https://a.test"],
        &[b"https://a.t\xe9st"],
    ] {
        assert_eq!(check(refused), Err(NotAllowed::Origin), "{refused:?}");
    }
    assert_eq!(check_of(&rules, &[], (false, false)), Ok(()), "HTTP/1.0");
}

#[test]
fn the_server_allows_its_own_origin() {
    let rules = rules(&["https://other.test"], &[]);
    let (direct, tls) = ((false, false), (true, false));
    let (proxied, proxied_tls) = ((false, true), (true, true));
    for (origin, host, forwarded_host, connection, expected) in [
        ("http://server.test", "server.test", "", direct, true),
        ("http://server.test:80", "SERVER.test.", "", direct, true),
        ("http://server.test", "server.test:80", "", direct, true),
        (
            "http://server.test:8080",
            "server.test:8080",
            "",
            direct,
            true,
        ),
        ("http://server.test:8080", "server.test", "", direct, false),
        ("http://[::1]:8080", "[0::1]:8080", "", direct, true),
        ("https://server.test", "server.test:443", "", tls, true),
        (
            "https://server.test:8443",
            "server.test:8443",
            "",
            tls,
            true,
        ),
        ("http://server.test", "server.test", "", tls, false),
        // A proxy that ends TLS and does not say so.
        ("https://server.test", "server.test", "", direct, true),
        ("https://server.test", "server.test", "", proxied_tls, true),
        ("http://server.test", "server.test", "", proxied_tls, false),
        // The header counts only if it comes from a trusted proxy.
        (
            "https://public.test",
            "backend:8080",
            "public.test",
            proxied,
            true,
        ),
        (
            "https://public.test",
            "backend:8080",
            "x.test, public.test",
            proxied,
            true,
        ),
        (
            "https://public.test",
            "backend:8080",
            "public.test, x.test",
            proxied,
            false,
        ),
        (
            "https://public.test",
            "backend:8080",
            "public.test",
            direct,
            false,
        ),
        ("https://evil.test", "server.test", "", proxied, false),
        ("ftp://server.test", "server.test", "", direct, false),
        ("null", "null", "", direct, false),
    ] {
        let mut pairs = vec![("host", host.as_bytes()), ("origin", origin.as_bytes())];
        if !forwarded_host.is_empty() {
            pairs.push(("x-forwarded-host", forwarded_host.as_bytes()));
        }
        let checked = check_of(&rules, &pairs, connection);
        assert_eq!(
            checked.is_ok(),
            expected,
            "{origin} {host} {forwarded_host} {connection:?}"
        );
    }
    let repeated: [(_, &[u8]); 3] = [
        ("host", b"server.test"),
        ("host", b"server.test"),
        ("origin", b"http://server.test"),
    ];
    assert_eq!(check_of(&rules, &repeated, direct), Err(NotAllowed::Origin));
}

#[test]
fn hosts_are_checked_before_origins() {
    let check = |listed: &[&str], host: &str| {
        let origin = format!("http://{host}");
        let pairs: [(_, &[u8]); 2] = [("host", host.as_bytes()), ("origin", origin.as_bytes())];
        check_of(&rules(&["*"], listed), &pairs, (false, false))
    };
    for (listed, host, expected) in [
        ("server.test", "server.test", true),
        ("server.test", "Server.Test.:8080", true),
        ("server.test", "evil.test", false),
        ("server.test", "a.server.test", false),
        ("server.test:8080", "server.test:8080", true),
        ("server.test:8080", "server.test", false),
        ("*.server.test", "a.server.test:1", true),
        ("*.server.test", "server.test", false),
        ("[::1]", "[0::1]:8080", true),
        ("127.0.0.1", "127.0.0.1:8080", true),
        ("bücher.example", "xn--bcher-kva.example", true),
        ("server.test", "server.test/", false),
    ] {
        assert_eq!(check(&[listed], host).is_ok(), expected, "{listed} {host}");
    }
    assert_eq!(check(&["server.test"], "evil.test"), Err(NotAllowed::Host));
    assert_eq!(check(&[], "evil.test"), Ok(()), "no list");
    let rules = rules(&["*"], &["server.test"]);
    let forwarded: [(_, &[u8]); 2] = [("host", b"evil.test"), ("x-forwarded-host", b"server.test")];
    for pairs in [
        &forwarded[..],
        &[],
        &[("host", b"server.test"), ("host", b"server.test")],
        &[("host", b"s\xe9rver.test")],
    ] {
        assert_eq!(
            check_of(&rules, pairs, (false, true)),
            Err(NotAllowed::Host),
            "{pairs:?}"
        );
    }
}

#[test]
fn the_host_of_an_absolute_uri_and_of_the_header_must_both_be_allowed() {
    let rules = rules(&["*"], &["server.test"]);
    let check = |uri: &'static str, host: &'static [u8]| {
        let (uri, headers) = (Uri::from_static(uri), headers(&[("host", host)]));
        let (is_tls, is_proxied) = (false, false);
        rules.check(&RequestTarget {
            uri: &uri,
            headers: &headers,
            is_tls,
            is_proxied,
        })
    };
    assert_eq!(check("http://server.test/ws", b"server.test"), Ok(()));
    assert_eq!(
        check("http://evil.test/ws", b"server.test"),
        Err(NotAllowed::Host)
    );
    assert_eq!(
        check("http://server.test/ws", b"evil.test"),
        Err(NotAllowed::Host)
    );
}

#[test]
fn origins_of_other_settings_are_added_and_their_wildcard_is_not() {
    let closed = rules(&["https://a.test"], &[]);
    let closed = closed.with_origins(["*", " ", "https://site.test", "nonsense"]);
    assert!(!closed.allows_every_origin());
    let host = ("host", &b"server.test"[..]);
    let check =
        |origin: &'static [u8]| check_of(&closed, &[host, ("origin", origin)], (false, false));
    assert_eq!(check(b"https://site.test"), Ok(()));
    assert_eq!(check(b"https://other.test"), Err(NotAllowed::Origin));
    assert!(OriginRules::default().allows_everything());
}

#[test]
fn a_suggestion_is_the_line_to_write() {
    let suggest = |rules: &OriginRules, reason, pairs: &[(&'static str, &[u8])]| {
        let (uri, headers) = (Uri::from_static("/ws"), headers(pairs));
        let target = RequestTarget {
            uri: &uri,
            headers: &headers,
            is_tls: false,
            is_proxied: false,
        };
        rules
            .suggestion(reason, &target)
            .map(|suggestion| suggestion.to_string())
    };
    let closed = rules(&["https://a.test"], &["server.test"]);
    let origin =
        |origin: &'static [u8]| suggest(&closed, NotAllowed::Origin, &[("origin", origin)]);
    let expected = r#"[access] allowed_origins = ["https://a.test", "https://b.test"]"#;
    assert_eq!(origin(b"https://b.test").as_deref(), Some(expected));
    let expected = r#"[access] allowed_origins = ["https://a.test", "null"]"#;
    assert_eq!(origin(b"null").as_deref(), Some(expected));
    for invalid in [
        &b"*"[..],
        b"https://*.test",
        b"nonsense",
        b"https://b.test\"]\t[evil]",
        b"\xff",
    ] {
        assert_eq!(origin(invalid), None, "{invalid:?}");
    }
    let long = format!("https://{}.test", "a".repeat(200)).into_bytes();
    assert_eq!(
        suggest(&closed, NotAllowed::Origin, &[("origin", &long)]),
        None
    );
    let expected = r#"[access] allowed_hosts = ["server.test", "evil.test"]"#;
    let host = suggest(&closed, NotAllowed::Host, &[("host", b"evil.test:8080")]);
    assert_eq!(host.as_deref(), Some(expected));
    let many: Vec<_> = (0..20)
        .map(|number| format!("https://{number}.test"))
        .collect();
    let many = OriginRules::new(&many, &[]).expect("valid patterns");
    let expected = r#"[access] allowed_origins: add ["https://b.test"]"#;
    let added = suggest(&many, NotAllowed::Origin, &[("origin", b"https://b.test")]);
    assert_eq!(added.as_deref(), Some(expected));
}
