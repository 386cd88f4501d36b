-- When workspaces were last used, and which start of them. Whether they run is the container runtime's to say, and it may know
-- some whose owners are not here.
CREATE TABLE uses (
    owner    TEXT    NOT NULL,
    server   TEXT    NOT NULL,
    instance TEXT    NOT NULL,
    used     INTEGER NOT NULL,
    PRIMARY KEY (owner, server)
) STRICT;
