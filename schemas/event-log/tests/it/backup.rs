//! Backups: what is in a copy that was made under traffic, what is refused, and what a look through it finds.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use hookline_event_log::embedded::{
    Backup, BackupError, BackupStatus, EmbeddedLog, EmbeddedOptions, VerifyError, verify,
};
use hookline_event_log::{Epoch, Journal, JournalName, Log, Offset, Partition, ReadLimit, Table, TableName};
use hookline_schemas::time::Clock;

use crate::scratch::Scratch;

const ALL: ReadLimit = ReadLimit { records: 100_000, bytes: 1024 * 1024 * 1024 };

async fn append(log: &EmbeddedLog, journal: JournalName, value: Bytes) -> Offset {
    let journal = log.journal(journal);
    let appending = journal.append(Partition(0), Bytes::from_static(b"key"), value).await;
    appending.expect("accepted").await.expect("acknowledged")
}

/// Waits until the backup has ended one way or the other.
async fn ended(log: &EmbeddedLog) -> BackupStatus {
    loop {
        match log.backups().status() {
            BackupStatus::Running { .. } => tokio::time::sleep(Duration::from_millis(2)).await,
            ended => return ended,
        }
    }
}

async fn back_up(log: &EmbeddedLog, directory: &Path) -> Backup {
    log.backups().start(directory).expect("begun");
    match ended(log).await {
        BackupStatus::Done(backup) => backup,
        other => panic!("{other:?}"),
    }
}

/// Beside the log.
fn beside(scratch: &Scratch, name: &str) -> PathBuf {
    scratch.options.directory.with_file_name(name)
}

fn names_beside(scratch: &Scratch) -> Vec<String> {
    let parent = scratch.options.directory.parent().expect("the scratch directory");
    let entries = std::fs::read_dir(parent).expect("there");
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_made_under_traffic_holds_all_that_was_acknowledged_before_it() {
    let scratch = Scratch::new();
    let log = scratch.open();
    let value = Bytes::from(vec![7; 2_000]);
    let mut before = Offset::START;
    for _ in 0..500 {
        before = append(&log, JournalName::Events, value.clone()).await;
    }
    append(&log, JournalName::Attempts, value.clone()).await;
    let control = log.table(TableName::Control);
    let putting = control.put(Partition(0), Bytes::from_static(b"gw"), None, Epoch(1)).await;
    putting.expect("accepted").await.expect("acknowledged");

    let copy = beside(&scratch, "copy");
    log.backups().start(&copy).expect("begun");
    let mut meanwhile = 0;
    while matches!(log.backups().status(), BackupStatus::Running { .. }) || meanwhile < 20 {
        append(&log, JournalName::Events, value.clone()).await;
        meanwhile += 1;
    }
    let BackupStatus::Done(backup) = ended(&log).await else { panic!("{:?}", log.backups().status()) };
    assert!(backup.bytes > 500 * 2_000, "{backup:?}");
    assert_eq!(names_beside(&scratch), ["copy", "data"]);

    // Both at once: the copy is a log of its own.
    let options = EmbeddedOptions { directory: copy.clone(), ..scratch.options.clone() };
    let restored = EmbeddedLog::open(options, Clock::start()).expect("a whole log");
    let found = restored.journal(JournalName::Events).read(Partition(0), Offset::START, None, ALL).await;
    let found = found.expect("read").records;
    assert!(found.iter().any(|record| record.offset == before), "what was acknowledged before is there");
    assert!(found.len() < 500 + meanwhile, "it is as the log was when it began");
    let next = append(&restored, JournalName::Events, value).await;
    assert!(found.iter().all(|record| record.offset < next));
    restored.close().await;
    log.close().await;
}

#[tokio::test]
async fn nothing_is_overwritten() {
    let scratch = Scratch::new();
    let log = scratch.open();
    let (full, empty, file) = (beside(&scratch, "full"), beside(&scratch, "empty"), beside(&scratch, "file"));
    std::fs::create_dir(&full).expect("made");
    std::fs::write(full.join("kept"), "").expect("written");
    std::fs::create_dir(&empty).expect("made");
    std::fs::write(&file, "").expect("written");
    for taken in [&full, &file, &scratch.options.directory] {
        assert!(matches!(log.backups().start(taken), Err(BackupError::Exists { .. })), "{taken:?}");
    }
    assert!(matches!(
        log.backups().start(&beside(&scratch, "nowhere").join("copy")),
        Err(BackupError::Write { .. })
    ));
    back_up(&log, &empty).await;
    let left = empty.with_file_name("later.unfinished");
    std::fs::create_dir(&left).expect("made");
    let later = log.backups().start(&beside(&scratch, "later"));
    assert!(matches!(later, Err(BackupError::Unfinished { path }) if path == left));
    assert_eq!(names_beside(&scratch), ["data", "empty", "file", "full", "later.unfinished"]);
    log.close().await;
    assert!(matches!(log.backups().start(&beside(&scratch, "late")), Err(BackupError::Closed)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_closed_breaks_its_backup_off_and_leaves_nothing() {
    let scratch = Scratch::new();
    let log = scratch.open();
    let value = Bytes::from(vec![7; 500_000]);
    for _ in 0..100 {
        append(&log, JournalName::Events, value.clone()).await;
    }
    log.backups().start(&beside(&scratch, "copy")).expect("begun");
    assert!(matches!(log.backups().start(&beside(&scratch, "second")), Err(BackupError::Busy)));
    log.close().await;
    let status = log.backups().status();
    let BackupStatus::Failed(error) = &status else { panic!("{status:?}") };
    assert!(matches!(**error, BackupError::Closed), "{error}");
    assert_eq!(names_beside(&scratch), ["data"]);
    scratch.open().close().await;
}

#[tokio::test]
async fn a_look_through_a_copy_counts_its_records_and_finds_what_the_disk_changed() {
    let scratch = Scratch::new();
    let log = scratch.open();
    for number in 0..10 {
        append(&log, JournalName::Events, Bytes::from(format!("the value of number {number}"))).await;
    }
    let copy = beside(&scratch, "copy");
    back_up(&log, &copy).await;
    assert!(matches!(verify(&scratch.options.directory), Err(VerifyError::Locked { .. })));
    log.close().await;
    let events = || {
        let counted = verify(&copy).expect("looked through");
        assert!(counted.iter().all(|one| one.name == "events" || one.corrupt == 0), "{counted:?}");
        let events = counted.into_iter().find(|one| one.name == "events").expect("counted");
        (events.records, events.corrupt)
    };
    assert_eq!(events(), (10, 0));

    let file = copy.join("log/data.mdb");
    let mut bytes = std::fs::read(&file).expect("read");
    let place = bytes.windows(21).position(|window| window == b"the value of number 7");
    *bytes.get_mut(place.expect("it stands there")).expect("there") ^= 1;
    std::fs::write(&file, &bytes).expect("written");
    assert_eq!(events(), (10, 1));

    bytes.truncate(bytes.len() / 2);
    std::fs::write(&file, &bytes).expect("written");
    assert!(matches!(verify(&copy), Err(VerifyError::CutShort { .. })));
    std::fs::remove_file(&file).expect("removed");
    assert!(matches!(verify(&copy), Err(VerifyError::File { .. })));
}
