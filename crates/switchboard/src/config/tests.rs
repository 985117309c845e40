//! Tests of reading and validating settings.

use std::ffi::OsString;

use switchboard_core::error_chain;
use switchboard_dialects::ALL;

use super::*;

fn errors(text: &str) -> Vec<String> {
    Config::default()
        .read_toml("f.toml", text)
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn printed_defaults_are_read_back_unchanged() {
    let text = Config::default().to_toml();
    let mut config = Config::default();
    config.limits.frame_bytes = 1;
    assert_eq!(config.read_toml("f", &text), []);
    assert_eq!(config.to_toml(), text);
}

/// The errors of a configuration file: those of single settings, and then conflicts between settings.
fn all_errors(text: &str) -> Vec<String> {
    let mut config = Config::default();
    let mut found = config.read_toml("f.toml", text);
    found.extend(config.validate());
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn every_error_has_its_line_and_key_and_errors_are_in_line_order() {
    let text = "[server]\nport = 70000\nport2 = 1\ncolour = 1\n[limits]\nframe_bytes = \"many\"\nframe_byte = 7\nport = 3\n\n[nowhere]\nx = 1\n[limit]\n";
    let expected = [
        "f.toml:2: server.port: 70000 is not from 0 to 65535",
        "f.toml:3: server.port2: unknown key; did you mean \"port\"?",
        "f.toml:4: server.colour: unknown key; [server] has addr, port, listen, web_root, web_root_policy, trusted_proxies",
        "f.toml:6: limits.frame_bytes: \"many\" is not a whole number, 0 or more",
        "f.toml:7: limits.frame_byte: unknown key; did you mean \"frame_bytes\"?",
        "f.toml:8: limits.port: unknown key; did you mean port in [server]?",
        "f.toml:10: nowhere: unknown section",
        "f.toml:12: limit: unknown section; did you mean \"limits\"?",
    ];
    assert_eq!(errors(text), expected);
    assert_eq!(
        errors("port = 3\n"),
        [
            "f.toml:1: port: a setting must be in a section like [limits]; did you mean port in [server]?"
        ]
    );
}

#[test]
fn key_of_another_section_is_suggested_with_its_section() {
    for (text, meant) in [
        ("[gostream]\nsite_url = \"\"", "url in [gostream.site]"),
        ("[limits]\nheartbeat_ping = 1", "ping in [heartbeat]"),
        ("frame_bytes = 1", "frame_bytes in [limits]"),
    ] {
        let found = errors(text);
        assert_eq!(found.len(), 1, "{text}");
        assert!(
            found[0].ends_with(&format!("; did you mean {meant}?")),
            "{}",
            found[0]
        );
    }
    let variables = [
        ("SWITCHBOARD_FRAME_BYTES", "1"),
        ("SWITCHBOARD_YWEBRTC_PATHS", "/y"),
    ];
    let found = Config::default().read_environment(variables);
    assert!(
        found[0]
            .message()
            .ends_with("did you mean \"SWITCHBOARD_LIMITS_FRAME_BYTES\"?")
    );
    assert!(
        found[1]
            .message()
            .ends_with("did you mean \"SWITCHBOARD_Y_WEBRTC_PATHS\"?")
    );
}

#[test]
fn only_errors_before_a_syntax_error_are_reported() {
    for (text, line, before) in [
        ("[limits]\nframe_bytes = = 7\n[server]\nprot = 3\n", 2, 0),
        ("[limits\nframe_bytes = 5\n", 1, 0),
        ("[limits]\nname_bytes = \"abc\nping = 4\n[x]\n", 2, 0),
        (
            "[server]\nprot = 3\nlisten = [\"a\"\nport = 3\n[log]\nlevel = info\n",
            4,
            1,
        ),
        ("[heartbeat]\nping = 90\ngone 100\n", 3, 0),
    ] {
        let found = all_errors(text);
        assert_eq!(found.len(), before + 1, "{text}: {found:#?}");
        let last = &found[before];
        assert!(last.starts_with(&format!("f.toml:{line}: ")), "{last}");
        assert!(
            last.ends_with("(the file is not read beyond this)"),
            "{last}"
        );
    }
}

#[test]
fn known_value_close_to_an_unknown_one_is_suggested() {
    assert_eq!(
        errors("[log]\nlevel = \"inof\"\n"),
        [
            "f.toml:2: log.level: \"inof\" is not one of off, error, warn, info, debug, trace; did you mean \"info\"?"
        ]
    );
}

#[test]
fn reserved_or_invalid_paths_are_errors() {
    for bad in [
        "ws",
        "/",
        "/healthz",
        "/ice-servers",
        "/a b",
        "/{x}",
        "/index.html",
    ] {
        assert_eq!(
            errors(&format!("[singo]\npaths = [\"{bad}\"]\n")).len(),
            1,
            "{bad}"
        );
    }
    assert_eq!(
        errors("[singo]\npaths = [\"/connect\", \"/ws2\"]\n"),
        Vec::<String>::new()
    );
}

#[test]
fn conflict_names_both_settings_and_has_the_line_of_the_later_one() {
    assert_eq!(Config::default().validate(), []);
    assert_eq!(
        all_errors("[heartbeat]\n\nping = 60\n"),
        [
            "f.toml:3: heartbeat.ping: heartbeat.gone = 60 (the default) must be greater than heartbeat.ping = 60 (f.toml:3): every quiet client would be disconnected"
        ]
    );
    let mut config = Config::default();
    assert_eq!(config.read_toml("f.toml", "[heartbeat]\nping = 20\n"), []);
    let variables = [("SWITCHBOARD_HEARTBEAT_GONE", "15")];
    assert_eq!(config.read_environment(variables), []);
    let found = config.validate();
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0].to_string(),
        "environment variable SWITCHBOARD_HEARTBEAT_GONE: heartbeat.gone: heartbeat.gone = 15 (environment variable SWITCHBOARD_HEARTBEAT_GONE) must be greater than heartbeat.ping = 20 (f.toml:2): every quiet client would be disconnected"
    );
}

