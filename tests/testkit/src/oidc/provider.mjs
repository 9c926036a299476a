// A real OIDC provider for one test, with a few controls that a test needs instead of a browser:
// POST /control/approve {user_code, account}, /control/sign {header, claims}, /control/rotate.
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import http from 'node:http';
import { SignJWT, importJWK } from 'jose';
import Provider from 'oidc-provider';

const [portFile] = process.argv.slice(2);

const ACCOUNTS = {
  jane: { name: 'jane DOE', preferred_username: 'jdoe', groups: ['/spd', '/spd/production'] },
  john: { name: 'John Roe', preferred_username: 'jroe', groups: ['/spd'] },
  eve: { name: 'Eve Poe', preferred_username: 'epoe', groups: ['/mpd'] },
};
const AUDIENCE = 'https://panda.test.org';

function newKey() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const jwk = privateKey.export({ format: 'jwk' });
  return { ...jwk, kid: randomUUID(), use: 'sig', alg: 'RS256' };
}

function newProvider(issuer, key) {
  const device = 'urn:ietf:params:oauth:grant-type:device_code';
  const person = (id) => ({
    client_id: id,
    client_secret: `secret-of-${id}`,
    grant_types: [device, 'refresh_token'],
    redirect_uris: [],
    response_types: [],
    token_endpoint_auth_method: 'client_secret_post',
  });
  const provider = new Provider(issuer, {
    clients: [
      person('spd-client'),
      person('other-client'),
      { ...person('spd-robot'), grant_types: ['client_credentials'] },
    ],
    jwks: { keys: [key] },
    cookies: { keys: ['for tests only'] },
    claims: { openid: ['sub', 'groups'], profile: ['name', 'preferred_username'] },
    scopes: ['openid', 'profile', 'email', 'offline_access'],
    conformIdTokenClaims: false,
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, ...ACCOUNTS[id] }) }),
    features: {
      devInteractions: { enabled: false },
      deviceFlow: { enabled: true },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: (ctx) => (ctx.oidc.client?.clientId === 'spd-robot' ? AUDIENCE : undefined),
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({
          scope: '', audience: AUDIENCE, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
  });
  provider.on('server_error', (_, error) => console.error(error));
  return provider;
}

async function approve({ user_code: userCode, account }) {
  const normal = userCode.replace(/[^a-zA-Z]/g, '').toUpperCase();
  const code = await provider.DeviceCode.findByUserCode(normal, { ignoreExpiration: true });
  const grant = new provider.Grant({ accountId: account, clientId: code.clientId });
  grant.addOIDCScope(code.params.scope);
  Object.assign(code, {
    accountId: account,
    authTime: Math.floor(Date.now() / 1000),
    grantId: await grant.save(),
    scope: code.params.scope,
  });
  await code.save();
  return {};
}

async function sign({ header, claims }) {
  const secret = await importJWK(key, 'RS256');
  const protectedHeader = { alg: 'RS256', kid: key.kid, ...header };
  return { token: await new SignJWT(claims).setProtectedHeader(protectedHeader).sign(secret) };
}

function rotate() {
  key = newKey();
  provider = newProvider(issuer, key);
  return {};
}

const CONTROLS = { '/control/approve': approve, '/control/sign': sign, '/control/rotate': rotate };

const server = http.createServer(async (request, response) => {
  const control = CONTROLS[request.url];
  if (!control) return provider.callback()(request, response);
  let body = '';
  for await (const part of request) body += part;
  try {
    const answer = await control(JSON.parse(body || '{}'));
    response.setHeader('content-type', 'application/json').end(JSON.stringify(answer));
  } catch (error) {
    console.error(error);
    response.writeHead(500).end(String(error));
  }
});
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
const issuer = `http://127.0.0.1:${server.address().port}`;
let key = newKey();
let provider = newProvider(issuer, key);
writeFileSync(portFile, issuer);
