-- What replicas have to know of each other while they work. None of it is the record: it proves nothing, and a replica that
-- can't reach it refuses what it can't decide alone. Who writes the record may change all of it.
CREATE SCHEMA IF NOT EXISTS tunnelwarden_shared;
