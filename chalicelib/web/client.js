/**
 * The registry's API. The login's refresh token is kept for this tab (sessionStorage), the password
 * never, and bearer tokens only in memory.
 */

const KEPT = "moorage refresh token";

/** An answer that is an error, in the registry's own words. */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {string} code
   * @param {string} message
   * @param {any} detail
   */
  constructor(status, code, message, detail = null) {
    super(message);
    this.status = status;
    this.code = code;
    this.detail = detail;
  }
}

/** Nobody is logged in, or the login has ended. */
export class LoginNeeded extends Error {
  constructor() {
    super("The login has ended: log in again.");
  }
}

/** @param {string} name */
const escaped = (name) => name.split("/").map(encodeURIComponent).join("/");

/**
 * @param {string} name
 * @param {string} rest
 */
export const inRepository = (name, rest) => `/v2/${escaped(name)}/${rest}`;

/**
 * The scope of the token that a request needs: one repository's, or the catalog's.
 * @param {string} path
 */
function scopeOf(path) {
  const found = /^\/v2\/(.+)\/(?:_moorage|manifests)\//.exec(path);
  return found ? `repository:${decodeURIComponent(found[1])}:pull,push,delete` : "registry:catalog:*";
}

class Client {
  /** @type {Map<string, string>} bearer tokens by their scope */
  #bearers = new Map();

  get loggedIn() {
    return sessionStorage.getItem(KEPT) !== null;
  }

  /**
   * GET a document; `next` is the path of its next page, if there is one.
   * @param {string} path
   * @returns {Promise<{content: any, next: string | null}>}
   */
  async read(path) {
    const answer = await this.#send("GET", path);
    const link = /^<([^>]*)>; rel="next"$/.exec(answer.headers.get("link") ?? "");
    return { content: await answer.json(), next: link ? link[1] : null };
  }

  /**
   * DELETE what somebody else may have deleted already.
   * @param {string} path
   */
  async remove(path) {
    try {
      await this.#send("DELETE", path);
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 404)) throw error;
    }
  }

  /** @param {string} path */
  async post(path) {
    return (await this.#send("POST", path)).json();
  }

  /**
   * @param {string} user
   * @param {string} password
   */
  async logIn(user, password) {
    await this.#token("registry:catalog:*", { grant_type: "password", username: user, password, access_type: "offline" });
  }

  logOut() {
    sessionStorage.removeItem(KEPT);
    this.#bearers.clear();
  }

  /**
   * @param {string} method
   * @param {string} path
   */
  async #send(method, path) {
    const scope = scopeOf(path);
    for (const again of [true, false]) {
      const bearer = this.#bearers.get(scope);
      const headers = bearer ? { Authorization: `Bearer ${bearer}` } : undefined;
      const answer = await this.#fetch(path, { method, headers });
      if (answer.ok) return answer;
      if (answer.status !== 401) throw await failure(answer);
      if (!again || !(await this.#refresh(scope))) break;
    }
    this.logOut();
    throw new LoginNeeded();
  }

  /** @param {string} scope */
  async #refresh(scope) {
    const kept = sessionStorage.getItem(KEPT);
    if (kept === null) return false;
    try {
      await this.#token(scope, { grant_type: "refresh_token", refresh_token: kept });
    } catch (error) {
      if (error instanceof ApiError && error.status < 500 && error.status !== 429) return false;
      throw error;
    }
    return true;
  }

  /**
   * @param {string} scope
   * @param {Record<string, string>} form
   */
  async #token(scope, form) {
    const body = new URLSearchParams({ service: location.host, client_id: "moorage-page", scope, ...form });
    const answer = await this.#fetch("/v2/_token", { method: "POST", body });
    if (!answer.ok) throw await failure(answer);
    const issued = await answer.json();
    this.#bearers.set(scope, issued.access_token);
    if (issued.refresh_token) sessionStorage.setItem(KEPT, issued.refresh_token);
  }

  /**
   * @param {string} path
   * @param {RequestInit} options
   */
  async #fetch(path, options) {
    try {
      return await fetch(path, { cache: "no-store", credentials: "omit", ...options });
    } catch {
      throw new ApiError(0, "", "The registry can't be reached. Is the network there? Try again.");
    }
  }
}

/** @param {Response} answer */
async function failure(answer) {
  let code = "";
  let message = `The registry answered ${answer.status}.`;
  let detail = null;
  try {
    const [error] = (await answer.json()).errors;
    code = String(error.code);
    message = `${code}: ${error.message}`;
    detail = error.detail;
  } catch {
    // No JSON of the registry's: the status has to do.
  }
  return new ApiError(answer.status, code, message, detail);
}

export const client = new Client();