#[test]
fn conflict_with_a_setting_that_has_an_error_itself_is_not_reported() {
    for text in [
        "[heartbeat]\nping = 90\ngone = \"2 minutes\"\n",
        "[heartbeat]\nping = 90\ngon = 120\n",
        "[heartbeats]\ngone = 120\n[heartbeat]\nping = 90\n",
    ] {
        let found = all_errors(text);
        assert_eq!(found.len(), 1, "{text}: {found:#?}");
    }
}

#[test]
fn settings_with_which_no_client_can_be_served_are_errors() {
    for (bad, key) in [
        ("[limits]\nframe_bytes = 1", "limits.frame_bytes"),
        ("[limits]\njson_depth = 1", "limits.json_depth"),
        ("[limits]\nname_bytes = 35", "limits.name_bytes"),
        ("[limits]\nroom_members = 1", "limits.room_members"),
        (
            "[limits]\ndirectory_members = 1",
            "limits.directory_members",
        ),
        ("[limits]\nconnections = 1", "limits.connections"),
        ("[limits]\noutbox_bytes = 16383", "limits.outbox_bytes"),
        (
            "[limits]\ndeliveries_per_second = 1\ndeliveries_burst = 1\nflood_secs = 2",
            "limits.flood_secs",
        ),
        (
            "[limits]\nframes_per_second = 1\nframes_burst = 1\nflood_secs = 10",
            "limits.flood_secs",
        ),
        (
            "[limits]\ndelivered_bytes_per_second = 5\ndelivered_bytes_burst = 500",
            "limits.delivered_bytes_burst",
        ),
        (
            "[limits]\nslow_receiver_bytes_per_second = 5\nslow_receiver_bytes_burst = 500",
            "limits.slow_receiver_bytes_burst",
        ),
        (
            "[limits]\nname_bytes = 36\n[mesh]\nid_length = 37",
            "mesh.id_length",
        ),
        (
            "[limits]\nname_bytes = 36\n[mesh]\nroom = \"an office for everybody who has come here\"",
            "mesh.room",
        ),
        ("[peerjs]\nkeys = \" ,\"", "peerjs.keys"),
        (
            "[limits]\nname_bytes = 36\n[peerjs]\nkeys = \"peerjs,a-key-of-more-than-six-and-thirty-bytes\"",
            "peerjs.keys",
        ),
        ("[gostream]\nidentity = \"site\"", "gostream.identity"),
        ("[heartbeat]\nping = 20\ngone = 20", "heartbeat.gone"),
    ] {
        let mut config = Config::default();
        assert_eq!(config.read_toml("f.toml", bad), [], "{bad}");
        let found = config.validate();
        assert_eq!(found.len(), 1, "{bad}: {found:#?}");
        assert_eq!(found[0].key, key, "{bad}");
        assert!(
            matches!(found[0].origin, SettingSource::File { .. }),
            "{bad}"
        );
    }
    let none = "[limits]\nframe_bytes = 0\njson_depth = 0\nname_bytes = 0\nrooms_per_peer = 0\nroom_members = 0\ndirectory_members = 0\nconnections = 0\nconnections_per_address = 0\noutbox_bytes = 0\n";
    assert_eq!(all_errors(none), Vec::<String>::new());
}

