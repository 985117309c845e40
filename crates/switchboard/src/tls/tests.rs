//! Certificates and keys in the forms that common tools write, and the errors for unusable ones.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rcgen::{CertificateParams, KeyPair};
use tokio::time::sleep;

use super::*;
use crate::Config;

/// The path of a test file that was made with `openssl`. The keys are used only for tests.
fn fixture(name: &str) -> String {
    format!("{}/tests/tls/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A folder that is removed when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("switchboard-{}-{name}", std::process::id()));
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        fs::write(self.0.join(name), text).expect("written");
        self.path(name)
    }

    /// Writes a certificate for `name` and its key. `from` and `until` are days from now.
    fn certificate(&self, name: &str, from: i64, until: i64) -> [String; 2] {
        let [pem, key] = make_certificate(name, from, until);
        [
            self.write(&format!("{name}{from}.pem"), pem),
            self.write(&format!("{name}{from}.key"), key),
        ]
    }
}

/// A certificate for `name` and its key, in PEM. `from` and `until` are days from now.
fn make_certificate(name: &str, from: i64, until: i64) -> [String; 2] {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    params.not_before = in_days(from).into();
    params.not_after = in_days(until).into();
    let certificate = params.self_signed(&key).expect("a certificate");
    [certificate.pem(), key.serialize_pem()]
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn in_days(days: i64) -> SystemTime {
    let distance = Duration::from_hours(24) * u32::try_from(days.abs()).expect("few");
    let now = SystemTime::now() + Duration::from_mins(1);
    if days < 0 {
        now - distance
    } else {
        now + distance
    }
}

fn config(toml: &str) -> Config {
    let mut config = Config::default();
    let errors = config.read_toml("f.toml", toml);
    assert_eq!(errors, []);
    config
}

/// The errors of a configuration file; its warnings if it has no errors.
fn problems(toml: &str) -> Vec<String> {
    let config = config(toml);
    let mut found = config.validate();
    if found.is_empty() {
        found = config.warnings();
    }
    found.iter().map(ToString::to_string).collect()
}

fn problems_of_files(cert: &str, key: &str) -> Vec<String> {
    problems(&format!("[tls]\ncert = {cert:?}\nkey = {key:?}\n"))
}

#[test]
fn private_keys_of_every_usual_format_are_read() {
    for (cert, key) in [
        ("rsa.pem", "rsa-pkcs1.key"),
        ("rsa.pem", "rsa-pkcs8.key"),
        ("ec.pem", "ec-sec1.key"),
    ] {
        assert_eq!(
            problems_of_files(&fixture(cert), &fixture(key)),
            [""; 0],
            "{key}"
        );
    }
}

#[test]
fn error_for_a_file_names_the_reason_and_the_next_step() {
    let folder = Folder::new("tls-files");
    let (ec, ec_key) = (fixture("ec.pem"), fixture("ec-sec1.key"));
    let missing = folder.path("missing.pem");
    let empty = folder.write("empty.pem", "");
    let der = folder.write("der.pem", [0x30, 0x82, 1, 0]);
    let broken = folder.write(
        "broken.pem",
        "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
    );
    let rsa = fs::read_to_string(fixture("rsa.pem")).expect("a file");
    let reversed = folder.write(
        "reversed.pem",
        rsa + &fs::read_to_string(&ec).expect("a file"),
    );
    let [old, old_key] = folder.certificate("old", -20, -10);
    for (cert, key, line, message) in [
        (&*missing, &*ec_key, 2, "is missing; name a PEM file"),
        (&ec, &missing, 3, "is missing; name a PEM file"),
        (&empty, &ec_key, 2, "holds no certificate (-----BEGIN"),
        (&ec_key, &ec_key, 2, "holds no certificate (-----BEGIN"),
        (
            &der,
            &ec_key,
            2,
            "is DER; make PEM of it with `openssl x509",
        ),
        (
            &broken,
            &ec_key,
            2,
            "cannot be read; get it from its issuer",
        ),
        (&ec, &empty, 3, "holds no private key (-----BEGIN PRIVATE"),
        (&ec, &der, 3, "is DER; make PEM of it with `openssl pkey"),
        (
            &ec,
            &fixture("ec-encrypted.key"),
            3,
            "is encrypted, and the server",
        ),
        (
            &ec,
            &fixture("rsa-encrypted.key"),
            3,
            "is encrypted, and the server",
        ),
        (
            &ec,
            &fixture("rsa-pkcs1.key"),
            3,
            "is not the key of the certificate in",
        ),
        (
            &fixture("rsa-1024.pem"),
            &fixture("rsa-1024.key"),
            3,
            "is a key that TLS cannot use",
        ),
        (&reversed, &ec_key, 2, "put the server's certificate first"),
        (&old, &old_key, 2, "; renew the certificate"),
    ] {
        let found = problems_of_files(cert, key);
        let (setting, file) = if line == 2 {
            ("cert", cert)
        } else {
            ("key", key)
        };
        let start = format!("f.toml:{line}: tls.{setting}: {file:?} ");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&start), "{found:?}");
        assert!(found[0].contains(message), "{message}: {found:?}");
    }
}

