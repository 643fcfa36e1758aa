//! Payments as a whole: GraphQL over an embedded log, with a CloudPayments that takes payments.
//!
//! Nobody plays the edge here: what CloudPayments posts is put into `events` as the edge would, in whatever order a test
//! wants.

mod lists;
mod reconciliation;
mod refunds;
mod succession;
mod top_ups;
mod watching;

use std::time::Duration;

use hookline_event_log::{JournalName, Log};
use hookline_load_tests::acquirer::{Acquirer, Paid, Payer, Posted, Site};
use hookline_schemas::event::{Event, Source, from_notification};
use hookline_schemas::gateway::{CheckPolicy, Gateway};
use hookline_schemas::ids::{ClubId, GatewayId, OrganizationId};
use hookline_schemas::notification::{BodyFormat, NotificationType, read_fields};
use hookline_schemas::time::Timestamp;
use serde_json::{Value, json};

use super::{Rig, Setup, until};

const PUBLIC_ID: &str = "pk_shop";
const API_SECRET: &str = "secret-of-the-shop";

const INITIATE: &str = "mutation($input: InitiatePaymentInput!) {
    initiateTopUpPayment(input: $input) { paymentUrl transactionId expiresAt } }";
const PAYMENT: &str = "query($id: ID!) { payment(id: $id) {
    id status amount clientId createdAt confirmedAt gatewayTransactionId currency clubId invoiceId refundedAmount
    refundableAmount testMode reason reasonCode retry source paymentUrl expiresAt
    refunds { id status amount gatewayTransactionId reason refusal } } }";
const REFUND: &str =
    "mutation($input: RefundInput!) { refundPayment(input: $input) { success refundId amount status } }";

/// A control plane with a gateway, and a CloudPayments behind it.
struct Shop {
    rig: Rig,
    bank: Acquirer,
    gateway: GatewayId,
}

impl Shop {
    async fn open() -> Self {
        Self::with(Setup::default()).await
    }

