// The node's REST API: the only source of facts. Everything is asked of the page's own origin.

import { parseJson } from "./json.js";

const TIMEOUT_MS = 10_000;

/** The node does not answer, or what answers is not a node. */
export class Offline extends Error {}

/** The node answered, and said no. `status`: HTTP's; `code`: stable; message: a plain sentence. */
export class Refused extends Error {
  constructor(status, code, sentence) {
    super(sentence);
    this.status = status;
    this.code = code;
  }

  get missing() {
    return this.status === 404 || this.status === 400 || this.pruned;
  }

  /** It was here, and this node does not keep it any more. */
  get pruned() {
    return this.status === 410;
  }
}

async function ask(path, options = {}) {
  let response, text;
  try {
    response = await fetch(path, {
      cache: "no-store", // answers may be kept for seconds; the pages ask because they changed
      credentials: "omit",
      signal: AbortSignal.timeout(TIMEOUT_MS),
      ...options,
    });
    text = await response.text();
  } catch (error) {
    throw new Offline(String(error));
  }
  if (response.ok) return text;
  throw refusal(response.status, text);
}

function refusal(status, text) {
  try {
    const body = parseJson(text);
    if (typeof body.error === "string") return new Refused(status, body.code ?? "", body.error);
  } catch {
    // Esplora's errors are plain sentences.
  }
  return new Refused(status, "", text.slice(0, 300) || `the node answered ${status}`);
}

export async function get(path) {
  const text = await ask(path);
  try {
    return parseJson(text);
  } catch {
    throw new Offline(`${path} gave no JSON`);
  }
}

export async function getText(path) {
  return (await ask(path)).trim();
}

export async function post(path, body) {
  const headers = { "Content-Type": "application/json" };
  return parseJson(await ask(path, { method: "POST", headers, body: JSON.stringify(body) }));
}

/** The answer, or null where the node has no such thing. */
export async function getOrNull(path) {
  try {
    return await get(path);
  } catch (error) {
    if (error instanceof Refused && error.missing) return null;
    throw error;
  }
}
