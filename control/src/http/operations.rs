//! From a body to the operations in it: bounded bytes, one object or an array of them; and what is known of an operation
//! before the schema sees it.

use std::collections::HashMap;
use std::slice;

use async_graphql::parser::types::{
    DocumentOperations, FragmentDefinition, OperationDefinition, OperationType, Selection, SelectionSet,
};
use async_graphql::{Name, Positioned, Request};
use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::refusal::Refusal;

/// A body may be this long.
const MAX_BODY: usize = 256 * 1024;

/// Fields of a document, at all depths. The introspection of GraphiQL has some hundred.
const MAX_FIELDS: usize = 10_000;

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
    let mut requests = if is_batch { parse_json::<Vec<Request>>(body)? } else { vec![parse_json(body)?] };
    match requests.len() {
        1..=MAX_BATCH if requests.iter_mut().any(is_too_large) => Err(Refusal::Malformed(format!(
            "the document comes to more than {MAX_FIELDS} fields, with all its fragments"
        ))),
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

/// What it costs: as many operations as it has fields at its root, each of which is one to carry out. Fields that
/// stand there by a fragment count, and count as often as they do.
pub(super) fn cost(request: &mut Request) -> usize {
    let Ok(document) = request.parsed_query() else { return 1 };
    let mut fields = Fields { fragments: &document.fragments, known: HashMap::new(), at_all_depths: false };
    // One of them is carried out.
    let operations = document.operations.iter().map(|(_, operation)| &operation.node.selection_set.node);
    operations.map(|root| fields.of(root)).max().unwrap_or_default().max(1)
}

/// What a batch costs.
pub(super) fn cost_of_all(requests: &mut [Request]) -> usize {
    requests.iter_mut().map(cost).fold(0, usize::saturating_add)
}

/// Whether it comes to more fields, at all depths, than are looked at. A few fragments that spread each other twice come to
/// millions, and the library walks through all of them, on the thread that it is asked on.
pub(super) fn is_too_large(request: &mut Request) -> bool {
    let Ok(document) = request.parsed_query() else { return false };
    let mut fields = Fields { fragments: &document.fragments, known: HashMap::new(), at_all_depths: true };
    let operations = document.operations.iter().map(|(_, operation)| &operation.node.selection_set.node);
    operations.map(|root| fields.of(root)).fold(0, usize::saturating_add) > MAX_FIELDS
}

/// Counts the fields that selections come to once every fragment stands where it is spread.
struct Fields<'d> {
    fragments: &'d HashMap<Name, Positioned<FragmentDefinition>>,
    /// Those of a fragment, once they are counted: a few fragments that spread each other may come to more than could
    /// be counted one by one.
    known: HashMap<&'d Name, usize>,
    /// Fields in fields as well.
    at_all_depths: bool,
}

/// A selection whose fields are being counted.
struct Open<'d> {
    fragment: Option<&'d Name>,
    items: slice::Iter<'d, Positioned<Selection>>,
    count: usize,
}

impl<'d> Open<'d> {
    fn new(fragment: Option<&'d Name>, set: &'d SelectionSet) -> Self {
        Self { fragment, items: set.items.iter(), count: 0 }
    }

    const fn add(&mut self, count: usize) {
        self.count = self.count.saturating_add(count);
    }
}

impl<'d> Fields<'d> {
    /// Those of this selection. It keeps a stack of its own, as a chain of fragments may be longer than a thread's is
    /// deep.
    fn of(&mut self, root: &'d SelectionSet) -> usize {
        let mut outer = Vec::new();
        let mut open = Open::new(None, root);
        loop {
            let inner = match open.items.next().map(|item| &item.node) {
                Some(Selection::Field(field)) => {
                    open.add(1);
                    self.at_all_depths.then(|| Open::new(None, &field.node.selection_set.node))
                }
                Some(Selection::InlineFragment(inline)) => {
                    Some(Open::new(None, &inline.node.selection_set.node))
                }
                Some(Selection::FragmentSpread(spread)) => {
                    match self.unknown(&spread.node.fragment_name.node) {
                        Ok(inner) => Some(inner),
                        Err(count) => {
                            open.add(count);
                            None
                        }
                    }
                }
                None => {
                    let Open { fragment, count, .. } = open;
                    self.known.extend(fragment.map(|name| (name, count)));
                    let Some(next) = outer.pop() else { return count };
                    open = next;
                    open.add(count);
                    None
                }
            };
            if let Some(inner) = inner {
                outer.push(std::mem::replace(&mut open, inner));
            }
        }
    }