#[test]
fn conflicting_tls_settings_are_errors() {
    for (lines, message) in [
        (
            "cert = \"c\"",
            "2: tls.cert: tls.cert = \"c\" (f.toml:2) must be set with tls.key = \"\"",
        ),
        (
            "key = \"k\"",
            "2: tls.key: tls.key = \"k\" (f.toml:2) must be set with tls.cert = \"\"",
        ),
        (
            "self_signed = true\ncert = \"c\"\nkey = \"k\"",
            "3: tls.cert: tls.self_signed = true (f.toml:2) must be false with tls.cert",
        ),
        (
            "self_signed = true\ncertificates = [{ cert = \"c\", key = \"k\" }]",
            "3: tls.certificates: tls.self_signed = true (f.toml:2) must be false with tls.certificates",
        ),
        (
            "redirect_listen = [\":80\"]",
            "2: tls.redirect_listen: tls.redirect_listen = [\"[::]:80\"] (f.toml:2) must be empty with tls.cert = \"\"",
        ),
        (
            "self_signed_file = \"f\"",
            "2: tls.self_signed_file: tls.self_signed_file = \"f\" (f.toml:2) must be empty with tls.self_signed = false",
        ),
    ] {
        let found = problems(&format!("[tls]\n{lines}\n"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with(&format!("f.toml:{message}")),
            "{found:?}"
        );
    }
}

#[test]
fn certificate_that_expires_soon_or_is_not_valid_yet_is_a_warning() {
    let folder = Folder::new("tls-dates");
    for (from, until, message) in [
        (-1, 13, Some("; renew it: the server reads the new file")),
        (-1, 14, None),
        (2, 90, Some("is the clock of this machine right?")),
    ] {
        let [cert, key] = folder.certificate("dated", from, until);
        let found = problems_of_files(&cert, &key);
        assert_eq!(found.len(), usize::from(message.is_some()), "{found:?}");
        for (found, message) in found.iter().zip(message) {
            assert!(found.contains(message), "{found}");
        }
    }
}

#[test]
fn advertised_url_of_a_node_with_tls_must_have_a_name_of_the_certificate() {
    let folder = Folder::new("tls-nodes");
    let [cert, key] = folder.certificate("node-1.example", -1, 90);
    let files = format!("cert = {cert:?}\nkey = {key:?}");
    let check = |tls: &str, url: &str, rest: &str| {
        let engine = format!("[engine]\nurl = \"redis://cache\"\nadvertise_url = {url:?}");
        problems(&format!("[tls]\n{tls}\n{engine}\n{rest}\n"))
    };
    let off = "[gostream]\nidentity = \"off\"";
    for (tls, url, rest) in [
        (&*files, "https://node-1.example:8443", ""),
        (&files, "https://node-1.example", ""),
        (&files, "", off),
        ("self_signed = true", "", off),
        ("", "https://behind-a-proxy.example", ""),
    ] {
        assert_eq!(check(tls, url, rest), [""; 0], "{tls} {url}");
    }
    for (tls, url, message) in [
        (
            &*files,
            "",
            "must be \"https://NAME:PORT\" with a name of the certificate in",
        ),
        (
            &files,
            "http://node-1.example:8443",
            "must be \"https://NAME:PORT\"",
        ),
        (
            &files,
            "https://10.0.0.1:8443",
            "must be \"https://NAME:PORT\"",
        ),
        (
            "self_signed = true",
            "https://node-1.example",
            "must be false with engine.url",
        ),
    ] {
        let found = check(tls, url, "");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(message), "{found:?}");
    }
}

