//! Receivers built on the Standard Webhooks libraries of Rust, Python and JavaScript take what leaves the
//! dispatcher, and while a secret is rotated whichever of the two they hold.
//!
//! Each answers 204 to what its library believes, and 400 to the rest. Where a language is missing its receivers
//! are skipped, and it is said so; where `CI` is `true` that is a failure.

mod in_rust;
mod install;
mod program;

use std::collections::BTreeMap;
use std::time::Duration;

use hookline_event_log::JournalName;
use hookline_schemas::delivery::{AttemptOutcome, AttemptRecord, FailureReason, decode};
use hookline_schemas::event::Event;
use hookline_schemas::payload::EventData;
use hookline_schemas::rotation::WebhookKeys;
use hookline_schemas::time::Clock;
use hookline_schemas::webhook::Webhook;

use crate::surroundings::{
    NEW_SECRET, SECRET, append, event, open, records, secret, settings, start, until, webhook,
};
use in_rust::RustReceiver;
use install::Language;
use program::ProgramReceiver;

const HOUR: Duration = Duration::from_secs(3_600);

/// A receiver that holds one secret and runs until it is dropped.
enum Receiver {
    InRust(RustReceiver),
    Program(ProgramReceiver),
}

impl Receiver {
    fn port(&self) -> u16 {
        match self {
            Self::InRust(receiver) => receiver.port(),
            Self::Program(receiver) => receiver.port(),
        }
    }
}

/// What the one with the old secret and the one with the new secret said.
#[derive(Debug, PartialEq, Eq)]
struct Verdicts {
    old: bool,
    new: bool,
}

/// For each language, whether who holds the old secret and who holds the new one believe what these keys signed.
async fn verdicts(test: &str, keys: &WebhookKeys) -> BTreeMap<&'static str, Verdicts> {
    let languages = [Language::Python, Language::JavaScript];
    let installed: Vec<_> = languages.iter().filter_map(|language| language.installed_for(test)).collect();
    let mut receivers = BTreeMap::new();
    for (holder, held) in [("old", SECRET), ("new", NEW_SECRET)] {
        receivers.insert(("Rust", holder), Receiver::InRust(RustReceiver::start(held).await));
        for library in &installed {
            let program = ProgramReceiver::start(library.command(), held).await;
            receivers.insert((library.language(), holder), Receiver::Program(program));
        }
    }
    let statuses = deliver(&receivers, keys).await;
    let believed = |language: &'static str, holder| match statuses.get(&format!("{language} {holder}")) {
        Some(204) => true,
        Some(400) => false,
        other => panic!("{language} with the {holder} secret answered {other:?}"),
    };
    let languages: Vec<_> = receivers.keys().map(|(language, _)| *language).collect();
    for receiver in receivers.into_values() {
        if let Receiver::Program(program) = receiver {
            program.end().await;
        }
    }
    let verdicts = |language| Verdicts { old: believed(language, "old"), new: believed(language, "new") };
    languages.into_iter().map(|language| (language, verdicts(language))).collect()
}

/// One event to all of them, each at a webhook of its own: what they answered first.
async fn deliver(
    receivers: &BTreeMap<(&'static str, &'static str), Receiver>,
    keys: &WebhookKeys,
) -> BTreeMap<String, u16> {
    let directory = tempfile::tempdir().expect("a directory");
    let webhooks = receivers.iter().map(|((language, holder), receiver)| {
        let url = format!("http://127.0.0.1:{}/", receiver.port());
        Webhook { keys: keys.clone(), ..webhook(&format!("{language} {holder}"), &url) }
    });
    let running = start(open(directory.path()), settings(), webhooks.collect());
    append(&running.log, &event_beyond_ascii()).await;
    let mut statuses = BTreeMap::new();
    until("answered by all", async || {
        for record in records(&running.log, JournalName::Attempts).await {
            let attempt: AttemptRecord = decode(&record).expect("an attempt");
            let answered = match attempt.outcome {
                AttemptOutcome::Delivered { status } => Some(status),
                outcome => outcome.failure().and_then(|reason| match reason {
                    FailureReason::Status(status) => Some(status),
                    _ => None,
                }),
            };
            if let Some(status) = answered {
                statuses.entry(attempt.webhook.to_string()).or_insert(status);
            }
        }
        statuses.len() == receivers.len()
    })
    .await;
    running.stop().await.expect("drained");
    statuses
}

/// Libraries that sign texts have to read the body as it was written.
fn event_beyond_ascii() -> Event {
    let mut event = event(1);
    if let EventData::Payment(payment) = &mut event.data {
        payment.client_id = Some("клиент № 1 🎮".to_owned());
    }
    event
}

/// All that there are, and Rust is always there.
fn assert_all(verdicts: BTreeMap<&'static str, Verdicts>, expected: &Verdicts) {
    assert!(verdicts.contains_key("Rust"));
    for (language, verdict) in verdicts {
        assert_eq!(&verdict, expected, "{language}");
    }
}

#[tokio::test]
async fn libraries_believe_the_secret_and_no_other() {
    let keys = WebhookKeys::new(&secret(NEW_SECRET));
    let verdicts = verdicts("libraries_believe_the_secret_and_no_other", &keys).await;
    assert_all(verdicts, &Verdicts { old: false, new: true });
}

#[tokio::test]
async fn during_the_overlap_libraries_believe_either_secret() {
    let until = Clock::start().wall().after(HOUR);
    let keys = WebhookKeys::rotating(&secret(NEW_SECRET), &secret(SECRET), until).expect("two secrets");
    let verdicts = verdicts("during_the_overlap_libraries_believe_either_secret", &keys).await;
    assert_all(verdicts, &Verdicts { old: true, new: true });
}

#[tokio::test]
async fn after_the_overlap_libraries_believe_the_new_secret_alone() {
    let until = Clock::start().wall();
    let keys = WebhookKeys::rotating(&secret(NEW_SECRET), &secret(SECRET), until).expect("two secrets");
    let verdicts = verdicts("after_the_overlap_libraries_believe_the_new_secret_alone", &keys).await;
    assert_all(verdicts, &Verdicts { old: false, new: true });
}
