-- Which replica looks into which lost call. Who dies over it is followed by another one when its time is over.
CREATE TABLE tunnelwarden_shared.resolving (
    intent_id uuid PRIMARY KEY,
    replica   text NOT NULL,
    until     timestamptz NOT NULL
);
