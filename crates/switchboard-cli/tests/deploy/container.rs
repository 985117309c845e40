//! The container file and the compose file.

use std::{collections::BTreeSet, fs, process::Command};

use parse_dockerfile::{HealthcheckArguments, Instruction, Source};

use crate::{output, repository, server_process::ServerProcess};

fn read(path: &str) -> String {
    fs::read_to_string(repository(path)).expect("readable")
}

/// The arguments of an instruction in the JSON form, which needs no shell: the image has none.
fn exec_form<'a>(arguments: &'a parse_dockerfile::Command<'_>) -> Vec<&'a str> {
    match arguments {
        parse_dockerfile::Command::Exec(list) => {
            list.value.iter().map(|text| text.value.as_ref()).collect()
        }
        parse_dockerfile::Command::Shell(line) => panic!("the image has no shell: {line:?}"),
        other => panic!("an unknown form: {other:?}"),
    }
}

#[test]
fn the_container_file_is_valid_and_each_source_exists() {
    let text = read("deploy/Dockerfile");
    let file = parse_dockerfile::parse(&text).expect("a valid container file");
    let stages: BTreeSet<&str> = (file.stages())
        .filter_map(|stage| stage.from.as_.as_ref())
        .map(|(_, name)| name.value.as_ref())
        .collect();
    let mut copies = 0;
    for instruction in &file.instructions {
        let Instruction::Copy(copy) = instruction else {
            continue;
        };
        let from = copy
            .options
            .iter()
            .find(|option| option.name.value == "from");
        let from = from.and_then(|option| option.value.as_ref());
        for source in &copy.src {
            copies += 1;
            let Source::Path(path) = source else {
                panic!("a source that is no path: {source:?}");
            };
            match from {
                // A file that the other stage has made.
                Some(stage) => {
                    assert!(stages.contains(stage.value.as_ref()), "{stage:?}");
                    let made = text.matches(path.value.as_ref()).count();
                    assert!(made >= 2, "{} is not made", path.value);
                }
                None => drop(repository(&path.value)),
            }
        }
    }
    assert_eq!(copies, 2);
    let version = env!("CARGO_PKG_RUST_VERSION");
    assert!(text.contains(&format!("ARG RUST_VERSION={version}\n")));
}

#[test]
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "any other instruction, also one of a later version of the format, is an error"
)]
fn the_container_runs_and_checks_a_server_with_commands_that_exist() {
    let text = read("deploy/Dockerfile");
    let file = parse_dockerfile::parse(&text).expect("a valid container file");
    let stage = file.stages().last().expect("a stage");
    let (mut program, mut command, mut health, mut ports) = (None, None, None, Vec::new());
    for instruction in stage.instructions {
        match instruction {
            Instruction::Copy(copy) => program = Some(copy.dest.value.as_ref()),
            Instruction::Entrypoint(entry) => {
                assert_eq!(
                    Some(&exec_form(&entry.arguments)[..]),
                    program.as_slice().get(..1)
                );
            }
            Instruction::Cmd(cmd) => command = Some(exec_form(&cmd.arguments)),
            Instruction::Healthcheck(check) => {
                let HealthcheckArguments::Cmd { arguments, .. } = &check.arguments else {
                    panic!("a health check");
                };
                health = Some(exec_form(arguments));
            }
            Instruction::Expose(expose) => {
                ports.extend(expose.arguments.iter().map(|port| port.value.as_ref()));
            }
            other => panic!("unexpected in the last stage: {other:?}"),
        }
    }
    let binary = || Command::new(env!("CARGO_BIN_EXE_switchboard"));
    let command = command.expect("CMD");
    output(binary().args(&command).arg("--help"));
    let defaults = output(binary().arg("check").env_clear());
    assert!(
        defaults.contains(&format!("port = {}\n", ports[0])),
        "{defaults}"
    );
    assert_eq!(ports.len(), 1, "the internal listener is not exposed");

    let health = health.expect("HEALTHCHECK");
    assert_eq!(Some(health[0]), program);
    let server = ServerProcess::start_on("127.0.0.1", &[], std::process::Stdio::null());
    let port = server.address.port().to_string();
    let mut check = binary();
    check.args(&health[1..]).env_clear();
    output(
        check
            .env("SWITCHBOARD_ADDR", "127.0.0.1")
            .env("SWITCHBOARD_PORT", &port),
    );
}

#[test]
fn the_settings_of_the_compose_file_are_accepted_and_its_files_exist() {
    let text = read("deploy/compose.yaml");
    let mut check = Command::new(env!("CARGO_BIN_EXE_switchboard"));
    check.arg("check").env_clear();
    let mut settings = 0;
    for line in text.lines().map(str::trim) {
        if let Some((name, value)) = line.split_once(": ")
            && name.starts_with("SWITCHBOARD_")
        {
            settings += 1;
            check.env(name, value);
        }
        if let Some(file) = line.strip_prefix("dockerfile: ") {
            drop(repository(file));
        }
        if let Some((_, mounted)) = line.split_once("volumes: [\"./") {
            let file = mounted.split(':').next().expect("a file");
            drop(repository(&format!("deploy/{file}")));
        }
    }
    assert!(settings >= 3, "{text}");
    output(&mut check);
    // Only the proxy publishes a port.
    assert_eq!(text.matches("ports:").count(), 1, "{text}");
    assert!(
        !text.contains("9091"),
        "the internal listener is not published"
    );
}
