use std::fs;
use std::path::PathBuf;

use super::keys::{KEYS, Kind};
use super::*;

/// Loads from a file with `text`, variables and arguments; the file is called `banyan.toml` in messages.
fn load_from(text: &str, variables: &[(&str, &str)], arguments: &[&str]) -> Result<Draft, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("banyan.toml");
    fs::write(&path, text).unwrap();
    let command = clap::Command::new("banyan")
        .no_binary_name(true)
        .args(flags::arguments());
    let matches = command
        .try_get_matches_from(arguments)
        .map_err(|error| error.to_string())?;
    let environment = variables
        .iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()));
    load(Some(&path), environment, &matches)
        .map_err(|error| error.to_string().replace(&path.display().to_string(), "banyan.toml"))
}

fn settings(text: &str) -> Settings {
    load_from(&format!("data_dir = \"d\"\n{text}"), &[], &[])
        .unwrap()
        .with_node_id(1)
}

/// The messages for `text`, which begins on line 2.
fn refused(text: &str) -> String {
    load_from(&format!("data_dir = \"d\"\n{text}"), &[], &[]).unwrap_err()
}

#[track_caller]
fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

#[test]
fn defaults_are_valid_and_on_loopback() {
    let settings = Settings::defaults(9, "/x");
    assert_eq!((settings.node_id, settings.data_dir.clone()), (9, PathBuf::from("/x")));
    assert_eq!(settings.mqtt, [Address::parse("127.0.0.1:1883").unwrap()]);
    assert_eq!(settings.peer_advertise, settings.peer);
    assert_eq!(settings.entry, Entry::None);
    assert_eq!(settings.packet_bytes_max, 1 << 20);
    assert_eq!((settings.heartbeat_ms, settings.election_timeout_min_ms), (100, 200));
}

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let file = "data_dir = \"d\"\nview_lease_s = 2\nwrite_timeout_ms = 2000\nreceive_maximum = 2";
    let variables = [
        ("BANYAN_WRITE_TIMEOUT_MS", "3000"),
        ("BANYAN_RECEIVE_MAXIMUM", "3"),
        ("HOME", "/root"),
    ];
    let draft = load_from(file, &variables, &["--receive-maximum", "4"])
        .unwrap()
        .with_node_id(1);
    assert_eq!(
        (draft.view_lease_s, draft.write_timeout_ms, draft.receive_maximum),
        (2, 3000, 4)
    );
    assert_eq!(draft.topic_alias_maximum, 16);
}

