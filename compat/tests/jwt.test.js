/** Tokens of `jose` at the server, and tokens of `switchboard token` at `jose`. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import * as jose from 'jose';

const { SWITCHBOARD_BIN, ...ENV } = process.env;
const BINARY = SWITCHBOARD_BIN ?? fileURLToPath(new URL('../../target/release/switchboard', import.meta.url));
const SECRET = '0123456789abcdef0123456789abcdef';
const AUDIENCE = 'switchboard';
const ISSUER = 'https://issuer.example';

/** @param {string[]} args @param {NodeJS.ProcessEnv} settings @param {string} [input] */
function token(args, settings, input = '') {
  const env = { ...ENV, SWITCHBOARD_ACCESS_AUTHENTICATORS: 'jwt', SWITCHBOARD_ACCESS_JWT_ISSUER: ISSUER,
    SWITCHBOARD_ACCESS_JWT_AUDIENCE: AUDIENCE, ...settings };
  const { status, stdout, stderr } = spawnSync(BINARY, ['token', ...args], { input, env, encoding: 'utf8' });
  return { status, stdout: stdout.trim(), stderr };
}

/** @param {string} text @param {NodeJS.ProcessEnv} settings */
function principal(text, settings) {
  const { status, stdout, stderr } = token(['verify', '-', '--json'], settings, text);
  assert.equal(status, 0, `${stdout}${stderr}`);
  return JSON.parse(stdout);
}

/** @param {string} alg @param {string} [kid] @param {jose.JWTHeaderParameters['jwk']} [jwk] */
function signed(alg, kid, jwk) {
  return new jose.SignJWT({ name: 'Ada', grants: ['*:team-*'], metadata: { role: 'host' } })
    .setProtectedHeader({ alg, kid, jwk, typ: 'JWT' })
    .setSubject('ada').setIssuer(ISSUER).setAudience(AUDIENCE)
    .setIssuedAt().setNotBefore('0s').setExpirationTime('10m');
}

/** @param {any} found */
function isAda(found) {
  assert.equal(found.subject, 'ada');
  assert.deepEqual(found.grants, ['*:team-*']);
  assert.deepEqual(found.metadata, { role: 'host' });
}

test('jwt: a secret shared with jose', async () => {
  const secret = new TextEncoder().encode(SECRET);
  const settings = { SWITCHBOARD_ACCESS_JWT_SECRET: SECRET };
  isAda(principal(await signed('HS256').sign(secret), settings));
  const { stdout } = token(['create', '--subject', 'ada', '--grant', 'list'], settings);
  const { payload } = await jose.jwtVerify(stdout, secret, { issuer: ISSUER, audience: AUDIENCE, algorithms: ['HS256'] });
  assert.equal(payload.sub, 'ada');
  assert.deepEqual(payload.grants, ['list']);
});

for (const alg of ['RS256', 'ES256', 'EdDSA']) {
  test(`jwt: a key set and a private key of jose with ${alg}`, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'switchboard-jwt-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const { publicKey, privateKey } = await jose.generateKeyPair(alg, { extractable: true });
    const other = await jose.generateKeyPair(alg);
    const [keys, pem, file] = ['keys.json', 'public.pem', 'private.pem'].map((name) => join(folder, name));
    writeFileSync(keys, JSON.stringify({ keys: [{ ...await jose.exportJWK(publicKey), kid: 'k', alg, use: 'sig' }] }));
    writeFileSync(pem, await jose.exportSPKI(publicKey));
    writeFileSync(file, await jose.exportPKCS8(privateKey));
    const text = await signed(alg, 'k').sign(privateKey);
    for (const path of [keys, pem]) {
      isAda(principal(text, { SWITCHBOARD_ACCESS_JWT_KEYS_FILE: path }));
      const refused = token(['verify', '-'], { SWITCHBOARD_ACCESS_JWT_KEYS_FILE: path }, await signed(alg, 'k').sign(other.privateKey));
      assert.equal(refused.status, 1);
      assert.match(refused.stderr, /its signature is wrong/);
    }
    const { stdout, stderr } = token(['create', '--subject', 'ada', '--key-file', file, '--key-id', 'k'], {});
    assert.equal(stderr, '');
    const { payload, protectedHeader } = await jose.jwtVerify(stdout, publicKey, { issuer: ISSUER, audience: AUDIENCE, algorithms: [alg] });
    assert.equal(payload.sub, 'ada');
    assert.equal(protectedHeader.kid, 'k');
  });
}

test('jwt: attacks with tokens of jose', async () => {
  const settings = { SWITCHBOARD_ACCESS_JWT_SECRET: SECRET };
  const secret = new TextEncoder().encode(SECRET);
  const unsecured = new jose.UnsecuredJWT({ sub: 'ada' }).setExpirationTime('10m').setIssuer(ISSUER).setAudience(AUDIENCE);
  const embedded = signed('HS256', undefined, { kty: 'OKP', crv: 'Ed25519', x: 'AAAA' });
  const attacks = { [unsecured.encode()]: /alg none/, [await embedded.sign(secret)]: /brings its own key/ };
  for (const [text, words] of Object.entries(attacks)) {
    const refused = token(['verify', '-'], settings, text);
    assert.equal(refused.status, 1, text);
    assert.match(refused.stderr, words);
  }
});
