//! Money that is held first.

use super::*;

#[tokio::test]
async fn a_hold_is_confirmed_in_part_or_released_and_only_once() -> anyhow::Result<()> {
    let acquirer = start().await?;
    let held = async |amount: &str| {
        let payment = Payer { two_stage: true, ..Payer::new(amount) };
        anyhow::Ok(acquirer.pay("pk_1", &payment).await?.transaction_id)
    };
    let (first, second, third) = (held("100.00").await?, held("50.00").await?, held("25.00").await?);
    assert_eq!(standing(&acquirer, first).status, Status::Authorized);
    let confirm = async |id: u64, amount: &str| {
        call(&acquirer, "/payments/confirm", json!({ "TransactionId": id, "Amount": amount })).await
    };
    for amount in ["100.01", "0", "a"] {
        assert!(!succeeded(&confirm(first, amount).await?), "{amount}");
    }
    assert_eq!(confirm(first, "70.00").await?, json!({ "Success": true, "Message": null }));
    let stands = standing(&acquirer, first);
    assert_eq!((stands.status, stands.amount.as_str()), (Status::Completed, "70.00"));
    let void = async |id: u64| call(&acquirer, "/payments/void", json!({ "TransactionId": id })).await;
    assert!(!succeeded(&confirm(first, "70.00").await?) && !succeeded(&void(first).await?));
    assert!(acquirer.refund("pk_1", first, "70.01").is_err(), "what was not confirmed was not paid");

    assert!(succeeded(&void(second).await?) && !succeeded(&void(second).await?));
    assert_eq!(standing(&acquirer, second).status, Status::Cancelled);
    assert!(!succeeded(&confirm(second, "50.00").await?));

    // In the cabinet it is the same.
    acquirer.confirm("pk_1", third, "25")?;
    assert!(acquirer.cancel("pk_1", third).is_err() && acquirer.confirm("pk_1", third, "25").is_err());
    let made: Vec<_> = acquirer.posted("pk_1").into_iter().skip(3).collect();
    let made: Vec<_> = made.iter().map(|posted| (posted.kind, posted.transaction_id)).collect();
    let kinds = [
        (NotificationType::Confirm, first),
        (NotificationType::Cancel, second),
        (NotificationType::Confirm, third),
    ];
    assert_eq!(made, kinds);
    acquirer.stop().await;
    Ok(())
}
