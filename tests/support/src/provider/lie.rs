//! What a provider can do wrong.

/// One thing that it does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each name says what is wrong")]
pub enum Lie {
    // The description.
    DiscoveryOtherIssuer,
    DiscoveryNotFound,
    DiscoveryHtml,
    DiscoveryRedirect,
    DiscoveryServerError,
    DiscoveryNoPkce,
    DiscoveryOnlyPlainPkce,
    DiscoveryInsecureTokenEndpoint,
    DiscoveryNoUserinfo,
    DiscoveryNoIssPromise,
    DiscoveryNoPushedRequests,
    /// Never answers.
    DiscoverySlow,

    // The keys.
    KeysServerError,
    KeysEmpty,
    /// Among the good key: for encryption, of unknown type, with bad base64, too short, without a name.
    KeysJunk,
    /// Two more RSA keys that have not signed anything.
    KeysMany,
    /// Two keys of one name, of which the second has signed.
    KeysDuplicateName,

    // The answer by the browser.
    AnswerDenied,
    AnswerDeniedOtherIss,
    AnswerNoIss,
    AnswerOtherIss,
    AnswerOtherState,
    /// In the address where a form was asked for, and the other way round.
    AnswerOtherMode,

    // Pushed requests.
    PushedNoReference,
    /// The reference counts no more when the browser shows it.
    PushedExpired,

    // The token endpoint.
    TokenHtml,
    TokenServerError,
    TokenRedirect,
    /// Never answers.
    TokenSlow,
    TokenHuge,
    TokenErrorWithStatus200,
    TokenTypeDpop,
    TokenTypeUpperCase,
    TokenNoIdToken,
    TokenNoAccessToken,
    TokenNoExpiry,
    TokenNoRefreshToken,
    /// With a line break in it.
    TokenMalformedAccessToken,

    // The ID token.
    IdTokenMalformed,
    IdTokenOtherIssuer,
    IdTokenOtherAudience,
    IdTokenNoAudience,
    /// With `azp`, as it should be.
    IdTokenMoreAudiences,
    IdTokenMoreAudiencesWithoutAzp,
    IdTokenOtherAzp,
    IdTokenOtherNonce,
    IdTokenNoNonce,
    IdTokenExpired,
    IdTokenNoExpiry,
    IdTokenNoIssueTime,
    IdTokenFromTheFuture,
    /// Issued 200 seconds ago.
    IdTokenOld,
    IdTokenNotYetValid,
    IdTokenNoSubject,
    IdTokenOtherSubject,
    /// Of another of its sessions.
    IdTokenOtherSession,
    IdTokenNoSession,
    /// Of a login a second before.
    IdTokenEarlierLogin,
    /// Of a login just now.
    IdTokenLaterLogin,
    IdTokenLongSubject,
    IdTokenOtherAccessTokenHash,
    IdTokenNoAccessTokenHash,
    IdTokenBadSignature,
    IdTokenNoSignature,
    IdTokenAlgorithmNone,
    /// HS256 with the client's secret.
    IdTokenMacOfSecret,
    /// HS256 with the public key's text, as a confused verifier would use it.
    IdTokenMacOfPublicKey,
    /// PS256 by the same key.
    IdTokenOtherAlgorithm,
    IdTokenEncrypted,
    IdTokenUnknownKey,
    IdTokenUnnamedKey,
    IdTokenCriticalHeader,
    IdTokenIsLogoutToken,
    IdTokenIsAccessToken,
    /// With a logout token's `events`.
    IdTokenIsEvent,
    /// Six hundred groups: more than 20 KiB.
    IdTokenLarge,
    /// A profile claim of a type that the standard does not know.
    IdTokenOddProfile,

    // The access token.
    AccessTokenOpaque,
    AccessTokenOtherAzp,
    AccessTokenOtherIssuer,
    AccessTokenOtherSubject,
    AccessTokenOtherKind,
    AccessTokenExpired,
    /// Issued ten minutes ago.
    AccessTokenOld,
    AccessTokenNoSubject,
    AccessTokenBadSignature,
    /// With no claim about the person.
    AccessTokenLightweight,

    // Userinfo.
    UserinfoOtherSubject,
    UserinfoNoSubject,
    UserinfoSigned,
    UserinfoArray,
    UserinfoHtml,
    UserinfoServerError,
    /// An error that is the token endpoint's.
    UserinfoInvalidGrant,
    UserinfoRedirect,

    // The way back from its logout.
    LogoutNoState,
    LogoutOtherState,

    // Revocation.
    RevocationServerError,
}
