//! What is answered, and how errors look.

use std::time::Duration;

use hookline_schemas::time::Timestamp;
use http::{HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::stage::{Stage, Told};

const NEW: Duration = Duration::ZERO;

/// As IZI prints it: data, a message, a code and a time, here within the last minute.
fn is_an_error_of_ours(told: &Told, stage: &Stage, code: &str) {
    assert_eq!(told.code(), code, "{told:?}");
    assert_eq!(told.body.get("data"), Some(&Value::Null), "{told:?}");
    assert!(told.body.pointer("/errors/0/message").is_some_and(Value::is_string), "{told:?}");
    let at = told.body.pointer("/errors/0/extensions/timestamp").and_then(Value::as_str).expect("a time");
    let at = Timestamp::parse_rfc3339(at).expect("RFC 3339");
    assert!(stage.clock.wall().since(at) < Duration::from_secs(60), "{told:?}");
    for name in ["limit", "remaining", "reset", "cost"] {
        told.number(&format!("x-ratelimit-{name}"));
    }
    assert_eq!(told.headers.get(header::CONTENT_TYPE), Some(&HeaderValue::from_static("application/json")));
}

#[tokio::test]
async fn an_operation_is_done_for_who_asks() {
    let stage = Stage::new().await;
    let token = stage.token("user_1", NEW);
    let told = stage.ask(Some(&token), "{ subject }").await;
    assert_eq!((told.status, told.body), (StatusCode::OK, json!({ "data": { "subject": "user_1" } })));
    let named = json!({
        "query": "query A { subject } query B($deep: Boolean!) { deeper @include(if: $deep) { subject } }",
        "operationName": "B", "variables": { "deep": true },
    });
    let told = stage.post(Some(&token), &named).await;
    assert_eq!(told.body, json!({ "data": { "deeper": { "subject": "user_1" } } }));
}

#[tokio::test]
async fn what_is_wrong_with_a_token_is_said_at_the_field_that_needed_it() {
    let stage = Stage::new().await;
    let old = stage.token("user_1", Duration::from_secs(3600));
    let forged = format!("{}x", stage.token("user_1", NEW));
    for (token, code) in
        [(None, "UNAUTHENTICATED"), (Some(&old), "TOKEN_EXPIRED"), (Some(&forged), "TOKEN_INVALID")]
    {
        let told = stage.ask(token.map(String::as_str), "{\n  subject\n}").await;
        assert_eq!(told.status, StatusCode::OK);
        is_an_error_of_ours(&told, &stage, code);
        assert_eq!(told.body.pointer("/errors/0/path"), Some(&json!(["subject"])), "{told:?}");
        assert_eq!(told.body.pointer("/errors/0/locations"), Some(&json!([{ "line": 2, "column": 3 }])));
        assert_eq!(
            told.body.pointer("/errors/0/message").and_then(Value::as_str).map(|text| text.len() > 10),
            Some(true)
        );
    }
    let mut request = stage.request(None, r#"{"query":"{ subject }"}"#);
    request.headers_mut().insert(header::AUTHORIZATION, HeaderValue::from_static("Basic dXNlcjpwYXNz"));
    is_an_error_of_ours(&stage.send(request).await, &stage, "TOKEN_INVALID");
}

#[tokio::test]
async fn the_schema_is_shown_to_everybody() {
    let stage = Stage::new().await;
    let told =
        stage.ask(None, r#"{ __type(name: "Query") { name } __schema { mutationType { name } } }"#).await;
    assert_eq!(told.body.pointer("/data/__type/name"), Some(&json!("Query")), "{told:?}");
    assert!(told.body.get("errors").is_none(), "{told:?}");
}

#[tokio::test]
async fn errors_of_resolvers_keep_their_field_and_details() {
    let stage = Stage::new().await;
    let told = stage.ask(None, "{ refused }").await;
    is_an_error_of_ours(&told, &stage, "VALIDATION_ERROR");
    let extensions = told.body.pointer("/errors/0/extensions").expect("extensions");
    assert_eq!(extensions.get("field"), Some(&json!("amount")));
    assert_eq!(extensions.get("details"), Some(&json!("is not positive")));

    let told = stage.ask(None, "{ deeper { missing } }").await;
    assert_eq!((told.code(), told.body.get("data")), ("NOT_FOUND", Some(&json!({ "deeper": null }))));
    assert_eq!(told.body.pointer("/errors/0/path"), Some(&json!(["deeper", "missing"])));
    assert_eq!(told.body.pointer("/errors/0/message"), Some(&json!("there is no such webhook")));
    assert!(told.body.pointer("/errors/0/extensions/field").is_none());
}

#[tokio::test]
async fn what_the_schema_does_not_know_is_invalid_input() {
    let stage = Stage::new().await;
    let deep =
        format!("{}missing{}", "{ deeper ".repeat(6), " }".repeat(6)).replacen("missing", "{ missing }", 1);
    let wide = format!("{{ {} }}", (0..30).map(|number| format!("a{number}: refused ")).collect::<String>());
    for query in ["{", "{ colour }", "", "query($x: Int!) { subject }", &deep, &wide] {
        let told = stage.ask(None, query).await;
        assert_eq!(told.status, StatusCode::OK, "{query}");
        is_an_error_of_ours(&told, &stage, "INVALID_INPUT");
    }
}

#[tokio::test]
async fn a_batch_is_answered_in_order() {
    let stage = Stage::new().await;
    let token = stage.token("user_1", NEW);
    let batch = json!([{ "query": "{ subject }" }, { "query": "{ missing }" }, { "query": "{ deeper { subject } }" }]);
    let told = stage.post(Some(&token), &batch).await;
    assert_eq!(told.status, StatusCode::OK);
    assert_eq!(told.body.pointer("/0"), Some(&json!({ "data": { "subject": "user_1" } })));
    assert_eq!(told.body.pointer("/1/errors/0/extensions/code"), Some(&json!("NOT_FOUND")));
    assert_eq!(told.body.pointer("/2/data/deeper/subject"), Some(&json!("user_1")));
    assert_eq!(told.number("x-ratelimit-cost"), 3);

    let ten = stage.post(None, &json!(vec![json!({ "query": "{ __typename }" }); 10])).await;
    assert_eq!(ten.body.as_array().map(Vec::len), Some(10));
    let one = stage.post(None, &json!([{ "query": "{ __typename }" }])).await;
    assert_eq!(one.body, json!([{ "data": { "__typename": "Query" } }]));
    for body in [json!([]), json!(vec![json!({ "query": "{ __typename }" }); 11]), json!("query"), json!([7])]
    {
        let told = stage.post(None, &body).await;
        assert_eq!(told.status, StatusCode::OK, "{body}");
        is_an_error_of_ours(&told, &stage, "INVALID_INPUT");
        assert_eq!(told.number("x-ratelimit-cost"), 1);
    }
    is_an_error_of_ours(&stage.send(stage.request(None, "{ subject }")).await, &stage, "INVALID_INPUT");
}

#[tokio::test]
async fn what_is_no_operation_gets_its_status() {
    let stage = Stage::new().await;
    let body = r#"{"query":"{ __typename }"}"#;
    for (method, path, content_type, body, status, code) in [
        (
            Method::GET,
            "/graphql",
            Some("application/json"),
            "",
            StatusCode::METHOD_NOT_ALLOWED,
            "INVALID_INPUT",
        ),
        (
            Method::DELETE,
            "/graphql",
            Some("application/json"),
            "",
            StatusCode::METHOD_NOT_ALLOWED,
            "INVALID_INPUT",
        ),
        (Method::POST, "/graphq", Some("application/json"), body, StatusCode::NOT_FOUND, "NOT_FOUND"),
        (Method::POST, "/", Some("application/json"), body, StatusCode::NOT_FOUND, "NOT_FOUND"),
        (
            Method::POST,
            "/graphql",
            Some("text/plain"),
            body,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "INVALID_INPUT",
        ),
        (
            Method::POST,
            "/graphql",
            Some("application/jsonp"),
            body,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "INVALID_INPUT",
        ),
        (Method::POST, "/graphql", None, body, StatusCode::UNSUPPORTED_MEDIA_TYPE, "INVALID_INPUT"),
    ] {
        let case = format!("{method} {path} {content_type:?}");
        let mut request = stage.request(None, body);
        *request.method_mut() = method;
        *request.uri_mut() = format!("http://{}{path}", stage.address).parse().expect("a URL");
        request.headers_mut().remove(header::CONTENT_TYPE);
        if let Some(content_type) = content_type {
            request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        let told = stage.send(request).await;
        assert_eq!(told.status, status, "{case}");
        is_an_error_of_ours(&told, &stage, code);
        let allows = told.headers.get(header::ALLOW);
        assert_eq!(allows.is_some(), status == StatusCode::METHOD_NOT_ALLOWED, "{case}");
    }
}

#[tokio::test]
async fn a_body_may_have_256_kib() {
    let stage = Stage::new().await;
    let padded = |length: usize| {
        let body = r#"{"query":"{ __typename }"}"#;
        format!("{}{body}", " ".repeat(length - body.len()))
    };
    let told = stage.send(stage.request(None, padded(256 * 1024))).await;
    assert_eq!((told.status, told.body.get("errors")), (StatusCode::OK, None));
    let told = stage.send(stage.request(None, padded(256 * 1024 + 1))).await;
    assert_eq!(told.status, StatusCode::PAYLOAD_TOO_LARGE);
    is_an_error_of_ours(&told, &stage, "INVALID_INPUT");
}

#[tokio::test]
async fn only_the_active_one_answers() {
    let stage = Stage::new().await;
    stage.is_ready(false);
    let told = stage.ask(Some(&stage.token("user_1", NEW)), "{ subject }").await;
    assert_eq!((told.status, told.number("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, 1));
    is_an_error_of_ours(&told, &stage, "SERVICE_UNAVAILABLE");
    stage.is_ready(true);
    assert_eq!(stage.ask(None, "{ __typename }").await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_takes_too_long_is_unknown_only_if_it_may_have_changed_something() {
    let stage = Stage::with(100, Duration::from_millis(300)).await;
    for (query, code) in [("{ never }", "SERVICE_UNAVAILABLE"), ("mutation { neverEnds }", "OUTCOME_UNKNOWN")]
    {
        let told = stage.ask(None, query).await;
        assert_eq!(
            (told.status, told.number("retry-after")),
            (StatusCode::SERVICE_UNAVAILABLE, 1),
            "{query}"
        );
        is_an_error_of_ours(&told, &stage, code);
    }
    // A body that never comes: the connection ends behind the answer.
    let mut slow = TcpStream::connect(stage.address).await.expect("a connection");
    let head =
        "POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 30\r\n\r\n{";
    slow.write_all(head.as_bytes()).await.expect("sent");
    let mut told = String::new();
    slow.read_to_string(&mut told).await.expect("an answer and the end");
    assert!(told.starts_with("HTTP/1.1 503") && told.contains("SERVICE_UNAVAILABLE"), "{told}");
}

#[tokio::test]
async fn what_is_in_flight_at_the_end_is_answered() {
    let stage = Stage::new().await;
    let idle = TcpStream::connect(stage.address).await.expect("a connection");
    let stopping = async {
        stage.entered().await;
        stage.shutdown.cancel();
        // Nobody new comes in; who is in gets his answer.
        while TcpStream::connect(stage.address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!stage.end.is_cancelled(), "somebody is in");
        stage.open();
    };
    let (told, ()) = tokio::join!(stage.ask(None, "{ waits }"), stopping);
    assert_eq!(told.body, json!({ "data": { "waits": true } }));
    stage.ended().await;
    drop(idle);
}
