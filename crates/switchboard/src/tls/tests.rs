//! Certificates and keys in the forms that common tools write, and the errors for unusable ones.

use std::{fs, time::Duration};

use rcgen::{CertificateParams, KeyPair};

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
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.not_before = in_days(from).into();
        params.not_after = in_days(until).into();
        let certificate = params.self_signed(&key).expect("a certificate");
        let pem = self.write(&format!("{name}{from}.pem"), certificate.pem());
        [
            pem,
            self.write(&format!("{name}{from}.key"), key.serialize_pem()),
        ]
    }
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
        (-1, 13, Some("; renew it, and send SIGHUP")),
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
        ServerCertificate::check(&settings)
            .expect("no file")
            .is_none()
    );
    let load = || ServerCertificate::load(&settings).map(|loaded| loaded.expect("one"));
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
        let error = ServerCertificate::load(&settings.tls).expect_err("no certificate");
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
    let made = ServerCertificate::load(&settings.tls).expect("a certificate");
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
    let loaded = ServerCertificate::load(&settings)
        .expect("files")
        .expect("TLS");
    assert_eq!(
        loaded.fingerprint(),
        "45:65:CB:0F:C1:1F:1F:67:6C:57:0B:B4:4E:0B:9D:95:2B:CB:A4:14:DD:61:3F:D1:BB:2C:2C:C4:64:87:2B:AF"
    );
    assert_eq!(loaded.first_name().as_deref(), Some("localhost"));
    let key = fs::read_to_string(fixture("ec-sec1.key")).expect("a file");
    let secret = key.lines().nth(1).expect("a line");
    assert!(!format!("{loaded:?}").contains(secret));
}
