//! The kill: a process appends and says what was acknowledged, is killed at any moment, and everything it
//! said is there.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use hookline_event_log::embedded::EmbeddedLog;
use hookline_event_log::{Journal, JournalName, Log, Offset, Partition, ReadLimit};
use hookline_schemas::time::Clock;

use crate::scratch::Scratch;

/// Set for the process that is killed: where its log is.
const DIRECTORY: &str = "HOOKLINE_TEST_CRASH_DIRECTORY";
const CYCLES: u64 = 4;
/// How many acknowledgements a cycle waits for, at least.
const ACKNOWLEDGED: usize = 200;
const EVERYTHING: ReadLimit = ReadLimit { records: 1_000_000, bytes: usize::MAX };

/// What a record holds follows from its number, so that a torn one shows.
fn value(number: u64) -> Bytes {
    let length = usize::try_from(number % 3000).expect("small");
    let mut value = number.to_be_bytes().to_vec();
    value.resize(8 + length, number.to_le_bytes()[0]);
    Bytes::from(value)
}

/// Not a test by itself: the body of the process that is killed. Does nothing unless told where.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_appends_until_it_is_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let mut scratch = Scratch::new();
    scratch.options.directory = directory.into();
    let log = scratch.open();
    let journal = log.journal(JournalName::Events);
    let (acknowledge, mut acknowledged) = tokio::sync::mpsc::channel(64);
    let saying = async {
        while let Some((number, appending)) = acknowledged.recv().await {
            let appending: hookline_event_log::Appending = appending;
            let offset = appending.await.expect("acknowledged");
            let mut out = std::io::stdout().lock();
            writeln!(out, "acknowledged {number} {}", offset.0).expect("somebody listens");
            out.flush().expect("somebody listens");
        }
    };
    let appending = async {
        let first = journal.bounds(Partition(0)).await.expect("bounds can be read").end.0;
        for number in first.. {
            let accepted = journal.append(Partition(0), Bytes::from_static(b"key"), value(number)).await;
            if acknowledge.send((number, accepted.expect("accepted"))).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(saying, appending);
}

/// Runs the child until it has said enough, kills it, and returns what it said before it died.
fn kill_one(directory: &Path, cycle: u64) -> Vec<(u64, u64)> {
    let mut child = Command::new(std::env::current_exe().expect("a test binary"))
        .args(["crash::child_appends_until_it_is_killed", "--exact", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the child starts");
    let lines = BufReader::new(child.stdout.take().expect("its output is piped")).lines();
    let mut said = Vec::new();
    for line in lines.map_while(Result::ok) {
        let words: Vec<&str> = line.split(' ').collect();
        if let ["acknowledged", number, offset] = words[..] {
            said.push((number.parse().expect("a number"), offset.parse().expect("an offset")));
        }
        if said.len() == ACKNOWLEDGED {
            // At another moment of the commit each time. The rest of what it says is read to the end.
            std::thread::sleep(Duration::from_micros(cycle * 700));
            child.kill().expect("it is killed");
        }
    }
    child.wait().expect("it has ended");
    said
}

#[tokio::test]
async fn everything_acknowledged_is_there_after_a_kill() {
    let mut scratch = Scratch::new();
    scratch.options.directory = scratch.options.directory.join("crash");
    let mut said = Vec::new();
    for cycle in 0..CYCLES {
        said.extend(kill_one(&scratch.options.directory, cycle));
        assert!(said.len() >= ACKNOWLEDGED, "the child appended before it was killed");
        let log = EmbeddedLog::open(scratch.options.clone(), Clock::start()).expect("it opens after a kill");
        let found =
            log.journal(JournalName::Events).read(Partition(0), Offset::START, None, EVERYTHING).await;
        let found = found.expect("nothing is corrupt").records;
        let found: std::collections::BTreeMap<u64, Bytes> =
            found.into_iter().map(|record| (record.offset.0, record.value)).collect();
        for (number, offset) in &said {
            assert_eq!(found.get(offset), Some(&value(*number)), "record {number} was acknowledged");
        }
        assert!(
            found.values().zip(1_u64..).all(|(found, number)| *found == value(number)),
            "no gap, no tear"
        );
        log.close().await;
    }
}
