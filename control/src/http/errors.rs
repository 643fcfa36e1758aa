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
        None if extensions.get("code").is_none() => extensions.set("code", NOT_OURS),
        None => {}
    }
    extensions.set("timestamp", now);
    error.extensions = Some(extensions);
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

/// The whole body of an answer to what was never executed.
pub(super) fn body(message: &str, code: &str, now: Timestamp) -> Value {
    let extensions = json!({ "code": code, "timestamp": now.to_rfc3339() });
    json!({ "data": null, "errors": [{ "message": message, "extensions": extensions }] })
}
