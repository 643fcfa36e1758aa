//! Requests that go wrong, and limits.

use futures::future::join_all;

use super::*;

const REFUND: &str = "/payments/refund";

/// The status of the answer and its body; none where the connection was closed.
async fn outcome(acquirer: &Acquirer, path: &str, body: &Value) -> Option<(u16, Value)> {
    let request = request("POST", path, JSON, &body.to_string()).ok()?;
    let answer = Connection::to(acquirer.address()).send(request, WITHIN).await.ok()?;
    Some((answer.status().as_u16(), serde_json::from_slice(answer.body()).unwrap_or_default()))
}

#[tokio::test]
async fn each_fault_is_answered_as_it_says_and_done_or_not() -> anyhow::Result<()> {
    let acquirer = start().await?;
    let paid = acquirer.pay("pk_1", &Payer::new("100.00")).await?.transaction_id;
    let body = json!({ "TransactionId": paid, "Amount": 1 });
    let faults = [
        (Fault::TooMany, Some(429), 0),
        (Fault::Unavailable, Some(503), 0),
        (Fault::Refuse("not now".to_owned()), Some(200), 0),
        (Fault::DoneThenSilent, None, 1),
        (Fault::DoneThen503, Some(503), 2),
        (Fault::WithoutEnvelope, Some(200), 3),
        (Fault::Hang(Duration::from_millis(10)), Some(200), 4),
    ];
    acquirer.misbehave("pk_1", REFUND, faults.iter().map(|(fault, ..)| fault.clone()).collect());
    let test = outcome(&acquirer, "/test", &json!({})).await;
    assert!(test.is_some_and(|(_, answer)| succeeded(&answer)), "another path");
    for (fault, expected, refunds) in faults {
        let outcome = outcome(&acquirer, REFUND, &body).await;
        assert_eq!(outcome.as_ref().map(|(status, _)| *status), expected, "{fault:?}");
        assert_eq!(acquirer.transactions("pk_1").len(), 1 + refunds, "{fault:?}");
        let answer = outcome.map(|(_, answer)| answer).unwrap_or_default();
        match fault {
            Fault::Refuse(_) => assert_eq!(answer, json!({ "Success": false, "Message": "not now" })),
            Fault::WithoutEnvelope => {
                assert!(answer.pointer("/Model/TransactionId").is_some(), "{answer}");
                assert!(answer.get("Success").is_none() && answer.get("Message").is_none(), "{answer}");
            }
            Fault::Hang(_) => assert!(succeeded(&answer)),
            _ => assert_eq!(answer, Value::Null, "{fault:?}"),
        }
    }
    assert!(outcome(&acquirer, REFUND, &body).await.is_some_and(|(_, answer)| succeeded(&answer)));
    acquirer.stop().await;
    Ok(())
}

#[tokio::test]
async fn what_was_done_without_an_answer_is_answered_when_it_is_asked_again() -> anyhow::Result<()> {
    let acquirer = start().await?;
    let paid = acquirer.pay("pk_1", &Payer::new("100.00")).await?.transaction_id;
    acquirer.misbehave("pk_1", REFUND, vec![Fault::DoneThenSilent, Fault::DoneThen503]);
    let mut answers = Vec::new();
    for _ in 0..4 {
        let body = json!({ "TransactionId": paid, "Amount": 10 }).to_string();
        let mut request = request("POST", REFUND, JSON, &body)?;
        request.headers_mut().insert("x-request-id", "one".parse()?);
        let answer = Connection::to(acquirer.address()).send(request, WITHIN).await;
        answers.extend(answer.ok().filter(|answer| answer.status() == StatusCode::OK));
    }
    let [third, fourth] = answers.as_slice() else { panic!("{answers:?}") };
    assert_eq!(third.body(), fourth.body());
    assert_eq!(standing(&acquirer, paid).refunded, "10.00");
    acquirer.stop().await;
    Ok(())
}

/// Waits until so many of the site's places are free.
async fn until_free(acquirer: &Acquirer, places: usize) {
    let free = || acquirer.state.at("pk_1", |site| site.places.available_permits()).expect("a site");
    while free() != places {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_site_answers_so_many_requests_at_a_time() -> anyhow::Result<()> {
    let test = Site { terminal: Terminal::Test, ..Site::new("pk_1", "s3cret") };
    for (site, places) in [(test, 5), (Site::new("pk_1", "s3cret"), 30)] {
        let acquirer = Acquirer::start(vec![site]).await?;
        acquirer.misbehave("pk_1", "/test", vec![Fault::Hang(Duration::from_secs(600)); places]);
        let status = async || outcome(&acquirer, "/test", &json!({})).await.map(|(status, _)| status);
        let hanging = join_all((0..places).map(|_| status()));
        let others = async {
            until_free(&acquirer, 0).await;
            for _ in 0..3 {
                assert_eq!(status().await, Some(429));
            }
        };
        tokio::select! {
            _ = hanging => panic!("answered"),
            () = others => {}
        }
        // Those who went have left their places.
        until_free(&acquirer, places).await;
        assert_eq!(status().await, Some(200));
        acquirer.stop().await;
    }
    Ok(())
}

#[tokio::test]
async fn a_full_site_takes_nothing_more() -> anyhow::Result<()> {
    let acquirer = start().await?;
    acquirer.change("pk_1", |site| site.room = 2);
    let paid = acquirer.pay("pk_1", &Payer::new("5.00")).await?.transaction_id;
    acquirer.refund("pk_1", paid, "1.00")?;
    assert!(acquirer.pay("pk_1", &Payer::new("5.00")).await.is_err());
    let body = json!({ "TransactionId": paid, "Amount": 1 });
    let refused = outcome(&acquirer, REFUND, &body).await;
    assert!(refused.is_some_and(|(_, answer)| !succeeded(&answer)));
    assert_eq!(standing(&acquirer, paid).refunded, "1.00");
    let order = json!({ "Amount": 5, "Description": "a" });
    for expected in [true, true, false] {
        assert_eq!(succeeded(&call(&acquirer, "/orders/create", order.clone()).await?), expected);
    }
    assert_eq!((acquirer.transactions("pk_1").len(), acquirer.posted("pk_1").len()), (2, 2));
    assert!(acquirer.pay("pk_2", &Payer::new("5.00")).await.is_ok(), "another site's");
    assert!(acquirer.pay("pk_3", &Payer::new("5.00")).await.is_err(), "nobody's");
    acquirer.stop().await;
    Ok(())
}
