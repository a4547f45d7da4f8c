// Which page is shown, and when it is brought up to date.

import { h, say, update, notice } from './dom.js';
import { get, post, events } from './api.js';
import { count, duration, ago } from './format.js';
import * as dialog from './dialog.js';
import * as login from './login.js';
import overview from './overview.js';
import stream from './stream.js';
import entry from './entry.js';
import group from './group.js';
import failed from './failed.js';
import archive from './archive.js';
import replay from './replay.js';
import outbox from './outbox.js';
import doctor from './doctor.js';

const pages = { overview, stream, entry, group, failed, archive, replay, outbox, doctor };
const main = document.getElementById('main');

const app = {
  session: null,
  look: null,
  jobs: [],
  /** What is shown: page, parameters, and what the page keeps. */
  shown: null,
  source: null,
  tailing: null,
  connected: false,
};

/** The address of a page. */
export function link(page, params) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params ?? {})) {
    if (value !== undefined && value !== null && value !== '') query.set(name, value);
  }
  const text = query.toString();
  return `#/${page}${text ? `?${text}` : ''}`;
}

function place() {
  const [path, query] = location.hash.replace(/^#\/?/, '').split('?');
  const page = Object.hasOwn(pages, path) && allowed(path) ? path : 'overview';
  return { page, params: Object.fromEntries(new URLSearchParams(query ?? '')) };
}

function allowed(page) {
  if (page === 'archive') return Boolean(app.session.archive);
  if (page === 'outbox') return app.session.outbox;
  return true;
}

// ----- pages ------------------------------------------------------------------------------------------------------

async function go() {
  const { page, params } = place();
  const before = app.shown;
  const same = before?.page === page && pages[page].identity(params) === pages[page].identity(before.params);
  app.shown = { page, params, state: same ? before.state : {}, data: same ? before.data : null, loading: null };
  if (!same) before?.leave?.();
  if (!same) {
    update(main, h('h1', null, pages[page].title(params)), h('p', { class: 'quiet' }, 'Loading…'));
    window.scrollTo(0, 0);
    if (before) main.focus({ preventScroll: true });
  }
  document.title = `${pages[page].title(params)} · Streamer`;
  nav();
  connect();
  await refresh();
}

/**
 * Loads what the page shows, and shows it. Only one load at a time; one that is asked for during a load comes after it. Each is
 * shown: where something is missing an answer waits for the next look, and that look asks for another load.
 */
async function refresh() {
  const shown = app.shown;
  if (shown.loading) {
    shown.again = true;
    return shown.loading;
  }
  const load = async () => {
    do {
      shown.again = false;
      try {
        shown.data = await pages[shown.page].load(context(shown));
        shown.error = null;
      } catch (error) {
        if (error.status === 401) return logIn();
        shown.error = error.message;
      }
      render(shown);
    } while (shown.again && shown === app.shown);
  };
  shown.loading = load();
  await shown.loading;
  shown.loading = null;
}

function render(shown = app.shown) {
  if (shown !== app.shown || !app.session?.logged_in) return;
  const page = pages[shown.page];
  const heading = h('h1', { key: 'title' }, page.heading?.(context(shown)) ?? page.title(shown.params));
  const error = shown.error ? notice('critical', h('p', null, shown.error)) : null;
  const content = shown.data ? page.render(context(shown)) : shown.error ? null : h('p', { class: 'quiet' }, 'Loading…');
  update(main, heading, error, content);
}

/** What a page works with. */
function context(shown) {
  return {
    session: app.session,
    look: app.look,
    params: shown.params,
    state: shown.state,
    data: shown.data,
    get, post, link, say,
    /** Shows it again with what is known. */
    render: () => render(shown),
    /** Loads it again. */
    refresh: () => (shown === app.shown ? refresh() : undefined),
    /** The same page with other parameters. */
    set(params) {
      const next = link(shown.page, { ...shown.params, ...params });
      if (next === location.hash) refresh();
      else history.replaceState(null, '', next), go();
    },
    go(page, params) {
      location.hash = link(page, params);
    },
    /** Follows a stream, or none. */
    tail(name, told) {
      app.tailing = name ? { name, told } : null;
      connect(true);
    },
    leaving(does) {
      shown.leave = does;
    },
    async act(path, body, question) {
      if (question && !(await dialog.confirm(question))) return null;
      try {
        const answer = await post(path, body);
        // What it was about is not there any more.
        if (answer.gone) throw new Error(answer.gone);
        shown.error = null;
        return answer;
      } catch (error) {
        if (error.status === 401) logIn();
        shown.error = error.message;
        say(error.message);
        render(shown);
        return null;
      }
    },
  };
}

// ----- live -------------------------------------------------------------------------------------------------------

/** Listens to the server, with the stream that is followed. A page in the background does not. */
function connect(again) {
  if (document.hidden || !app.session?.logged_in) return disconnect();
  if (app.source && !again) return;
  disconnect();
  const source = events(app.tailing ? { stream: app.tailing.name } : {});
  app.source = source;
  source.addEventListener('look', (event) => {
    app.connected = true;
    app.look = JSON.parse(event.data);
    state();
    foot();
    nav();
    const page = pages[app.shown.page];
    if (page.live && !app.shown.state.paused) refresh();
  });
  source.addEventListener('jobs', (event) => told(JSON.parse(event.data).jobs));
  source.addEventListener('tail', (event) => app.tailing?.told(JSON.parse(event.data)));
  source.addEventListener('error', () => {
    app.connected = false;
    state();
    // The browser tries again by itself unless it was refused.
    if (source.readyState === EventSource.CLOSED && app.source === source) {
      app.source = null;
      setTimeout(async () => {
        try {
          const session = await get('session');
          if (!session.logged_in) return logIn();
        } catch { /* It is away: the next attempt tells. */ }
        connect();
      }, 3000);
    }
  });
}

function disconnect() {
  app.source?.close();
  app.source = null;
  app.connected = false;
}

document.addEventListener('visibilitychange', () => {
  if (!app.session) return;
  if (document.hidden) disconnect();
  else connect();
  state();
});

// ----- what is around the page ------------------------------------------------------------------------------------

const NAMES = [
  ['overview', 'Overview'], ['failed', 'Failed'], ['archive', 'Archive'], ['replay', 'Replay'],
  ['outbox', 'Outbox'], ['doctor', 'Doctor'],
];
const UNDER = { stream: 'overview', entry: 'overview', group: 'overview' };

function nav() {
  const at = UNDER[app.shown.page] ?? app.shown.page;
  const look = app.look;
  const number = { failed: look?.failures, doctor: look ? look.critical + look.warnings : 0 };
  update(document.getElementById('nav'), h('ul', null, NAMES.filter(([page]) => allowed(page)).map(([page, name]) =>
    h('li', { key: page }, h('a', { href: link(page), 'aria-current': page === at ? 'page' : undefined }, name,
      number[page] ? h('span', { class: `number ${page === 'doctor' && look.critical ? 'critical' : ''}` }, count(number[page])) : null)))));
}

function state() {
  const look = app.look;
  const tone = !app.connected || look?.error ? 'bad' : 'good';
  const text = !app.connected ? 'Not connected' : look?.error ? 'Store away' : 'Live';
  update(document.getElementById('state'),
    app.session?.read_only ? h('span', { class: 'badge', key: 'read-only' }, 'Read-only') : null,
    h('span', { class: `dot ${tone}`, key: 'dot', title: look?.error ?? 'Brought up to date by the server' }, text),
    app.session?.login ? h('button', { class: 'small', type: 'button', key: 'out', onclick: logOut }, 'Log out') : null);
}

function foot() {
  const load = app.look?.load;
  if (!load) return;
  const viewers = load.viewers === 1 ? '1 browser' : `${load.viewers} browsers`;
  update(document.getElementById('foot'),
    h('p', null, `${app.session.store} · streamer ${app.session.version}`),
    h('p', null, 'Seen ', ago(app.look.at_ms),
      `. A look takes ${duration(load.took_ms)}, with a pause of ${duration(load.pause_ms)}, for ${viewers} together; the checks took ${duration(load.checks_took_ms)}.`),
    h('p', null, h('button', { type: 'button', class: 'small', onclick: keys }, 'Keys ', h('kbd', null, '?'))));
}

const ACTIONS = { retry: 'Retry', forget: 'Forget', restore: 'Restore' };
let dismissed = 0;

/** Actions that take a while. */
function told(jobs) {
  for (const job of jobs) {
    const before = app.jobs.find((one) => one.id === job.id);
    if (before?.state === 'running' && job.state !== 'running') {
      say(`${ACTIONS[job.action]}, ${job.about}: ${job.state}. ${outcome(job)}`);
      if (['failed', 'archive', 'stream', 'entry'].includes(app.shown.page)) refresh();
    }
  }
  app.jobs = jobs;
  const recent = (job) => job.id > dismissed && (job.state === 'running' || Date.now() - job.ended_ms < 600000);
  const shown = jobs.filter(recent).slice(0, 5);
  const box = document.getElementById('jobs');
  box.hidden = shown.length === 0;
  update(box, shown.map((job) => h('article', { key: job.id, class: `job ${job.state}` },
    h('header', null,
      h('strong', null, ACTIONS[job.action], ': ', job.about),
      job.state === 'running'
        ? h('button', { type: 'button', class: 'small', onclick: () => post('jobs/stop', { id: job.id }).catch((error) => say(error.message)) }, 'Stop')
        : h('button', {
          type: 'button', class: 'small', 'aria-label': `Close: ${ACTIONS[job.action]}, ${job.about}`,
          onclick: () => { dismissed = Math.max(dismissed, job.id); told(app.jobs); },
        }, 'Close')),
    job.state === 'running'
      ? h('progress', { 'aria-label': 'Progress', ...(job.of ? { max: job.of, value: Math.min(job.done, job.of) } : {}) })
      : null,
    h('p', null, outcome(job), job.error ? ` ${job.error}` : ''),
    job.lines.length ? h('details', null, h('summary', null, 'What did not succeed'),
      h('ul', { class: 'lines' }, job.lines.map((line) => h('li', null, line)))) : null)));
}

function outcome(job) {
  const of = job.of ? ` of ${count(job.of)}` : '';
  const parts = [`${count(job.done)}${job.state === 'running' ? of : ''} done`];
  const words = { retry: ['handled', 'failed again'], forget: ['forgotten', 'failed'], restore: ['restored', 'failed'] }[job.action];
  parts.push(`${count(job.succeeded)} ${words[0]}`);
  if (job.failed) parts.push(`${count(job.failed)} ${words[1]}`);
  if (job.skipped) parts.push(`${count(job.skipped)} left as they are`);
  return `${job.state === 'running' ? '' : `${job.state[0].toUpperCase()}${job.state.slice(1)}: `}${parts.join(', ')}.`;
}

// ----- keys -------------------------------------------------------------------------------------------------------

const GOES = { o: 'overview', f: 'failed', a: 'archive', r: 'replay', x: 'outbox', d: 'doctor' };

function keys() {
  const pagesHere = Object.entries(GOES).filter(([, page]) => allowed(page));
  dialog.help([
    ...pagesHere.map(([key, page]) => [`g ${key}`, pages[page].title({})]),
    ['/', 'Search or filter'],
    ['p', 'Pause what is live on this page, and go on'],
    ['?', 'These keys'],
  ]);
}

let pending = null;
document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !app.session?.logged_in) return;
  if (event.target.closest('input, select, textarea, dialog')) {
    if (event.key === 'Escape' && event.target.matches('input, select')) event.target.blur();
    return;
  }
  const first = pending;
  pending = null;
  if (first === 'g' && GOES[event.key] && allowed(GOES[event.key])) {
    location.hash = link(GOES[event.key]);
  } else if (event.key === 'g') {
    pending = 'g';
    setTimeout(() => { pending = null; }, 1500);
    return;
  } else if (event.key === '/') {
    main.querySelector('[data-search]')?.focus();
  } else if (event.key === 'p') {
    main.querySelector('[data-pause]')?.click();
  } else if (event.key === '?') {
    keys();
  } else {
    return;
  }
  event.preventDefault();
});

document.getElementById('skip').addEventListener('click', (event) => {
  event.preventDefault();
  main.focus();
});

// ----- login ------------------------------------------------------------------------------------------------------

function logIn() {
  disconnect();
  app.session = { ...app.session, logged_in: false };
  update(document.getElementById('nav'));
  update(document.getElementById('state'));
  update(document.getElementById('foot'));
  update(main, login.page(begin));
  main.querySelector('input').focus();
}

async function logOut() {
  await post('logout').catch(() => {});
  app.look = null;
  logIn();
}

async function begin() {
  try {
    app.session = await get('session');
  } catch (error) {
    update(main, notice('critical', h('p', null, error.message), h('button', { type: 'button', onclick: begin }, 'Try again')));
    return;
  }
  if (!app.session.logged_in) return logIn();
  app.shown = null;
  state();
  await go();
}

window.addEventListener('hashchange', () => app.session?.logged_in && go());
begin();