#[test]
fn limits_too_low_for_other_limits_are_warnings_that_name_all_settings() {
    assert_eq!(Config::default().warnings(), []);
    for (tight, sides) in [
        (
            "frame_bytes = 4194304",
            &[
                "outbox_bytes = 2097152 (the default)",
                "frame_bytes = 4194304 (f.toml:2)",
            ][..],
        ),
        (
            "outbox_bytes = 1048576",
            &[
                "outbox_bytes = 1048576 (f.toml:2)",
                "slow_receiver_bytes_burst = 524288 (the default)",
            ],
        ),
        (
            "room_members = 200000",
            &[
                "deliveries_burst = 20000 (the default)",
                "room_members = 200000 (f.toml:2)",
            ],
        ),
        (
            "delivered_bytes_per_second = 100\ndelivered_bytes_burst = 2000",
            &[
                "delivered_bytes_burst = 2000 (f.toml:3)",
                "frame_bytes = 262144 (the default)",
            ],
        ),
        (
            "slow_receiver_bytes_per_second = 100\nslow_receiver_bytes_burst = 2000",
            &[
                "flood_secs = 60 (the default)",
                "frame_bytes = 262144 (the default)",
            ],
        ),
    ] {
        let mut config = Config::default();
        assert_eq!(
            config.read_toml("f.toml", &format!("[limits]\n{tight}\n")),
            []
        );
        assert_eq!(config.validate(), [], "{tight}");
        let found = config.warnings();
        assert_eq!(found.len(), 1, "{tight}: {found:#?}");
        for side in sides {
            assert!(found[0].message().contains(side), "{}", found[0]);
        }
        assert!(
            matches!(found[0].origin, SettingSource::File { .. }),
            "{tight}"
        );
    }
}

#[test]
fn server_without_dialects_and_voice_is_an_error() {
    for way in ["paths = []", "enabled = false"] {
        let section = |name: &str| format!("[{name}]\n{way}\n");
        let names = ALL.iter().map(|dialect| dialect.traits().name);
        let all: String = names.map(section).collect();
        assert_eq!(all_errors(&all), Vec::<String>::new(), "voice is served");
        let found = all_errors(&format!("{all}[gostream]\nidentity = \"off\"\n"));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].ends_with("all dialects are off: no client could connect"));
    }
}

#[test]
fn listener_of_a_disabled_dialect_is_an_error() {
    let text = "[mesh]\nlisten = [\"127.0.0.1:7000\"]\nenabled = false\n";
    let expected = "f.toml:3: mesh.enabled: mesh.listen = [\"127.0.0.1:7000\"] (f.toml:2) must be empty with \
                    mesh.enabled = false (f.toml:3): no client would be served there";
    assert_eq!(all_errors(text), [expected]);
    // Conflicts in the settings of a dialect that is off are not reported.
    let text =
        "[peerjs]\nkeys = \" ,\"\nenabled = false\n[singo]\npaths = [\"/ws\"]\nenabled = false\n";
    assert_eq!(all_errors(text), Vec::<String>::new());
}

