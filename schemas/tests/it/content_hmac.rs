//! `Content-HMAC` against fixed values: which header is the signature of which bytes.

use hookline_schemas::notification::{BodyFormat, Field, ReadBodyError, read_fields};
use hookline_schemas::secret::Secret;
use hookline_schemas::signature::ContentKey;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixtures {
    accepted: Vec<Accepted>,
    refused: Vec<Refused>,
    malleable: Malleable,
}

/// A body with both headers, as its sender makes them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Accepted {
    name: String,
    key: String,
    format: Format,
    body: String,
    content_hmac: String,
    x_content_hmac: String,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Format {
    Form,
    Json,
}

/// A header that is not the signature of the body.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    name: String,
    key: String,
    body: String,
    header: String,
}

/// What the signature of one body can be used for, by somebody who decodes that body and sends the text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Malleable {
    key: String,
    honest: String,
    x_content_hmac: String,
    resplit: String,
    decoded: Vec<Decoded>,
}

/// A body and its decoded text, which the second header of the body signs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decoded {
    /// What shows in the text that it is no body.
    name: String,
    honest: String,
    x_content_hmac: String,
    decoded: String,
}

fn fixtures() -> Fixtures {
    serde_json::from_str(include_str!("fixtures/content_hmac.json")).expect("the fixtures are readable")
}

fn key(text: &str) -> ContentKey {
    ContentKey::new(&Secret::new(text))
}

#[test]
fn the_raw_body_verifies_and_signs_as_published() {
    for vector in fixtures().accepted {
        let key = key(&vector.key);
        assert!(key.verifies(vector.body.as_bytes(), vector.content_hmac.as_bytes()), "{}", vector.name);
        assert_eq!(key.sign(vector.body.as_bytes()), vector.content_hmac, "{}", vector.name);
    }
}

#[test]
fn the_signature_of_the_decoded_text_is_none_of_a_form() {
    let (mut different, mut equal) = (0, 0);
    for vector in fixtures().accepted {
        let is_signature = vector.x_content_hmac == vector.content_hmac;
        let verifies = key(&vector.key).verifies(vector.body.as_bytes(), vector.x_content_hmac.as_bytes());
        assert_eq!(verifies, is_signature, "{}", vector.name);
        // What holds no escape is its own decoded text.
        assert!(is_signature || vector.format == Format::Form, "{}", vector.name);
        *if is_signature { &mut equal } else { &mut different } += 1;
    }
    assert!(different >= 15 && equal >= 3, "both kinds are there: {different}, {equal}");
}

#[test]
fn two_spellings_of_one_text_are_two_bodies() {
    let fixtures = fixtures();
    let of = |name: &str| fixtures.accepted.iter().find(|vector| vector.name == name).expect("a vector");
    let (lower, upper) = (of("lower-case hex"), of("upper-case hex"));
    assert_eq!(lower.x_content_hmac, upper.x_content_hmac);
    assert!(!key(&lower.key).verifies(lower.body.as_bytes(), upper.content_hmac.as_bytes()));
}

#[test]
fn the_query_of_a_get_is_signed_without_its_question_mark() {
    let fixtures = fixtures();
    let vector = fixtures.accepted.iter().find(|vector| vector.name.starts_with("the query of a GET"));
    let vector = vector.expect("a vector");
    let (key, header) = (key(&vector.key), vector.content_hmac.as_bytes());
    assert!(key.verifies(vector.body.as_bytes(), header));
    assert!(!key.verifies(format!("?{}", vector.body).as_bytes(), header));
}

#[test]
fn anything_but_canonical_base64_of_the_right_bytes_is_refused() {
    let fixtures = fixtures();
    assert!(fixtures.refused.len() >= 18);
    for vector in fixtures.refused {
        let verifies = key(&vector.key).verifies(vector.body.as_bytes(), vector.header.as_bytes());
        assert!(!verifies, "{}", vector.name);
    }
}

#[test]
fn a_body_split_anew_passes_the_signature_and_is_refused_for_its_repeated_key() {
    let Malleable { key: secret, honest, x_content_hmac, resplit, .. } = fixtures().malleable;
    let key = key(&secret);
    // The attack itself: the header that came with one body signs another one with other borders.
    assert!(key.verifies(resplit.as_bytes(), x_content_hmac.as_bytes()));
    assert!(!key.verifies(honest.as_bytes(), x_content_hmac.as_bytes()));

    let fields = read_fields(BodyFormat::Form, honest.as_bytes()).expect("the honest body is a form");
    assert_eq!(fields.text(Field::Amount), Some("100.00"));
    let refusal = read_fields(BodyFormat::Form, resplit.as_bytes()).map(|_| ());
    assert_eq!(refusal, Err(ReadBodyError::Repeated(Field::Amount)));
}

#[test]
fn a_decoded_body_passes_the_signature_and_is_refused_for_its_alphabet() {
    let Malleable { key: secret, decoded: bodies, .. } = fixtures().malleable;
    let key = key(&secret);
    assert!(bodies.len() >= 5);
    for Decoded { name, honest, x_content_hmac, decoded } in bodies {
        assert!(key.verifies(decoded.as_bytes(), x_content_hmac.as_bytes()), "{name}");
        assert!(read_fields(BodyFormat::Form, honest.as_bytes()).is_ok(), "{name}");
        let refusal = read_fields(BodyFormat::Form, decoded.as_bytes()).map(|_| ());
        assert_eq!(refusal, Err(ReadBodyError::Alphabet), "{name}");
    }
}