    async fn with(setup: Setup) -> Self {
        let bank = Acquirer::start(vec![Site::new(PUBLIC_ID, API_SECRET)]).await.expect("a bank");
        let rig = Rig::with(Setup { api_url: Some(bank.url()), ..setup }).await;
        until(async || rig.api().payments.view.is_loaded().is_ok()).await;
        let mut shop = Self { gateway: GatewayId::new(""), rig, bank };
        shop.gateway = shop.configure(r#"defaultClubId: "club_1""#).await;
        shop
    }

    /// Gives the gateway these settings; its id.
    async fn configure(&self, settings: &str) -> GatewayId {
        let configure = format!(
            r#"mutation {{ configurePaymentGateway(input: {{ organizationId: "org_1", type: CLOUDPAYMENTS,
                publicId: "{PUBLIC_ID}", apiSecret: "{API_SECRET}", settings: {{ {settings} }} }}) {{ id isActive }} }}"#
        );
        let configured = self.rig.owner(&configure).await;
        GatewayId::new(configured["configurePaymentGateway"]["id"].as_str().expect("an id"))
    }

    /// Another control over the same log and bank, as after a restart.
    async fn next(self) -> Self {
        let Self { rig, bank, gateway } = self;
        let rig = rig.restarted(Setup { api_url: Some(bank.url()), ..Setup::default() }).await;
        until(async || rig.api().payments.view.is_loaded().is_ok()).await;
        Self { rig, bank, gateway }
    }

    /// What an OWNER is answered.
    async fn ask(&self, query: &str, variables: Value) -> Value {
        super::data(self.rig.execute(&Ok(super::owner()), query, variables).await)
    }

    /// A top-up of 100 roubles by client_1 in club_1.
    async fn top_up(&self) -> String {
        let input = json!({ "clientId": "client_1", "clubId": "club_1", "amount": "100.00" });
        let made = self.ask(INITIATE, json!({ "input": input })).await;
        made["initiateTopUpPayment"]["transactionId"].as_str().expect("an id").to_owned()
    }

    /// A payer at the bank.
    async fn pay(&self, payer: Payer) -> Paid {
        self.bank.pay(PUBLIC_ID, &payer).await.expect("the bank decides")
    }

    /// A payment of 100 roubles that control knows to be received; its id.
    async fn received(&self) -> (Paid, String) {
        let paid = self.pay(Payer { account_id: Some("client_1".to_owned()), ..Payer::new("100.00") }).await;
        self.tell_all().await;
        let id = self.payment_id(paid.transaction_id);
        self.status_becomes(&id, "CONFIRMED").await;
        (paid, id)
    }

    fn payment_id(&self, transaction_id: u64) -> String {
        hookline_schemas::ids::PaymentId::compute(PUBLIC_ID, transaction_id).to_string()
    }

    /// What the bank wants to tell, but for Checks.
    fn told(&self) -> Vec<Posted> {
        let mut posted = self.bank.posted(PUBLIC_ID);
        posted.retain(|posted| posted.kind != NotificationType::Check);
        posted
    }

    /// Puts all of it into the log.
    async fn tell_all(&self) {
        for posted in self.told() {
            self.tell(&posted).await;
        }
    }

    /// Puts one notification into the log.
    async fn tell(&self, posted: &Posted) {
        self.tell_body(posted.kind, &posted.body).await;
    }

    async fn tell_body(&self, kind: NotificationType, body: &[u8]) {
        let gateway = Gateway {
            id: self.gateway.clone(),
            organization: OrganizationId::new("org_1"),
            public_id: PUBLIC_ID.to_owned(),
            api_secrets: Vec::new(),
            default_club: ClubId::new("club_1"),
            shared_url: false,
            policy: CheckPolicy::lenient(),
        };
        let fields = read_fields(BodyFormat::Form, body).expect("a form");
        let event = from_notification(Source {
            gateway: &gateway,
            kind,
            format: BodyFormat::Form,
            body,
            fields: &fields,
            top_up_club: None,
            accepted_at: self.now(),
        });
        self.append(&event.expect("it is understood")).await;
    }

    async fn append(&self, event: &Event) {
        let events = self.rig.log.journal(JournalName::Events);
        let appending = crate::events::hand_over(&events, event).await.expect("room");
        appending.await.expect("durable");
    }

    async fn payment(&self, id: &str) -> Value {
        self.ask(PAYMENT, json!({ "id": id })).await["payment"].clone()
    }

    /// Waits until the payment stands so.
    async fn status_becomes(&self, id: &str, status: &str) {
        self.becomes(id, |payment| payment["status"] == status).await;
    }

    /// Waits until the payment is known, and so.
    async fn becomes(&self, id: &str, is_so: impl Fn(&Value) -> bool) {
        let looked = until(async || {
            let response = self.rig.execute(&Ok(super::owner()), PAYMENT, json!({ "id": id })).await;
            response.errors.is_empty() && is_so(&response.data.into_json().expect("JSON")["payment"])
        });
        looked.await;
    }

    /// Waits until every event in the log has been taken.
    async fn taken(&self) {
        self.rig.api().payments.events_are_taken().await.expect("they are taken");
    }

    /// What goes back, by refundPayment.
    async fn refund(&self, id: &str, amount: Option<&str>) -> async_graphql::Response {
        let input = json!({ "transactionId": id, "amount": amount, "reason": "the club was closed" });
        self.rig.execute(&Ok(super::owner()), REFUND, json!({ "input": input })).await
    }

    /// How much of a transaction went back at the bank.
    fn refunded_at_the_bank(&self, transaction_id: u64) -> String {
        let all = self.bank.transactions(PUBLIC_ID);
        let found = all.iter().find(|view| view.transaction_id == transaction_id);
        found.expect("a transaction").refunded.to_string()
    }

    fn now(&self) -> Timestamp {
        self.rig.api().clock.wall()
    }
}

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(30);
