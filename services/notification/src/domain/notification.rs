//! From a piece of news to the messages that it makes: one for each of its channels.

use std::fmt;

use kernel::{Money, OrderId, UserId};

/// Which event a message is about. Streams number their events independently, so the stream is part of
/// it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventId(String);

impl EventId {
    /// `event` is unique within `stream`: `<aggregate>/<version>`.
    pub fn new(stream: &str, event: &str) -> Self {
        Self(format!("{stream}/{event}"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a message reaches its recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    Email,
    Sms,
}

impl Channel {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Sms => "sms",
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a customer is to be told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    OrderConfirmed,
    OrderCancelled,
    PaymentFailed {
        amount: Option<Money>,
        /// The payment service's word for it; may be empty.
        reason: String,
    },
}

impl What {
    /// The name of the event that brought it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::OrderConfirmed => "OrderConfirmed",
            Self::OrderCancelled => "OrderCancelled",
            Self::PaymentFailed { .. } => "PaymentFailed",
        }
    }

    /// Where it is told. Good news is worth a text message.
    pub const fn channels(&self) -> &'static [Channel] {
        match self {
            Self::OrderConfirmed => &[Channel::Email, Channel::Sms],
            Self::OrderCancelled | Self::PaymentFailed { .. } => &[Channel::Email],
        }
    }
}

/// Something happened to an order that its buyer has to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    pub event_id: EventId,
    pub order: OrderId,
    /// The buyer, where the event names one.
    pub user: Option<UserId>,
    pub what: What,
}

/// Where a customer is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    pub user: UserId,
    pub email: String,
}

impl Recipient {
    /// The address on `channel`.
    pub fn address(&self, channel: Channel) -> String {
        match channel {
            Channel::Email => self.email.clone(),
            Channel::Sms => self.number(),
        }
    }

    /// Accounts have no telephone number, so each stands for one out of +44 7700 900000 to 900999,
    /// which belong to nobody (Ofcom keeps them for fiction). Several customers may share one.
    fn number(&self) -> String {
        format!("+447700900{:03}", self.user.as_uuid().as_u128() % 1000)
    }
}

/// A message for the provider, which knows it by event and channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingMessage {
    pub event_id: EventId,
    pub channel: Channel,
    /// An e-mail address or a telephone number.
    pub recipient: String,
    /// Empty for an SMS.
    pub subject: String,
    pub body: String,
    pub order: OrderId,
}

/// The messages that `news` makes, in the order of its channels.
pub fn compose(news: &News, recipient: &Recipient) -> Vec<OutgoingMessage> {
    let (subject, body) = text(news);
    let message = |channel: &Channel| OutgoingMessage {
        event_id: news.event_id.clone(),
        channel: *channel,
        recipient: recipient.address(*channel),
        subject: match channel {
            Channel::Email => subject.to_owned(),
            Channel::Sms => String::new(),
        },
        body: body.clone(),
        order: news.order,
    };
    news.what.channels().iter().map(message).collect()
}

/// Subject and body.
fn text(news: &News) -> (&'static str, String) {
    let order = news.order;
    match &news.what {
        What::OrderConfirmed => {
            ("Your order is confirmed", format!("Thank you. Your order {order} is paid and on its way."))
        }
        What::OrderCancelled => {
            ("Your order is cancelled", format!("Your order {order} is cancelled. You pay nothing for it."))
        }
        What::PaymentFailed { amount, reason } => {
            let amount = amount.map(|amount| format!(" of {amount}")).unwrap_or_default();
            let reason = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
            let body = format!("The payment{amount} for your order {order} failed{reason}. You were not charged.");
            ("Your payment failed", body)
        }
    }
}

#[cfg(test)]
mod tests {
    use kernel::Currency;

    use super::*;

    const ORDER: &str = "0197a8e8-56a5-5b8e-8d2a-1f4b1de0a001";

    fn news(what: What) -> News {
        let event_id = EventId::new("ORDERS", &format!("{ORDER}/4"));
        News { event_id, order: ORDER.parse().unwrap(), user: None, what }
    }

    fn recipient() -> Recipient {
        let user = "00000000-0000-0000-0000-00000000002a".parse().unwrap();
        Recipient { user, email: "ada@example.test".into() }
    }

    fn messages(what: What) -> Vec<OutgoingMessage> {
        compose(&news(what), &recipient())
    }

    #[test]
    fn a_confirmed_order_makes_a_mail_and_a_text_message() {
        let messages = messages(What::OrderConfirmed);
        let [mail, text] = &messages[..] else { panic!("two messages: {messages:?}") };
        assert_eq!((mail.channel, mail.recipient.as_str()), (Channel::Email, "ada@example.test"));
        assert_eq!(mail.subject, "Your order is confirmed");
        assert_eq!((text.channel, text.recipient.as_str()), (Channel::Sms, "+447700900042"));
        assert_eq!(text.subject, "", "a text message has none");
        for message in &messages {
            assert_eq!(message.body, format!("Thank you. Your order {ORDER} is paid and on its way."));
            assert_eq!(message.event_id.as_str(), format!("ORDERS/{ORDER}/4"));
            assert_eq!(message.order.to_string(), ORDER);
        }
    }

    #[test]
    fn bad_news_comes_by_mail_alone() {
        let failed = What::PaymentFailed { amount: None, reason: String::new() };
        for (what, subject) in [(What::OrderCancelled, "Your order is cancelled"), (failed, "Your payment failed")] {
            let messages = messages(what);
            let [mail] = &messages[..] else { panic!("one message: {messages:?}") };
            assert_eq!((mail.channel, mail.subject.as_str()), (Channel::Email, subject));
        }
    }

    #[test]
    fn a_failed_payment_says_how_much_and_why_as_far_as_it_is_known() {
        let body =
            |amount, reason: &str| messages(What::PaymentFailed { amount, reason: reason.into() })[0].body.clone();
        let end = "You were not charged.";
        assert_eq!(
            body(Some(Money::new(1900, Currency::EUR)), "declined"),
            format!("The payment of 19.00 EUR for your order {ORDER} failed (declined). {end}")
        );
        assert_eq!(body(None, ""), format!("The payment for your order {ORDER} failed. {end}"));
    }

    #[test]
    fn events_of_two_streams_never_share_an_id() {
        assert_ne!(EventId::new("ORDERS", "a/1"), EventId::new("PAYMENTS", "a/1"));
    }

    #[test]
    fn every_number_is_one_that_belongs_to_nobody() {
        for user in ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"] {
            let number = Recipient { user: user.parse().unwrap(), email: String::new() }.address(Channel::Sms);
            assert!(number.starts_with("+447700900") && number.len() == 13, "{number}");
        }
    }
}
