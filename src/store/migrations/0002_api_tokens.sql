-- What the provider last said of the person, sealed: the rules are applied to it while nobody is signed in.
ALTER TABLE users ADD COLUMN identity TEXT;

-- The hash is the SHA-256 of what a program holds; what the token may do is sealed.
CREATE TABLE api_tokens (
    id        BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 8),
    hash      BLOB    NOT NULL UNIQUE CHECK (length(hash) = 32),
    owner     TEXT    NOT NULL REFERENCES users (name) ON UPDATE CASCADE ON DELETE CASCADE,
    expires   INTEGER NOT NULL,
    last_used INTEGER,
    sealed    TEXT    NOT NULL
) STRICT;

CREATE INDEX api_tokens_owner ON api_tokens (owner);
