//! The Debian package, made from the binary of this test.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    output, repository,
    service::{start_and_check, start_command},
    test_dir::TestDir,
};

/// Makes a package. Its binary is a stripped copy, at the place where a release build would be.
fn make_package(dir: &Path) -> PathBuf {
    let release = dir.join("target/release");
    fs::create_dir_all(&release).expect("a folder");
    let mut strip = Command::new("strip");
    strip.arg("-o").arg(release.join("switchboard"));
    output(strip.arg(env!("CARGO_BIN_EXE_switchboard")));
    let package = dir.join("switchboard.deb");
    let mut cargo_deb = Command::new("cargo-deb");
    cargo_deb
        .args(["--no-build", "--no-strip", "--offline", "--locked"])
        .args(["--fast", "--output"])
        .arg(&package)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("CARGO_TARGET_DIR", dir.join("target"));
    output(&mut cargo_deb);
    package
}

#[test]
#[cfg_attr(
    not(has_cargo_deb),
    ignore = "needs cargo-deb (xtask/setup.sh test), dpkg-deb and strip (Debian: dpkg, binutils)"
)]
fn the_package_has_its_files_and_its_service_starts() {
    let dir = TestDir::new("package");
    let package = make_package(dir.path());
    let field = |name: &str| {
        let mut info = Command::new("dpkg-deb");
        output(info.arg("--field").arg(&package).arg(name))
    };
    assert_eq!(field("Package"), "switchboard\n");
    let version = format!("{}-1\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(field("Version"), version);
    assert!(field("Depends").contains("libc6"), "{}", field("Depends"));
    assert!(!field("Maintainer").contains('@'), "no personal address");

    let (root, control) = (dir.path().join("root"), dir.path().join("control"));
    let extract = |what: &str, to: &Path| {
        output(Command::new("dpkg-deb").arg(what).arg(&package).arg(to));
    };
    extract("--extract", &root);
    extract("--control", &control);
    for file in [
        "usr/bin/switchboard",
        "usr/lib/systemd/system/switchboard.service",
        "usr/share/doc/switchboard/copyright",
        "usr/share/doc/switchboard/CHANGELOG.md",
        "usr/share/doc/switchboard/SECURITY.md",
        "usr/share/doc/switchboard/docs/operations.md",
        "usr/share/doc/switchboard/deploy/nginx.conf",
        "usr/share/doc/switchboard/switchboard.example.toml",
    ] {
        assert!(root.join(file).is_file(), "{file}");
    }
    let copyright = fs::read_to_string(root.join("usr/share/doc/switchboard/copyright"));
    assert!(
        copyright
            .expect("readable")
            .contains("Permission is hereby granted")
    );
    let unit = fs::read(root.join("usr/lib/systemd/system/switchboard.service"));
    let own = fs::read(repository("deploy/switchboard.service"));
    assert_eq!(unit.expect("readable"), own.expect("readable"));
    let conffiles = fs::read_to_string(control.join("conffiles")).expect("readable");
    assert_eq!(conffiles.trim(), "/etc/switchboard/switchboard.toml");
    // A new installation does not listen on the network. An upgrade keeps the state of the service.
    let postinst = fs::read_to_string(control.join("postinst")).expect("readable");
    for (part, is_expected) in [
        ("deb-systemd-helper --quiet was-enabled", true),
        ("deb-systemd-invoke try-restart", true),
        ("deb-systemd-invoke start", false),
        ("deb-systemd-invoke $_dh_action", false),
    ] {
        assert_eq!(postinst.contains(part), is_expected, "{part}: {postinst}");
    }

    let program = root.join("usr/bin").join(&start_command()[0]);
    let mut arguments = start_command()[1..].to_vec();
    let file = arguments.last_mut().expect("arguments");
    let settings = root.join(file.trim_start_matches('/'));
    settings.to_str().expect("text").clone_into(file);
    output(
        Command::new(&program)
            .args(["check", "--config"])
            .arg(&settings),
    );
    start_and_check(&program, &arguments, &dir);
}
