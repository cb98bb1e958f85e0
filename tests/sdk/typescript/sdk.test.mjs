// The official TypeScript SDK, unchanged, through the proxy: only base URL and token are set.
// Run by tests/sdk/run, which starts the demo and gives its addresses in the environment.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';

import Cloudflare from 'cloudflare';

const account_id = process.env.DEMO_ACCOUNT;

function client(role, options = {}) {
  process.env.CLOUDFLARE_BASE_URL = process.env.DEMO_BASE_URL;
  process.env.CLOUDFLARE_API_TOKEN = process.env[`DEMO_TOKEN_${role.toUpperCase()}`];
  return new Cloudflare(options);
}

const tunnels = (role, options) => client(role, options).magicTransit.ipsecTunnels;

async function emulator(method, path, body) {
  const answer = await fetch(`${process.env.DEMO_EMULATOR}/${path}`, {
    method,
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  return answer.json();
}

const effects = async (operation) => (await emulator('GET', 'effects')).counts[operation] ?? 0;

const fields = (name, third) => ({
  account_id,
  name,
  cloudflare_endpoint: '203.0.113.1',
  interface_address: `10.78.${third}.0/31`,
});

async function refused(type, code, call) {
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof type, `${error}`);
    assert.equal(error.errors[0].code, code);
    assert.ok(error.headers.get('x-request-id'));
    return true;
  });
}

test('all eight operations with typed results', async () => {
  const api = tunnels('admin');
  const made = await api.create({ ...fields('ts-1', 1), customer_endpoint: '198.51.100.7' });
  const other = await api.create(fields('ts-2', 2));
  assert.equal(made.name, 'ts-1');

  const names = (await api.list({ account_id })).ipsec_tunnels.map((tunnel) => tunnel.name);
  assert.ok(names.includes('ts-1') && names.includes('ts-2'));

  const got = await api.get(made.id, { account_id, 'x-magic-new-hc-target': true });
  assert.equal(got.ipsec_tunnel.customer_endpoint, '198.51.100.7');

  const put = await api.update(made.id, { ...fields('ts-1', 1), description: 'changed' });
  assert.equal(put.modified, true);
  assert.equal(put.modified_ipsec_tunnel.description, 'changed');

  const bulk = await api.bulkUpdate({
    account_id,
    body: {
      ipsec_tunnels: [
        { id: made.id, ...fields('ts-1', 1), account_id: undefined },
        { id: other.id, ...fields('ts-2b', 2), account_id: undefined },
      ],
    },
  });
  assert.deepEqual(new Set(bulk.modified_ipsec_tunnels.map((tunnel) => tunnel.name)), new Set(['ts-1', 'ts-2b']));

  const minted = await api.pskGenerate(made.id, { account_id });
  assert.equal(minted.ipsec_tunnel_id, made.id);
  assert.ok(minted.psk.length >= 16);

  const psk = randomBytes(16).toString('hex');
  const set = await api.pskSet({ account_id, psks: [{ id: made.id, psk }] });
  assert.equal(set.successfully_applied_psks[made.id].psk, psk);

  for (const tunnel of [made, other]) {
    const gone = await api.delete(tunnel.id, { account_id });
    assert.equal(gone.deleted_ipsec_tunnel.id, tunnel.id);
  }
  await assert.rejects(() => api.get(made.id, { account_id }), Cloudflare.NotFoundError);
});

test('refusals are the SDK’s own typed errors', async () => {
  await refused(Cloudflare.PermissionDeniedError, 99400, () => tunnels('viewer').create(fields('ts-no', 3)));
  await refused(Cloudflare.PermissionDeniedError, 99400, () =>
    tunnels('operator').pskGenerate('0f'.repeat(16), { account_id }),
  );
  await refused(Cloudflare.PermissionDeniedError, 99400, () => tunnels('security').list({ account_id }));
  await refused(Cloudflare.AuthenticationError, 99212, () =>
    tunnels('viewer', { apiToken: 'not.a.jwt' }).list({ account_id }),
  );
  await refused(Cloudflare.BadRequestError, 99127, () =>
    tunnels('admin').create({ ...fields('ts-no', 3), colour: 'red' }),
  );
});

// The proxy's own guard answers a repeat with 409, so any other status says that the SDK did not even try.
const once = (what, third, fault, status) =>
  test(`a key is minted once when its answer ${what}`, async () => {
    const made = await tunnels('admin').create(fields(`ts-once-${third}`, third));
    const before = await effects('generate_psk');
    await emulator('POST', 'faults', { fault, operation: 'generate_psk', times: 1 });
    await assert.rejects(
      () => tunnels('admin', { maxRetries: 5 }).pskGenerate(made.id, { account_id }),
      (error) => {
        assert.ok(error instanceof Cloudflare.APIError, `${error}`);
        assert.equal(error.status, status);
        assert.equal(error.headers.get('x-should-retry'), 'false');
        return true;
      },
    );
    assert.equal(await effects('generate_psk'), before + 1);
    await tunnels('admin').delete(made.id, { account_id });
  });

once('is dropped', 4, 'drop-after', 502);
once('is HTML', 5, 'html-after', 502);
once('never comes', 6, 'hang-after', 504);

test('a read is repeated, and its user sees nothing of the fault', async () => {
  await emulator('POST', 'faults', { fault: 'status=503', operation: 'list', times: 1 });
  assert.ok((await tunnels('viewer').list({ account_id })).ipsec_tunnels.length > 0);
});
