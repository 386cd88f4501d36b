//! What the provider last said of each person.

use super::{Store, StoreError, decode, failed};
use crate::user::UserName;

impl Store {
    /// Keeps what the provider said of a person; of whoever has no name here, nothing.
    pub async fn keep_identity(&self, issuer: &str, subject: &str, sealed: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE users SET identity = ? WHERE issuer = ? AND subject = ?")
            .bind(sealed)
            .bind(issuer)
            .bind(subject)
            .execute(&self.pool)
            .await
            .map_err(failed("keeping an identity"))?;
        Ok(())
    }

    /// What was kept of the person of this name.
    pub async fn identity(&self, name: &UserName) -> Result<Option<String>, StoreError> {
        let sealed: Option<Option<String>> = sqlx::query_scalar("SELECT identity FROM users WHERE name = ?")
            .bind(name.as_str())
            .fetch_optional(&self.pool)
            .await
            .map_err(failed("looking an identity up"))?;
        Ok(sealed.flatten())
    }

    /// The name of the person `(issuer, subject)`, if they have one.
    pub async fn name_of(&self, issuer: &str, subject: &str) -> Result<Option<UserName>, StoreError> {
        let name: Option<String> =
            sqlx::query_scalar("SELECT name FROM users WHERE issuer = ? AND subject = ?")
                .bind(issuer)
                .bind(subject)
                .fetch_optional(&self.pool)
                .await
                .map_err(failed("looking a user up"))?;
        let parse = |name: String| UserName::parse(&name);
        let unreadable = |error| failed("reading a user's name")(decode(error));
        name.map(parse).transpose().map_err(unreadable)
    }
}
