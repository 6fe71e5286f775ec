/*
 * The function at the edge. CloudFront, AWS's network of caches, is the one host of the registry: each
 * request comes to it first, and it asks one of two *origins* for the answer: `api` (API Gateway) or
 * `bucket` (S3). Twice on the way CloudFront calls handler(), which may change what it is given:
 *
 *   client --> viewer-request --> cache --> api or bucket --> viewer-response --> client
 *
 * API Gateway takes 10 MB and Lambda 4.5, S3 takes 5 GiB. So a large PUT of an upload goes to the
 * bucket, and its answer sends the client on to the API, which publishes what was put. A blob's bytes
 * come from the bucket, too. All else goes to the API as it is.
 *
 * It decides nothing about rights: the API did, when it made the path, a *ticket* with a MAC. CloudFront
 * signs what goes to the bucket in the registry's name: so no header, query or path of the client's own
 * may get there. Method, Host and Content-Length can't be changed here. CloudFront's runtime 2.0 has no
 * classes, destructuring, spread, for-of or `?.`. docs/edge.md shows a push and a pull.
 */
import cf from 'cloudfront';
import crypto from 'crypto';

const LARGEST_AT_LAMBDA = 4700000; // bytes: LAMBDA_BODY of chalicelib/limits.py
const LARGEST_PUT = 5368709120; // 5 GiB, PUT_MAXIMUM: S3's limit for one PUT

// Tickets, as chalicelib/registry/tickets.py makes them:
// /v2/NAME/blobs/uploads/SESSION~EXPIRY~ALGORITHM~OWNER~MAC
const UPLOAD = /^\/v2\/([a-z0-9._\/-]+)\/blobs\/uploads\/(([0-9a-f-]{36})~([0-9]{1,12})~(sha256|sha512)~[^~\/]{22})~([^~\/]{43})$/;
// /v2/NAME/blobs/DIGEST~EXPIRY~PLACE~SESSION~MAC
const DOWNLOAD = /^\/v2\/([a-z0-9._\/-]+)\/blobs\/((sha256|sha512):([0-9a-f]{64,128})~([0-9]{1,12})~(blobs|direct|parts)~([0-9a-f-]{36}))~([^~\/]{43})$/;
const LIKE_A_DOWNLOAD = /^\/v2\/.*\/blobs\/sha[0-9]+:[^\/]*~/;
const IN_BUCKET = /^\/(blobs|direct)\//;

const VIEWER = 'x-moorage-edge'; // tells the API who asks: API Gateway sees CloudFront's address only
const MARK = 'x-moorage-mark'; // tells viewer-response what viewer-request found; S3 ignores it
const OTHER_WAYS = 'use `moorage push`, or push through `moorage proxy`';

async function handler(event) {
  if (event.context.eventType === 'viewer-response') {
    return answered(event.request, event.response);
  }
  return requested(event.request, event.viewer.ip);
}

async function requested(request, ip) {
  const keys = await readKeys();
  const path = decoded(request.uri);
  delete request.headers[MARK];
  delete request.headers[VIEWER];
  if (LIKE_A_DOWNLOAD.test(path)) {
    return downloaded(request, DOWNLOAD.exec(path), keys);
  }
  const length = lengthOf(request.headers);
  if (length === null) {
    return refused(400, 'SIZE_INVALID', 'Content-Length is no number of bytes');
  }
  if (length > LARGEST_AT_LAMBDA) {
    return large(request, UPLOAD.exec(path), length, keys);
  }
  if (keys.length > 0) {
    request.headers[VIEWER] = { value: `${ip}~${mac(keys[0], 'viewer', '', ip)}` };
  }
  return request;
}

// A body that Lambda can't take: to the bucket, if it is a whole blob that the API let in.
function large(request, ticket, length, keys) {
  if (request.method !== 'PUT' || ticket === null) {
    const most = `a request takes ${LARGEST_AT_LAMBDA} bytes, unless it PUTs a whole blob`;
    const clients = 'as docker 29, buildx, oras, helm and regctl do';
    return refused(413, 'SIZE_INVALID', `${most}, ${clients}: use one of these, or ${OTHER_WAYS}, or smaller chunks`);
  }
  if (length > LARGEST_PUT) {
    return refused(413, 'SIZE_INVALID', `one PUT takes ${LARGEST_PUT} bytes, not ${length}: ${OTHER_WAYS}`);
  }
  const hex = sha256Of(request.querystring.digest);
  if (hex === null || ticket[5] !== 'sha256') {
    const wanted = 'a PUT of this size needs one ?digest=sha256:<64 lower-case hexadecimal digits>';
    return refused(400, 'DIGEST_INVALID', `${wanted}; for another algorithm ${OTHER_WAYS}`);
  }
  if (keys.length === 0) {
    return refused(503, 'UNAVAILABLE', 'the edge has no keys: `moorage deploy` stores them');
  }
  if (!isGood(keys, 'upload', ticket[1], ticket[2], ticket[4], ticket[6])) {
    return refused(404, 'BLOB_UPLOAD_UNKNOWN', 'no such upload, or it was opened too long ago: start it again');
  }
  const commit = commitOf(request.uri, hex);
  strip(request);
  // S3 compares the bytes with both, and CloudFront's signature of the request covers them.
  request.headers['x-amz-checksum-sha256'] = { value: Buffer.from(hex, 'hex').toString('base64') };
  request.headers['x-amz-content-sha256'] = { value: hex };
  request.headers['content-type'] = { value: 'application/octet-stream' };
  request.headers[MARK] = { value: commit };
  request.uri = `/direct/${ticket[3]}/${hex}`;
  cf.selectRequestOriginById('bucket');
  return request;
}

