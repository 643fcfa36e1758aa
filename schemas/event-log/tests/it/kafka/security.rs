//! TLS and SASL, as managed clusters ask for them.

use std::time::Duration;

use hookline_event_log::kafka::{KafkaSasl, KafkaSecurity, KafkaTls, SaslMechanism};
use hookline_event_log::{Journal, JournalName, Log, Offset, OpenError, Partition, ReadLimit};

use super::scratch::Scratch;

/// A place on the listener that asks for both; `None` where there is no Java or no Maven.
fn secure(test: &str, mechanism: SaslMechanism, password: &str) -> Option<Scratch> {
    let cluster = hookline_local_kafka::for_test(test)?;
    let (servers, certificate) = cluster.secure_servers().expect("the cluster has such a listener");
    let mut scratch = Scratch::at(&servers);
    scratch.options.security = KafkaSecurity {
        tls: Some(KafkaTls { ca_file: Some(certificate), certificate: None }),
        sasl: Some(KafkaSasl { mechanism, username: "hookline".to_owned(), password: password.to_owned() }),
    };
    Some(scratch)
}

async fn goes_round(scratch: &Scratch) {
    let log = scratch.open().await;
    let journal = log.journal(JournalName::Events);
    let appending = journal.append(Partition(0), "key".into(), "value".into()).await.expect("accepted");
    appending.await.expect("acknowledged");
    let limit = ReadLimit { records: 10, bytes: 1000 };
    let read = journal.read(Partition(0), Offset::START, None, limit).await.expect("it can be read");
    assert_eq!(read.records.len(), 1);
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_go_round_over_tls_with_either_mechanism() {
    for mechanism in [SaslMechanism::Plain, SaslMechanism::ScramSha512] {
        let test = "records_go_round_over_tls_with_either_mechanism";
        let Some(scratch) = secure(test, mechanism, "hookline") else { return };
        goes_round(&scratch).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_and_a_stranger_s_certificate_are_refused() {
    let test = "a_wrong_password_and_a_stranger_s_certificate_are_refused";
    let Some(mut scratch) = secure(test, SaslMechanism::ScramSha512, "wrong") else { return };
    scratch.options.open_timeout = Duration::from_secs(2);
    let refused = scratch.try_open().await.expect_err("a wrong password");
    assert!(matches!(refused, OpenError::Unreachable { .. }), "{refused}");
    assert!(refused.to_string().contains("Authentication"), "{refused}");

    let Some(mut scratch) = secure(test, SaslMechanism::ScramSha512, "hookline") else { return };
    scratch.options.open_timeout = Duration::from_secs(2);
    scratch.options.security.tls = Some(KafkaTls::default());
    let refused = scratch.try_open().await.expect_err("signed by nobody whom the system trusts");
    assert!(matches!(refused, OpenError::Unreachable { .. }), "{refused}");
    assert!(refused.to_string().contains("SSL"), "{refused}");
}
