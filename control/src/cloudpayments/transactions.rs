//! The transactions of a site: one by its number, or all that were made in a time.

use std::ops::Range;
use std::time::Duration;

use hookline_schemas::time::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use super::envelope::Envelope;
use super::transaction::Transaction;
use super::{CloudPayments, Method, Refused, Site};

/// Transactions on a page that is not the last.
const PAGE: usize = 100;

/// A page may be this long: 40 KiB for each transaction, with all the data that a merchant may have put into it.
const MAX_PAGE: usize = 4 * 1024 * 1024;

/// A page of transactions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    /// Those that could be read, in the order in which they were made.
    pub(crate) transactions: Vec<Transaction>,
    /// How many stood there that could not.
    pub(crate) unreadable: usize,
    /// Whether there is none behind it.
    pub(crate) is_last: bool,
}

/// What `/payments/get` takes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Wanted {
    transaction_id: u64,
}

/// What `/v2/payments/list` takes. Without statuses it gives all.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Span {
    created_date_gte: String,
    created_date_lte: String,
    page_number: u32,
    time_zone: &'static str,
}

impl CloudPayments {
    /// One transaction by its number (`/payments/get`); none, if CloudPayments says that it does not know it.
    ///
    /// # Errors
    ///
    /// Every [`Refused`]: then nothing is known of it, not even whether there is one.
    pub(crate) async fn transaction(
        &self,
        site: Site<'_>,
        transaction_id: u64,
    ) -> Result<Option<Transaction>, Refused> {
        let answer =
            self.ask(site, Method::named("/payments/get", "transaction"), &Wanted { transaction_id }).await?;
        let envelope = Envelope::read(&answer)?;
        let wanted = |model| Transaction::read(model).filter(|found| found.transaction_id == transaction_id);
        // Of a payment that was declined the answer says no, and holds it all the same.
        match envelope.model_whatever_it_says(wanted) {
            Some(found) => Ok(Some(found)),
            None if envelope.says_not_found() => Ok(None),
            None => envelope.model(site.secret, wanted).map(Some),
        }
    }

    /// A page, from 1, of the transactions that were made in this time (`/v2/payments/list`), the oldest first. The time
    /// is taken in whole seconds, so that some of the seconds around it may be there as well. What can't be read
    /// is counted and hides nothing else.
    ///
    /// # Errors
    ///
    /// Every [`Refused`]: then nothing is known of any of them.
    pub(crate) async fn transactions(
        &self,
        site: Site<'_>,
        created: Range<Timestamp>,
        page: u32,
    ) -> Result<Page, Refused> {
        let to_the_next_second = Duration::from_millis(999);
        let body = Span {
            created_date_gte: with_offset(created.start),
            created_date_lte: with_offset(created.end.after(to_the_next_second)),
            page_number: page,
            time_zone: "UTC",
        };
        let method =
            Method { max_answer: MAX_PAGE, ..Method::named("/v2/payments/list", "list_transactions") };
        let answer = self.ask(site, method, &body).await?;
        Ok(read_page(site.public_id, &Envelope::read(&answer)?.model(site.secret, list)?))
    }
}

fn list(model: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(model.get()).ok()
}

fn read_page(public_id: &str, models: &[&RawValue]) -> Page {
    let mut page = Page { transactions: Vec::new(), unreadable: 0, is_last: models.len() < PAGE };
    for model in models {
        match Transaction::read(model) {
            Some(transaction) => page.transactions.push(transaction),
            None => {
                let transaction_id = Transaction::number_of(model);
                tracing::warn!(public_id, transaction_id, "a transaction of CloudPayments can't be read");
                page.unreadable += 1;
            }
        }
    }
    page
}

/// The moment in UTC to the second, with its zone as an offset: `2021-03-09T00:00:00+00:00`.
fn with_offset(moment: Timestamp) -> String {
    moment.to_rfc3339().replace('Z', "+00:00")
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str =
        r#"{"TransactionId":7,"Amount":10.5,"Status":"Completed","CreatedDateIso":"2026-05-28T12:55:43"}"#;

    #[test]
    fn what_cannot_be_read_is_counted_and_hides_nothing() {
        let model = r#"[7, WHOLE, {"TransactionId":8,"Amount":1e2}, WHOLE]"#.replace("WHOLE", WHOLE);
        let model = RawValue::from_string(model).expect("JSON");
        let models = list(&model).expect("a list");
        let page = read_page("pk_1", &models);
        assert_eq!((page.transactions.len(), page.unreadable, page.is_last), (2, 2, true));
        assert_eq!(models.get(2).copied().and_then(Transaction::number_of), Some(8));
        let page = read_page("pk_1", &[RawValue::NULL; PAGE]);
        assert_eq!(
            (page.unreadable, page.is_last),
            (PAGE, false),
            "there may be more behind what can't be read"
        );
        assert!(read_page("pk_1", &[]).is_last);
    }
}