#[test]
fn self_signed_certificate_is_made_once_and_stored() {
    let folder = Folder::new("tls-self-signed");
    let file = folder.path("state/own.pem");
    let settings = config(&format!(
        "[tls]\nself_signed = true\nself_signed_file = {file:?}"
    ))
    .tls;
    assert!(
        ServerCertificates::check(&settings)
            .expect("no file")
            .is_none()
    );
    let load = || {
        let loaded = ServerCertificates::load(&settings);
        loaded.map(|loaded| loaded.expect("one").default_certificate().clone())
    };
    let made = load().expect("a certificate");
    for name in ["localhost", "127.0.0.1", "::1"] {
        assert!(made.is_for(name), "{name}");
    }
    assert!(!made.is_for("example.org") && made.is_valid_yet());
    assert_eq!(made.storage(), &Storage::SelfSigned(file.clone().into()));
    assert_eq!(load().expect("the same").fingerprint(), made.fingerprint());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(&file).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "others could read the key");
    }
    // A certificate that expires soon is replaced. A file with something else is kept.
    let [pem, key] = folder.certificate("localhost", -1, 20);
    let both = [pem, key].map(|file| fs::read_to_string(file).expect("a file"));
    fs::write(&file, both.concat()).expect("written");
    assert!(load().expect("a new one").days_left() > 800);
    fs::write(&file, "my notes").expect("written");
    let error = load().expect_err("no certificate");
    assert_eq!(error.setting(), "tls.self_signed_file");
    assert!(
        error.to_string().ends_with("; remove it for a new one"),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&file).expect("a file"), "my notes");
}

/// A power failure may leave an empty file, and a restored backup half of one.
#[test]
fn self_signed_file_without_a_certificate_and_its_key_is_an_error() {
    let folder = Folder::new("tls-self-signed-broken");
    let [pem, _] = folder.certificate("localhost", -1, 200);
    let [_, key] = folder.certificate("other", -1, 200);
    let [pem, key] = [pem, key].map(|file| fs::read_to_string(file).expect("a file"));
    let cut = pem[..pem.len() / 2].to_owned();
    for text in [String::new(), pem.clone(), key.clone(), pem + &key, cut] {
        let file = folder.write("own.pem", &text);
        let settings = config(&format!(
            "[tls]\nself_signed = true\nself_signed_file = {file:?}"
        ));
        let error = ServerCertificates::load(&settings.tls).expect_err("no certificate");
        let error = error.to_string();
        assert!(error.ends_with("; remove it for a new one"), "{error}");
        assert_eq!(fs::read_to_string(&file).expect("a file"), text);
    }
}

/// In a folder that other users may write to, the key must not be written through their symbolic links.
#[test]
#[cfg(unix)]
fn self_signed_key_is_not_written_through_a_symbolic_link() {
    let folder = Folder::new("tls-self-signed-link");
    let (file, theirs) = (folder.path("own.pem"), folder.write("theirs", "theirs"));
    let new = format!("{file}.{}.new", std::process::id());
    std::os::unix::fs::symlink(&theirs, &new).expect("a link");
    let settings = config(&format!(
        "[tls]\nself_signed = true\nself_signed_file = {file:?}"
    ));
    let made = ServerCertificates::load(&settings.tls).expect("a certificate");
    assert!(made.is_some());
    assert_eq!(fs::read_to_string(&theirs).expect("a file"), "theirs");
    let kind = fs::symlink_metadata(&file).expect("a file").file_type();
    assert!(kind.is_file());
}

