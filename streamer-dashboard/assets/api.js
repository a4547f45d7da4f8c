// Asks the server. Addresses are relative to this file, so the dashboard works under any path.

const BASE = new URL('../api/', import.meta.url);

export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

function address(path, params) {
  const url = new URL(path, BASE);
  for (const [name, value] of Object.entries(params ?? {})) {
    if (value !== undefined && value !== null && value !== '') url.searchParams.set(name, value);
  }
  return url;
}

async function ask(url, options) {
  let response;
  try {
    response = await fetch(url, { credentials: 'same-origin', cache: 'no-store', ...options });
  } catch {
    throw new Refused(0, 'The dashboard does not answer. Is the process that serves it still running?');
  }
  const text = await response.text();
  let answer;
  try {
    answer = JSON.parse(text);
  } catch {
    throw new Refused(response.status, `The dashboard answered with status ${response.status} and no JSON.`);
  }
  if (!response.ok) throw new Refused(response.status, answer.error ?? `status ${response.status}`);
  return answer;
}

export function get(path, params) {
  return ask(address(path, params));
}

/** Changes something. */
export function post(path, body) {
  return ask(address(path), {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'X-Streamer-Dashboard': '1' },
    body: JSON.stringify(body ?? {}),
  });
}

/** Server-sent events. */
export function events(params) {
  return new EventSource(address('live', params));
}
