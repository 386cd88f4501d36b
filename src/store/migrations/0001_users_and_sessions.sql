-- A person is (issuer, subject): OpenID Connect Core 1.0, section 5.7. The name is theirs for good.
CREATE TABLE users (
    issuer  TEXT    NOT NULL,
    subject TEXT    NOT NULL,
    name    TEXT    NOT NULL UNIQUE,
    created INTEGER NOT NULL,
    PRIMARY KEY (issuer, subject),
    UNIQUE (issuer, subject, name)
) STRICT;

-- The id is the SHA-256 of what the browser holds; identity and tokens are sealed.
CREATE TABLE sessions (
    id        BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 32),
    user      TEXT    NOT NULL,
    issuer    TEXT    NOT NULL,
    subject   TEXT    NOT NULL,
    sid       TEXT,
    created   INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    sealed    TEXT    NOT NULL,
    FOREIGN KEY (issuer, subject, user) REFERENCES users (issuer, subject, name)
        ON UPDATE CASCADE ON DELETE CASCADE
) STRICT;

CREATE INDEX sessions_person ON sessions (issuer, subject, user);