// A blob's bytes. The path that is left is the object's key, by which CloudFront caches.
function downloaded(request, ticket, keys) {
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    return refused(405, 'UNSUPPORTED', 'only GET and HEAD here');
  }
  if (ticket === null || !isGood(keys, 'download', ticket[1], ticket[2], ticket[5], ticket[8])) {
    return refused(403, 'DENIED', 'this address of a blob is wrong or has expired: ask for the blob again');
  }
  const range = request.headers.range;
  const validator = request.headers['if-range'];
  strip(request);
  if (range !== undefined) {
    request.headers.range = range;
  }
  if (validator !== undefined) {
    request.headers['if-range'] = validator;
  }
  request.headers[MARK] = { value: `${ticket[3]}:${ticket[4]}` };
  request.uri = keyOf(ticket);
  cf.selectRequestOriginById('bucket');
  return request;
}

function keyOf(ticket) {
  if (ticket[6] === 'blobs') {
    return `/blobs/${ticket[3]}/${ticket[4].slice(0, 2)}/${ticket[4]}/${ticket[7]}`;
  }
  return `/direct/${ticket[7]}/${ticket[6] === 'parts' ? 'parts' : ticket[4]}`;
}

// CloudFront calls this for answers below 400 only. `request` is what was made of it above. Should
// CloudFront show the client's own request instead, its path says the same.
function answered(request, response) {
  const path = decoded(request.uri);
  const mark = IN_BUCKET.test(path) && request.headers[MARK] !== undefined ? request.headers[MARK].value : null;
  const sent = UPLOAD.test(path) && lengthOf(request.headers) > LARGEST_AT_LAMBDA;
  const hex = sent ? sha256Of(request.querystring.digest) : null;
  const download = DOWNLOAD.exec(path);
  if (request.method === 'PUT') {
    const commit = hex === null ? mark : commitOf(request.uri, hex);
    if (response.statusCode === 200 && commit !== null) {
      response.statusCode = 303; // "see other": the client goes on with a GET
      response.statusDescription = 'See Other';
      response.headers = withoutS3(response.headers);
      response.headers.location = { value: commit };
      response.headers['cache-control'] = { value: 'no-store' };
    }
  } else if (mark !== null || download !== null) {
    response.headers = withoutS3(response.headers);
    response.headers['docker-content-digest'] = { value: download === null ? mark : `${download[3]}:${download[4]}` };
  }
  return response;
}

function withoutS3(headers) {
  Object.keys(headers).forEach((name) => {
    if (name.startsWith('x-amz-')) {
      delete headers[name];
    }
  });
  return headers;
}

// Takes away all that the client sent, but what no function may touch.
function strip(request) {
  const kept = {};
  ['content-length', 'host', 'transfer-encoding', 'via'].forEach((name) => {
    if (request.headers[name] !== undefined) {
      kept[name] = request.headers[name];
    }
  });
  request.headers = kept;
  request.cookies = {};
  request.querystring = {};
}

// Clients may encode what tickets and digests have beside letters and digits.
function decoded(uri) {
  return uri.replace(/%7E/gi, '~').replace(/%3A/gi, ':');
}

function commitOf(uri, hex) {
  return `${uri}?commit&digest=sha256:${hex}`;
}

// The body's length in bytes; 0 where there is none or it comes in chunks, null where it is no number.
function lengthOf(headers) {
  const length = headers['content-length'];
  if (length === undefined) {
    return 0;
  }
  const single = length.multiValue === undefined && headers['transfer-encoding'] === undefined;
  return single && /^[0-9]{1,15}$/.test(length.value) ? Number(length.value) : null;
}

// The digits of ?digest=, which comes as the client wrote it; null where it is no SHA-256.
function sha256Of(parameter) {
  if (parameter === undefined || parameter.multiValue !== undefined) {
    return null;
  }
  const found = /^sha256(?::|%3A|%3a)([0-9a-f]{64})$/.exec(parameter.value);
  return found === null ? null : found[1];
}

// One or two keys, the one that signs first; none where the store has not been filled yet.
async function readKeys() {
  try {
    return (await cf.kvs().get('keys')).split(' ').map((key) => Buffer.from(key, 'base64url'));
  } catch (error) {
    console.log(`the store of keys can't be read: ${error}`);
    return [];
  }
}

function isGood(keys, purpose, name, fields, expiry, given) {
  const right = keys.filter((key) => same(mac(key, purpose, name, fields), given));
  return right.length > 0 && Date.now() < Number(expiry) * 1000;
}

function mac(key, purpose, name, fields) {
  return crypto.createHmac('sha256', key).update(`moorage ${purpose}\n${name}\n${fields}`).digest('base64url');
}

// Takes as long wherever two texts differ: its time tells nothing of a MAC.
function same(one, other) {
  let difference = one.length ^ other.length;
  for (let i = 0; i < one.length; i += 1) {
    difference |= one.charCodeAt(i) ^ other.charCodeAt(i);
  }
  return difference === 0;
}

function refused(status, code, message) {
  const headers = {
    'content-type': { value: 'application/json' },
    'cache-control': { value: 'no-store' },
    'docker-distribution-api-version': { value: 'registry/2.0' },
  };
  if (status === 503) {
    headers['retry-after'] = { value: '5' };
  }
  return {
    statusCode: status,
    statusDescription: code,
    headers: headers,
    body: JSON.stringify({ errors: [{ code: code, message: message }] }),
  };
}
