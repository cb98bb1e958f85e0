#!/bin/bash
# Makes the roles that `tunnelwarden migrate` grants to, at the database's first start. The owner exists: who runs this.
# Passwords go by standard input: an argument is seen by everybody on the machine.
set -euo pipefail
psql --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<SQL
\set writer \`cat /run/secrets/database-password\`
\set reader \`cat /run/secrets/analyst-password\`
CREATE ROLE tunnelwarden LOGIN PASSWORD :'writer';
CREATE ROLE analyst LOGIN PASSWORD :'reader';
SQL
