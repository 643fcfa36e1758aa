//! The contract from outside: what the fixtures hold must be read, signed, rendered and described exactly so.
//!
//! The fixtures are data: bodies, headers and expected payloads. Their signatures and ids were computed apart
//! from this code; a test that compares with them compares two implementations.

mod content_hmac;
mod json_schema;
mod notifications;
mod properties;
mod samples;
mod standard_webhooks;
