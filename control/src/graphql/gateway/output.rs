//! Gateways as they are shown. Never a secret.

use async_graphql::{Enum, ID, SimpleObject};
use hookline_registry::{ConnectionStatus, GatewayRecord};
use hookline_schemas::gateway::{Acceptance, CheckPolicy, Gateway};
use hookline_schemas::ids::GatewayId;
use hookline_schemas::notification::NotificationType;
use hookline_schemas::time::Timestamp;

use crate::graphql::access::AnyGateway;
use crate::graphql::scalars::DateTime;

/// Through whom payments are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum GatewayType {
    /// CloudPayments.
    #[graphql(name = "CLOUDPAYMENTS")]
    CloudPayments,
}

/// What CloudPayments said of the newest API secret when it was asked last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(name = "GatewayStatus")]
pub(crate) enum GatewayStatus {
    /// It accepts the credentials.
    Connected,
    /// It could not be asked, or another gateway has this Public ID or secret by now. It is asked again every minute.
    Unavailable,
    /// It does not accept the credentials: configure the gateway again.
    InvalidCredentials,
}

impl From<ConnectionStatus> for GatewayStatus {
    fn from(status: ConnectionStatus) -> Self {
        match status {
            ConnectionStatus::Connected => Self::Connected,
            ConnectionStatus::Unavailable => Self::Unavailable,
            ConnectionStatus::InvalidCredentials => Self::InvalidCredentials,
        }
    }
}

/// What becomes of a payment that a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(name = "Acceptance")]
pub(crate) enum AcceptanceType {
    /// It may be paid.
    Accept,
    /// Check is answered with the code of the rule, and the payer is declined.
    Refuse,
}

impl From<Acceptance> for AcceptanceType {
    fn from(acceptance: Acceptance) -> Self {
        match acceptance {
            Acceptance::Accept => Self::Accept,
            Acceptance::Refuse => Self::Refuse,
        }
    }
}

impl From<AcceptanceType> for Acceptance {
    fn from(acceptance: AcceptanceType) -> Self {
        match acceptance {
            AcceptanceType::Accept => Self::Accept,
            AcceptanceType::Refuse => Self::Refuse,
        }
    }
}

/// What a gateway accepts.
#[derive(Debug, Clone, SimpleObject)]
pub(crate) struct GatewaySettings {
    /// The club of a payment that names none.
    default_club_id: Option<ID>,
    /// Whether the gateway takes part in the URL that all gateways share, /payments/cloudpayments/callback.
    shared_url: bool,
    /// Payments whose AccountId is no known client. Refused: Check is answered 11.
    unknown_clients: AcceptanceType,
    /// Payments whose InvoiceId is no pending top-up. Refused: Check is answered 10.
    unknown_invoices: AcceptanceType,
    /// Payments without an InvoiceId. Refused: Check is answered 10.
    without_invoice: AcceptanceType,
    /// Automatic charges of a subscription. Refused: Check is answered 10.
    subscription_charges: AcceptanceType,
    /// Payments in CloudPayments' test mode. Refused: Check is answered 13.
    test_payments: AcceptanceType,
    /// The smallest sum, inclusive. A decimal. Below it Check is answered 12.
    min_amount: Option<String>,
    /// The largest sum, inclusive. A decimal. Above it Check is answered 12.
    max_amount: Option<String>,
    /// The only currency, as RUB. In another one Check is answered 12.
    currency: Option<String>,
    /// Where top-ups are paid. Null: at an order that CloudPayments makes for each.
    payment_page: Option<String>,
}

/// The addresses to which CloudPayments posts notifications of each type, ready to paste into its cabinet.
#[derive(Debug, Clone, SimpleObject)]
pub(crate) struct CallbackUrls {
    /// Check: may it be paid?
    check: String,
    /// Pay: the money has been taken, or is held.
    pay: String,
    /// Fail: a try has failed.
    fail: String,
    /// Confirm: a hold has become a payment.
    confirm: String,
    /// Refund: money went back.
    refund: String,
    /// Cancel: a hold was released.
    cancel: String,
    /// Recurrent: a subscription changed its status.
    recurrent: String,
}

/// A site of an organization at CloudPayments. All clubs of the organization share it.
#[derive(Debug, Clone, SimpleObject)]
pub(crate) struct PaymentGateway {
    /// Its id. It stands in the callback URLs.
    id: ID,
    /// Through whom payments are made.
    #[graphql(name = "type")]
    kind: GatewayType,
    /// Whether it takes payments now: it is switched on, and CloudPayments has accepted its API secret.
    is_active: bool,
    /// The Public ID of the site.
    public_id: String,
    /// In its owner's words.
    description: Option<String>,
    /// What CloudPayments said of the newest API secret. A secret that was accepted earlier goes on counting until
    /// a new one is accepted.
    status: GatewayStatus,
    /// When CloudPayments said so. Null, where the gateway stands in the operator's configuration.
    status_checked_at: Option<DateTime>,
    /// Whose it is.
    organization_id: ID,
    /// What it accepts.
    settings: GatewaySettings,
    /// Where CloudPayments has to post notifications. Null, as long as the operator has not set
    /// cloudpayments.callback_url, the address at which CloudPayments reaches hookline.
    callback_urls: Option<CallbackUrls>,
    /// Until when the previous API secret counts beside the new one. Null, where none does.
    secret_rotates_until: Option<DateTime>,
}