    /// A fragment that has to be counted yet; or else how many fields it has.
    fn unknown(&mut self, name: &'d Name) -> Result<Open<'d>, usize> {
        if let Some(count) = self.known.get(name) {
            return Err(*count);
        }
        let fragment = self.fragments.get(name).ok_or(1_usize)?;
        // What it counts for inside of itself. The schema refuses that, so it need not be right, but it has to end.
        self.known.insert(name, 1);
        Ok(Open::new(Some(name), &fragment.node.selection_set.node))
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
    is_meant(request, |operation| operation.ty != OperationType::Subscription)
}

/// Whether what would be carried out is a subscription with anything else at its root than one field. The
/// specification forbids it, and the library would open a stream for each of the fields.
pub(super) fn is_wide_subscription(request: &mut Request) -> bool {
    is_meant(request, |operation| {
        let is_narrow = matches!(
            operation.selection_set.node.items.as_slice(),
            [Positioned { node: Selection::Field(_), .. }]
        );
        operation.ty == OperationType::Subscription && !is_narrow
    })
}

/// Whether the operation that would be carried out is such a one; where the name of one is missing, whether any is.
fn is_meant(request: &mut Request, is_such: impl Fn(&OperationDefinition) -> bool) -> bool {
    let named = request.operation_name.clone();
    let Ok(document) = request.parsed_query() else { return false };
    match (&document.operations, named) {
        (DocumentOperations::Single(operation), _) => is_such(&operation.node),
        (DocumentOperations::Multiple(operations), Some(name)) => {
            operations.get(name.as_str()).is_some_and(|operation| is_such(&operation.node))
        }
        (DocumentOperations::Multiple(operations), None) => {
            operations.values().any(|operation| is_such(&operation.node))
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
            ("query { ...F } fragment F on Query { a: payment(id: 1) { id } b: payment(id: 2) { id } }", 2),
            ("{ ... { a ... on Query { b c } } d }", 4),
            ("{ ...F ...F e } fragment F on Query { a ...G } fragment G on Query { b c }", 7),
            ("{ ...F ...G } fragment F on Query { a ...G } fragment G on Query { b ...F }", 5),
            ("{ ...F } fragment F on Query { ...F }", 1),
            ("{ a ...Missing }", 2),
            ("query A { ...F } query B { ...F b } fragment F on Query { a { x y z } }", 2),
        ] {
            assert_eq!(cost(&mut Request::new(query)), expected, "{query}");
        }
    }

    #[test]
    fn fragments_are_counted_however_they_spread_each_other() {
        // Each spreads the next ten times.
        let spreads = |number: usize| format!("...F{number} ").repeat(10);
        let many =
            (0..30).map(|number| format!("fragment F{number} on Query {{ {} }} ", spreads(number + 1)));
        let many = format!("{{ ...F0 }} {}fragment F30 on Query {{ a }}", many.collect::<String>());
        assert_eq!(cost(&mut Request::new(many.clone())), usize::MAX);
        assert_eq!(cost_of_all(&mut [Request::new("{ a }"), Request::new(many)]), usize::MAX);
        let deep = (1..9_000).map(|number| format!("fragment F{number} on Q{{...F{}}}", number + 1));
        let deep = format!("{{...F1}}{}fragment F9000 on Q{{a b}}", deep.collect::<String>());
        assert!(deep.len() <= MAX_BODY);
        assert_eq!(cost(&mut Request::new(deep)), 2);
    }

    #[test]
    fn documents_that_come_to_too_much_are_told_before_anybody_walks_through_them() {
        let doubling = |levels: usize| {
            let level = |number: usize| {
                format!("fragment F{number} on Q {{ ...F{next} ...F{next} }} ", next = number + 1)
            };
            let levels_of = (0..levels).map(level).collect::<String>();
            format!("{{ a {{ ...F0 }} }} {levels_of} fragment F{levels} on Q {{ x }}")
        };
        for (query, expected) in [
            ("{ a }".to_owned(), false),
            ("{".to_owned(), false),
            (doubling(10), false),
            (doubling(14), true),
            (doubling(60), true),
            (format!("{{ {} }}", "a { b } ".repeat(4_999)), false),
            (format!("{{ {} }}", "a { b } ".repeat(5_001)), true),
        ] {
            assert_eq!(is_too_large(&mut Request::new(query.clone())), expected, "{}", query.len());
        }
    }

    #[test]
    fn a_subscription_has_one_field_at_its_root() {
        let both = "subscription A { a } subscription B { a b }";
        for (query, named, expected) in [
            ("subscription { a }", None, false),
            ("subscription { a { b c ...F } } fragment F on A { d }", None, false),
            ("subscription { a b }", None, true),
            ("subscription { a: x b: x }", Some("A"), true),
            ("subscription { ...F } fragment F on Subscription { a }", None, true),
            ("subscription { ... { a } }", None, true),
            ("subscription { a ...F } fragment F on Subscription { a }", None, true),
            (both, Some("A"), false),
            (both, Some("B"), true),
            (both, Some("C"), false),
            (both, None, true),
            ("{ a b }", None, false),
            ("mutation { a b }", None, false),
            ("subscription {", None, false),
        ] {
            let mut request = Request::new(query);
            request.operation_name = named.map(str::to_owned);
            assert_eq!(is_wide_subscription(&mut request), expected, "{query} {named:?}");
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
