//! Check over the wire, from a directory file: the codes, their order, and what a payment changes.

use hookline_schemas::gateway::Acceptance;
use hookline_schemas::notification::NotificationType::{Check, Confirm, Fail, Pay};

use crate::client::{Post, typed_url};
use crate::harness::{ACCEPTED, DIRECTORY, Edge, Setup, gateway};
use crate::notifications::{Pairs, check, confirm, fail, pay};

const USER: &str = "user+1@example.com";

/// A directory with one top-up for each rule; in `i-all` several of them are broken at once.
const EVERY_RULE: &str = r#"
{"client": {"organization": "org_club", "client_id": "user+1@example.com"}}
{"client": {"organization": "org_club", "client_id": "blocked", "blocked": true}}
{"client": {"organization": "org_other", "client_id": "of another organization"}}
{"top_up": {"gateway": "gw_club", "invoice_id": "i-1", "amount": "100.00", "currency": "RUB", "client_id": "user+1@example.com"}}
{"top_up": {"gateway": "gw_club", "invoice_id": "i-named", "amount": "100.00", "currency": "RUB", "client_id": "named by a top-up"}}
{"top_up": {"gateway": "gw_club", "invoice_id": "i-paid", "amount": "100.00", "currency": "RUB", "paid": true}}
{"top_up": {"gateway": "gw_club", "invoice_id": "i-late", "amount": "100.00", "currency": "RUB", "expires_at": "2020-01-01T00:00:00Z"}}
{"top_up": {"gateway": "gw_club", "invoice_id": "i-early", "amount": "100.00", "currency": "RUB", "expires_at": "2120-01-01T00:00:00Z"}}
{"top_up": {"gateway": "gw_club", "invoice_id": "i-all", "amount": "1.00", "currency": "RUB", "expires_at": "2020-01-01T00:00:00Z", "paid": true}}
{"top_up": {"gateway": "gw_club", "invoice_id": "i-of-blocked", "amount": "100.00", "currency": "RUB", "client_id": "blocked"}}
{"top_up": {"gateway": "gw_other", "invoice_id": "i-of-other", "amount": "100.00", "currency": "RUB"}}
"#;

fn of(account: &str, invoice: &str) -> Pairs {
    check().with("AccountId", account).with("InvoiceId", invoice)
}

async fn assert_code<L: hookline_event_log::Log>(edge: &Edge<L>, pairs: &Pairs, code: u8) {
    let answer = edge.post(&Post::notification(Check, pairs)).await;
    assert_eq!(answer.parts(), (200, format!("{{\"code\":{code}}}").as_str()), "{pairs:?}");
}

#[tokio::test]
async fn the_first_rule_that_matches_gives_the_code() {
    let edge = Edge::start(Setup { directory: EVERY_RULE.to_owned(), ..Setup::default() }).await;
    let test = |pairs: Pairs| pairs.with("TestMode", "1");
    let rows = [
        (of(USER, "i-1"), 0),
        (of(USER, "i-early"), 0),
        (of("named by a top-up", "i-named"), 0),
        (of(USER, "i-1").with("Amount", "100.0"), 0),
        (of(USER, "i-1").with("PaymentAmount", "1.00").with("PaymentCurrency", "USD"), 0),
        // 13: the payer is blocked, or it is a test; before anything else is asked.
        (of("blocked", "nobody's"), 13),
        (test(of("nobody", "nobody's")), 13),
        (test(of(USER, "i-1")), 13),
        (of(USER, "i-1").with("TestMode", "perhaps"), 13),
        (of("", "i-of-blocked"), 13),
        // 11: the client, before the invoice.
        (of("nobody", "nobody's"), 11),
        (of("nobody", "i-1"), 11),
        (of("of another organization", "i-1"), 11),
        (of("", "i-1"), 11),
        (of(USER, "i-named"), 11),
        // 10: the invoice, before all that a top-up says.
        (of(USER, "nobody's").with("Amount", "1.00"), 10),
        (of(USER, "i-of-other"), 10),
        (of(USER, ""), 10),
        // 13: paid already, before expired and the sum.
        (of(USER, "i-paid"), 13),
        (of(USER, "i-all"), 13),
        // 20: expired, before the sum.
        (of(USER, "i-late"), 20),
        (of(USER, "i-late").with("Amount", "1.00"), 20),
        // 12: another sum or currency.
        (of(USER, "i-1").with("Amount", "100.01"), 12),
        (of(USER, "i-1").with("Amount", "10000"), 12),
        (of(USER, "i-1").with("Currency", "KZT"), 12),
    ];
    for (pairs, code) in &rows {
        assert_code(&edge, pairs, *code).await;
    }
    for code in [0, 10, 11, 12, 13, 20] {
        let expected = rows.iter().filter(|(_, expected)| *expected == code).count() as u64;
        assert_eq!(edge.counter(&format!("hookline_ingest_checks_total{{code=\"{code}\"}}")), expected);
    }
    edge.assert_nothing_appended().await;
}

#[tokio::test]
async fn a_gateway_knows_the_clients_and_top_ups_of_its_own_organization() {
    let edge = Edge::start(Setup { directory: EVERY_RULE.to_owned(), ..Setup::default() }).await;
    for (pairs, code) in [
        (of("of another organization", "i-of-other"), 0),
        (of("of another organization", "i-1"), 10),
        (of(USER, "i-of-other"), 11),
    ] {
        let post = Post::form(&typed_url("gw_other", Check), pairs.form()).signed("secret of other");
        let expected = format!("{{\"code\":{code}}}");
        assert_eq!(edge.post(&post).await.parts(), (200, expected.as_str()), "{pairs:?}");
    }
}

