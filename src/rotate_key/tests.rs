//! Keys that change beside a process that answers at its socket, and over several machines.

use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use hookline_event_log::Durability;
use hookline_event_log::embedded::{EmbeddedLog, EmbeddedOptions};
use hookline_history::History;
use hookline_schemas::seal::KeyBytes;
use hookline_schemas::time::Clock;
use metrics_exporter_prometheus::PrometheusBuilder;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::admin::{Admin, AdminSocket, Payments, Reseal, Sealing};
use crate::key::{self, Keys, opens_what_it_seals};
use crate::registered::Told;
use crate::telemetry::{Dropped, Metrics};

const PLACE: &str = "webhook/1/secret";

/// A machine with a configuration and a key file.
struct Machine {
    directory: TempDir,
}

impl Machine {
    /// Its log is embedded unless more is said; its file has one key.
    fn new(more: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path().join("data");
        let text = format!("data_dir = {data:?}\n{more}\n");
        std::fs::write(directory.path().join("hookline.toml"), text).expect("written");
        let machine = Self { directory };
        if !more.contains("[sealing]") {
            key::load_or_make(&machine.source()).expect("made");
        }
        machine
    }

    /// One of several over Kafka.
    fn of_several() -> Self {
        Self::new("[log]\nbackend = \"kafka\"\n[log.kafka]\nbootstrap_servers = [\"127.0.0.1:1\"]")
    }

    fn key_file(&self) -> PathBuf {
        self.directory.path().join("hookline.key")
    }

    fn source(&self) -> KeySource {
        KeySource::File(self.key_file())
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.key_file()).expect("a key file")
    }

    /// What a process started now would seal with.
    fn sealer(&self) -> Sealer {
        key::load(&self.source()).expect("keys")
    }

    /// The file of another machine, copied here.
    fn copy_from(&self, other: &Self) {
        std::fs::write(self.key_file(), other.text()).expect("copied");
    }

    async fn rotate(&self, option: &str) -> Result<String, RotateError> {
        let config = Some(self.directory.path().join("hookline.toml"));
        let (prepare, finish) = (option == "--prepare", option == "--finish");
        Ok(rotate(RotateKeyArguments { config, prepare, finish }).await?.join("\n"))
    }

    /// A process that listens at the admin socket, with the keys that the file has now.
    async fn start(&self, reseal: impl FnOnce(&Sealer) -> Option<Reseal>) -> Running {
        let config = self.directory.path().join("hookline.toml");
        let config = Config::load(Some(&config)).expect("a configuration");
        let sealer = key::load(&config.keys).expect("keys");
        let clock = Clock::start();
        let log_directory = tempfile::tempdir().expect("a directory");
        let options = EmbeddedOptions::new(log_directory.path());
        let options =
            EmbeddedOptions { map_size: 64 << 20, reserve: 1 << 20, allow_page_cache: true, ..options };
        let log = EmbeddedLog::open(options, clock).expect("a log");
        let history = History::new(log.clone(), clock);
        let keys = Keys::new(config.keys, sealer.clone());
        let stop = CancellationToken::new();
        let admin = Admin {
            durability: Durability::PageCache,
            roles: Arc::default(),
            stopping: stop.clone(),
            metrics: Metrics::new(PrometheusBuilder::new().build_recorder().handle(), Dropped::default()),
            page: Arc::default(),
            endpoints: None,
            payments: Payments { history, told: Told::nothing(), sealer: sealer.clone(), reconcile: None },
            sealing: Sealing { reseal: reseal(&sealer), keys: keys.clone() },
            backups: None,
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bound");
        let socket = AdminSocket::bind(&config.admin_socket).await.expect("bound");
        let tasks = TaskTracker::new();
        tasks.spawn(admin.serve(listener, Some(socket), stop.clone()));
        Running { keys, stop, tasks, log, _log_directory: log_directory }
    }
}

struct Running {
    keys: Keys,
    stop: CancellationToken,
    tasks: TaskTracker,
    log: EmbeddedLog,
    _log_directory: TempDir,
}

impl Running {
    async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.log.close().await;
    }
}

/// What a control plane has sealed: each record with the text that it hides.
#[derive(Clone, Default)]
struct Records(Arc<Mutex<Vec<Vec<u8>>>>);

impl Records {
    fn seal(&self, sealer: &Sealer, count: usize) {
        let sealed = std::iter::repeat_with(|| sealer.seal(PLACE, b"s3cret")).take(count);
        self.0.lock().expect("no panic").extend(sealed);
    }

    /// Seals anew what another key has sealed.
    fn reseal(&self, sealer: &Sealer) -> Reseal {
        let (records, sealer) = (self.clone(), sealer.clone());
        Arc::new(move || {
            let mut records = records.0.lock().expect("no panic");
            let old = records.iter_mut().filter(|sealed| !sealer.sealed_it(sealed));
            let anew = old.map(|sealed| {
                let opened = sealer.open(PLACE, sealed).map_err(|error| error.to_string())?;
                *sealed = sealer.seal(PLACE, &opened);
                Ok(())
            });
            let anew = anew.collect::<Result<Vec<()>, String>>().map(|anew| anew.len());
            std::future::ready(anew).boxed()
        })
    }