#[test]
fn peerjs_rooms_that_are_open_to_other_dialects_are_a_warning() {
    let warnings = |text| {
        let mut config = Config::default();
        assert_eq!(config.read_toml("f.toml", text), []);
        let warnings = config.warnings().into_iter();
        warnings
            .map(|warning| warning.to_string())
            .collect::<Vec<_>>()
    };
    let mixed = warnings("[peerjs]\nmixed = true\n");
    assert_eq!(mixed.len(), 1);
    let begin = "f.toml:2: peerjs.mixed: discloses the ids of all clients of a key";
    assert!(mixed[0].starts_with(begin), "{mixed:?}");
    let off = "[peerjs]\nmixed = true\nenabled = false\n";
    for silent in ["", "[peerjs]\nmixed = false\n", off] {
        assert_eq!(warnings(silent), Vec::<String>::new(), "{silent}");
    }
}

#[test]
fn environment_overrides_the_file_and_prefixed_variables_override_port() {
    let mut config = Config::default();
    assert_eq!(
        config.read_toml("f", "[server]\nport = 1\n[singo]\nping_secs = 9\n"),
        []
    );
    let variables = [
        ("SWITCHBOARD_PORT", "3"),
        ("PORT", "2"),
        ("SWITCHBOARD_LIMITS_NAME_BYTES", "5"),
        ("SWITCHBOARD_Y_WEBRTC_PATHS", "/y"),
        ("HOME", "/"),
    ];
    assert_eq!(config.read_environment(variables), []);
    assert_eq!((config.server.port, config.limits.name_bytes), (3, 5));
    let unknown = config.read_environment([("SWITCHBOARD_PROT", "3")]);
    assert_eq!(
        unknown[0].to_string(),
        "environment variable SWITCHBOARD_PROT: unknown setting; did you mean \"SWITCHBOARD_PORT\"?"
    );
    let unknown = config.read_environment([("SWITCHBOARD_FRUIT", "3")]);
    assert_eq!(
        unknown[0].to_string(),
        "environment variable SWITCHBOARD_FRUIT: unknown setting"
    );
}

#[test]
fn section_name_is_optional_in_variables_of_the_server() {
    let mut config = Config::default();
    let variables = [
        ("SWITCHBOARD_SERVER_PORT", "4"),
        ("SWITCHBOARD_SERVER_ADDR", "localhost"),
        ("SWITCHBOARD_SERVER_LISTEN", ":5,6"),
        ("SWITCHBOARD_SERVER_TRUSTED_PROXIES", "10.0.0.0/8"),
        ("SWITCHBOARD_SERVER_WEB_ROOT", ""),
        ("SWITCHBOARD_URL", "http://localhost:8080"),
        ("PORT", "2"),
    ];
    assert_eq!(config.read_environment(variables), []);
    assert_eq!(config.server.port, 4);
    assert_eq!(config.server.addr.to_string(), "127.0.0.1");
    let ports: Vec<_> = config.server.listen.iter().map(SocketAddr::port).collect();
    assert_eq!(ports, [5, 6]);
    assert_eq!(config.server.trusted_proxies.len(), 1);
    let same = [("SWITCHBOARD_PORT", "3"), ("SWITCHBOARD_SERVER_PORT", "3")];
    assert_eq!(config.read_environment(same), []);
    let differs = [("SWITCHBOARD_SERVER_PORT", "4"), ("SWITCHBOARD_PORT", "3")];
    let found = config.read_environment(differs);
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0].to_string(),
        "environment variable SWITCHBOARD_SERVER_PORT: server.port: is 4 here and 3 in environment variable SWITCHBOARD_PORT; set it only once"
    );
}

#[test]
fn address_with_a_port_sets_both_settings_and_must_agree_with_the_port() {
    for text in [
        "addr = \"localhost:5000\"",
        "addr = \"localhost:5000\"\nport = 5000",
    ] {
        let mut config = Config::default();
        assert_eq!(config.read_toml("f", &format!("[server]\n{text}\n")), []);
        let listening = config.listeners()[0].address.to_string();
        assert_eq!(listening, "127.0.0.1:5000");
    }
    assert_eq!(
        errors("[server]\naddr = \":5000\"\nport = 6000\n"),
        ["f.toml:3: server.port: is 6000 here and 5000 in f.toml:2; set it only once"]
    );
    let mut config = Config::default();
    assert_eq!(
        config.read_toml("f", "[server]\naddr = \"127.0.0.1\"\nport = 1\n"),
        []
    );
    assert_eq!(config.read_flags([("--addr", "server.addr", ":5000")]), []);
    assert_eq!(config.server.port, 5000);
    assert_eq!(config.server.addr, ServerConfig::default().addr);
    let found = config.read_flags([("--addr", "server.addr", "nowhere:5000")]);
    assert_eq!(found.len(), 1);
}

