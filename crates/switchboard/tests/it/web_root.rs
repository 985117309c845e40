//! The operator's folder in place of the pages: what is served of it, and with which headers.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use switchboard::Server;

use crate::client::{get, http, start};

/// A folder with files for visitors, files that are not, and links. It is removed when the test ends.
struct Site(PathBuf);

impl Site {
    fn new(name: &str) -> Self {
        let name = format!("switchboard-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        drop(fs::remove_dir_all(&folder));
        let site = Self(folder);
        for (file, text) in [
            ("root/index.html", "front page"),
            ("root/app/index.html", "an app"),
            ("root/app/main.js", "run()"),
            ("root/a b.txt", "with a space"),
            ("root/.env", "secret"),
            ("root/.git/config", "secret"),
            ("root/app/.hidden", "secret"),
            ("root/.well-known/security.txt", "Contact: us"),
            ("root/.well-known/.htpasswd", "secret"),
            ("outside/secret.txt", "secret"),
        ] {
            let file = site.0.join(file);
            fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
            fs::write(file, text).expect("written");
        }
        site
    }

    fn root(&self) -> PathBuf {
        self.0.join("root")
    }

    #[cfg(unix)]
    fn link(&self, to: impl AsRef<Path>, name: &str) {
        std::os::unix::fs::symlink(to, self.root().join(name)).expect("a link");
    }

    fn serve(&self, settings: &str) -> (Server, SocketAddr) {
        serve(&self.root(), settings)
    }
}

fn serve(root: &Path, settings: &str) -> (Server, SocketAddr) {
    start(&format!("[server]\nweb_root = {root:?}\n{settings}"))
}

impl Drop for Site {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn is_status(response: &str, status: u16) -> bool {
    response.starts_with(&format!("HTTP/1.1 {status} "))
}

#[tokio::test]
async fn files_of_the_web_root_are_served_with_the_security_headers_of_the_page() {
    let site = Site::new("web-root");
    let (_server, address) = site.serve("");
    let (_page_server, page) = start("");
    let page = get(page, "/").await;
    let header = |of: &str, name: &str| {
        let mut lines = of.lines();
        let line = lines.find_map(|line| Some(line.strip_prefix(name)?.to_owned()));
        line.unwrap_or_else(|| panic!("no {name} in {of}"))
    };
    for (path, status, text) in [
        ("/", 200, "front page"),
        ("/index.html", 200, "front page"),
        ("/app/", 200, "an app"),
        ("/app", 307, ""),
        ("/app/main.js", 200, "run()"),
        ("/a%20b.txt", 200, "with a space"),
        ("/.well-known/security.txt", 200, "Contact: us"),
        ("/missing.html", 404, ""),
        ("/app/main.js/", 404, ""),
    ] {
        let response = get(address, path).await;
        assert!(is_status(&response, status), "{path}: {response}");
        assert!(response.ends_with(&format!("\r\n\r\n{text}")), "{response}");
        for name in ["content-security-policy: ", "x-content-type-options: "] {
            assert_eq!(header(&response, name), header(&page, name), "{path}");
        }
    }
    let probe = get(address, "/readyz").await;
    assert!(is_status(&probe, 200), "{probe}");
}

#[tokio::test]
async fn hidden_files_and_paths_out_of_the_web_root_are_not_found() {
    let site = Site::new("web-root-hidden");
    let (_server, address) = site.serve("");
    for path in [
        "/.env",
        "/%2eenv",
        "/.git/config",
        "/app/.hidden",
        "/app/%2Ehidden",
        "/app%2f.hidden",
        "/.well-known/.htpasswd",
        "/.well-known/../.env",
        "/.well-known/%2e%2e/.env",
        "/../outside/secret.txt",
        "/%2e%2e/outside/secret.txt",
        "/..%2foutside%2fsecret.txt",
        "/app/../../outside/secret.txt",
        "/%252e%252e/outside/secret.txt",
        "/..%5coutside%5csecret.txt",
        "//app",
        "//etc/passwd",
        "/app//main.js",
        "/index.html%00",
        "/%ff",
        &format!("/{}", "a".repeat(300)),
        &format!("/{}", "a/".repeat(2000)),
    ] {
        let response = get(address, path).await;
        assert!(is_status(&response, 404), "{path}: {response}");
        assert!(!response.contains("secret"), "{path}: {response}");
    }
    let head =
        "POST /index.html HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let response = http(address, head).await;
    assert!(is_status(&response, 405), "{response}");
}

#[tokio::test]
#[cfg(unix)]
async fn links_are_followed_only_within_the_web_root() {
    let site = Site::new("web-root-links");
    let outside = site.0.join("outside");
    site.link(outside.join("secret.txt"), "absolute.txt");
    site.link("../outside/secret.txt", "relative.txt");
    site.link("relative.txt", "chain.txt");
    site.link(&outside, "folder");
    site.link("/", "system");
    site.link("loop", "loop");
    site.link("missing", "dangling");
    // A volume of Kubernetes has its files in a folder with a leading dot, behind links.
    fs::rename(site.root().join("app"), site.root().join("..2026_01_31")).expect("moved");
    site.link("..2026_01_31", "..data");
    site.link("..data/main.js", "main.js");
    let (_server, address) = site.serve("");
    for path in [
        "/absolute.txt",
        "/relative.txt",
        "/chain.txt",
        "/folder",
        "/folder/",
        "/folder/secret.txt",
        "/system/etc/passwd",
        "/loop",
        "/dangling",
        "/..data/main.js",
    ] {
        let response = get(address, path).await;
        let is_hidden = ["secret", "root:"]
            .iter()
            .all(|text| !response.contains(text));
        assert!(is_hidden, "{path}: {response}");
        assert!(is_status(&response, 404), "{path}: {response}");
        let head = format!("HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let response = http(address, &head).await;
        assert!(is_status(&response, 404), "{path}: {response}");
    }
    let response = get(address, "/main.js").await;
    assert!(response.ends_with("\r\n\r\nrun()"), "{response}");
    // The root itself may be a link, which a deployment changes.
    let current = site.0.join("current");
    std::os::unix::fs::symlink("root", &current).expect("a link");
    let (_server, address) = serve(&current, "");
    let response = get(address, "/").await;
    assert!(response.ends_with("\r\n\r\nfront page"), "{response}");
}

/// Opening a pipe waits for a writer, which would block a thread for each request.
#[tokio::test]
#[cfg(unix)]
async fn a_pipe_in_the_web_root_is_not_opened() {
    let site = Site::new("web-root-pipe");
    let pipe = site.root().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo runs").success());
    let (_server, address) = site.serve("");
    let response = get(address, "/pipe").await;
    assert!(is_status(&response, 404), "{response}");
}

#[tokio::test]
async fn the_policy_of_the_web_root_can_be_changed() {
    let site = Site::new("web-root-policy");
    let (_server, address) = site.serve("web_root_policy = \"default-src https:\"\n");
    let response = get(address, "/").await;
    let policy = "\r\ncontent-security-policy: default-src https:\r\n";
    assert!(response.contains(policy), "{response}");
    let (_server, address) = site.serve("web_root_policy = \"\"\n");
    let response = get(address, "/").await;
    assert!(!response.contains("content-security-policy"), "{response}");
    assert!(response.contains("nosniff"), "{response}");
}
