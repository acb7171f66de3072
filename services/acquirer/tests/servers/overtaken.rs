//! Keys that another instance changes between reading and writing.

use acquirer::application::ports::Ledger;
use acquirer::domain::charge::{Action, Posting, State};

use crate::contract::{EURO, charge, posting};
use crate::family::Family;

/// The posting, which waits for what somebody else has written, who then commits.
async fn overtaken(family: &Family, ledger: &dyn Ledger, meanwhile: &str, posted: Posting) -> State {
    let meddling = family.meddle(meanwhile).await;
    let batch = [posted];
    let (answers, committed) = tokio::join!(ledger.post(&batch), meddling.commit_when_somebody_waits());
    committed.unwrap();
    answers.unwrap().pop().unwrap().unwrap().state
}

#[tokio::test]
async fn a_void_that_comes_while_another_instance_captures_changes_nothing() {
    let family = Family::new();
    let ledger = family.ledger().await;
    let captured = "INSERT INTO ledger (key, kind, amount_minor, currency, at) VALUES ('k', 'capture', 100, 'EUR', 5);
                    INSERT INTO charges VALUES ('k', 100, 'EUR', 'captured', '', 'r', 5)";
    assert_eq!(overtaken(&family, &*ledger, captured, posting("k", Action::Void, 6)).await, State::Captured);
    assert_eq!(family.lines_of("k").await, ["capture"]);
}

#[tokio::test]
async fn a_charge_that_comes_while_another_instance_voids_its_key_is_not_captured() {
    let family = Family::new();
    let ledger = family.ledger().await;
    let voided = "INSERT INTO ledger (key, kind, at) VALUES ('k', 'void', 5);
                  INSERT INTO charges VALUES ('k', NULL, NULL, 'voided', '', 'r', 5)";
    assert_eq!(overtaken(&family, &*ledger, voided, charge("k", EURO, false, 6)).await, State::Voided);
    assert_eq!(family.lines_of("k").await, ["void"]);
}

#[tokio::test]
async fn what_another_instance_refunds_meanwhile_is_refunded_once() {
    let family = Family::new();
    let ledger = family.ledger().await;
    ledger.post(&[charge("k", EURO, false, 5)]).await.unwrap();
    let refunded = "INSERT INTO ledger (key, kind, amount_minor, currency, at) VALUES ('k', 'refund', 100, 'EUR', 6);
                    UPDATE charges SET state = 'refunded', updated_at = 6 WHERE key = 'k'";
    assert_eq!(overtaken(&family, &*ledger, refunded, posting("k", Action::Refund, 7)).await, State::Refunded);
    assert_eq!(family.lines_of("k").await, ["capture", "refund"]);
}