#[test]
fn kubernetes_variables_for_a_service_named_switchboard_are_ignored() {
    let mut config = Config::default();
    let variables = [
        ("SWITCHBOARD_SERVICE_HOST", "10.0.0.7"),
        ("SWITCHBOARD_SERVICE_PORT", "8080"),
        ("SWITCHBOARD_SERVICE_PORT_HTTP", "8080"),
        ("SWITCHBOARD_PORT", "tcp://10.0.0.7:8080"),
        ("SWITCHBOARD_PORT_8080_TCP", "tcp://10.0.0.7:8080"),
        ("SWITCHBOARD_PORT_8080_TCP_ADDR", "10.0.0.7"),
        ("SWITCHBOARD_PORT_8080_TCP_PORT", "8080"),
        ("SWITCHBOARD_PORT_8080_TCP_PROTO", "tcp"),
        ("SWITCHBOARD_WEB_PORT_8080_TCP_ADDR", "10.0.0.8"),
        ("PORT", "9000"),
    ];
    assert_eq!(config.read_environment(variables), []);
    assert_eq!(config.server.port, 9000);
    assert_eq!(config.read_environment([("SWITCHBOARD_PORT", "9001")]), []);
    assert_eq!(config.server.port, 9001);
    let unknown = [("SWITCHBOARD_SERVICES", "1"), ("SWITCHBOARD_PORTS", "1")];
    assert_eq!(config.read_environment(unknown).len(), 2);
}

#[cfg(unix)]
#[test]
fn only_variables_with_the_prefix_must_be_utf_8() {
    use std::os::unix::ffi::OsStringExt as _;
    let broken = || OsString::from_vec(vec![b'9', 0xff]);
    let found = Config::default().read_environment([
        ("LESS_TERMCAP".into(), broken()),
        (broken(), broken()),
        (OsString::from("SWITCHBOARD_PORT"), broken()),
    ]);
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0].to_string(),
        "environment variable SWITCHBOARD_PORT: server.port: is not UTF-8"
    );
}

#[test]
fn value_out_of_range_is_an_error() {
    for (section, bad) in [
        ("limits", "first_frame_secs = 31536001"),
        ("limits", "handshake_secs = 9223372036854775807"),
        ("limits", "frames_per_second = 1000000001"),
        ("heartbeat", "ping = 0"),
        ("heartbeat", "gone = 31536001"),
        ("shutdown", "grace = 31536001"),
        ("p2p", "identify_secs = 0"),
        ("p2p", "identify_secs = 31536001"),
        ("singo", "ping_secs = 31536001"),
        ("mesh", "id_length = 7"),
        ("mesh", "id_length = 65"),
        ("mesh", "room = \"\""),
    ] {
        let found = errors(&format!("[{section}]\n{bad}\n"));
        assert_eq!(found.len(), 1, "{bad}: {found:?}");
    }
    let huge = [(
        "SWITCHBOARD_LIMITS_FIRST_FRAME_SECS",
        "18446744073709551615",
    )];
    assert_eq!(
        Config::default().read_environment(huge)[0].message(),
        "18446744073709551615 is not from 0 to 31536000"
    );
    let most = "[limits]\nfirst_frame_secs = 31536000\nhandshake_secs = 0\nframes_per_second = 1000000000\n[singo]\nping_secs = 0\n[mesh]\nid_length = 64\n";
    assert_eq!(errors(most), Vec::<String>::new());
}

