//! From a body to the operations in it: bounded bytes, one object or an array of them.

use async_graphql::Request;
use async_graphql::parser::types::{DocumentOperations, OperationDefinition, OperationType};
use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::refusal::Refusal;

/// A body may be this long.
const MAX_BODY: usize = 256 * 1024;

/// Operations in one request.
const MAX_BATCH: usize = 10;

/// The operations of one request, in order.
#[derive(Debug)]
pub(super) struct Operations {
    pub(super) requests: Vec<Request>,
    /// An array came, so an array goes back, also of one.
    pub(super) is_batch: bool,
}

/// Reads the whole body.
pub(super) async fn read(body: Body) -> Result<Bytes, Refusal> {
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::TooLarge),
        Err(_) => Err(Refusal::BrokenBody),
    }
}

/// What is asked for.
pub(super) fn parse(body: &[u8]) -> Result<Operations, Refusal> {
    let is_batch = body.trim_ascii_start().starts_with(b"[");
    let requests = if is_batch { parse_json::<Vec<Request>>(body)? } else { vec![parse_json(body)?] };
    match requests.len() {
        1..=MAX_BATCH => Ok(Operations { requests, is_batch }),
        0 => Err(Refusal::Malformed("the batch is empty".to_owned())),
        count => Err(Refusal::Malformed(format!("the batch holds {count} operations: {MAX_BATCH} at most"))),
    }
}

fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| {
        // Its own words may repeat a value, and that may be a secret.
        let (line, column) = (error.line(), error.column());
        Refusal::Malformed(format!(
            "the body is no GraphQL operation in JSON, nor an array of them: line {line}, column {column}"
        ))
    })
}

/// What it costs: an operation, or as many as it has fields at its root, each of which is one to carry out.
pub(super) fn cost(request: &mut Request) -> usize {
    let Ok(document) = request.parsed_query() else { return 1 };
    let fields = |operation: &OperationDefinition| operation.selection_set.node.items.len().max(1);
    match &document.operations {
        DocumentOperations::Single(operation) => fields(&operation.node),
        // One of them is carried out.
        DocumentOperations::Multiple(operations) => {
            operations.values().map(|operation| fields(&operation.node)).max().unwrap_or(1)
        }
    }
}

/// Whether it may change something. What can't be read changes nothing.
pub(super) fn may_change(request: &mut Request) -> bool {
    let Ok(document) = request.parsed_query() else { return false };
    match &document.operations {
        DocumentOperations::Single(operation) => operation.node.ty == OperationType::Mutation,
        DocumentOperations::Multiple(operations) => {
            operations.values().any(|operation| operation.node.ty == OperationType::Mutation)
        }
    }
}

/// Whether what would be carried out is a query or a mutation. What can't be read, or does not say which operation is
/// meant, is carried out by nobody.
pub(super) fn is_no_subscription(request: &mut Request) -> bool {
    let named = request.operation_name.clone();
    let Ok(document) = request.parsed_query() else { return false };
    let is_other = |operation: &OperationDefinition| operation.ty != OperationType::Subscription;
    match (&document.operations, named) {
        (DocumentOperations::Single(operation), _) => is_other(&operation.node),
        (DocumentOperations::Multiple(operations), Some(name)) => {
            operations.get(name.as_str()).is_some_and(|operation| is_other(&operation.node))
        }
        (DocumentOperations::Multiple(operations), None) => {
            operations.values().any(|operation| is_other(&operation.node))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_operation_or_up_to_ten_are_understood() {
        let one = r#"{"query":"{ a }"}"#;
        let batch = |count: usize| format!(" [{}]", vec![one; count].join(","));
        for (body, expected) in [
            (one.to_owned(), Ok((1, false))),
            (
                r#"{"query":"{ a }","variables":{"x":1},"operationName":null,"extensions":{}}"#.to_owned(),
                Ok((1, false)),
            ),
            (batch(1), Ok((1, true))),
            (batch(10), Ok((10, true))),
            (batch(11), Err("11 operations")),
            (batch(0), Err("empty")),
            (String::new(), Err("no GraphQL operation")),
            ("{".to_owned(), Err("no GraphQL operation")),
            ("[{]".to_owned(), Err("no GraphQL operation")),
            ("null".to_owned(), Err("no GraphQL operation")),
            (r#"{"query":7}"#.to_owned(), Err("no GraphQL operation")),
            (format!("{one}{one}"), Err("no GraphQL operation")),
        ] {
            let parsed = parse(body.as_bytes()).map(|parsed| (parsed.requests.len(), parsed.is_batch));
            match (parsed, expected) {
                (Err(Refusal::Malformed(problem)), Err(part)) => {
                    assert!(problem.contains(part), "{body}: {problem}")
                }
                (parsed, expected) => assert_eq!(parsed.ok(), expected.ok(), "{body}"),
            }
        }
    }

    #[test]
    fn a_body_that_is_not_understood_is_not_repeated() {
        for body in [
            r#"{"query":"{ a }","variables":"{\"apiSecret\":\"s3cret\"}"}"#,
            r#"{"query":["s3cret"]}"#,
            r#"{"query":"{ a }"} s3cret"#,
        ] {
            let refused = parse(body.as_bytes()).expect_err(body);
            assert!(!format!("{refused:?}").contains("s3cret"), "{refused:?}");
        }
    }

    #[test]
    fn every_field_at_the_root_is_paid_for() {
        for (query, expected) in [
            ("{ a }", 1),
            ("{ a { b c } }", 1),
            ("mutation { a: x b: x c: x }", 3),
            ("query A { a b } query B { c }", 2),
            ("{", 1),
        ] {
            assert_eq!(cost(&mut Request::new(query)), expected, "{query}");
        }
    }

    #[test]
    fn what_may_change_something_is_known_beforehand() {
        for (query, expected) in [
            ("{ a }", false),
            ("query { mutation }", false),
            ("mutation { a }", true),
            ("query A { a } mutation B { b }", true),
            ("subscription { a }", false),
            ("mutation {", false),
        ] {
            assert_eq!(may_change(&mut Request::new(query)), expected, "{query}");
        }
    }

    #[test]
    fn what_is_carried_out_is_known_to_be_a_subscription_or_not() {
        let both = "query A { a } subscription B { b }";
        for (query, named, expected) in [
            ("subscription { a }", None, false),
            ("subscription A { a }", None, false),
            ("subscription A { a }", Some("A"), false),
            ("{ a }", None, true),
            ("query A { a }", Some("A"), true),
            ("mutation { a }", None, true),
            (both, Some("A"), true),
            (both, Some("B"), false),
            (both, None, true),
            (both, Some("C"), false),
            ("{", None, false),
        ] {
            let mut request = Request::new(query);
            request.operation_name = named.map(str::to_owned);
            assert_eq!(is_no_subscription(&mut request), expected, "{query} {named:?}");
        }
    }
}
