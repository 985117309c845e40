//! The configurations of reverse proxies.

use std::{fs, process::Command};

use crate::{output, repository, test_dir::TestDir};

/// A certificate for any use, of the library's tests.
const CERTIFICATE: &str = "crates/switchboard/tests/tls";

fn read(name: &str) -> String {
    fs::read_to_string(repository("deploy").join(name)).expect("readable")
}

#[test]
#[cfg_attr(not(has_nginx), ignore = "needs nginx (Debian: nginx)")]
fn nginx_accepts_its_configuration() {
    let dir = TestDir::new("nginx");
    let folder = repository(CERTIFICATE);
    let site = read("nginx.conf")
        .replace(
            "/etc/ssl/calls.example.org/fullchain.pem",
            &format!("{}/rsa.pem", folder.display()),
        )
        .replace(
            "/etc/ssl/calls.example.org/privkey.pem",
            &format!("{}/rsa-pkcs8.key", folder.display()),
        );
    let site = dir.write("site.conf", &site);
    let path = dir.path().display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("{name}_temp_path {path}/{name};\n"))
        .collect();
    let main = format!(
        "pid {path}/nginx.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}include {};\n}}\n",
        site.display()
    );
    let main = dir.write("nginx.conf", &main);
    output(Command::new("nginx").args(["-t", "-q", "-c"]).arg(main));
}

#[test]
#[cfg_attr(not(has_caddy), ignore = "needs caddy (Debian: caddy)")]
fn caddy_accepts_its_configurations() {
    for name in ["Caddyfile", "compose.Caddyfile"] {
        let file = repository("deploy").join(name);
        let mut adapt = Command::new("caddy");
        adapt.args(["adapt", "--validate", "--adapter", "caddyfile", "--config"]);
        let dir = TestDir::new(name);
        adapt
            .env("HOME", dir.path())
            .env("XDG_DATA_HOME", dir.path());
        let adapted = output(adapt.arg(file));
        assert!(adapted.contains("reverse_proxy"), "{adapted}");
    }
}

/// `/metrics` and the admin API are on the internal listener, to which no proxy passes requests.
#[test]
fn no_proxy_passes_requests_to_the_internal_listener() {
    for name in [
        "nginx.conf",
        "Caddyfile",
        "compose.Caddyfile",
        "compose.yaml",
    ] {
        let text = read(name);
        for private in ["9091", "/metrics", "/admin", "/console"] {
            assert!(!text.contains(private), "{name} has {private}");
        }
    }
}
