-- Workspaces with names that users gave them. Whether they run is the container runtime's to say.
CREATE TABLE servers (
    owner   TEXT    NOT NULL REFERENCES users (name) ON UPDATE CASCADE ON DELETE CASCADE,
    name    TEXT    NOT NULL,
    created INTEGER NOT NULL,
    PRIMARY KEY (owner, name)
) STRICT;
