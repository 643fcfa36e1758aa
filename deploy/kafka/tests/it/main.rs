//! The script and the crate against a real Apache Kafka. Skipped where Java or Maven is missing.

use std::net::TcpStream;
use std::path::Path;

use hookline_local_kafka::{LocalKafka, StartError, for_test};

fn accepts(cluster: &LocalKafka) -> bool {
    TcpStream::connect(cluster.bootstrap_servers()).is_ok()
}

fn state(cluster: &LocalKafka) -> String {
    let status = cluster.status().expect("the script answers");
    status.lines().next().and_then(|node| node.rsplit(' ').next()).unwrap_or_default().to_owned()
}

#[test]
fn a_node_ends_and_starts_again_at_the_same_address() {
    let Some(cluster) = for_test("a_node_ends_and_starts_again_at_the_same_address") else { return };
    assert_eq!((state(cluster).as_str(), accepts(cluster)), ("running", true));

    cluster.kill(1).expect("it is killed");
    assert_eq!((state(cluster).as_str(), accepts(cluster)), ("down", false));
    cluster.kill(1).expect("it is down already");
    cluster.pause(1).expect_err("nobody is there to be paused");

    cluster.start_node(1).expect("it starts");
    assert_eq!((state(cluster).as_str(), accepts(cluster)), ("running", true));

    cluster.pause(1).expect("it is paused");
    assert_eq!(state(cluster), "paused");
    cluster.resume(1).expect("it goes on");
    assert_eq!(state(cluster), "running");

    let error = cluster.kill(2).expect_err("there is one node");
    assert!(error.to_string().contains("no node 2"), "{error}");
}

#[test]
fn a_cluster_ends_with_its_value() {
    if for_test("a_cluster_ends_with_its_value").is_none() {
        return;
    }
    let cluster =
        LocalKafka::start(&hookline_local_kafka::script(), 1).expect("it starts beside the other one");
    let address = cluster.bootstrap_servers().to_owned();
    assert!(TcpStream::connect(&address).is_ok());
    drop(cluster);
    assert!(TcpStream::connect(&address).is_err());
}

#[test]
fn names_java_where_it_is_missing() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/without_java.sh");
    match LocalKafka::start(&script, 1) {
        Err(StartError::Unavailable(reason)) => assert!(reason.contains("Java 17"), "{reason}"),
        other => panic!("not unavailable: {other:?}"),
    }
}