/// A device has the length 0, and reading a pipe ends only when it is closed.
#[test]
#[cfg(unix)]
fn only_regular_files_are_read_as_certificates_and_keys() {
    let folder = Folder::new("tls-no-file");
    let of_folder = folder.path("");
    let (cert, key) = (fixture("ec.pem"), fixture("ec-sec1.key"));
    for (cert, key) in [
        ("/dev/zero", &*key),
        (&of_folder, &*key),
        (&cert, "/dev/zero"),
    ] {
        let found = problems_of_files(cert, key);
        assert!(
            found[0].ends_with("is not a file; name a PEM file"),
            "{found:?}"
        );
    }
}

#[test]
fn fingerprint_has_the_format_of_browsers() {
    let (cert, key) = (fixture("ec.pem"), fixture("ec-sec1.key"));
    let settings = config(&format!("[tls]\ncert = {cert:?}\nkey = {key:?}")).tls;
    let loaded = ServerCertificates::load(&settings);
    let loaded = loaded.expect("files").expect("TLS");
    let loaded = loaded.default_certificate();
    assert_eq!(
        loaded.fingerprint(),
        "45:65:CB:0F:C1:1F:1F:67:6C:57:0B:B4:4E:0B:9D:95:2B:CB:A4:14:DD:61:3F:D1:BB:2C:2C:C4:64:87:2B:AF"
    );
    assert_eq!(loaded.first_name().as_deref(), Some("localhost"));
    let key = fs::read_to_string(fixture("ec-sec1.key")).expect("a file");
    let secret = key.lines().nth(1).expect("a line");
    assert!(!format!("{loaded:?}").contains(secret));
}

#[test]
fn several_certificates_are_loaded_and_a_wrong_file_is_named() {
    let folder = Folder::new("tls-several");
    let [a, a_key] = folder.certificate("a.example", -1, 90);
    let [b, b_key] = folder.certificate("b.example", -1, 90);
    let [c, c_key] = folder.certificate("c.example", -1, 90);
    let default = format!("cert = {a:?}\nkey = {a_key:?}\n");
    let others = |cert: &str, key: &str| {
        format!(
            "certificates = [\n{{ cert = {b:?}, key = {b_key:?} }},\n{{ cert = {cert:?}, key = {key:?} }},\n]\n"
        )
    };
    let names = |text: &str| {
        let loaded = ServerCertificates::load(&config(text).tls);
        let loaded = loaded.expect("files").expect("TLS");
        loaded
            .iter()
            .filter_map(ServerCertificate::first_name)
            .collect::<Vec<_>>()
    };
    let all = ["a.example", "b.example", "c.example"];
    let text = format!("[tls]\n{default}{}", others(&c, &c_key));
    assert_eq!(names(&text), all);
    assert_eq!(names(&format!("[tls]\n{}", others(&c, &c_key))), &all[1..]);
    let sections = format!("[tls]\n{default}[[tls.certificates]]\ncert = {b:?}\nkey = {b_key:?}\n");
    assert_eq!(names(&sections), &all[..2]);
    let again = config(&config(&text).to_toml());
    assert_eq!(again.tls, config(&text).tls);

    let missing = folder.path("missing.pem");
    for (cert, key, message) in [
        (
            &*missing,
            &*c_key,
            format!("{missing:?} is missing; name a PEM file"),
        ),
        (
            &c,
            &missing,
            format!("{missing:?} is missing; name a PEM file"),
        ),
        (
            &c,
            &a_key,
            format!("{a_key:?} is not the key of the certificate in {c:?}"),
        ),
    ] {
        let found = problems(&format!("[tls]\n{default}{}", others(cert, key)));
        assert_eq!(found.len(), 1, "{found:?}");
        let start = format!("f.toml:4: tls.certificates: {message}");
        assert!(found[0].starts_with(&start), "{found:?}");
    }
    let [soon, soon_key] = folder.certificate("soon.example", -1, 3);
    let found = problems(&format!("[tls]\n{default}{}", others(&soon, &soon_key)));
    let start = format!("f.toml:4: tls.certificates: {soon:?}: ends on ");
    assert!(found[0].starts_with(&start), "{found:?}");
}

