-- Groups of the hub's own. Who is in them is sealed: what is shared with a group is open to them.
CREATE TABLE own_groups (
    name   TEXT NOT NULL PRIMARY KEY,
    sealed TEXT NOT NULL
) STRICT;

-- People whom an administrator expects: they have a name here before their first login, and no right to it.
CREATE TABLE awaited_users (
    name    TEXT    NOT NULL PRIMARY KEY,
    created INTEGER NOT NULL
) STRICT;

CREATE TRIGGER awaited_user_comes AFTER INSERT ON users BEGIN
    DELETE FROM awaited_users WHERE name = NEW.name;
END;