#[test]
fn path_of_several_dialects_needs_recognizable_first_frames() {
    assert_eq!(
        errors("[singo]\npaths = [\"/connect\", \"/connect\"]\n"),
        ["f.toml:2: singo.paths: \"/connect\" is listed twice"]
    );
    let contradictions = |text| {
        let mut config = Config::default();
        assert_eq!(config.read_toml("f", text), []);
        config.validate()
    };
    for bad in [
        "[singo]\npaths = [\"/ws\"]",
        "[mesh]\npaths = [\"/connect\"]",
    ] {
        let found = contradictions(bad);
        assert_eq!(found.len(), 1, "{bad}");
        let key = bad.split(['[', ']']).nth(1).unwrap_or_default();
        assert_eq!(found[0].key, format!("{key}.paths"), "{bad}");
        let message = found[0].message();
        assert!(
            message.contains("singo.paths = ") && message.contains(" (f:2)"),
            "{message}"
        );
        let other = if key == "mesh" {
            "mesh.paths = "
        } else {
            "p2p.paths = "
        };
        assert!(message.contains(other), "{message}");
    }
    assert_eq!(contradictions("[mesh]\npaths = [\"/ws\"]"), []);
    assert_eq!(contradictions("[singo]\npaths = [\"/rtc\"]"), []);
}

#[test]
fn dialect_may_have_its_own_listeners() {
    let mut config = Config::default();
    let text = "[server]\nlisten = [\"0.0.0.0:7001\"]\n[singo]\nlisten = [\"127.0.0.1:7000\", \"[::1]:7001\"]\n";
    assert_eq!(config.read_toml("f", text), []);
    assert_eq!(config.validate(), []);
    let alone: Vec<_> = config.listeners().iter().map(|at| at.alone).collect();
    assert_eq!(alone, [None, None, Some("singo"), Some("singo")]);
    for taken in [
        "127.0.0.1:8080",
        "[::1]:8080",
        "127.0.0.1:7001",
        "[::ffff:127.0.0.1]:7001",
        "0.0.0.0:7000",
        "[::]:7000",
    ] {
        let text = format!("[mesh]\nlisten = [\"127.0.0.1:0\", \"{taken}\"]\n");
        assert_eq!(config.read_toml("f", &text), []);
        let found = config.validate();
        assert_eq!(found.len(), 1, "{taken}: {found:?}");
        let message = found[0].message();
        assert!(
            found[0].key == "mesh.listen" || taken.ends_with("7000"),
            "{found:?}"
        );
        assert!(message.contains("mesh.listen = "), "{message}");
        let other = match taken {
            "127.0.0.1:8080" | "[::1]:8080" => "server.port = 8080 (the default)",
            "127.0.0.1:7001" | "[::ffff:127.0.0.1]:7001" => {
                "server.listen = [\"0.0.0.0:7001\"] (f:2)"
            }
            _ => "singo.listen = ",
        };
        assert!(message.contains(other), "{message}");
    }
}

#[test]
fn cause_of_an_error_is_its_source_and_not_part_of_its_text() {
    let mut config = Config::default();
    let found = config.read_toml("f.toml", "[engine]\nurl = \"http://cache\"\n");
    let text = "f.toml:2: engine.url: is not an address like \"redis://HOST:6379\"";
    assert_eq!(found[0].to_string(), text);
    let chain = format!("{text}: the URL must begin with redis://, rediss://");
    assert!(error_chain(&found[0]).starts_with(&chain), "{found:?}");
}

#[test]
fn unreadable_file_is_one_error_and_hides_conflicts_with_its_settings() {
    let mut config = Config::default();
    let found = config.read_file("/does/not/exist.toml".as_ref());
    let expected = "/does/not/exist.toml: cannot be read: No such file or directory (os error 2)";
    assert_eq!(
        found
            .iter()
            .map(|error| error_chain(error))
            .collect::<Vec<_>>(),
        [expected]
    );
    assert!(!config.origins.is_certain("server.port"));
}

