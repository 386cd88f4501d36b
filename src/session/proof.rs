//! How well a person has proved who they are, at the login that began their session.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::identity::Identity;
use crate::oidc::StepUp;

/// What the provider said of the login itself. It is of that moment: no renewal makes it better, or fresher.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// `acr`: the level that was reached.
    level: Option<String>,
    /// `auth_time`: when the person last typed something there.
    at: Option<Timestamp>,
}

impl Proof {
    /// As the identity of a login says it.
    pub fn of(identity: &Identity) -> Self {
        let level = identity.claim(&["acr"]).and_then(Value::as_str).map(str::to_owned);
        // A number of seconds, perhaps with a fraction.
        let at = identity.claim(&["auth_time"]).filter(|time| time.is_number());
        let at = at.and_then(|time| time.to_string().split('.').next()?.parse().ok());
        Self { level, at }
    }

    /// Whether it is as good as `wanted`, `skew` seconds between the clocks allowed for.
    pub fn reaches(&self, wanted: &StepUp, now: Timestamp, skew: u64) -> bool {
        let level = wanted.acr_values.is_empty()
            || self.level.as_ref().is_some_and(|level| wanted.acr_values.contains(level));
        let fresh = match (wanted.max_age, self.at) {
            (None, _) => true,
            (Some(age), Some(at)) => at.saturating_add(age).saturating_add(skew) >= now,
            (Some(_), None) => false,
        };
        level && fresh
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn proof(claims: Value) -> Proof {
        Proof::of(&Identity {
            issuer: String::new(),
            subject: String::new(),
            sid: None,
            claims: claims.as_object().cloned().unwrap(),
        })
    }

    #[test]
    fn a_proof_is_as_good_as_the_provider_said_at_the_login() {
        let wanted = |acr_values: &[&str], max_age| StepUp {
            acr_values: acr_values.iter().map(|&value| value.to_owned()).collect(),
            max_age,
        };
        let reaches = |claims: Value, wanted: &StepUp| proof(claims).reaches(wanted, 1000, 30);
        let gold = wanted(&["gold", "platinum"], None);
        assert!(reaches(json!({"acr": "platinum"}), &gold));
        for acr in
            [json!("0"), json!("1"), json!("Gold"), json!("gold "), json!(["gold"]), json!(1), Value::Null]
        {
            assert!(!reaches(json!({"acr": acr}), &gold), "{acr}");
        }
        let fresh = wanted(&[], Some(60));
        for (time, is_fresh) in
            [(json!(1000), true), (json!(910), true), (json!(910.7), true), (json!(909), false)]
        {
            assert_eq!(reaches(json!({"auth_time": time}), &fresh), is_fresh, "{time}");
        }
        for time in [json!("1000"), json!(-1), json!(null), json!([1000])] {
            assert!(!reaches(json!({"auth_time": time}), &fresh), "{time}");
        }
        let both = wanted(&["gold"], Some(60));
        assert!(reaches(json!({"acr": "gold", "auth_time": 1000}), &both));
        assert!(!reaches(json!({"acr": "gold", "auth_time": 1}), &both));
        assert!(!reaches(json!({"acr": "1", "auth_time": 1000}), &both));
        assert!(reaches(json!({}), &wanted(&[], None)), "nothing is asked");
    }
}