#[test]
fn every_key_is_taken_from_each_source() {
    for key in KEYS {
        let (name, value) = key.example.split_once(" = ").unwrap();
        assert_eq!(name, key.name);
        let plain = value.trim_matches(['[', ']']).replace(['"', ' '], "");
        let told = |result: Result<Draft, String>| match result {
            Ok(_) => String::new(),
            Err(message) => message,
        };
        let base = if key.name == "data_dir" {
            ""
        } else {
            "data_dir = \"d\"\n"
        };
        let from_file = told(load_from(&format!("{base}{}", key.example), &[], &[]));
        let from_environment = told(load_from(base, &[(&key.variable(), &plain)], &[]));
        let from_flag = told(load_from(base, &[], &[&format!("--{}={plain}", key.flag())]));
        // Examples that make no sense alone are refused, but for the same reason each time.
        let reason = |message: &str| {
            let reasons = message.lines().filter_map(|line| line.split_once(": "));
            reasons.map(|(_, reason)| reason.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(reason(&from_file), reason(&from_environment), "{name}");
        assert_eq!(reason(&from_file), reason(&from_flag), "{name}");
        assert!(
            !from_file.contains("unknown") && !from_file.contains("must be"),
            "{from_file}"
        );
    }
}

#[test]
fn numbers_fit_the_types_they_are_cast_to() {
    let most = |key: &keys::Key| match key.kind {
        Kind::Number { max, .. } => max,
        _ => panic!("{} is no number", key.name),
    };
    for key in [
        &keys::RECEIVE_MAXIMUM,
        &keys::TOPIC_ALIAS_MAXIMUM,
        &keys::KEEP_ALIVE_MAX_S,
    ] {
        assert!(most(key) <= u64::from(u16::MAX), "{}", key.name);
    }
    for key in [&keys::PACKET_BYTES_MAX, &keys::PUBLISH_RATE_MAX] {
        assert!(most(key) <= u64::from(u32::MAX), "{}", key.name);
    }
    for key in [
        &keys::OUTBOUND_BYTES_MAX,
        &keys::CHECKPOINT_BYTES,
        &keys::CHANGE_RING_BYTES,
    ] {
        assert!(usize::try_from(most(key)).is_ok(), "{}", key.name);
    }
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_one() {
    assert_says(
        &refused("\n# a comment\nlog_fromat = \"json\""),
        &["banyan.toml:4: ", "`log_fromat`", "`log_format`"],
    );
    assert_says(
        &refused("colour = 1"),
        &["banyan.toml:2: unknown key `colour`", "banyan --help"],
    );
    assert_says(&refused("[storage]\nx = 1"), &["banyan.toml:2: ", "no sections"]);
    assert_says(
        &refused("[mqtt]\nport = 1883"),
        &["banyan.toml:2: ", "mqtt = [\"127.0.0.1:1883\"]"],
    );
}

#[test]
fn all_problems_are_told_at_once() {
    let message = refused("view_lease_s = 0\nlog_format = \"xml\"\npeer = 7400\nmqtt = [\"0.0.0.0:1\"]");
    assert_says(
        &message,
        &[
            "banyan.toml:2: `view_lease_s` is 0, but must be between 1 and 86400",
            "banyan.toml:3: `log_format` is `xml`, but must be one of: text, json",
            "banyan.toml:4: `peer` must be text in quotes, not a whole number; for example: peer = \"127.0.0.1:7400\"",
            "banyan.toml:5: `0.0.0.0:1` can be reached",
        ],
    );
}

#[test]
fn values_of_the_wrong_form_are_refused() {
    for (line, part) in [
        ("view_lease_s = -1", "out of range"),
        ("view_lease_s = 1.5", "a whole number, not a fraction"),
        ("view_lease_s = \"5\"", "a whole number, not text"),
        ("bootstrap = \"yes\"", "`true` or `false`"),
        ("mqtt = [1883]", "a list of texts"),
        ("log_segment_bytes = \"64 MB\"", "KiB, MiB or GiB"),
        ("peer = \"\"", "empty"),
        ("log_filter = \"a=b=c=\"", "tracing directives"),
        ("mqtt = [\"localhost\"]", "has no port"),
        ("view_lease_s = 1\nview_lease_s = 2", "duplicate"),
        ("view_lease_s = ", "banyan.toml:2"),
    ] {
        assert_says(&refused(line), &[part]);
    }
}

#[test]
fn sizes_single_values_and_line_ends_of_other_systems_are_taken() {
    assert_eq!(settings("log_segment_bytes = \"2 MiB\"").log_segment_bytes, 2 << 20);
    assert_eq!(settings("log_segment_bytes = 2_097_152").log_segment_bytes, 2 << 20);
    assert_eq!(settings("mqtt = \"127.0.0.1:1\"").mqtt.len(), 1);
    assert!(settings("http = []").http.is_empty());
    let draft = load_from("\u{feff}data_dir = \"d\"\r\nview_lease_s = 7\r\n", &[], &[]).unwrap();
    assert_eq!(draft.with_node_id(1).view_lease_s, 7);
}

#[test]
fn variables_and_flags_are_named_as_such() {
    assert_says(
        &load_from("", &[], &[]).unwrap_err(),
        &["settings: `data_dir` is missing"],
    );
    let message = load_from("data_dir = \"d\"", &[("BANYAN_VIEW_LEASE_S", "x")], &[]).unwrap_err();
    assert_says(&message, &["BANYAN_VIEW_LEASE_S: `x` is no whole number"]);
    let message = load_from("data_dir = \"d\"", &[("BANYAN_DATADIR", "x")], &[]).unwrap_err();
    assert_says(&message, &["BANYAN_DATADIR: ", "did you mean `BANYAN_DATA_DIR`?"]);
    let message = load_from("data_dir = \"d\"", &[], &["--bootstrap=maybe"]).unwrap_err();
    assert_says(&message, &["--bootstrap: `maybe` is neither"]);
}

#[test]
fn variables_of_other_programs_are_passed_over() {
    let variables = [
        ("BANYAN_ENDPOINT", "http://127.0.0.1:8080"),
        ("BANYAN_PORT", "tcp://10.0.0.1:1883"),
        ("BANYAN_PEER_SERVICE_HOST", "10.0.0.1"),
        ("BANYAN_PORT_1883_TCP_ADDR", "10.0.0.1"),
    ];
    load_from("data_dir = \"d\"", &variables, &[]).unwrap();
}

#[test]
fn listeners_beyond_loopback_need_consent() {
    assert_says(
        &refused("mqtt = [\"0.0.0.0:1883\"]"),
        &["banyan.toml:2", "allow_anonymous = true"],
    );
    assert_says(&refused("http = [\"db.example.org:80\"]"), &["allow_anonymous = true"]);
    assert_says(&refused("peer = \"10.0.0.1:7400\""), &["insecure_peers = true"]);
    settings("mqtt = [\"0.0.0.0:1883\"]\nallow_anonymous = true");
    settings("peer = \"10.0.0.1:7400\"\ninsecure_peers = true");
    assert_says(&refused("http = [\"127.0.0.1:1883\"]"), &["two listeners"]);
    assert_says(
        &refused(&format!("{TLS}mqtts = [\"0.0.0.0:8883\"]")),
        &["allow_anonymous = true"],
    );
    settings(&format!("peer = \"10.0.0.1:7400\"\n{PEER_TLS}"));
}

const TLS: &str = "tls_certificate = \"c\"\ntls_key = \"k\"\n";
const PEER_TLS: &str = "peer_certificate = \"c\"\npeer_key = \"k\"\npeer_ca = \"a\"\n";

#[test]
fn listeners_with_tls_have_certificate_and_key() {
    assert_says(
        &refused("mqtts = [\"127.0.0.1:8883\"]"),
        &[
            "banyan.toml:2: `mqtts` needs `tls_certificate`; for example: tls_certificate = ",
            "banyan.toml:2: `mqtts` needs `tls_key`",
        ],
    );
    assert_says(
        &refused("https = [\"127.0.0.1:8443\"]\ntls_certificate = \"c\""),
        &["`https` needs `tls_key`"],
    );
    assert_says(
        &refused(TLS),
        &["`tls_certificate` is used by no listener", "`tls_key` is"],
    );
    let settings = settings(&format!(
        "mqtts = [\"127.0.0.1:1\", \"[::1]:1\"]\nhttps = [\"localhost:2\"]\n{TLS}"
    ));
    assert_eq!((settings.mqtts.len(), settings.https.len()), (2, 1));
    let tls = settings.tls.unwrap();
    assert_eq!(tls.client_certificates, ClientCertificates::Off);
    assert_eq!(tls.files.certificate, PathBuf::from("c"));
}

#[test]
fn clients_certificates_need_a_ca() {
    let with = |text: &str| format!("mqtts = [\"127.0.0.1:1\"]\n{TLS}{text}");
    for asked in ["optional", "required"] {
        let asked = format!("tls_client_certificates = \"{asked}\"\n");
        assert_says(&refused(&with(&asked)), &["banyan.toml:5: ", "tls_client_ca = "]);
        let tls = settings(&with(&format!("{asked}tls_client_ca = \"a\""))).tls.unwrap();
        assert_ne!(tls.client_certificates, ClientCertificates::Off);
        assert_says(
            &refused(&format!("{asked}tls_client_ca = \"a\"")),
            &["only TLS listeners"],
        );
    }
    assert_says(
        &refused(&with("tls_client_ca = \"a\"")),
        &["`tls_client_ca` has no effect"],
    );
    assert_says(
        &refused(&with("tls_client_certificates = \"yes\"")),
        &["must be one of: off, optional, required"],
    );
}

#[test]
fn certificates_between_nodes_are_whole() {
    assert_says(
        &refused("peer_ca = \"a\""),
        &["`peer_ca` needs `peer_certificate`", "`peer_ca` needs `peer_key`"],
    );
    assert_says(
        &refused(&format!("{PEER_TLS}insecure_peers = true")),
        &["banyan.toml:5: `insecure_peers = true` contradicts `peer_certificate`"],
    );
    assert_eq!(settings(PEER_TLS).peer_tls.unwrap().ca, Some(PathBuf::from("a")));
}

#[test]
fn the_proxy_protocol_is_asked_for_by_kind() {
    let settings = settings("proxy_protocol = [\"mqtt\", \"https\"]");
    assert_eq!(settings.proxy_protocol, [ClientListener::Mqtt, ClientListener::Https]);
    assert_says(
        &refused("proxy_protocol = [\"peer\"]"),
        &["`peer`, which is no kind of listener", "mqtt, mqtts, http, https"],
    );
}

#[test]
fn origins_are_written_as_browsers_send_them() {
    let settings = settings("websocket_origins = [\"https://app.example.org\", \"http://localhost:3000\"]");
    assert_eq!(
        settings.websocket_origins,
        ["https://app.example.org", "http://localhost:3000"]
    );
    for wrong in [
        "app.example.org",
        "https://",
        "https://app.example.org/",
        "https://*.example.org",
        "*",
    ] {
        assert_says(
            &refused(&format!("websocket_origins = [\"{wrong}\"]")),
            &[wrong, "without a path", "https://app.example.org"],
        );
    }
}

#[test]
fn a_collector_is_reached_without_tls() {
    let settings = settings("otlp_endpoint = \"http://collector:4318/\"\ntrace_one_in = 1");
    assert_eq!(settings.otlp_endpoint.as_deref(), Some("http://collector:4318/"));
    for wrong in ["https://collector:4318", "collector:4318", "http://", "http://a b"] {
        assert_says(
            &refused(&format!("otlp_endpoint = \"{wrong}\"")),
            &[wrong, "http://127.0.0.1:4318"],
        );
    }
}

#[test]
fn others_must_be_able_to_connect() {
    assert_says(
        &refused("peer = \"0.0.0.0:7400\"\ninsecure_peers = true"),
        &["peer_advertise = "],
    );
    assert_says(
        &refused("peer_advertise = \"0.0.0.0:7400\""),
        &["nobody can connect to"],
    );
    let settings = settings("peer = \"0.0.0.0:7400\"\ninsecure_peers = true\npeer_advertise = \"a:1\"");
    assert_eq!(settings.peer_advertise.as_str(), "a:1");
}

#[test]
fn a_new_cluster_names_this_node() {
    let two = "bootstrap = true\nmembers = [\"1@127.0.0.1:7400\", \"2@127.0.0.1:7401\"]\n";
    let by_id = load_from(&format!("data_dir = \"d\"\n{two}node_id = 1"), &[], &[]).unwrap();
    assert_eq!(by_id.node_id(), Some(1));
    let by_address = load_from(&format!("data_dir = \"d\"\n{two}peer = \"127.0.0.1:7401\""), &[], &[]).unwrap();
    assert_eq!(by_address.node_id(), Some(2));
    assert!(matches!(by_address.with_node_id(2).entry, Entry::Bootstrap(members) if members.len() == 2));

    assert_says(&refused("bootstrap = true"), &["members = [\"1@127.0.0.1:7400\"]"]);
    assert_says(&refused(&format!("{two}node_id = 3")), &["add \"3@127.0.0.1:7400\""]);
    assert_says(
        &refused(&format!("{two}node_id = 2")),
        &["`2@127.0.0.1:7401`", "peer_advertise"],
    );
    assert_says(
        &refused(&format!("{two}peer = \"127.0.0.1:9\"")),
        &["none has its address"],
    );
    assert_says(&refused("members = [\"1@127.0.0.1:7400\"]"), &["bootstrap = true"]);
    assert_says(
        &refused("bootstrap = true\nmembers = [\"1@a:1\", \"1@b:1\"]"),
        &["another member"],
    );
    assert_says(
        &refused(&format!("{two}join = [\"a:1\"]")),
        &["`join` contradicts `bootstrap = true`"],
    );
}

#[test]
fn joining_takes_members_and_a_token() {
    let token = JoinToken {
        cluster_id: 7,
        secret: [9; 16],
    };
    let joining = format!("data_dir = \"d\"\njoin = [\"a:1\"]\njoin_token = \"{token}\"");
    let settings = load_from(&joining, &[], &[]).unwrap().with_node_id(1);
    assert_eq!(settings.entry, Entry::Join(vec![Address::parse("a:1").unwrap()], token));
    assert_says(
        &refused("join = [\"a:1\"]"),
        &["`join` needs `join_token`", "banyanctl member add"],
    );
    assert_says(
        &refused("join = [\"a:1\"]\njoin_token = \"banyan-12\""),
        &["`join_token`: it is no join token, or not all of one"],
    );
    assert_says(
        &refused(&format!("join_token = \"{token}\"")),
        &["`join_token` needs the members to show it to"],
    );
}

#[test]
fn elections_wait_for_more_than_one_heartbeat() {
    assert_says(&refused("heartbeat_ms = 200"), &["at least twice `heartbeat_ms` (200)"]);
    assert_says(
        &refused("election_timeout_max_ms = 200"),
        &["greater than `election_timeout_min_ms` (200)"],
    );
}

#[test]
fn a_file_can_be_checked_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("banyan.toml");
    fs::write(&path, "view_lease_s = 5\n").unwrap();
    check_file(&path).unwrap();
    fs::write(&path, "view_leese_s = 5\n").unwrap();
    assert_says(
        &check_file(&path).unwrap_err().to_string(),
        &["banyan.toml:1: ", "`view_lease_s`"],
    );
    assert_says(
        &check_file(&dir.path().join("none")).unwrap_err().to_string(),
        &["cannot be read"],
    );
    fs::write(&path, vec![b'#'; 2 << 20]).unwrap();
    assert_says(&check_file(&path).unwrap_err().to_string(), &["larger than"]);
    fs::write(&path, b"a = \"\xff\"").unwrap();
    assert_says(&check_file(&path).unwrap_err().to_string(), &["cannot be read"]);
}
