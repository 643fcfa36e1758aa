//! The client against a small API on the loopback: what goes out, and what is made of each kind of answer.

mod stand;

use std::time::Duration;

use hookline_schemas::money::Amount;
use hookline_schemas::time::Timestamp;
use serde_json::{Value, json};

use self::stand::{Answer, Asked, Stand};
use super::orders::CreatedOrder;
use super::refunds::RefundAnswer;
use super::transactions::Page;
use super::{CloudPayments, Order, RefundRequest, Refused, TransactionStatus};

fn sum(text: &str) -> Amount {
    text.parse().expect("a sum")
}

const ORDER: &str = r#"{"Model":{"Id":"f2K8LV6r","Number":61,"Amount":10.5,"CurrencyCode":0,
    "Url":"https://orders.cloudpayments.example/d/f2K8LV6r","StatusCode":0,"Status":"Created"},"Success":true}"#;

async fn create_order(stand: &Stand, return_url: Option<&str>) -> Result<CreatedOrder, Refused> {
    let order = Order {
        amount: sum("10.50"),
        currency: "RUB",
        description: "Пополнение",
        invoice_id: "top_7",
        account_id: "client_7",
        return_url,
        club_id: "club_7",
    };
    stand.client(5).create_order(stand.site(), &order).await
}

async fn refund(stand: &Stand) -> Result<RefundAnswer, Refused> {
    let refund =
        RefundRequest { request_id: "refund_7", transaction_id: 3_541_977_847, amount: sum("10.50") };
    stand.client(5).refund(stand.site(), &refund).await
}

async fn list(stand: &Stand) -> Result<Page, Refused> {
    let created = Timestamp(1_779_972_943_250)..Timestamp(1_779_972_999_001);
    stand.client(5).transactions(stand.site(), created, 3).await
}

/// The one request that was made; its body as JSON, and as it was written.
fn one_asked(stand: &Stand) -> (Asked, Value) {
    let [asked] = <[Asked; 1]>::try_from(stand.asked()).expect("one request");
    let body = serde_json::from_str(&asked.body).expect("JSON");
    (asked, body)
}

fn is_unavailable<T>(result: &Result<T, Refused>) -> bool {
    matches!(result, Err(Refused::Unavailable(_)))
}