#[tokio::test]
async fn a_paused_gateway_approves_nothing_and_takes_everything_else() {
    let mut setup = Setup::default();
    for gateway in &mut setup.gateways {
        gateway.policy.paused = true;
    }
    let edge = Edge::start(setup).await;
    assert_code(&edge, &check(), 13).await;
    edge.assert_goes_on().await;
}

#[tokio::test]
async fn what_a_gateway_does_not_know_passes_where_it_says_so() {
    let mut setup = Setup::default();
    let mut lenient = gateway("lenient");
    lenient.policy.test_payments = Acceptance::Accept;
    lenient.policy.unknown_clients = Acceptance::Accept;
    lenient.policy.unknown_invoices = Acceptance::Accept;
    lenient.policy.max_amount = "500.00".parse().ok();
    setup.gateways.push(lenient);
    let edge = Edge::start(setup).await;
    let stranger = of("nobody", "nobody's").with("TestMode", "1");
    for (pairs, code) in [
        (stranger.clone(), 0),
        (stranger.clone().with("Amount", "500.01"), 12),
        (stranger.with("InvoiceId", ""), 10),
    ] {
        let post = Post::form(&typed_url("gw_lenient", Check), pairs.form()).signed("secret of lenient");
        let expected = format!("{{\"code\":{code}}}");
        assert_eq!(edge.post(&post).await.parts(), (200, expected.as_str()), "{pairs:?}");
    }
}

#[tokio::test]
async fn a_received_payment_marks_its_top_up_as_paid_for_good() {
    let edge = Edge::start(Setup::default()).await;
    assert_code(&edge, &check(), 0).await;
    let paid = pay("1").with("InvoiceId", "i-1");
    assert_eq!(edge.post(&Post::notification(Pay, &paid)).await.parts(), (200, ACCEPTED));
    assert_code(&edge, &check(), 13).await;
    let events = edge.events().await;
    let clubs: Vec<_> = events.iter().map(|event| event.club_id.as_str()).collect();
    assert_eq!(clubs, ["club_of_the_top_up"]);
    let scratch = edge.close().await;

    // The same file is loaded again; it does not know of the payment.
    assert!(!DIRECTORY.contains("paid"));
    let edge = Edge::start_in(scratch, Setup::default()).await;
    assert_code(&edge, &check(), 13).await;
    let again = edge.post(&Post::notification(Pay, &paid)).await;
    assert_eq!(again.parts(), (200, ACCEPTED), "money that came is taken, whatever Check says");
    edge.close().await;
}

#[tokio::test]
async fn a_hold_takes_its_top_up_and_its_confirmation_is_taken() {
    let edge = Edge::start(Setup::default()).await;
    let hold = pay("1").with("InvoiceId", "i-1").with("Status", "Authorized");
    assert_eq!(edge.post(&Post::notification(Pay, &hold)).await.parts(), (200, ACCEPTED));
    assert_code(&edge, &check(), 13).await;
    let taken = confirm("1").with("InvoiceId", "i-1");
    assert_eq!(edge.post(&Post::notification(Confirm, &taken)).await.parts(), (200, ACCEPTED));
    assert_eq!(edge.events().await.len(), 2);
}

#[tokio::test]
async fn what_is_not_the_whole_sum_in_real_money_pays_no_top_up() {
    let edge = Edge::start(Setup::default()).await;
    let posts = [
        Post::notification(Fail, &fail("1")),
        Post::notification(Pay, &pay("2").with("InvoiceId", "i-1").with("Amount", "99.99")),
        Post::notification(Pay, &pay("3").with("InvoiceId", "i-1").with("Currency", "KZT")),
        Post::notification(Pay, &pay("4").with("InvoiceId", "i-1").with("TestMode", "1")),
        Post::notification(Pay, &pay("5").with("InvoiceId", "i-1").with("OperationType", "CardPayout")),
    ];
    for post in &posts {
        assert_eq!(edge.post(post).await.parts(), (200, ACCEPTED), "{post:?}");
        assert_code(&edge, &check(), 0).await;
    }
    assert_eq!(edge.events().await.len(), posts.len());
}

#[tokio::test]
async fn the_file_is_the_whole_truth_except_for_what_has_been_paid() {
    let edge = Edge::start(Setup::default()).await;
    let paid = Post::notification(Pay, &pay("1").with("InvoiceId", "i-1"));
    assert_eq!(edge.post(&paid).await.parts(), (200, ACCEPTED));
    let scratch = edge.close().await;

    let top_up =
        r#"{"top_up": {"gateway": "gw_club", "invoice_id": "i-2", "amount": "100.00", "currency": "RUB"}}"#;
    let client = r#"{"client": {"organization": "org_club", "client_id": "c-2"}}"#;
    let directory = format!("{client}\n{top_up}");
    let edge = Edge::start_in(scratch, Setup { directory, ..Setup::default() }).await;
    assert_code(&edge, &of("c-2", "i-2"), 0).await;
    assert_code(&edge, &of(USER, "i-2"), 11).await;
    assert_code(&edge, &of(USER, "i-1"), 13).await;
    let scratch = edge.close().await;

    let directory = client.to_owned();
    let edge = Edge::start_in(scratch, Setup { directory, ..Setup::default() }).await;
    assert_code(&edge, &of("c-2", "i-2"), 10).await;
    edge.close().await;
}

#[tokio::test]
async fn a_payment_through_another_gateway_pays_no_top_up_of_this_one() {
    let edge = Edge::start(Setup::default()).await;
    let elsewhere = pay("1").with("InvoiceId", "i-1");
    let post = Post::form(&typed_url("gw_other", Pay), elsewhere.form()).signed("secret of other");
    assert_eq!(edge.post(&post).await.parts(), (200, ACCEPTED));
    assert_code(&edge, &check(), 0).await;
}
