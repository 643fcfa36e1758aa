//! The schema itself: its file, its limits, what introspection shows.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{Rig, data, owner};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas/graphql/schema.graphql");

/// Set to anything, it rewrites the file instead of comparing it.
const UPDATE: &str = "UPDATE_SCHEMAS";

/// What GraphiQL asks first.
const INTROSPECTION: &str = include_str!("introspection.graphql");

#[tokio::test]
async fn the_file_is_the_schema_of_the_code() {
    let expected = Rig::new().await.control.sdl();
    if std::env::var_os(UPDATE).is_some() {
        fs::create_dir_all(Path::new(FILE).parent().expect("a directory"))
            .expect("the directory can be made");
        fs::write(FILE, &expected).expect("the file can be written");
    }
    let file = fs::read_to_string(FILE).unwrap_or_default();
    assert!(
        file == expected,
        "schemas/graphql/schema.graphql is not what the code describes: the contract has changed. If that is meant, \
         run the test again with {UPDATE}=1 and read the difference as an integrator would."
    );
}

#[tokio::test]
async fn graphiqls_introspection_is_answered_without_a_token() {
    let rig = Rig::new().await;
    let schema = data(rig.schema.execute(INTROSPECTION).await);
    assert_eq!(schema["__schema"]["mutationType"]["name"], "Mutation");
    let query = r#"{ __type(name: "WebhookEventType") { enumValues { name } } }"#;
    let values = data(rig.schema.execute(query).await)["__type"]["enumValues"].clone();
    for name in ["PAYMENT_RECEIVED", "PAYMENT_FAILED", "SESSION_STARTED"] {
        assert!(values.as_array().is_some_and(|all| all.contains(&json!({ "name": name }))), "{name}");
    }
}

#[tokio::test]
async fn everything_is_described() {
    let rig = Rig::new().await;
    let schema = data(rig.schema.execute(INTROSPECTION).await)["__schema"].clone();
    let mut without = Vec::new();
    for described in schema["types"].as_array().expect("types") {
        let name = described["name"].as_str().expect("a name");
        // GraphQL's own.
        if name.starts_with("__") || name == "ID" {
            continue;
        }
        let parts = ["fields", "inputFields", "enumValues"].map(|part| described[part].as_array().cloned());
        let parts = parts.into_iter().flatten().flatten();
        let arguments = |part: &Value| part["args"].as_array().cloned().unwrap_or_default();
        let all = parts.flat_map(|part| std::iter::once(part.clone()).chain(arguments(&part)));
        let missing =
            std::iter::once(described.clone()).chain(all).filter(|part| part["description"].is_null());
        without.extend(missing.map(|part| format!("{name}.{}", part["name"])));
    }
    assert_eq!(without, Vec::<String>::new());
}

#[tokio::test]
async fn depth_and_complexity_are_bounded() {
    let rig = Rig::new().await;
    let deep = format!(
        "{{ __schema {{ types {{ fields {{ type {} name {} }} }} }} }}",
        "{ ofType ".repeat(20),
        "}".repeat(20)
    );
    let deep = deep.replace("name }", "{ name } }");
    let fields = |count: usize| {
        let one = |number| format!("w{number}: webhooks {{ id url events isActive }} ");
        format!("{{ {} }}", (0..count).map(one).collect::<String>())
    };
    let changes = |count: usize| {
        let one = |number| format!("d{number}: checkGatewayConnection(id: \"gw_x\") {{ id }} ");
        format!("mutation {{ {} }}", (0..count).map(one).collect::<String>())
    };
    for (query, is_too_much) in
        [(deep, true), (fields(100), false), (fields(200), true), (changes(9), false), (changes(10), true)]
    {
        let refused = rig.execute(&Ok(owner()), &query, json!({})).await.errors;
        let is_refused = refused.iter().any(|error| error.message.contains("too"));
        assert_eq!(is_refused, is_too_much, "{query}: {refused:?}");
    }
}