    fn are_all_of(&self, sealer: &Sealer) -> bool {
        self.0.lock().expect("no panic").iter().all(|sealed| sealer.sealed_it(sealed))
    }
}

#[tokio::test]
async fn over_one_process_all_is_done_in_one_go() {
    let machine = Machine::new("");
    let (records, old) = (Records::default(), machine.sealer());
    records.seal(&old, 3);
    let running = machine.start(|sealer| Some(records.reseal(sealer))).await;
    let said = machine.rotate("").await.expect("rotated");
    assert!(said.contains("3 records were sealed anew") && said.contains("30days"), "{said}");
    let mode = std::fs::metadata(machine.key_file()).expect("a file").permissions().mode();
    assert_eq!((machine.text().lines().count(), mode & 0o777), (2, 0o600));
    let sealer = &running.keys.sealer;
    assert!(records.are_all_of(sealer) && !old.sealed_it(&sealer.seal(PLACE, b"")));
    assert!(opens_what_it_seals(sealer, &old) && opens_what_it_seals(&machine.sealer(), sealer));
    let said = machine.rotate("--finish").await.expect("finished");
    assert!(said.contains("0 records") && machine.text().lines().count() == 2, "{said}");
    running.stop().await;
}

#[tokio::test]
async fn without_a_process_the_file_alone_changes_and_the_rest_is_done_later() {
    let machine = Machine::new("");
    let (records, old) = (Records::default(), machine.sealer());
    records.seal(&old, 2);
    let said = machine.rotate("").await.expect("changed");
    assert!(said.contains("nobody listens") && said.contains("--finish"), "{said}");
    assert!(machine.rotate("--finish").await.is_err_and(|error| error.status() == crate::exit::UNAVAILABLE));
    assert_eq!(machine.text().lines().count(), 2);
    let running = machine.start(|sealer| Some(records.reseal(sealer))).await;
    let said = machine.rotate("--finish").await.expect("finished");
    assert!(said.contains("2 records"), "{said}");
    assert!(records.are_all_of(&machine.sealer()));
    running.stop().await;
}

/// Killed between the rename and the question: the process that runs has the old keys still.
#[tokio::test]
async fn what_was_broken_off_is_finished_by_asking_again() {
    let machine = Machine::new("");
    let (records, old) = (Records::default(), machine.sealer());
    records.seal(&old, 2);
    let running = machine.start(|sealer| Some(records.reseal(sealer))).await;
    let file = KeyFile::lock(&machine.key_file()).expect("locked");
    file.replace(&with_first(&machine.text(), &Sealer::generate_key())).expect("replaced");
    drop(file);
    assert!(records.are_all_of(&running.keys.sealer), "nothing has happened yet");
    let said = machine.rotate("--finish").await.expect("finished");
    assert!(said.contains("2 records") && records.are_all_of(&machine.sealer()), "{said}");
    running.stop().await;
}

#[tokio::test]
async fn over_several_a_key_opens_everywhere_before_it_seals_anywhere() {
    let (machine, other) = (Machine::of_several(), Machine::of_several());
    other.copy_from(&machine);
    let (records, before) = (Records::default(), machine.text());
    let running = machine.start(|sealer| Some(records.reseal(sealer))).await;
    records.seal(&running.keys.sealer, 1);
    let error = machine.rotate("").await.expect_err("not prepared").to_string();
    assert!(error.contains("--prepare") && machine.text() == before, "{error}");

    let said = machine.rotate("--prepare").await.expect("prepared");
    assert!(said.contains("SIGHUP") && said.contains("--finish"), "{said}");
    let prepared = machine.text();
    assert!(opens_what_it_seals(&running.keys.sealer, &machine.sealer()), "the same key seals");
    let said = machine.rotate("--prepare").await.expect("nothing to do");
    assert!(said.contains("prepared already") && machine.text() == prepared, "{said}");

    for option in ["--finish", ""] {
        let error = machine.rotate(option).await.expect_err("not read yet").to_string();
        assert!(error.contains("nothing was changed") && machine.text() == prepared, "{error}");
    }
    other.copy_from(&machine);
    running.keys.read_again().expect("read");
    let said = machine.rotate("--finish").await.expect("finished");
    assert!(said.contains("1 records") && said.contains("once more"), "{said}");
    assert!(records.are_all_of(&machine.sealer()) && machine.text() != prepared);
    assert!(opens_what_it_seals(&other.sealer(), &running.keys.sealer));
    let error = machine.rotate("").await.expect_err("none is prepared any more").to_string();
    assert!(error.contains("--prepare"), "{error}");
    running.stop().await;
}

#[tokio::test]
async fn over_several_nothing_is_finished_where_no_process_runs() {
    let machine = Machine::of_several();
    machine.rotate("--prepare").await.expect("prepared");
    let prepared = machine.text();
    let refused = machine.rotate("--finish").await;
    assert!(refused.is_err_and(|error| error.status() == crate::exit::UNAVAILABLE));
    assert_eq!(machine.text(), prepared);
}