#[test]
fn token_keys_that_are_missing_weak_or_ambiguous_are_errors() {
    let secret = "0123456789abcdef0123456789abcdef";
    let with = |settings: &str| {
        let text = format!("[access]\nauthenticators = [\"jwt\"]\n[access.jwt]\n{settings}\n");
        all_errors(&text).join("\n")
    };
    assert_eq!(with(&format!("secret = \"{secret}\"")), "");
    assert_eq!(with("jwks_url = \"http://[::1]:8000/keys\""), "");
    assert_eq!(with("jwks_url = \"https://issuer.example/keys\""), "");
    let cases = [
        (
            String::new(),
            "needs one of access.jwt.secret, keys_file and jwks_url",
        ),
        (
            format!("secret = \"{}\"", &secret[1..]),
            "the secret has 31 bytes; 32 are the least",
        ),
        (
            format!("secret = \"{secret}\"\njwks_url = \"https://issuer.example/keys\""),
            "must be empty with",
        ),
        (
            format!("secret = \"{secret}\"\nalgorithms = [\"ES256\"]"),
            "no key there is of that algorithm",
        ),
        (
            "jwks_url = \"https://issuer.example/keys\"\nalgorithms = [\"HS256\"]".to_owned(),
            "no key there is of that algorithm",
        ),
        (
            "jwks_url = \"http://issuer.example/keys\"".to_owned(),
            "is not a URL like https",
        ),
        (
            "jwks_url = \"https://ada:key@issuer.example/\"".to_owned(),
            "is not a URL like https",
        ),
        (
            "jwks_url = \"file:///etc/passwd\"".to_owned(),
            "is not a URL like https",
        ),
        (
            "keys_file = \"/nonexistent/keys.pem\"".to_owned(),
            "cannot be read",
        ),
        (
            "algorithms = [\"none\"]".to_owned(),
            "\"none\" is not one of HS256",
        ),
        ("leeway = 601".to_owned(), "601 is not from 0 to 600"),
    ];
    for (settings, words) in cases {
        let errors = with(&settings);
        assert!(errors.contains(words), "{settings}: {errors}");
        assert!(!errors.contains(&secret[2..30]), "{errors}");
    }
}

#[test]
fn token_keys_without_their_authenticator_are_a_warning() {
    let mut config = Config::default();
    let text = "[access.jwt]\nsecret = \"0123456789abcdef0123456789abcdef\"\n";
    assert_eq!(config.read_toml("f.toml", text), []);
    assert_eq!(config.validate(), []);
    let warnings: Vec<_> = config.warnings().iter().map(ToString::to_string).collect();
    let expected =
        "f.toml:2: access.jwt.secret: is not used: access.authenticators does not have \"jwt\"";
    assert!(
        warnings.iter().any(|warning| warning == expected),
        "{warnings:?}"
    );
    assert!(config.to_toml().contains("secret = \"***\""));
}

#[test]
fn an_old_name_of_a_setting_works_with_a_warning() {
    let warnings = |config: &Config| {
        let warnings = config.warnings();
        let texts = warnings.iter().map(ToString::to_string);
        let texts = texts.filter(|text| text.contains("is named"));
        texts.collect::<Vec<_>>()
    };
    let mut config = Config::default();
    let errors = config.read_toml("f.toml", "[limits]\nqueued_bytes = 7000000\n");
    assert_eq!(errors, []);
    assert_eq!(config.limits.memory_max, 7_000_000);
    let expected = "f.toml:2: limits.queued_bytes: is named limits.memory_max since this version; the old name works until the next one";
    assert_eq!(warnings(&config), [expected]);
    let mut config = Config::default();
    let variable = ("SWITCHBOARD_LIMITS_QUEUED_BYTES", "8000000");
    assert_eq!(config.read_environment([variable]), []);
    assert_eq!(config.limits.memory_max, 8_000_000);
    assert_eq!(warnings(&config).len(), 1);
    let both = "[limits]\nqueued_bytes = 7000000\nmemory_max = 8000000\n";
    assert_eq!(Config::default().read_toml("f.toml", both).len(), 1);
}

#[test]
fn authenticators_after_the_webhook_are_a_warning() {
    let is_warned = |authenticators: &str| {
        let mut config = Config::default();
        let text = format!(
            "[access]\nauthenticators = [{authenticators}]\n[access.webhook]\nurl = \"https://a.example/\"\nsecret = \"0123456789abcdef\"\n"
        );
        assert_eq!(config.read_toml("f.toml", &text), []);
        let warnings = config.warnings();
        let mut warnings = warnings.iter().map(ToString::to_string);
        warnings.any(|text| {
            text.starts_with("f.toml:2: access.authenticators: ") && text.contains("never asked")
        })
    };
    assert!(is_warned("\"webhook\", \"none\""));
    assert!(!is_warned("\"none\", \"webhook\""));
}
