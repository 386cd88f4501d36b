-- Workspaces that their owners share. With whom, how much and until when is sealed; the server without a name is ''.
CREATE TABLE shares (
    id     BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 8),
    owner  TEXT NOT NULL REFERENCES users (name) ON UPDATE CASCADE ON DELETE CASCADE,
    server TEXT NOT NULL,
    sealed TEXT NOT NULL
) STRICT;

CREATE INDEX shares_owner ON shares (owner);

-- The hash is the SHA-256 of what is in a link.
CREATE TABLE share_codes (
    id     BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 8),
    hash   BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    owner  TEXT NOT NULL REFERENCES users (name) ON UPDATE CASCADE ON DELETE CASCADE,
    server TEXT NOT NULL,
    sealed TEXT NOT NULL
) STRICT;

CREATE INDEX share_codes_owner ON share_codes (owner);
