//! Lists: pages without loss or repetition, filters, and the borders of organizations and clubs.

use std::collections::BTreeSet;

use super::super::caller;
use super::*;

const LIST: &str = "query($filter: PaymentFilterInput, $first: Int, $after: String) {
    payments(filter: $filter, first: $first, after: $after) {
        nodes { id status clientId } pageInfo { endCursor hasNextPage } } }";

/// All ids that the pages of this size list.
async fn pages(shop: &Shop, filter: Value, first: i32) -> Vec<String> {
    let (mut ids, mut after) = (Vec::new(), Value::Null);
    loop {
        let variables = json!({ "filter": filter, "first": first, "after": after });
        let page = shop.ask(LIST, variables).await["payments"].clone();
        let nodes = page["nodes"].as_array().expect("nodes").clone();
        assert!(nodes.len() <= usize::try_from(first).expect("a size"));
        ids.extend(nodes.iter().map(|node| node["id"].as_str().expect("an id").to_owned()));
        if page["pageInfo"]["hasNextPage"] == false {
            return ids;
        }
        after = page["pageInfo"]["endCursor"].clone();
    }
}

#[tokio::test]
async fn pages_hold_everything_once_and_filters_what_they_say() {
    let shop = Shop::open().await;
    let mut expected = BTreeSet::new();
    for number in 0..7 {
        let client = format!("client_{}", number % 2);
        let payer = Payer {
            account_id: Some(client),
            declined: (number == 3).then_some(5051),
            ..Payer::new("10.00")
        };
        let paid = shop.pay(payer).await;
        expected.insert(shop.payment_id(paid.transaction_id));
    }
    let open = shop.top_up().await;
    let taken = shop.top_up_of("client_2").await;
    let invoice = |declined| Payer { invoice_id: Some(taken.clone()), declined, ..Payer::new("100.00") };
    // A try that failed is part of its top-up, and the one that succeeded is it.
    let _ = shop.pay(invoice(Some(5051))).await;
    let _ = shop.pay(invoice(None)).await;
    shop.tell_all().await;
    shop.taken().await;
    expected.extend([open.clone(), taken.clone()]);
    for first in [1, 2, 3, 100] {
        let listed = pages(&shop, Value::Null, first).await;
        assert_eq!(listed.len(), expected.len(), "{first}: {listed:?}");
        assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), expected, "{first}");
    }
    for (filter, count) in [
        (json!({ "status": "FAILED" }), 1),
        (json!({ "status": "PENDING" }), 1),
        (json!({ "status": "CONFIRMED" }), 7),
        (json!({ "clientId": "client_0" }), 4),
        (json!({ "clientId": "client_0", "status": "FAILED" }), 0),
        (json!({ "testMode": true }), 0),
        (json!({ "clubId": "club_2" }), 0),
        (json!({ "gatewayId": shop.gateway.to_string() }), 9),
        (json!({ "since": "2100-01-01T00:00:00Z" }), 0),
        (json!({ "until": "2100-01-01T00:00:00Z" }), 9),
    ] {
        assert_eq!(pages(&shop, filter.clone(), 2).await.len(), count, "{filter}");
    }
    for after in ["nonsense", "AAAA", ""] {
        let error = shop.rig.refused_with(LIST, json!({ "after": after })).await;
        assert_eq!(error.code(), "VALIDATION_ERROR", "{after}");
    }
}

impl Shop {
    pub(super) async fn top_up_of(&self, client: &str) -> String {
        let input = json!({ "clientId": client, "clubId": "club_1", "amount": "100.00" });
        let made = self.ask(INITIATE, json!({ "input": input })).await;
        made["initiateTopUpPayment"]["transactionId"].as_str().expect("an id").to_owned()
    }
}

#[tokio::test]
async fn nobody_sees_or_moves_what_is_beyond_his_border() {
    let shop = Shop::open().await;
    let (_, id) = shop.received().await;
    let stranger = caller("OWNER", "org_2", None);
    let of_another_club = caller("OWNER", "org_1", Some(&["club_2"]));
    let cashier = caller("CASHIER", "org_1", Some(&["club_1"]));
    let platform = caller("PLATFORM", "org_1", None);
    let refund = json!({ "input": { "transactionId": id, "amount": "1.00" } });
    let initiate = json!({ "input": { "clientId": "c", "clubId": "club_1", "amount": "1.00" } });
    for (who, seen, moved, initiated) in [
        (&stranger, Some("NOT_FOUND"), "NOT_FOUND", "VALIDATION_ERROR"),
        (&of_another_club, Some("CLUB_ACCESS_DENIED"), "CLUB_ACCESS_DENIED", "CLUB_ACCESS_DENIED"),
        (&cashier, None, "FORBIDDEN", "FORBIDDEN"),
        (&platform, Some("FORBIDDEN"), "FORBIDDEN", "FORBIDDEN"),
    ] {
        let who = Ok(who.clone());
        let code =
            |response: &async_graphql::Response| super::super::error(response).map(|error| error.code());
        assert_eq!(code(&shop.rig.execute(&who, PAYMENT, json!({ "id": id })).await), seen, "{who:?}");
        assert_eq!(code(&shop.rig.execute(&who, REFUND, refund.clone()).await), Some(moved), "{who:?}");
        assert_eq!(
            code(&shop.rig.execute(&who, INITIATE, initiate.clone()).await),
            Some(initiated),
            "{who:?}"
        );
    }
    for (who, count, credited) in [(&stranger, 0, 0), (&of_another_club, 0, 0), (&cashier, 1, 1)] {
        let who = Ok(who.clone());
        let listed = super::super::data(shop.rig.execute(&who, LIST, json!({})).await);
        assert_eq!(listed["payments"]["nodes"].as_array().map(Vec::len), Some(count), "{who:?}");
        let totals = "{ clientTotals(clientId: \"client_1\") { totals { credited } } }";
        let totals = super::super::data(shop.rig.execute(&who, totals, json!({})).await);
        assert_eq!(totals["clientTotals"]["totals"].as_array().map(Vec::len), Some(credited), "{who:?}");
    }
    assert_eq!(shop.bank.requests_at("/payments/refund"), 0);
}

#[tokio::test]
async fn test_payments_are_no_money() {
    let shop = Shop::open().await;
    let payer = Payer { account_id: Some("client_1".to_owned()), test_mode: true, ..Payer::new("5.00") };
    let paid = shop.pay(payer).await;
    shop.tell_all().await;
    let id = shop.payment_id(paid.transaction_id);
    shop.status_becomes(&id, "CONFIRMED").await;
    assert_eq!(shop.payment(&id).await["testMode"], true);
    let totals = "query($test: Boolean!) { clientTotals(clientId: \"client_1\", testMode: $test) { totals { credited } } }";
    assert_eq!(shop.ask(totals, json!({ "test": false })).await["clientTotals"]["totals"], json!([]));
    let test = shop.ask(totals, json!({ "test": true })).await;
    assert_eq!(test["clientTotals"]["totals"], json!([{ "credited": "5.00" }]));
}
