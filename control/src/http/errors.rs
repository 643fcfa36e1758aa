//! Errors as callers see them: each with a code and a time, whoever found it.

use async_graphql::{ErrorExtensionValues, Response, ServerError};
use hookline_schemas::time::Timestamp;
use serde_json::{Value, json};

use crate::error::ApiError;

/// What no resolver said: the text is not GraphQL, or not of the schema, or too deep.
const NOT_OURS: &str = "INVALID_INPUT";

/// Gives every error its extensions.
pub(super) fn complete(response: &mut Response, now: Timestamp) {
    let now = now.to_rfc3339();
    response.errors.iter_mut().for_each(|error| complete_one(error, &now));
}

fn complete_one(error: &mut ServerError, now: &str) {
    let mut extensions = error.extensions.take().unwrap_or_default();
    match error.source::<ApiError>() {
        Some(ours) => describe(ours, &mut extensions),
        None => {
            error.message = without_texts(&error.message);
            extensions.set("code", NOT_OURS);
        }
    }
    extensions.set("timestamp", now);
    error.extensions = Some(extensions);
}

/// What the library says, without what it repeats of the request: a line of the query, or a value, may hold a secret.
fn without_texts(message: &str) -> String {
    // A syntax error shows the line and points into it; where it is stands in `locations`.
    if message.trim_start().starts_with("-->") {
        return "the query is not GraphQL: syntax error".to_owned();
    }
    match message.split_once(", found ") {
        Some((expected, _)) => format!("{expected}, found something else"),
        None => message.to_owned(),
    }
}

fn describe(error: &ApiError, extensions: &mut ErrorExtensionValues) {
    extensions.set("code", error.code());
    if let Some(field) = error.field() {
        extensions.set("field", field);
    }
    if let Some(details) = error.details() {
        extensions.set("details", details);
    }
}

/// One error of what was never executed.
pub(super) fn error(message: &str, code: &str, now: Timestamp) -> Value {
    json!({ "message": message, "extensions": { "code": code, "timestamp": now.to_rfc3339() } })
}

/// The whole body of an answer to what was never executed.
pub(super) fn body(message: &str, code: &str, now: Timestamp) -> Value {
    json!({ "data": null, "errors": [error(message, code, now)] })
}

#[cfg(test)]
mod tests {
    use async_graphql::{EmptyMutation, EmptySubscription, Object, Schema};

    use super::*;

    struct Query;

    #[Object]
    impl Query {
        async fn twice(&self, number: i32) -> i32 {
            number * 2
        }
    }

    #[tokio::test]
    async fn what_stood_in_the_request_is_not_repeated() {
        let schema = Schema::new(Query, EmptyMutation, EmptySubscription);
        for query in [
            "{ twice(number: \"s3cret\"",
            "{ twice(number: \"s3cret\") }",
            "{ twice(number: \"s3cret\" }",
            "query($number: Int! = \"s3cret\") { twice(number: $number) }",
            "{ twice(number: [\"s3cret\"]) }",
        ] {
            let mut response = schema.execute(query).await;
            complete(&mut response, Timestamp(0));
            let said = serde_json::to_string(&response).expect("JSON");
            assert!(!response.errors.is_empty() && !said.contains("s3cret"), "{query}: {said}");
        }
    }
}
