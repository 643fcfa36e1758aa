//! Which notification it is, by its fields: for the URL that all gateways and types share.
//!
//! Source: the field matrix of CloudPayments' documentation and real bodies. A guess in either direction is
//! expensive (a Check taken for a Pay is goods without money, a Pay taken for a Check a lost payment), so a
//! body that could be a payment is never a Check.

use super::{Field, Fields, NotificationType};

/// What the fields say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Classified {
    /// The type.
    As(NotificationType),
    /// No row of the table fits.
    Unknown,
}

/// Classifies by the first row that fits.
pub fn classify(fields: &Fields<'_>) -> Classified {
    let has = |field| fields.text(field).is_some();
    let has_key = |field| fields.has_key(field);
    let transaction = has(Field::TransactionId);

    if !transaction && has(Field::Id) && (has(Field::Interval) || has(Field::SuccessfulTransactionsNumber)) {
        Classified::As(NotificationType::Recurrent)
    } else if has(Field::FiscalSign) || has(Field::DocumentNumber) {
        Classified::As(NotificationType::Receipt)
    } else if has(Field::PaymentTransactionId) {
        Classified::As(NotificationType::Refund)
    } else if has(Field::ReasonCode) {
        Classified::As(NotificationType::Fail)
    } else if transaction
        && has(Field::Amount)
        && ![Field::Currency, Field::CardFirstSix, Field::Status, Field::OperationType].into_iter().any(has)
    {
        Classified::As(NotificationType::Cancel)
    } else if has(Field::GatewayName) {
        Classified::As(NotificationType::Pay)
    } else if transaction && has(Field::Currency) && (has_key(Field::AuthCode) || has_key(Field::Token)) {
        // Or a Pay of the oldest shape: both mean that the money has been received. A hold is a Pay alone.
        match fields.text(Field::Status) {
            Some("Authorized") => Classified::As(NotificationType::Pay),
            Some(_) => Classified::As(NotificationType::Confirm),
            None => Classified::Unknown,
        }
    } else if has(Field::Currency) && has(Field::Status) && !ONLY_AFTER_THE_PAYMENT.into_iter().any(has_key) {
        Classified::As(NotificationType::Check)
    } else {
        Classified::Unknown
    }
}

/// The fields that exist only once a payment has been made.
const ONLY_AFTER_THE_PAYMENT: [Field; 5] =
    [Field::GatewayName, Field::AuthCode, Field::Token, Field::Rrn, Field::TotalFee];

/// Whether a body that is called a Check holds what only a made payment has: it must not be swallowed as a
/// Check.
pub fn has_fields_of_a_payment(fields: &Fields<'_>) -> bool {
    ONLY_AFTER_THE_PAYMENT.into_iter().any(|field| fields.text(field).is_some())
}

#[cfg(test)]
mod tests {
    use super::super::{BodyFormat, read_fields};
    use super::*;

    #[test]
    fn follows_the_field_table() {
        use NotificationType::{Cancel, Check, Confirm, Fail, Pay, Receipt, Recurrent, Refund};
        let rows: [(&str, Option<NotificationType>); 14] = [
            ("Id=sc_1&Interval=Month&Status=Active", Some(Recurrent)),
            ("Id=sc_1&SuccessfulTransactionsNumber=2", Some(Recurrent)),
            ("Id=1&FiscalSign=2&TransactionId=5", Some(Receipt)),
            ("TransactionId=2&PaymentTransactionId=1&Amount=1.00&OperationType=Refund", Some(Refund)),
            ("TransactionId=2&Amount=1.00&Currency=RUB&Status=Declined&ReasonCode=5051", Some(Fail)),
            ("TransactionId=2&Amount=1.00&DateTime=2026-10-02+10%3a05%3a00", Some(Cancel)),
            ("TransactionId=2&Amount=1.00&Currency=RUB&Status=Completed&GatewayName=Tbank", Some(Pay)),
            ("TransactionId=2&Amount=1.00&Currency=RUB&Status=Completed&AuthCode=1", Some(Confirm)),
            ("TransactionId=2&Amount=1.00&Currency=RUB&Status=Completed&AuthCode=", Some(Confirm)),
            ("TransactionId=2&Amount=1.00&Currency=RUB&Status=Authorized&AuthCode=1", Some(Pay)),
            ("TransactionId=2&Amount=1.00&Currency=RUB&OperationType=Payment&Token=tk_1", None),
            ("TransactionId=2&Amount=1.00&Currency=RUB&Status=Completed", Some(Check)),
            ("TransactionId=2&Amount=1.00&Currency=RUB&Status=Completed&TotalFee=", None),
            ("Message=hello", None),
        ];
        for (body, expected) in rows {
            let fields = read_fields(BodyFormat::Form, body.as_bytes()).expect("a form");
            let classified = expected.map_or(Classified::Unknown, Classified::As);
            assert_eq!(classify(&fields), classified, "{body}");
        }
    }
}