#[test]
fn certificates_without_both_files_are_errors() {
    for (value, message) in [
        ("\"c.pem\"", "is not a list of tables, like [{ cert ="),
        (
            "[{ cert = \"c\" }]",
            "certificate 1: key is missing or empty; name a PEM file",
        ),
        (
            "[{ cert = \"\", key = \"k\" }]",
            "certificate 1: cert is missing or empty",
        ),
        (
            "[{ cert = \"c\", key = \"k\", name = \"n\" }]",
            "certificate 1: unknown key \"name\"; there are: cert, key",
        ),
        (
            "[{ cert = \"c\", key = 3 }]",
            "certificate 1: key: 3 is not a text",
        ),
    ] {
        let mut config = Config::default();
        let errors = config.read_toml("f.toml", &format!("[tls]\ncertificates = {value}\n"));
        let found: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 1, "{value}: {found:?}");
        let start = format!("f.toml:2: tls.certificates: {message}");
        assert!(found[0].starts_with(&start), "{found:?}");
    }
}

/// A manager whose files are behind links, as certbot and Kubernetes lay them, and the folder of the links.
struct Links {
    folder: Folder,
    manager: CertificateManager,
}

impl Links {
    /// Serves a certificate for `old`. The current files are those in the folder `live`.
    fn new(name: &str) -> Self {
        let folder = Folder::new(name);
        let live = PathBuf::from(folder.path("live"));
        let links = |manager| Self { folder, manager };
        let files = format!(
            "[tls]\ncert = {:?}\nkey = {:?}\n",
            live.join("cert.pem"),
            live.join("key.pem")
        );
        Self::release(&live, "old");
        let manager = CertificateManager::load(&config(&files).tls);
        links(manager.expect("files").expect("TLS"))
    }

    /// Makes the folder `to` next to `live` with a certificate for `name`, and lets `live` be a link to it.
    fn release(live: &Path, name: &str) {
        let target = live.with_file_name(name);
        fs::create_dir_all(&target).expect("a folder");
        let [cert, key] = make_certificate(name, -1, 90);
        fs::write(target.join("cert.pem"), cert).expect("written");
        fs::write(target.join("key.pem"), key).expect("written");
        Self::point(live, name);
    }

    /// Changes the link in one step.
    fn point(live: &Path, name: &str) {
        let new = live.with_file_name("new-link");
        #[cfg(unix)]
        std::os::unix::fs::symlink(name, &new).expect("a link");
        fs::rename(&new, live).expect("moved");
    }

    fn live(&self) -> PathBuf {
        PathBuf::from(self.folder.path("live"))
    }

    fn name(&self) -> String {
        let name = self.manager.current().default_certificate().first_name();
        name.expect("a name")
    }

    /// Waits until the server has the certificate of this name.
    async fn becomes(&self, name: &str) {
        for _ in 0..10 {
            if self.name() == name {
                return;
            }
            sleep(Duration::from_secs(5)).await;
        }
        panic!("the certificate is still for {}", self.name());
    }
}

#[tokio::test(start_paused = true)]
#[cfg(unix)]
async fn changed_link_or_file_of_a_certificate_is_seen() {
    let links = Links::new("tls-links");
    let running = tokio::spawn(links.manager.clone().run());
    links.becomes("old").await;
    Links::release(&links.live(), "renewed");
    links.becomes("renewed").await;
    // A restored backup has an older time than the file before it.
    Links::point(&links.live(), "old");
    links.becomes("old").await;
    // The files themselves are written again.
    for (of, to) in [
        ("renewed/cert.pem", "cert.pem"),
        ("renewed/key.pem", "key.pem"),
    ] {
        fs::copy(links.folder.path(of), links.live().join(to)).expect("a copy");
    }
    links.becomes("renewed").await;
    running.abort();
}