/// Every order in which three machines get the file and read it, with a restart of any of them at any time.
#[test]
fn at_every_step_every_process_opens_what_any_may_seal() {
    let start = base64_of(1);
    let prepared = with_prepared(&start, &KeyBytes::new([2; 32]));
    let finished = with_prepared_first(&prepared).expect("one is prepared");
    let mut fleet = Fleet { files: [(); 3].map(|()| start.clone()), read: [(); 3].map(|()| start.clone()) };
    for next in [&*prepared, &*finished] {
        // The first machine's file is changed where it lies.
        fleet.files[0] = next.to_owned();
        fleet.every_order(next);
        fleet = Fleet { files: [(); 3].map(|()| next.to_owned()), read: [(); 3].map(|()| next.to_owned()) };
    }
}

fn base64_of(byte: u8) -> String {
    with_first("", &KeyBytes::new([byte; 32])).trim().to_owned()
}

#[derive(Debug, Clone)]
struct Fleet {
    files: [String; 3],
    /// What each process has read.
    read: [String; 3],
}

impl Fleet {
    fn every_order(&self, next: &str) {
        // A process that is started now seals with what its file says.
        let texts = self.files.iter().chain(&self.read);
        let sealers: Vec<Sealer> = texts.map(|text| Ring::of_lines(text).expect("a ring").sealer()).collect();
        for sealing in &sealers {
            assert!(sealers.iter().all(|opening| opens_what_it_seals(opening, sealing)), "{self:?}");
        }
        for machine in 0..3 {
            let mut then = self.clone();
            if then.files[machine] != next {
                then.files[machine] = next.to_owned();
            } else if then.read[machine] != next {
                then.read[machine] = next.to_owned();
            } else {
                continue;
            }
            then.every_order(next);
        }
    }
}

#[tokio::test]
async fn a_file_that_the_process_does_not_read_is_not_taken_for_its_own() {
    let machine = Machine::new("");
    let running = machine.start(|sealer| Some(Records::default().reseal(sealer))).await;
    let elsewhere = machine.directory.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).expect("made");
    let config = std::fs::read_to_string(machine.directory.path().join("hookline.toml")).expect("a file");
    std::fs::write(elsewhere.join("hookline.toml"), config).expect("written");
    key::load_or_make(&KeySource::File(elsewhere.join("hookline.key"))).expect("made");
    let config = Some(elsewhere.join("hookline.toml"));
    let refused = rotate(RotateKeyArguments { config, prepare: false, finish: false }).await;
    let refused = refused.expect_err("another file").to_string();
    assert!(refused.contains("does not read the file"), "{refused}");
    assert_eq!(machine.text().lines().count(), 1);
    running.stop().await;
}

#[tokio::test]
async fn where_the_control_plane_can_not_it_is_told_and_asked_again() {
    let machine = Machine::new("");
    let running = machine.start(|_| None).await;
    let refused = machine.rotate("").await.expect_err("no control").to_string();
    assert!(refused.contains("no control role"), "{refused}");
    assert!(opens_what_it_seals(&running.keys.sealer, &machine.sealer()), "the keys were read all the same");
    running.stop().await;

    let standing_by: Reseal = Arc::new(|| std::future::ready(Err("it stands by".to_owned())).boxed());
    let running = machine.start(|_| Some(standing_by)).await;
    let refused = machine.rotate("--finish").await.expect_err("it stands by").to_string();
    assert!(refused.contains("it stands by") && machine.text().lines().count() == 2, "{refused}");
    running.stop().await;
}

#[tokio::test]
async fn keys_in_the_configuration_are_changed_by_hand_and_finished_all_the_same() {
    let (one, two) = (base64_of(1), base64_of(2));
    let machine = Machine::new(&format!("[sealing]\nkey = \"{two},{one}\""));
    for option in ["", "--prepare"] {
        let refused = machine.rotate(option).await.expect_err("not in a file").to_string();
        assert!(refused.contains("HOOKLINE_SEALING__KEY") && !refused.contains(&one), "{refused}");
    }
    let records = Records::default();
    records.seal(&Sealer::new(&[1; 32]), 4);
    let running = machine.start(|sealer| Some(records.reseal(sealer))).await;
    let said = machine.rotate("--finish").await.expect("finished");
    assert!(said.contains("4 records") && records.are_all_of(&Sealer::new(&[2; 32])), "{said}");
    assert!(!machine.key_file().exists());
    running.stop().await;
}

#[tokio::test]
async fn a_file_with_a_problem_is_not_changed() {
    let machine = Machine::new("");
    let damaged = format!("{}shor-t\n", machine.text());
    std::fs::write(machine.key_file(), &damaged).expect("written");
    for option in ["", "--prepare", "--finish"] {
        let refused = machine.rotate(option).await.expect_err("damaged").to_string();
        assert!(refused.contains("line 2") && !refused.contains("shor-t"), "{refused}");
        assert_eq!(machine.text(), damaged);
    }
    std::fs::remove_file(machine.key_file()).expect("removed");
    assert!(machine.rotate("").await.is_err_and(|error| error.status() == crate::exit::CONFIG));
    assert!(!machine.key_file().exists(), "none is made");
}