/// What came of setting one notification at CloudPayments.
#[derive(Debug, Clone, SimpleObject)]
pub(crate) struct CallbackResult {
    /// The type of the notification.
    #[graphql(name = "type")]
    pub(super) kind: CallbackType,
    /// Where it is to be posted.
    pub(super) url: String,
    /// Whether CloudPayments posts it there now.
    pub(super) is_set: bool,
    /// Why not, or what is left to do.
    pub(super) message: Option<String>,
}

/// The types of notifications that have a callback URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum CallbackType {
    /// May it be paid?
    Check,
    /// The money has been taken, or is held.
    Pay,
    /// A try has failed.
    Fail,
    /// A hold has become a payment.
    Confirm,
    /// Money went back.
    Refund,
    /// A hold was released.
    Cancel,
    /// A subscription changed its status.
    Recurrent,
}

impl CallbackType {
    /// Those that can be set through the API.
    pub(super) const SETTABLE: [Self; 6] =
        [Self::Pay, Self::Fail, Self::Confirm, Self::Refund, Self::Cancel, Self::Recurrent];

    pub(super) const fn notification(self) -> NotificationType {
        match self {
            Self::Check => NotificationType::Check,
            Self::Pay => NotificationType::Pay,
            Self::Fail => NotificationType::Fail,
            Self::Confirm => NotificationType::Confirm,
            Self::Refund => NotificationType::Refund,
            Self::Cancel => NotificationType::Cancel,
            Self::Recurrent => NotificationType::Recurrent,
        }
    }

    /// Where CloudPayments posts it, under the address at which it reaches the edge.
    pub(super) fn url(self, base: &str, gateway: &GatewayId) -> String {
        format!("{base}/payments/cloudpayments/{gateway}/{}", self.notification().as_str())
    }
}

impl PaymentGateway {
    /// As it stands now. `base`: where CloudPayments reaches the edge.
    pub(super) fn new(gateway: AnyGateway<'_>, base: Option<&str>, now: Timestamp) -> Self {
        match gateway {
            AnyGateway::Registered(record) => Self::of_record(record, base, now),
            AnyGateway::Configured(gateway) => Self::of_configuration(gateway, base),
        }
    }

    fn of_record(record: &GatewayRecord, base: Option<&str>, now: Timestamp) -> Self {
        let counting = record.secrets.iter().filter(|secret| secret.counts(now));
        Self {
            id: ID::from(record.id.as_str()),
            kind: GatewayType::CloudPayments,
            is_active: record.takes_payments(now),
            public_id: record.public_id.clone(),
            description: record.description.clone(),
            status: record.connection.status.into(),
            status_checked_at: Some(DateTime(record.connection.checked_at)),
            organization_id: ID::from(record.organization.as_str()),
            settings: settings(
                record.default_club.as_ref().map(|club| club.as_str()),
                record.shared_url,
                &record.policy,
                record.payment_page.clone(),
            ),
            callback_urls: base.map(|base| callback_urls(base, &record.id)),
            secret_rotates_until: counting.filter_map(|secret| secret.until).max().map(DateTime),
        }
    }

    fn of_configuration(gateway: &Gateway, base: Option<&str>) -> Self {
        Self {
            id: ID::from(gateway.id.as_str()),
            kind: GatewayType::CloudPayments,
            is_active: !gateway.policy.paused,
            public_id: gateway.public_id.clone(),
            description: None,
            status: GatewayStatus::Connected,
            status_checked_at: None,
            organization_id: ID::from(gateway.organization.as_str()),
            settings: settings(
                Some(gateway.default_club.as_str()),
                gateway.shared_url,
                &gateway.policy,
                None,
            ),
            callback_urls: base.map(|base| callback_urls(base, &gateway.id)),
            secret_rotates_until: None,
        }
    }
}

fn settings(
    default_club: Option<&str>,
    shared_url: bool,
    policy: &CheckPolicy,
    payment_page: Option<String>,
) -> GatewaySettings {
    GatewaySettings {
        default_club_id: default_club.map(ID::from),
        shared_url,
        unknown_clients: policy.unknown_clients.into(),
        unknown_invoices: policy.unknown_invoices.into(),
        without_invoice: policy.without_invoice.into(),
        subscription_charges: policy.subscription_charges.into(),
        test_payments: policy.test_payments.into(),
        min_amount: policy.min_amount.map(|amount| amount.to_string()),
        max_amount: policy.max_amount.map(|amount| amount.to_string()),
        currency: policy.currency.clone(),
        payment_page,
    }
}

fn callback_urls(base: &str, gateway: &GatewayId) -> CallbackUrls {
    let url = |kind: CallbackType| kind.url(base, gateway);
    CallbackUrls {
        check: url(CallbackType::Check),
        pay: url(CallbackType::Pay),
        fail: url(CallbackType::Fail),
        confirm: url(CallbackType::Confirm),
        refund: url(CallbackType::Refund),
        cancel: url(CallbackType::Cancel),
        recurrent: url(CallbackType::Recurrent),
    }
}
