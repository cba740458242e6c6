//! `banyanctl snapshot` and `banyanctl recover` as programs: files, exit codes, and what is printed.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use banyan_core::command::{
    BatchBuilder, BatchId, Command as CoreCommand, Condition, EntryBuilder, Item, Operation, Put,
};
use banyan_core::metadata::Metadata;
use banyan_core::state::{State, founding_id};
use banyan_core::store::MemoryStore;
use banyan_core::topic::TopicName;
use banyan_node::backup::Writer;
use bytes::Bytes;

/// A snapshot of 200 topics, in several sections.
fn snapshot() -> Vec<u8> {
    let mut state = State::open(Arc::new(MemoryStore::new())).expect("opens");
    let mut batch = BatchBuilder::new();
    for number in 0..200 {
        batch.push(&CoreCommand::from(Operation::Put(Put {
            topic: TopicName::parse(&format!("site/{}/{number}", number % 2)).expect("a topic"),
            payload: vec![b'x'; 3_000].into(),
            metadata: Metadata::empty(),
            publisher: Bytes::from_static(b"test"),
            timestamp_us: None,
            expiry_s: None,
            condition: Condition::None,
            qos: 1,
        })));
    }
    let id = BatchId {
        node_id: 1,
        incarnation: 1,
        sequence: 1,
    };
    let mut entry = EntryBuilder::new();
    entry.push_item(&Item::OpenOrigin { node_id: 1, nonce: 9 });
    entry.push_batch(batch.finish(id, u64::MAX));
    state.apply(founding_id(0), &entry.finish(1_000_000)).expect("applies");
    let mut writer = Writer::new(state.view(), 0xAB, 1, 1_490_347_944_893_743);
    let mut file = Vec::new();
    while let Some(piece) = writer.next_piece().expect("written") {
        file.extend(piece);
    }
    file
}

fn banyanctl(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_banyanctl"));
    command.env_remove("BANYAN_ENDPOINT").env_remove("BANYAN_TOKEN");
    command
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("banyanctl runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path of UTF-8")
}

/// Answers one request with `body`, of which the head says that it has `length` bytes, and closes. The URL to ask at.
fn answer_once(body: Vec<u8>, length: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a request");
        let mut request = Vec::new();
        let mut piece = [0; 4096];
        while !request.windows(4).any(|end| end == b"\r\n\r\n") {
            let count = stream.read(&mut piece).expect("a head");
            request.extend_from_slice(&piece[..count]);
        }
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("sent");
        // Whoever has seen enough may be gone.
        let _ = stream.write_all(&body);
    });
    url
}

fn names(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

#[test]
fn a_file_has_its_name_only_if_it_is_whole() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("a.snapshot");
    let whole = snapshot();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let broken = [
        (whole[..whole.len() / 2].to_vec(), whole.len(), 4),
        (whole[..whole.len() - 1].to_vec(), whole.len() - 1, 4),
        (flipped, whole.len(), 1),
        (b"something else".to_vec(), 14, 1),
    ];
    for (body, length, exit_code) in broken {
        let url = answer_once(body, length);
        let saved = banyanctl(&["--endpoint", &url, "snapshot", "save", path(&file)]);
        assert_eq!(saved.status.code(), Some(exit_code), "{}", text(&saved.stderr));
        assert!(
            text(&saved.stderr).contains("nothing was saved"),
            "{}",
            text(&saved.stderr)
        );
        assert!(names(directory.path()).is_empty());
    }
    let save =
        |url: &str, more: &[&str]| banyanctl(&[&["--endpoint", url, "snapshot", "save", path(&file)], more].concat());
    let saved = save(&answer_once(whole.clone(), whole.len()), &[]);
    assert!(saved.status.success(), "{}", text(&saved.stderr));
    assert!(
        text(&saved.stdout).contains("revision 200  topics 200"),
        "{}",
        text(&saved.stdout)
    );
    assert!(fs::read(&file).expect("the file") == whole);
    assert_eq!(names(directory.path()), std::slice::from_ref(&file));

    let again = save("http://127.0.0.1:1", &[]);
    assert_eq!(again.status.code(), Some(2), "{}", text(&again.stderr));
    let unreachable = save("http://127.0.0.1:1", &["--overwrite"]);
    assert_eq!(unreachable.status.code(), Some(4), "{}", text(&unreachable.stderr));
    assert!(
        fs::read(&file).expect("the file") == whole,
        "what was saved before stays"
    );
}

#[test]
fn verify_finds_damage() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("a.snapshot");
    let whole = snapshot();
    fs::write(&file, &whole).expect("written");
    let verified = banyanctl(&["-o", "json", "snapshot", "verify", path(&file)]);
    assert!(verified.status.success(), "{}", text(&verified.stderr));
    let summary = text(&verified.stdout);
    for line in [
        "\"revision\": 200",
        "\"topics\": 200",
        "\"cluster_id\": \"00000000000000ab\"",
    ] {
        assert!(summary.contains(line), "{summary}");
    }
    for at in (0..whole.len()).step_by(whole.len() / 7) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        for bytes in [&damaged[..], &whole[..at]] {
            fs::write(&file, bytes).expect("written");
            let refused = banyanctl(&["snapshot", "verify", path(&file)]);
            assert_eq!(refused.status.code(), Some(1), "byte {at}: {}", text(&refused.stdout));
        }
    }
}

#[test]
fn restore_and_recover_make_directories_and_overwrite_none() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("a.snapshot");
    let data_dir = directory.path().join("data");
    fs::write(&file, snapshot()).expect("written");
    let member = "7@127.0.0.1:7400";
    let restore = |more: &[&str]| {
        let common = [
            "snapshot",
            "restore",
            path(&file),
            "--data-dir",
            path(&data_dir),
            "--node-id",
            "7",
            "--member",
            member,
        ];
        banyanctl(&[&common, more].concat())
    };
    let rehearsed = restore(&["--dry-run", "--prefix", "site/1"]);
    assert!(
        text(&rehearsed.stdout).contains("topics 100"),
        "{}",
        text(&rehearsed.stdout)
    );
    assert!(!data_dir.exists());
    let restored = restore(&[]);
    assert!(restored.status.success(), "{}", text(&restored.stderr));
    assert_eq!(restore(&[]).status.code(), Some(2), "there is something already");

    let recover = |more: &[&str]| banyanctl(&[&["recover", "--data-dir", path(&data_dir)], more].concat());
    let shown = recover(&["--dry-run"]);
    assert!(text(&shown.stdout).contains("May be lost"), "{}", text(&shown.stdout));
    let asked = recover(&[]);
    assert_eq!(
        asked.status.code(),
        Some(2),
        "nobody can be asked: {}",
        text(&asked.stderr)
    );
    let recovered = recover(&["--yes", "--peer-address", "127.0.0.1:7411", "-o", "json"]);
    assert!(recovered.status.success(), "{}", text(&recovered.stderr));
    assert!(text(&recovered.stdout).contains("\"peer_address\": \"127.0.0.1:7411\""));
    let aside = names(directory.path());
    let is_aside = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("data.before-recovery-"))
    };
    assert_eq!(aside.iter().filter(|path| is_aside(path)).count(), 1, "{aside:?}");
    assert_eq!(aside.len(), 3, "{aside:?}");
    let nowhere = banyanctl(&["recover", "--data-dir", path(directory.path())]);
    assert_eq!(nowhere.status.code(), Some(2), "{}", text(&nowhere.stderr));
}