#[tokio::test]
async fn an_order_goes_out_with_the_exact_sum_and_comes_back_with_its_address() {
    let stand = Stand::saying(ORDER).await;
    let created = create_order(&stand, Some("https://club.example/done")).await.expect("an order");
    let url = "https://orders.cloudpayments.example/d/f2K8LV6r".to_owned();
    assert_eq!(created, CreatedOrder { id: "f2K8LV6r".to_owned(), url });
    let (asked, body) = one_asked(&stand);
    assert_eq!((asked.path.as_str(), asked.request_id), ("/orders/create", None));
    assert!(asked.body.contains(r#""Amount":10.50,"#), "{}", asked.body);
    let expected = json!({ "Amount": 10.5, "Currency": "RUB", "Description": "Пополнение", "InvoiceId": "top_7",
        "AccountId": "client_7", "SuccessRedirectUrl": "https://club.example/done",
        "FailRedirectUrl": "https://club.example/done", "JsonData": { "clubId": "club_7" } });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn questions_are_counted_by_operation_and_outcome_and_measured() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let _recording = metrics::set_default_local_recorder(&recorder);
    create_order(&Stand::saying(ORDER).await, None).await.expect("an order");
    let declined = refund(&Stand::saying(r#"{"Success":false,"Message":"no"}"#).await).await;
    assert!(matches!(declined, Err(Refused::Declined(_))), "{declined:?}");
    let broken = refund(&Stand::start([Answer::Of(500, String::new())]).await).await;
    assert!(is_unavailable(&broken), "{broken:?}");
    let unknown = list(&Stand::start([Answer::Of(401, String::new())]).await).await;
    assert!(matches!(unknown, Err(Refused::InvalidCredentials)), "{unknown:?}");
    let page = recorder.handle().render();
    for (operation, outcome) in [
        ("create_order", "answered"),
        ("refund", "answered"),
        ("refund", "unavailable"),
        ("list_transactions", "invalid_credentials"),
    ] {
        let line = format!("requests_total{{operation=\"{operation}\",outcome=\"{outcome}\"}} 1\n");
        assert!(page.contains(&line), "{line} in {page}");
    }
    assert!(page.contains("request_seconds_count{operation=\"refund\"} 2\n"), "{page}");
}

#[tokio::test]
async fn an_order_without_a_return_address_names_none() {
    let stand = Stand::saying(ORDER).await;
    create_order(&stand, None).await.expect("an order");
    let (_, body) = one_asked(&stand);
    assert!(body.as_object().expect("an object").keys().all(|key| !key.contains("Redirect")), "{body}");
}

#[tokio::test]
async fn an_order_that_nobody_could_pay_is_none() {
    for body in [
        r#"{"Model":{"Id":"f2K8LV6r"},"Success":true}"#,
        r#"{"Model":{"Url":"https://orders.cloudpayments.example/d/x"},"Success":true}"#,
        r#"{"Model":{"Id":"x","Url":"javascript:alert(1)"},"Success":true}"#,
        r#"{"Model":null,"Success":true}"#,
    ] {
        let created = create_order(&Stand::saying(body).await, None).await;
        assert!(is_unavailable(&created), "{body}: {created:?}");
    }
}

#[tokio::test]
async fn a_refund_carries_its_request_id_and_the_exact_sum() {
    let stand = Stand::saying(r#"{"Model":{"TransactionId":568},"Success":true,"Message":null}"#).await;
    assert_eq!(refund(&stand).await, Ok(RefundAnswer { transaction_id: 568 }));
    let (asked, _) = one_asked(&stand);
    assert_eq!((asked.path.as_str(), asked.request_id.as_deref()), ("/payments/refund", Some("refund_7")));
    assert_eq!(asked.body, r#"{"TransactionId":3541977847,"Amount":10.50}"#);
}

#[tokio::test]
async fn of_a_refund_only_a_no_says_that_nothing_was_done() {
    let declined = |words: &str| Err(Refused::Declined(words.to_owned()));
    for (status, body, expected) in [
        (200, r#"{"Model":{"TransactionId":"568"}}"#, Some(Ok(RefundAnswer { transaction_id: 568 }))),
        (200, r#"{"Success":false,"Message":"Too much"}"#, Some(declined("Too much"))),
        (200, r#"{"Success":false,"Message":"no, secret_1"}"#, Some(declined("no, ..."))),
        (200, r#"{"Success":false}"#, Some(declined("without a reason"))),
        (401, "", Some(Err(Refused::InvalidCredentials))),
        (200, r#"{"Success":true}"#, None),
        (200, r#"{"Model":{},"Success":true}"#, None),
        (200, r#"{"Model":{"TransactionId":0},"Success":true}"#, None),
        (200, r#"{"Message":null}"#, None),
        (200, "<html>", None),
        (200, "", None),
        (302, "", None),
        (400, r#"{"Success":false}"#, None),
        (500, r#"{"Success":false}"#, None),
        (503, "", None),
    ] {
        let stand = Stand::start([Answer::Of(status, body.to_owned())]).await;
        let found = refund(&stand).await;
        match expected {
            Some(expected) => assert_eq!(found, expected, "{status} {body}"),
            None => assert!(is_unavailable(&found), "{status} {body}: {found:?}"),
        }
        assert_eq!(stand.asked().len(), 1, "{status} {body}: nothing but 429 is asked again");
    }
}

#[tokio::test]
async fn a_transaction_is_there_or_said_not_to_be_or_unknown() {
    let model = |id: u64, status: &str| {
        format!(
            r#""Model":{{"TransactionId":{id},"Amount":10.5,"Status":"{status}","CreatedDateIso":"2026-05-28T12:55:43"}}"#
        )
    };
    let ask = async |body: String| {
        let stand = Stand::saying(&body).await;
        let found = stand.client(5).transaction(stand.site(), 7).await;
        let (asked, _) = one_asked(&stand);
        assert_eq!((asked.path.as_str(), asked.body.as_str()), ("/payments/get", r#"{"TransactionId":7}"#));
        found
    };
    let found = ask(format!("{{{},\"Success\":true}}", model(7, "Completed"))).await.expect("an answer");
    assert_eq!(found.expect("a transaction").status, TransactionStatus::Completed);
    let declined = ask(format!("{{{},\"Success\":false}}", model(7, "Declined"))).await.expect("an answer");
    assert_eq!(declined.expect("a declined one is one").status, TransactionStatus::Declined);
    assert_eq!(ask(r#"{"Success":false,"Message":"Not found"}"#.to_owned()).await, Ok(None));
    let refused = ask(r#"{"Success":false,"Message":"Try later"}"#.to_owned()).await;
    assert_eq!(refused, Err(Refused::Declined("Try later".to_owned())), "it may be there");
    for body in ["{}".to_owned(), format!("{{{},\"Success\":true}}", model(8, "Completed"))] {
        let found = ask(body.clone()).await;
        assert!(is_unavailable(&found), "{body}: {found:?}");
    }
}

#[tokio::test]
async fn a_page_is_asked_for_in_whole_seconds_of_utc() {
    let stand = Stand::saying(r#"{"Model":[],"Success":true}"#).await;
    let page = list(&stand).await.expect("a page");
    assert_eq!(page, Page { transactions: Vec::new(), unreadable: 0, is_last: true });
    let (asked, body) = one_asked(&stand);
    assert_eq!(asked.path, "/v2/payments/list");
    let expected = json!({ "CreatedDateGte": "2026-05-28T12:55:43+00:00", "PageNumber": 3, "TimeZone": "UTC",
        "CreatedDateLte": "2026-05-28T12:56:40+00:00" });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn a_full_page_of_long_transactions_is_read() {
    let models: Vec<_> = (1..=100)
        .map(|id| {
            json!({ "TransactionId": id, "Amount": 1, "Status": "Completed", "JsonData": "x".repeat(20_000),
                "CreatedDateIso": "2026-05-28T12:55:43" })
        })
        .collect();
    let stand = Stand::saying(&json!({ "Model": models, "Success": true }).to_string()).await;
    let page = list(&stand).await.expect("a page");
    assert_eq!((page.transactions.len(), page.unreadable, page.is_last), (100, 0, false));
    let numbers: Vec<_> = page.transactions.iter().map(|transaction| transaction.transaction_id).collect();
    assert_eq!(numbers, (1..=100).collect::<Vec<u64>>());
}

#[tokio::test]
async fn an_answer_that_is_too_long_or_no_list_says_nothing() {
    let spaces = " ".repeat(65 * 1024);
    let stand = Stand::saying(&format!(r#"{{{spaces}"Model":{{"TransactionId":568}}}}"#)).await;
    let refunded = refund(&stand).await;
    assert!(is_unavailable(&refunded), "{refunded:?}");
    let spaces = " ".repeat(4 * 1024 * 1024);
    for body in [format!(r#"{{{spaces}"Model":[]}}"#), r#"{"Model":{}}"#.to_owned(), "{}".to_owned()] {
        let listed = list(&Stand::saying(&body).await).await;
        assert!(is_unavailable(&listed), "{} bytes: {listed:?}", body.len());
    }
}

#[tokio::test]
async fn what_came_too_many_is_asked_again_with_the_same_id() {
    let too_many = || Answer::Of(429, "slow down".to_owned());
    let made = Answer::Of(200, r#"{"Model":{"TransactionId":568},"Success":true}"#.to_owned());
    let stand = Stand::start([too_many(), too_many(), made]).await;
    assert_eq!(refund(&stand).await, Ok(RefundAnswer { transaction_id: 568 }));
    let asked = stand.asked();
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|one| *one == asked[0]), "{asked:?}");
}

#[tokio::test]
async fn what_always_comes_too_many_is_given_up() {
    let stand = Stand::start([Answer::Of(429, String::new())]).await;
    let refunded = refund(&stand).await;
    assert_eq!(refunded, Err(Refused::Unavailable("it answered with status 429".to_owned())));
    assert_eq!(stand.asked().len(), 5);
}

#[tokio::test]
async fn the_time_bounds_all_that_is_waited_for() {
    let short = |client: CloudPayments| CloudPayments { timeout: Duration::from_millis(50), ..client };
    let stand = Stand::start([Answer::Never]).await;
    let silent = short(stand.client(5)).test(stand.site()).await;
    assert!(is_unavailable(&silent), "no answer: {silent:?}");

    let stand = Stand::start([Answer::Of(429, String::new())]).await;
    let client = CloudPayments { first_pause: Duration::from_secs(3600), ..short(stand.client(5)) };
    let paused = client.test(stand.site()).await;
    assert!(is_unavailable(&paused), "no end of the pause: {paused:?}");

    let stand = Stand::start([Answer::Gated]).await;
    let client = stand.client(1);
    let holder = async {
        let held = client.test(stand.site()).await;
        assert_eq!(held, Ok(()));
    };
    let waiter = async {
        stand.has_been_asked(1).await;
        let waited = short(client.clone()).test(stand.site()).await;
        assert!(is_unavailable(&waited), "no place: {waited:?}");
        assert_eq!(stand.asked().len(), 1, "it was not asked at all");
        stand.let_through(1);
    };
    tokio::join!(holder, waiter);
}

#[tokio::test]
async fn a_site_never_has_more_requests_open_than_the_limit() {
    let stand = Stand::start([Answer::Gated]).await;
    let client = stand.client(3);
    let requests = (0..12).map(|_| client.test(stand.site()));
    let answered = futures::future::join_all(requests);
    let watch = async {
        stand.has_been_asked(3).await;
        // Long enough for a fourth to arrive, if it were let go.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(stand.asked().len(), 3);
        for further in 4..=12 {
            stand.let_through(1);
            stand.has_been_asked(further).await;
        }
        stand.let_through(3);
    };
    let (answered, ()) = tokio::join!(answered, watch);
    assert!(answered.iter().all(Result::is_ok), "{answered:?}");
    assert_eq!(stand.most_open(), 3);
}

#[tokio::test]
async fn a_site_that_waits_keeps_no_other_waiting() {
    let stand = Stand::start([Answer::Gated]).await;
    let client = stand.client(1);
    let both = async {
        stand.has_been_asked(2).await;
        stand.let_through(2);
    };
    let (one, other, ()) = tokio::join!(client.test(stand.site()), client.test(stand.other_site()), both);
    assert_eq!((one, other), (Ok(()), Ok(())));
}