#[tokio::test(start_paused = true)]
#[cfg(unix)]
async fn certificate_stays_while_its_new_files_are_unusable() {
    let links = Links::new("tls-broken");
    let running = tokio::spawn(links.manager.clone().run());
    Links::release(&links.live(), "other");
    Links::point(&links.live(), "old");
    let (cert, key) = (links.live().join("cert.pem"), links.live().join("key.pem"));
    for broken in ["", "no certificate"] {
        fs::write(&cert, broken).expect("written");
        sleep(Duration::from_secs(60)).await;
        assert_eq!(links.name(), "old");
        let error = links.manager.reload().expect_err("an unusable file");
        assert!(
            error
                .to_string()
                .contains("live/cert.pem\" holds no certificate"),
            "{error}"
        );
    }
    fs::remove_file(&cert).expect("removed");
    sleep(Duration::from_secs(60)).await;
    assert_eq!(links.name(), "old");
    // The certificate and its key arrive one after the other.
    fs::copy(links.folder.path("other/cert.pem"), &cert).expect("a copy");
    sleep(Duration::from_secs(60)).await;
    assert_eq!(links.name(), "old");
    fs::copy(links.folder.path("other/key.pem"), &key).expect("a copy");
    links.becomes("other").await;
    running.abort();
}

#[tokio::test(start_paused = true)]
#[cfg(unix)]
async fn files_are_not_watched_with_an_interval_of_zero() {
    let links = Links::new("tls-unwatched");
    let mut settings = config("[tls]\nreload_secs = 0\n").tls;
    settings.cert = Some(links.live().join("cert.pem"));
    settings.key = Some(links.live().join("key.pem"));
    let manager = CertificateManager::load(&settings)
        .expect("files")
        .expect("TLS");
    manager.clone().run().await;
    Links::release(&links.live(), "renewed");
    let first = |manager: &CertificateManager| manager.current().default_certificate().first_name();
    assert_eq!(first(&manager).as_deref(), Some("old"));
    manager.reload().expect("files");
    assert_eq!(first(&manager).as_deref(), Some("renewed"));
}

#[test]
fn acme_excludes_other_certificates_and_needs_names() {
    let acme = "[tls.acme]\ndomains = [\"a.example\"]\n";
    for (text, message) in [
        (
            format!("[tls]\ncert = \"c\"\nkey = \"k\"\n{acme}"),
            "f.toml:5: tls.acme.domains: tls.acme.domains = [\"a.example\"] (f.toml:5) must be empty with tls.cert",
        ),
        (
            format!("[tls]\nself_signed = true\n{acme}"),
            "f.toml:4: tls.acme.domains: tls.acme.domains = [\"a.example\"] (f.toml:4) must be empty with tls.self_signed",
        ),
        (
            format!("[tls]\ncertificates = [{{ cert = \"c\", key = \"k\" }}]\n{acme}"),
            "f.toml:4: tls.acme.domains: tls.acme.domains = [\"a.example\"] (f.toml:4) must be empty with tls.certificates",
        ),
        (
            "[tls.acme]\nemail = \"me@a.example\"\n".to_owned(),
            "f.toml:2: tls.acme.email: tls.acme.email = \"me@a.example\" (f.toml:2) must be empty with tls.acme.domains = []",
        ),
        (
            format!("{acme}directory_ca = \"/missing.pem\"\n"),
            "f.toml:3: tls.acme.directory_ca: \"/missing.pem\" is missing; name a PEM file",
        ),
        (
            format!(
                "{acme}[engine]\nurl = \"redis://cache\"\nadvertise_url = \"https://b.example\"\n"
            ),
            "f.toml:5: engine.advertise_url: ",
        ),
    ] {
        let found = problems(&text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].starts_with(message), "{found:?}");
    }
    assert_eq!(problems(acme), [""; 0]);
    for line in [
        "domains = [\"*.example.org\"]",
        "domains = [\"192.0.2.1\"]",
        "email = \"me\"",
        "directory = \"http://a.example/dir\"",
    ] {
        let errors = Config::default().read_toml("f.toml", &format!("[tls.acme]\n{line}\n"));
        assert_eq!(errors.len(), 1, "{line}: {errors:?}");
    }
}
