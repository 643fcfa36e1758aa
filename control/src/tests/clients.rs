//! Clients, as the platform says them.

use std::collections::BTreeMap;

use hookline_event_log::{Change, Log, Partition, Table, TableName, TableWatch};
use hookline_schemas::check::{Client, DirectoryKey};
use hookline_schemas::delivery::decode;
use hookline_schemas::ids::OrganizationId;
use serde_json::json;

use super::{Rig, caller, data, error};

impl Rig {
    /// Who is known, and whether he is blocked.
    async fn clients(&self) -> BTreeMap<Vec<u8>, bool> {
        let mut watch = self.log.table(TableName::Clients).watch(&[Partition(0)]);
        let mut clients = BTreeMap::new();
        loop {
            match watch.next().await.expect("an entry") {
                Change::Loaded => return clients,
                Change::Entry(entry) => {
                    let client: Option<Client> = entry.value.map(|value| decode(&value).expect("a client"));
                    match client {
                        Some(client) => drop(clients.insert(entry.key.to_vec(), client.blocked)),
                        None => drop(clients.remove(&entry.key[..])),
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn clients_are_known_blocked_and_forgotten() {
    let rig = Rig::new().await;
    let platform = Ok(caller("PLATFORM", "", None));
    let key = |client: &str| DirectoryKey::of_client(&OrganizationId::new("org_1"), client).0.to_vec();
    let upsert = r#"mutation { upsertClients(input: { organizationId: "org_1", clients: [
        { clientId: "client_1" }, { clientId: "client_2", blocked: true }, { clientId: 3, blocked: false }
    ] }) { count } }"#;
    for _ in 0..2 {
        let answer = data(rig.execute(&platform, upsert, json!({})).await);
        assert_eq!(answer, json!({ "upsertClients": { "count": 3 } }));
        let expected = [(key("client_1"), false), (key("client_2"), true), (key("3"), false)];
        assert_eq!(rig.clients().await, BTreeMap::from(expected));
    }
    let remove = r#"mutation { removeClients(input: { organizationId: "org_1", clientIds: ["client_2", "x"] }) { count } }"#;
    let answer = data(rig.execute(&platform, remove, json!({})).await);
    assert_eq!(answer, json!({ "removeClients": { "count": 2 } }));
    assert_eq!(rig.clients().await, BTreeMap::from([(key("client_1"), false), (key("3"), false)]));
}

#[tokio::test]
async fn one_to_a_thousand_are_taken_at_once() {
    let rig = Rig::new().await;
    let platform = Ok(caller("PLATFORM", "", None));
    let query = "mutation ($input: UpsertClientsInput!) { upsertClients(input: $input) { count } }";
    for (count, is_taken) in [(0, false), (1, true), (1_000, true), (1_001, false)] {
        let clients: Vec<_> = (0..count).map(|number| json!({ "clientId": number.to_string() })).collect();
        let input = json!({ "input": { "organizationId": "org_1", "clients": clients } });
        let refused = error(&rig.execute(&platform, query, input).await);
        let expected = (!is_taken).then_some("VALIDATION_ERROR");
        assert_eq!(refused.map(|error| error.code()), expected, "{count}");
    }
    assert_eq!(rig.clients().await.len(), 1_000);
}
