-- Where a server listens, if its container chose the port itself and said so.
ALTER TABLE uses ADD COLUMN port INTEGER CHECK (port BETWEEN 1 AND 65535);
